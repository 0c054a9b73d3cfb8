"""ntpd's report of its own state: packets recorded from NTPsec 1.2.2, bad ones, and a server on loopback."""

from __future__ import annotations

import pytest

from skewguard.cli.doctor import ntpd
from skewguard.cli.doctor.diagnosis import diagnose
from skewguard.cli.doctor.ntpd import Ntpd
from skewguard.interval import SECOND
from tests.ntp_server import Server, serving, silent
from tests.surveys import WALL
from tests.test_cli_doctor import seen

LOST = (
    b"\xd6\x82\x00\x07\xc0\x16\x00\x00\x00\x00\x00Oleap=3, stratum=16, refid=INIT, "
    b"reftime=0x00000000.00000000,\r\noffset=0.000000\r\n,"
)
"""Just started."""

LOCAL = (
    b"\x16\x82\x00\x07\x05\x14\x00\x00\x00\x00\x00Uleap=0, stratum=6, refid=127.127.1.0, "
    b"reftime=0xeeac4090.d3ea1ff4,\r\noffset=0.000000\r\n0, "
)
"""A minute later: it follows its own clock."""

FOLLOWS = Ntpd(0, 3, "169.254.169.123", -1_234_567, WALL - 90 * SECOND)


def answer(text: bytes, first: int = 0xD6, kind: int = 0x82, number: int = 7, count: int | None = None) -> bytes:
    length = len(text) if count is None else count
    return bytes((first, kind)) + number.to_bytes(2, "big") + bytes(6) + length.to_bytes(2, "big") + text


GOOD = b"leap=0, stratum=3, refid=169.254.169.123,\r\nreftime=0xeeac3fc8.80000000, offset=-1.234567\r\n"


def test_real_answers() -> None:
    """From an ntpd that has just started, and from one that follows a clock."""
    assert not ntpd.parse(LOST, 7).synchronized
    local = ntpd.parse(LOCAL, 7)
    assert (local.synchronized, local.local) == (True, True)
    said = ntpd.parse(answer(GOOD), 7)
    assert (said.synchronized, said.local) == (True, False)
    assert said == Ntpd(0, 3, "169.254.169.123", -1_234_567, (0xEEAC3FC8 - 2_208_988_800) * SECOND + SECOND // 2)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        LOST[:11],
        answer(GOOD, number=8),
        answer(GOOD, first=0xD3),
        answer(GOOD, kind=0x02),
        answer(GOOD, kind=0x81),
        answer(b"", kind=0xC2),
        answer(GOOD, kind=0xA2),
        answer(GOOD, count=400),
        answer(GOOD.replace(b"stratum", b"level")),
        answer(GOOD.replace(b"stratum=3", b"stratum=x")),
        answer(GOOD.replace(b"-1.234567", b"inf")),
        answer(GOOD.replace(b"-1.234567", b"nan")),
        answer(GOOD.replace(b"-1.234567", b"1e300")),
        answer(GOOD.replace(b"0xeeac3fc8", b"0xfffeeac3fc8")),
        answer(GOOD.replace(b"0xeeac3fc8.8", b"x.y")),
        answer(GOOD.replace(b"169.254.169.123", b"\x1b[2J")),
    ],
)
def test_what_is_no_answer(packet: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        ntpd.parse(packet, 7)


def test_the_era_after_2036() -> None:
    """NTP's seconds wrap around."""
    later = ntpd.parse(answer(GOOD.replace(b"0xeeac3fc8", b"0x00000010")), 7)
    assert later.reftime // SECOND == 2**32 - 2_208_988_800 + 16


def test_asking() -> None:
    """One packet, which real daemons answer; a silent server; no server."""

    def talkative(server: Server, request: bytes, peer: tuple[str, int]) -> None:
        assert request[:2] == b"\x16\x02"
        assert len(request) % 4 == 0
        server.send(answer(GOOD, number=int.from_bytes(request[2:4], "big")), peer)

    with serving(talkative) as server:
        said = ntpd.ask(("127.0.0.1", server.port))
    assert said.refid == "169.254.169.123"
    with serving(silent) as server:
        assert ntpd.ask(("127.0.0.1", server.port), timeout=0.05) is None
    assert ntpd.ask(("127.0.0.1", server.port)) is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (FOLLOWS, "[ OK ] ntpd follows 169.254.169.123 (stratum 3): the clock is 1.2 ms fast of NTP time, "),
        (FOLLOWS, "of NTP time, last corrected 90.0 s ago."),
        (FOLLOWS._replace(leap=3), "[NOTE] ntpd is not synchronized. List its servers with: ntpq -pn"),
        (FOLLOWS._replace(stratum=16), "[NOTE] ntpd is not synchronized."),
        (FOLLOWS._replace(refid="127.127.1.0"), "[NOTE] ntpd follows its own clock, which nothing corrects."),
    ],
)
def test_what_doctor_makes_of_it(said: Ntpd, words: str) -> None:
    assert words in "\n".join(map(str, diagnose(seen(0, ntpd=said))))
