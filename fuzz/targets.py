"""One target for each parser: a function that accepts any bytes, and fails unless the parser keeps its promises.

Targets do not depend on a fuzzer: atheris drives them (`python -m fuzz`), and the tests run them on the corpus.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fuzz import packets, texts


class Target(NamedTuple):
    """A function, and the longest useful input in bytes."""

    run: Callable[[bytes], None]
    longest: int


TARGETS = {
    "certificate": Target(packets.certificate, 1024),
    "chrony": Target(packets.chrony, 128),
    "clockbound": Target(packets.clockbound, 128),
    "clockboundd": Target(packets.clockbound_daemon, 32),
    "date": Target(texts.date, 64),
    "domain": Target(texts.domain, 256),
    "environment": Target(texts.environment, 256),
    "log": Target(texts.log, 1024),
    "message": Target(texts.message, 512),
    "ntp": Target(packets.ntp, 96),
    "ntpd": Target(packets.ntpd, 160),
    "phc": Target(packets.phc, 96),
    "response": Target(texts.response, 1024),
    "store": Target(texts.store, 512),
    "uri": Target(texts.uri, 128),
    "vmclock": Target(packets.vmclock, 64),
}
"""By name, which is also the name of the folder in tests/corpus."""
