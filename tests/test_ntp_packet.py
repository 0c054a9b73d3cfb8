"""NTP packets: what a reply may say, what is refused, and that the interval it gives holds the truth."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import ntplib  # type: ignore[import-untyped,unused-ignore]
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from skewguard.errors import SourceError
from skewguard.interval import DRIFT_PPB, EARLIEST, LATEST, Interval, Trust
from skewguard.sources.limits import GRANULARITY
from skewguard.sources.ntp_packet import SECOND, decode, printable, request, short_to_ns, to_interval, unix_ns
from tests.ntp_server import DAY, EPOCH_1900, MS, NONCE, ZERO, Answer, to_stamp


def weigh(
    answer: Answer, *, elapsed: int = 20 * MS, allow_local: bool = False, max_distance: int = 1500 * MS
) -> Interval:
    """Judge a reply that came `elapsed` ns after its request, at steady instant 1000 s."""
    received = 1000 * SECOND
    reply = decode(bytes(answer), NONCE)
    return to_interval(
        reply, received - elapsed, received, "ntp://server", max_distance=max_distance, allow_local=allow_local
    )


def test_request_says_nothing_but_version_mode_and_nonce() -> None:
    """A listener learns nothing about the host, and the server stays in basic mode."""
    assert request(NONCE) == b"\x23" + bytes(39) + NONCE
    assert len(request(NONCE)) == 48


def test_good_reply_gives_the_causal_interval() -> None:
    """True time is not before the reply left and not after the request arrived plus the whole round trip."""
    said = weigh(Answer(root_delay=0, root_dispersion=0))
    tick = -(-SECOND >> 20)
    drift = 20 * MS * DRIFT_PPB // 10**9
    assert said.at == 1000 * SECOND
    assert said.earliest == pytest.approx(ZERO + MS - tick - GRANULARITY, abs=2)
    assert said.latest == pytest.approx(ZERO + 20 * MS + tick + GRANULARITY + drift, abs=2)
    assert said.trust is Trust.WITNESS
    assert said.source == "ntp://server"


def test_root_distance_widens_both_ends() -> None:
    """Half the root delay, and all of the root dispersion, are the server's own doubt."""
    sure, unsure = (
        weigh(Answer(root_delay=0, root_dispersion=0)),
        weigh(Answer(root_delay=1 << 15, root_dispersion=1 << 14)),
    )
    assert sure.earliest - unsure.earliest == unsure.latest - sure.latest == 500 * MS


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(Answer(origin=bytes(8)), "was not sent", id="zero origin"),
        pytest.param(Answer(origin=NONCE[::-1]), "was not sent", id="forged origin"),
        pytest.param(
            Answer(origin=bytes(8), stratum=0, refid=b"DENY", leap=3, mode=3, transmit=0),
            "was not sent",
            id="forged kiss",
        ),
        pytest.param(Answer(mode=3), "mode is 3 (client)", id="mode 3"),
        pytest.param(Answer(mode=5), "mode is 5 (broadcast)", id="mode 5"),
        pytest.param(Answer(version=2), "version is 2", id="version 2"),
        pytest.param(Answer(version=7), "version is 7", id="version 7"),
    ],
)
def test_no_reply_of_ours(answer: Answer, reason: str) -> None:
    """A datagram that fails to prove whose reply it is tells nothing, so it is told apart before anything else."""
    with pytest.raises(SourceError) as caught:
        decode(bytes(answer), NONCE)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(Answer(stratum=0, refid=b"DENY"), "kiss code DENY", id="kiss"),
        pytest.param(Answer(stratum=0, refid=b"\n\x1b[m"), "kiss code ??[m", id="kiss with control characters"),
        pytest.param(Answer(stratum=0, refid=bytes(4)), "not synchronized (stratum 0)", id="stratum 0"),
        pytest.param(Answer(leap=3), "leap indicator 3", id="leap 3"),
        pytest.param(Answer(stratum=16), "stratum 16", id="stratum 16"),
        pytest.param(Answer(stratum=255), "stratum 255", id="stratum 255"),
        pytest.param(Answer(transmit=0), "left out the time of sending", id="zero transmit"),
        pytest.param(Answer(receive=0), "left out the time of receipt", id="zero receive"),
        pytest.param(Answer(transmit=to_stamp(ZERO - MS)), "before it was asked", id="T3 before T2"),
        pytest.param(Answer(root_delay=0xFFFF_0000), "negative root delay", id="negative root delay"),
        pytest.param(Answer(root_delay=0x0002_0000), "2.0 s away", id="root delay of 2 s"),
        pytest.param(Answer(root_dispersion=0xFFFF_FFFF), "18 h 12 min 16 s only", id="absurd root dispersion"),
        pytest.param(Answer(root_dispersion=0x0001_8000), "less than 1.5 s", id="root dispersion at the limit"),
        pytest.param(Answer(precision=127), "less than 1.5 s", id="absurd precision"),
        pytest.param(
            Answer(transmit=to_stamp(ZERO + 25 * MS)), "longer than the whole round trip", id="negative delay"
        ),
        pytest.param(Answer(reference=to_stamp(ZERO + SECOND)), "last set after", id="reference in the future"),
        pytest.param(Answer(refid=b"LOCL"), "reference uncalibrated local clock", id="LOCL"),
        pytest.param(
            Answer(refid=b"\x7f\x7f\x01\x01", root_delay=0, root_dispersion=0), "127.127.1.1", id="own clock, by chrony"
        ),
        pytest.param(Answer(refid=b"\x7f\x7f\x01\x00", stratum=6), "allow_local=1", id="own clock, by ntpd"),
    ],
)
def test_reply_refused(answer: Answer, reason: str) -> None:
    """A reply that admits to be useless, contradicts itself or is absurd raises one sentence that names the server."""
    with pytest.raises(SourceError) as caught:
        weigh(answer)
    assert str(caught.value).startswith("ntp://server ")
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("when", [EARLIEST - DAY, LATEST + DAY, 0, -DAY], ids=["early", "far", "1970", "1969"])
def test_implausible_date_refused(when: int) -> None:
    """No true time is earlier than this package, and none is decades later."""
    with pytest.raises(SourceError, match="implausible date, "):
        weigh(Answer(receive=to_stamp(when), transmit=to_stamp(when), reference=0))


def test_round_trip_too_long_refused() -> None:
    """After a long sleep between question and answer the interval would say nothing."""
    with pytest.raises(SourceError, match="too long to give the time"):
        weigh(Answer(), elapsed=3600 * SECOND)


def test_own_clock_believed_if_allowed() -> None:
    """An isolated site may have nothing better."""
    assert weigh(Answer(refid=b"LOCL", stratum=1), allow_local=True)


@pytest.mark.parametrize("leap", [0, 1, 2])
@pytest.mark.parametrize("stratum", [1, 15])
@pytest.mark.parametrize("version", [3, 4])
def test_normal_values_accepted(leap: int, stratum: int, version: int) -> None:
    """Leap warnings, either end of the strata, and servers that answer in version 3 are all in order."""
    assert weigh(Answer(leap=leap, stratum=stratum, version=version, reference=0, tail=bytes(20)))


def test_slightly_negative_delay_accepted() -> None:
    """Coarse clocks make a fast reply seem to precede its request."""
    said = weigh(Answer(transmit=to_stamp(ZERO)), elapsed=0)
    assert said.earliest <= ZERO <= said.latest
    weigh(Answer(transmit=to_stamp(ZERO + GRANULARITY)), elapsed=0)


@pytest.mark.parametrize(
    ("seconds", "iso"),
    [
        (2_085_978_495, "2036-02-07T06:28:15Z"),
        (2_085_978_496, "2036-02-07T06:28:16Z"),
        (2_085_978_497, "2036-02-07T06:28:17Z"),
        (3_000_000_000, "2065-01-24T05:20:00Z"),
    ],
)
def test_era_rollover(seconds: int, iso: str) -> None:
    """The second in which NTP's seconds begin again at zero is a second like any other."""
    when = seconds * SECOND
    said = weigh(Answer(receive=to_stamp(when + 1), transmit=to_stamp(when + 1), reference=to_stamp(when - DAY)))
    assert said.earliest <= when + 20 * MS <= said.latest, iso


def test_exchange_across_the_rollover() -> None:
    """Received in one era and answered in the next: still in order."""
    rollover = 2_085_978_496 * SECOND
    said = weigh(Answer(receive=to_stamp(rollover - MS), transmit=to_stamp(rollover + MS), reference=0))
    assert said.width < 40 * MS
    with pytest.raises(SourceError, match="last set after"):
        weigh(
            Answer(receive=to_stamp(rollover - 5), transmit=to_stamp(rollover - 3), reference=to_stamp(rollover + MS))
        )


@given(st.integers(EARLIEST - 2**31 * SECOND + SECOND, EARLIEST + 2**31 * SECOND - SECOND))
def test_timestamps_survive_the_round_trip(unix: int) -> None:
    """A 32.32 timestamp is finer than a ns: what went in lies between the two roundings, which are 1 ns apart."""
    low, high = unix_ns(to_stamp(unix)), unix_ns(to_stamp(unix), up=True)
    assert low <= unix <= low + 1
    assert high in (low, low + 1)
    assert high >= unix - 1


@given(st.integers(0, 2**64 - 1))
def test_timestamp_roundings_enclose_the_exact_value(stamp: int) -> None:
    """Rounded down is not after, rounded up not before, and both are the nearest such ns."""
    exact = stamp * SECOND  # times 2**32
    for k in (0, 1):
        if unix_ns(stamp) - (stamp * SECOND >> 32) + EPOCH_1900 == k * 2**32 * SECOND:
            break
    else:
        pytest.fail("an era that is neither this one nor the next")
    shift = k * 2**32 * SECOND - EPOCH_1900
    assert (unix_ns(stamp) - shift) << 32 <= exact < (unix_ns(stamp) - shift + 1) << 32
    assert (unix_ns(stamp, up=True) - shift - 1) << 32 < exact <= (unix_ns(stamp, up=True) - shift) << 32
    assert abs(unix_ns(stamp) - EARLIEST) <= 2**31 * SECOND


@given(st.integers(0, 2**32 - 1))
def test_short_format_rounds_up(value: int) -> None:
    """A bound never shrinks by being converted."""
    assert 0 <= (short_to_ns(value) << 16) - value * SECOND < 1 << 16


@given(
    zero=st.integers(EARLIEST + DAY, LATEST - DAY),
    out=st.integers(0, SECOND),
    hold=st.integers(0, SECOND),
    back=st.integers(0, SECOND),
    rate=st.integers(-DRIFT_PPB, DRIFT_PPB),
    root_delay=st.integers(0, 1 << 16),
    root_dispersion=st.integers(0, 1 << 16),
    precision=st.integers(-32, -3),
    wrong=st.floats(-1, 1),
    misread=st.tuples(st.integers(-GRANULARITY, GRANULARITY), st.integers(-GRANULARITY, GRANULARITY)),
)
def test_interval_contains_the_truth(
    zero: int,
    out: int,
    hold: int,
    back: int,
    rate: int,
    root_delay: int,
    root_dispersion: int,
    precision: int,
    wrong: float,
    misread: tuple[int, int],
) -> None:
    """Whatever the path's delays, the server's error within its distance, and our clock's error within its own."""
    answer = Answer(precision=precision, root_delay=root_delay, root_dispersion=root_dispersion, reference=0)
    server = decode(bytes(answer), NONCE)
    # The server is wrong by all it admits at most; its tick is spent on rounding its timestamps, either way.
    error = int(wrong * (server.distance - server.resolution - 2))
    receive = to_stamp(zero + out + error)
    transmit = to_stamp(zero + out + hold + error)
    answer = replace(answer, receive=receive, transmit=transmit)
    sent_ideal = 5 * SECOND
    true_elapsed = out + hold + back
    # A steady clock of rate r shows e * (1 + r) when e has passed.
    received_ideal = sent_ideal + true_elapsed + true_elapsed * rate // 10**9
    sent, received = sent_ideal + misread[0], received_ideal + misread[1]
    assume(received >= sent)
    said = to_interval(decode(bytes(answer), NONCE), sent, received, "x", max_distance=3 * SECOND)
    # The statement is of the steady instant `received`; the clock showed it `misread` ns away from the real receipt.
    truth = zero + true_elapsed + misread[1]
    assert said.earliest <= truth <= said.latest
    assert (
        said.width
        <= out + back + 2 * (server.distance + GRANULARITY) + 2 * SECOND * DRIFT_PPB * 3 // 10**9 + 2 * GRANULARITY
    )


@given(
    datagram=st.binary(max_size=120) | st.integers(0, 65_507).map(lambda size: b"\x24" * size),
    ours=st.booleans(),
    sent=st.integers(0, 2**62),
    received=st.integers(0, 2**62),
    allow_local=st.booleans(),
)
def test_any_bytes_give_a_value_or_a_source_error(
    datagram: bytes, ours: bool, sent: int, received: int, allow_local: bool
) -> None:
    """Nothing a stranger sends raises anything else, even if it carries our nonce."""
    if ours and len(datagram) >= 32:
        datagram = b"\x24" + datagram[1:24] + NONCE + datagram[32:]
    with contextlib.suppress(SourceError):
        reply = decode(datagram, NONCE)
        assert printable(reply.refid).isprintable()
        said = to_interval(reply, sent, received, "x", max_distance=SECOND, allow_local=allow_local)
        assert said.earliest <= said.latest


@given(
    st.builds(
        Answer,
        receive=st.integers(0, 2**64 - 1) | st.just(to_stamp(ZERO)),
        transmit=st.integers(0, 2**64 - 1) | st.just(to_stamp(ZERO)),
        reference=st.integers(0, 2**64 - 1) | st.just(0),
        leap=st.integers(0, 3),
        stratum=st.integers(0, 255) | st.integers(1, 3),
        precision=st.integers(-128, 127) | st.just(-20),
        root_delay=st.integers(0, 2**32 - 1) | st.integers(0, 2**16),
        root_dispersion=st.integers(0, 2**32 - 1) | st.integers(0, 2**16),
        refid=st.binary(min_size=4, max_size=4),
    ),
    st.integers(-SECOND, 10 * SECOND),
)
def test_any_fields_give_a_value_or_a_source_error(answer: Answer, elapsed: int) -> None:
    """Nor does a well-formed packet with any values at all; what is accepted is a sane interval."""
    with contextlib.suppress(SourceError):
        said = weigh(answer, elapsed=elapsed)
        assert EARLIEST - 2 * SECOND < said.earliest <= said.latest < LATEST + 20 * SECOND


@given(
    st.integers(0, 3), st.integers(1, 15), st.integers(-128, 127), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)
)
def test_header_agrees_with_ntplib(
    leap: int, stratum: int, precision: int, root_delay: int, root_dispersion: int
) -> None:
    """ntplib's fractions come back as the integers that were sent."""
    answer = Answer(
        leap=leap, stratum=stratum, precision=precision, root_delay=root_delay, root_dispersion=root_dispersion
    )
    reply = decode(bytes(answer), NONCE)
    assert (reply.leap, reply.stratum, reply.precision) == (leap, stratum, precision)
    assert (reply.root_delay, reply.root_dispersion) == (root_delay, root_dispersion)


def test_midpoint_agrees_with_ntplib() -> None:
    """Before 2036, and within what a float of seconds since 1900 can hold, ntplib computes the same offset."""
    said = weigh(Answer(root_delay=0, root_dispersion=0))
    stats: Any = ntplib.NTPStats()
    stats.from_data(bytes(Answer()))
    stats.orig_timestamp = (ZERO + EPOCH_1900) / SECOND - 0.005  # sent 5 ms before it arrived, by a perfect host
    stats.dest_timestamp = stats.orig_timestamp + 0.020
    ours = said.midpoint - (ZERO + 15 * MS)
    assert ours / SECOND == pytest.approx(stats.offset, abs=5e-6)
