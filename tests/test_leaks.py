"""A process that signs for ever does not grow: neither in memory, nor in threads, nor in descriptors."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support import run_python

pytestmark = pytest.mark.slow

SIGNINGS = int(os.environ.get("SKEWGUARD_LEAK_SIGNINGS", "10000"))

PROGRAM = """
import gc, json, os, sys, threading
import botocore.session
from botocore.awsrequest import AWSRequest
import skewguard
from tests.fakes import FakeSource

source = FakeSource(offset=1200)
skewguard.install(sources=[source], refresh_interval=0)
client = botocore.session.get_session().create_client("s3", region_name="us-east-1")

def sign(count):
    for index in range(count):
        # Hosts without end, as a program that presigns for its customers' stores would have.
        request = AWSRequest("GET", f"https://store-{index % 5000}.example/key")
        request.context = {"client_config": client.meta.config}
        client._request_signer.sign("GetObject", request)

def state():
    source.deadlines.clear()
    source.threads.clear()
    gc.collect()
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGESIZE"), threading.active_count(), len(os.listdir("/proc/self/fd"))

sign(15_000)
before = state()
sign(int(sys.argv[1]))
print(json.dumps([before, state()]))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this platform has no /proc/self/statm")
def test_signing_leaks_nothing() -> None:
    """A corrected host, thousands of endpoints, the sources asked again and again."""
    output = run_python(PROGRAM, str(SIGNINGS), timeout=1200)
    (memory, *counts), (memory_after, *counts_after) = json.loads(output)
    assert counts_after == counts
    assert memory_after - memory < 1_000_000, f"{memory_after - memory} bytes more after {SIGNINGS} signings"
