"""Reading and judging answers: every real message, every dialect as botocore parses it, and arbitrary bytes."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from botocore.parsers import create_parser
from hypothesis import given
from hypothesis import strategies as st

from skewguard.http_date import Span, read_date
from skewguard.interval import SECOND
from skewguard.signing.reply import TOLERANCE, Attempt, Reply, Verdict, judge, read, read_stamp
from tests.skew_fixtures import CURRENT, FIXTURES, SERVERS, Fixture, early

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def stamp(text: str) -> int:
    """Return the time of a basic ISO timestamp, which must be one."""
    found = read_stamp(text)
    assert found is not None
    return found


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.name)
def test_real_answers_are_judged_right(fixture: Fixture) -> None:
    reply = read(fixture.status, fixture.headers, fixture.parsed)
    signed = stamp(fixture.signed) if fixture.signed else reply.requested
    assert signed is not None
    judgement = judge(Attempt(signed, round(fixture.under_way * SECOND)), reply)
    assert (fixture.verdict, fixture.name) == (judgement.verdict, fixture.name), judgement.reason


REFUSALS = [row for row in FIXTURES if row.verdict is Verdict.SKEW and row.name != "no-clock-heard"]


@pytest.mark.parametrize("fixture", REFUSALS, ids=lambda row: row.name)
def test_a_skewed_answer_on_a_corrected_attempt_is_not_time(fixture: Fixture) -> None:
    """Only the attempt is judged: the same words about another timestamp do not count."""
    reply = read(fixture.status, fixture.headers, fixture.parsed)
    assert reply.heard is not None
    judgement = judge(Attempt(reply.heard.earliest + SECOND, SECOND // 20), reply)
    assert judgement.verdict is Verdict.NOT_TIME


EXPIRED = early("20150619T100249Z", "20150619T100713Z", "20150619T102213Z", 15)
DATED = {"Date": "Fri, 19 Jun 2015 10:22:13 GMT"}
CORAL = "InvalidSignatureException:http://internal.amazon.com/coral/com.amazon.coral.service/"

WIRE = [
    (
        "query",
        403,
        {},
        '<?xml version="1.0"?><ErrorResponse xmlns="http://queue.amazonaws.com/doc/2012-11-05/"><Error><Type>Sender</Type>'
        f"<Code>SignatureDoesNotMatch</Code><Message>{EXPIRED}</Message><Detail/></Error><RequestId>c0040c63</RequestId>"
        "</ErrorResponse>",
    ),
    (
        "json",
        400,
        {"x-amzn-errortype": "InvalidSignatureException"},
        f'{{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"{EXPIRED}"}}',
    ),
    ("rest-json", 403, {"x-amzn-ErrorType": CORAL}, f'{{"message":"{EXPIRED}"}}'),
    ("rest-json", 403, {}, f'{{"message":"{EXPIRED}"}}'),
    (
        "rest-xml",
        403,
        {},
        f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>RequestTimeTooSkewed</Code><Message>{CURRENT}</Message>'
        "<RequestTime>20150619T100249Z</RequestTime><ServerTime>2015-06-19T10:22:13Z</ServerTime>"
        "<MaxAllowedSkewMilliseconds>900000</MaxAllowedSkewMilliseconds><RequestId>9E0</RequestId></Error>",
    ),
    (
        "query",  # an error in S3's form, given to a query client: botocore parses it without an Error key
        403,
        DATED,
        "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the server&#39;s time "
        "is too large.</Message><RequestId>1</RequestId></Error>",
    ),
    (
        "ec2",
        401,
        DATED,
        "<Response><Errors><Error><Code>AuthFailure</Code><Message>AWS was not able to validate the provided access "
        "credentials</Message></Error></Errors><RequestID>1</RequestID></Response>",
    ),
    ("rest-xml", 403, DATED, ""),
]


@pytest.mark.parametrize(("protocol", "status", "headers", "body"), WIRE)
def test_every_dialect_as_botocore_parses_it(protocol: str, status: int, headers: dict[str, str], body: str) -> None:
    """From the bytes on the wire, through botocore's parser of each protocol, to SKEW."""
    from botocore.awsrequest import HeadersDict

    response: dict[str, Any] = {
        "status_code": status,
        "headers": HeadersDict(headers),
        "body": body.encode(),
        "context": {},
    }
    parsed = create_parser(protocol).parse(response, None)
    reply = read(status, response["headers"], parsed)
    assert reply.heard is not None
    assert reply.heard.earliest <= stamp("20150619T102213Z") <= reply.heard.latest
    assert judge(Attempt(stamp("20150619T100249Z"), SECOND), reply).verdict is Verdict.SKEW


class TestDate:
    """The Date header, and when it does not count."""

    GOOD = "Fri, 19 Jun 2015 10:22:13 GMT"

    def test_is_heard_with_room_for_caching_and_rounding(self) -> None:
        """Servers cache the string for up to a second, and some round it."""
        second = stamp("20150619T102213Z")
        assert read_date({"Date": self.GOOD}) == Span(second - SECOND // 2, second + 2 * SECOND)

    @pytest.mark.parametrize("times", [2, 3])
    def test_several_equal_ones_are_one(self, times: int) -> None:
        """Some proxies copy the header."""
        assert read_date({"Date": ", ".join([self.GOOD] * times)}) == read_date({"Date": self.GOOD})

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Date": ""},
            {"Date": "yesterday"},
            {"Date": f"{GOOD}, Fri, 19 Jun 2015 10:22:14 GMT"},
            {"Date": f"{GOOD}, "},
            {"Date": f"{GOOD} {GOOD}"},
            {"Date": "Fri, 19 Jun 2015 10:22:13 +0200"},
            {"Date": "Fri, 31 Jun 2015 10:22:13 GMT"},
            {"Date": "Fri, 19 Jun 2015 25:22:13 GMT"},
            {"Date": "Friday, 19-Jun-15 10:22:13 GMT"},
            {"Date": "Fri, 19 Jun 0000 10:22:13 GMT"},
            {"Date": "Fri, ١٩ Jun 2015 10:22:13 GMT"},
            {"Date": GOOD, "Age": "17280"},
            {"Date": GOOD, "Age": "nonsense"},
            {"Date": GOOD, "X-Cache": "Hit from cloudfront"},
            {"Date": GOOD, "Warning": '110 - "Response is Stale"'},
            {"Date": 5},
        ],
    )
    def test_is_not_heard(self, headers: dict[str, Any]) -> None:
        assert read_date(headers) is None

    @pytest.mark.parametrize(
        "extra", [{"Age": "0"}, {"X-Cache": "Miss from cloudfront"}, {"X-Cache": "Error from cloudfront"}]
    )
    def test_is_heard_past_a_cache_that_did_not_answer(self, extra: dict[str, str]) -> None:
        """If the cache asked the server for this answer, its Date is recent."""
        assert read_date({"Date": self.GOOD, **extra}) is not None

    def test_of_a_304_is_not_heard(self) -> None:
        """Not Modified may carry the stored answer's date."""
        assert read(304, {"Date": self.GOOD}, None).heard is None

    @given(st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)))
    def test_is_read_as_the_calendar_reads_it(self, moment: datetime.datetime) -> None:
        """Any date, to the second."""
        moment = moment.replace(microsecond=0, tzinfo=datetime.timezone.utc)
        days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
        months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        text = (
            f"{days[moment.weekday()]}, {moment.day:02} {months[moment.month - 1]} {moment.year:04} "
            f"{moment.hour:02}:{moment.minute:02}:{moment.second:02} GMT"
        )
        assert read_stamp(text) == (moment - EPOCH) // datetime.timedelta(seconds=1) * SECOND


class TestHeard:
    """The server's clock, from its message and its header."""

    def test_statement_and_header_narrow_each_other(self) -> None:
        """Where both are true, the truth lies in both."""
        reply = Reply(403, stated=Span(10, 20), date=Span(15, 30))
        assert reply.heard == Span(15, 20)

    def test_the_judge_outranks_the_header(self) -> None:
        """A Date that contradicts the clock that refused the request was written by an intermediary."""
        assert Reply(403, stated=Span(10, 20), date=Span(25, 30)).heard == Span(10, 20)

    def test_a_message_alone_is_enough(self) -> None:
        """Without a Date, or with a stale or repeated one, the message gives the clock."""
        message = early("20240101T000000Z", "20240101T001500Z", "20240101T002000Z", 5)
        for headers in ({}, {"Date": "x"}, {"Date": "Mon, 01 Jan 2024 00:00:00 GMT", "Age": "100"}):
            reply = read(403, headers, {"Error": {"Code": "SignatureDoesNotMatch", "Message": message}})
            assert judge(Attempt(stamp("20240101T000000Z"), SECOND), reply).verdict is Verdict.SKEW
            assert reply.heard is not None


class TestThresholds:
    """From which error on it is skew."""

    @pytest.mark.parametrize(
        ("offset", "verdict"), [(239, Verdict.NOT_TIME), (242, Verdict.SKEW), (-243, Verdict.SKEW)]
    )
    def test_without_a_stated_tolerance_four_minutes_decide(self, offset: int, verdict: Verdict) -> None:
        """AWS's cross-SDK threshold."""
        reply = Reply(401, "AuthFailure", "AWS was not able to", date=Span(0, SECOND))
        assert judge(Attempt(-offset * SECOND, 0), reply).verdict is verdict

    def test_a_timestamp_read_later_than_noted_is_still_this_attempts(self) -> None:
        """Without a correction, botocore reads the wall clock itself; a process paused in between reads it late."""
        fields = {"Code": "RequestTimeTooSkewed", "Message": CURRENT, "RequestTime": "20240101T000005Z"}
        reply = read(403, {"Date": "Mon, 01 Jan 2024 00:20:05 GMT"}, {"Error": fields})
        noted = stamp("20240101T000000Z")
        assert judge(Attempt(noted, 6 * SECOND, exact=False), reply).verdict is Verdict.SKEW
        assert judge(Attempt(noted, 6 * SECOND), reply).verdict is Verdict.NOT_TIME
        assert judge(Attempt(noted, 3 * SECOND, exact=False), reply).verdict is Verdict.NOT_TIME

    @given(st.integers(0, 10**6), st.integers(-(10**6), 10**6))
    def test_time_under_way_never_turns_into_skew(self, seconds: int, offset: int) -> None:
        """Signed within the tolerance and then kept waiting: never SKEW, however long."""
        offset = offset % 239
        server = seconds * SECOND
        reply = Reply(403, "RequestTimeTooSkewed", SERVERS, date=Span(server, server + SECOND), time_text=True)
        attempt = Attempt(offset * SECOND, seconds * SECOND)
        assert judge(attempt, reply).verdict in (Verdict.STALE, Verdict.NOT_TIME)
        if seconds > TOLERANCE // SECOND + offset:
            assert judge(attempt, reply).verdict is Verdict.STALE


TEXTS = st.one_of(
    st.text(max_size=80),
    st.sampled_from([CURRENT, SERVERS, "Request has expired. Timestamp date is " + "9" * 40, early("9" * 8 + "T999999Z", "", "", 5)]),
    st.from_regex(r"(?a)Signature (expired|not yet current): \d{8}T\d{6}Z is (now earlier|still later) than \d{8}T\d{6}Z "
                  r"\(\d{8}T\d{6}Z [-+] \d{1,4} min\.\)"),
)  # fmt: skip
VALUES = st.one_of(
    st.none(), st.integers(), TEXTS, st.lists(st.integers(), max_size=2), st.dictionaries(TEXTS, TEXTS, max_size=2)
)
KEYS = ["Code", "Message", "message", "ServerTime", "RequestTime", "X-Amz-Date", "MaxAllowedSkewMilliseconds", "Error"]


@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["Date", "Age", "X-Cache", "Warning"]), VALUES, max_size=4),
    st.one_of(
        st.none(),
        st.dictionaries(st.sampled_from(KEYS), st.one_of(VALUES, st.dictionaries(st.sampled_from(KEYS), VALUES))),
    ),
    st.integers(-(10**18), 10**19),
    st.integers(0, 10**18),
)
def test_no_answer_raises(
    status: int, headers: dict[str, Any], parsed: dict[str, Any] | None, signed: int, took: int
) -> None:
    """Any answer has a verdict, and a span that is not inverted."""
    reply = read(status, headers, parsed)
    assert reply.heard is None or reply.heard.earliest <= reply.heard.latest
    assert judge(Attempt(signed, took), reply).verdict in Verdict
