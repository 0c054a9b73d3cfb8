"""`SignedCall`: calls that other code signs and sends are heard and judged as botocore's own are."""

from __future__ import annotations

import datetime
import json
import sys
from typing import Any

import botocore.auth
import freezegun
import pytest
from botocore.awsrequest import AWSRequest, HeadersDict
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

import skewguard
from skewguard import SignedCall, events
from skewguard.http_date import Span
from skewguard.interval import SECOND
from skewguard.signing import remembered
from skewguard.signing.foreign_answers import parse_error
from skewguard.signing.reply import read
from skewguard.testing import FakeClocks
from skewguard.testing.aws.sigv4 import parse_time
from tests.fakes import Emitted, FakeSource, ahead_of, raising
from tests.support import completed

KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
AWS = "https://bedrock-runtime.us-east-1.amazonaws.com/model/m/invoke"
STORE = "http://store.example.com:9000/"


def sign(url: str = AWS, service: str = "bedrock", cls: Any = botocore.auth.SigV4Auth) -> AWSRequest:
    """Sign by one of botocore's signers, without a client."""
    request = AWSRequest("POST", url, data=b"{}")
    cls(KEYS, service, "us-east-1").add_auth(request)
    return request


def stamp(seconds: float, form: str = "%Y%m%dT%H%M%SZ") -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime(form)


class Server:
    """A server whose clock is ahead of the fake wall clock."""

    def __init__(self, clocks: FakeClocks, ahead: float) -> None:
        self.clocks = clocks
        self.ahead = ahead

    @property
    def now(self) -> float:
        return self.clocks.wall / SECOND + self.ahead

    @property
    def headers(self) -> dict[str, str]:
        return {"date": stamp(self.now, "%a, %d %b %Y %H:%M:%S GMT"), "content-type": "application/json"}

    def answer(self, call: SignedCall, signed: AWSRequest, url: str = "", **options: Any) -> bool:
        """Reply to what was signed; return whether to sign again. `options` replace what `answered` is given."""
        at = parse_time(signed.headers["X-Amz-Date"])
        if abs(at - self.now) < 300:
            found: dict[str, Any] = {"status": 200, "headers": self.headers, "body": b"{}"}
        else:
            found = {"status": 403, "headers": self.headers, "body": self.refusal(at)}
        return call.answered(**{"url": url or signed.url, "verified": True, **found, **options})

    def refusal(self, at: float) -> bytes:
        late, bound = ("expired", -300) if at < self.now else ("not yet current", 300)
        compared = "is now earlier than" if at < self.now else "is still later than"
        text = f"Signature {late}: {stamp(at)} {compared} {stamp(int(self.now) + bound)} ({stamp(int(self.now))} "
        return json.dumps({"message": f"{text}{'-+'[bound > 0]} 5 min.)"}).encode()


@pytest.fixture(params=[-7200, 7200])
def server(request: pytest.FixtureRequest, clocks: FakeClocks) -> Server:
    return Server(clocks, request.param)


@pytest.fixture
def call(guarded: None) -> SignedCall:
    return SignedCall("bedrock")


def attempt(call: SignedCall, server: Server, to: str = AWS, **options: Any) -> bool:
    """Sign and send one attempt; return whether to sign again."""
    with call.signing(to):
        signed = sign(to)
    return server.answer(call, signed, **options)


def grade() -> str:
    found = skewguard.offset()
    return "" if found is None else found.grade


class TestAws:
    """AWS's answers teach UTC, by the rules that hold for botocore's."""

    def test_refused_once_then_right(self, call: SignedCall, server: Server, emitted: Emitted) -> None:
        """For good: the next call is right at once, whatever signs it."""
        assert attempt(call, server)
        assert grade() == "claim"
        assert not attempt(call, server)
        assert grade() == "proof"
        assert not attempt(SignedCall("bedrock"), server)
        assert abs(parse_time(sign().headers["X-Amz-Date"]) - server.now) <= 2
        assert [(event.service, event.verdict) for event in emitted.of(events.Retried)] == [("bedrock", "skew")]

    def test_right_at_once_with_a_source(self, clocks: FakeClocks, server: Server) -> None:
        with skewguard.install(clocks=clocks, sources=[FakeSource(truth=ahead_of(clocks, server.ahead))]):
            assert not attempt(SignedCall("bedrock"), server)

    def test_a_body_that_cannot_be_sent_again(self, guarded: None, server: Server) -> None:
        """The answer teaches, and the note says why nothing is repeated."""
        call = SignedCall("bedrock", repeatable=False)
        assert not attempt(call, server)
        assert "its body cannot be sent again" in call.note
        assert "refused for its time" in call.note
        assert grade() == "claim"

    def test_never_more_than_once(self, call: SignedCall, server: Server) -> None:
        assert attempt(call, server)
        server.ahead *= -1
        assert not attempt(call, server)
        assert not attempt(call, server)

    @pytest.mark.parametrize(
        ("service", "url", "verified"),
        [
            ("bedrock", AWS, False),
            ("sqs", AWS, True),
            ("vpc-lattice-svcs", "https://mine-1.7d67968.vpc-lattice-svcs.us-east-1.on.aws/", True),
            ("execute-api", "https://abc.execute-api.us-east-1.amazonaws.com/", True),
            ("bedrock", "https://bedrock.example.com/", True),
            ("bedrock", AWS.replace("https", "http"), True),
        ],
    )
    def test_who_does_not_teach_utc(
        self, guarded: None, server: Server, service: str, url: str, verified: bool
    ) -> None:
        """An unverified certificate, another service's host, hosts where customers' code answers, other hosts."""
        call = SignedCall(service)
        again = attempt(call, server, url, verified=verified)
        assert grade() == ""
        assert again == verified
        assert verified or "certificate is not verified" in call.note

    def test_an_answer_from_elsewhere(self, guarded: None, server: Server) -> None:
        """After a redirect to another host, nothing is learned."""
        attempt(SignedCall("bedrock"), server, AWS, url="https://bedrock.us-west-2.amazonaws.com/")
        assert grade() == ""

    def test_a_wrong_key(self, call: SignedCall, server: Server) -> None:
        body = b'{"message": "The request signature we calculated does not match the signature you provided."}'
        assert not attempt(call, server, status=403, body=body)
        assert call.note == ""

    def test_what_took_too_long(self, call: SignedCall, clocks: FakeClocks, emitted: Emitted) -> None:
        """The clock is right: it is signed again, and nothing is corrected."""
        server = Server(clocks, 0)
        with call.signing(AWS):
            signed = sign()
        clocks.advance(1200)
        assert server.answer(call, signed)
        assert not attempt(call, server)
        assert [event.verdict for event in emitted.of(events.Retried)] == ["stale"]
        assert not emitted.of(events.CorrectionChanged)

    def test_learning_switched_off(self, clocks: FakeClocks, server: Server) -> None:
        with skewguard.install(clocks=clocks, learn_from_responses=False):
            call = SignedCall("bedrock")
            assert not attempt(call, server)
            assert "learn_from_responses is off" in call.note


class TestPrivate:
    """Other servers teach their own clock."""

    def test_refused_once_then_right(self, guarded: None, server: Server) -> None:
        """The retry is dated by the claim, which another direct use there would not be before it is proved."""
        call = SignedCall("s3")
        assert attempt(call, server, STORE)
        assert not attempt(call, server, STORE)
        assert grade() == ""
        assert skewguard.status().domains[STORE.rstrip("/")].grade == "proof"

    def test_a_refusal_that_states_no_time(self, guarded: None, server: Server) -> None:
        """Its Date dates one retry; a store that refuses again for another reason is left alone."""
        call = SignedCall("s3")
        assert attempt(call, server, STORE, body=b"")
        assert not attempt(call, server, STORE, status=403, body=b"")
        assert not attempt(SignedCall("s3"), server, STORE, status=403, body=b"")


class TestSigners:
    """What is dated within the block, and what is not."""

    def test_signers_that_are_told_the_time(self, call: SignedCall, server: Server) -> None:
        seen = []
        for _ in range(2):
            with call.signing(AWS):
                when = call.timestamp()
            seen.append(when.timestamp() - server.now)
            request = AWSRequest("POST", AWS, headers={"X-Amz-Date": stamp(when.timestamp())})
            server.answer(call, request)
        assert abs(seen[0]) > 7000
        assert abs(seen[1]) <= 2

    def test_signers_that_read_the_wall_clock_themselves(
        self, guarded: None, clocks: FakeClocks, server: Server
    ) -> None:
        """Signing again would not help; others learn from it."""
        for _ in range(2):
            call = SignedCall("bedrock")
            with call.signing(AWS):
                request = AWSRequest("POST", AWS, headers={"X-Amz-Date": stamp(clocks.wall / SECOND)})
            assert not server.answer(call, request)
        assert grade() == "claim"

    def test_a_request_to_another_server_meanwhile(self, call: SignedCall, clocks: FakeClocks, server: Server) -> None:
        """Such as a refresh of credentials: it is not this call's."""
        with call.signing(AWS):
            signed = sign()
            sign("https://elsewhere.example.com/")
        assert server.answer(call, signed)
        with call.signing(AWS):
            other = sign("https://elsewhere.example.com/")
        assert parse_time(other.headers["X-Amz-Date"]) == clocks.wall // SECOND

    def test_outside_of_a_signing(self, clocks: FakeClocks) -> None:
        """The time is the wall clock's, and an answer to nothing says nothing."""
        call = SignedCall("bedrock")
        with skewguard.install(clocks=clocks):
            assert abs((call.timestamp() - datetime.datetime.now(datetime.timezone.utc)).total_seconds()) < 5
            assert not call.answered(AWS, 403, {}, b"", verified=True)
            with call.signing(AWS):
                pass
            assert abs((call.timestamp() - datetime.datetime.now(datetime.timezone.utc)).total_seconds()) < 5

    def test_an_error_while_signing_is_the_callers(self, clocks: FakeClocks) -> None:
        with skewguard.install(clocks=clocks), pytest.raises(ZeroDivisionError), SignedCall("bedrock").signing(AWS):
            raise ZeroDivisionError


class TestInactive:
    """Where nothing is done, nothing is learned and asked for."""

    def test_without_install(self, clocks: FakeClocks, server: Server) -> None:
        call = SignedCall("bedrock")
        assert not attempt(call, server)
        assert (grade(), call.note) == ("", "")

    def test_switched_off_on_the_way(self, clocks: FakeClocks, server: Server) -> None:
        call = SignedCall("bedrock")
        with skewguard.install(clocks=clocks), call.signing(AWS):
            signed = sign()
        assert not server.answer(call, signed)
        assert grade() == ""
        assert not attempt(call, server)

    def test_under_a_frozen_clock(self, server: Server) -> None:
        """Nothing is learned, and the note names the library that froze it."""
        with freezegun.freeze_time("2026-01-02"), skewguard.install():
            call = SignedCall("bedrock")
            with call.signing(AWS):
                signed = sign()
            assert not server.answer(call, signed)
            assert "freezegun" in call.note
            assert grade() == ""

    @pytest.mark.parametrize("name", ["signing_time", "learn", "domain"])
    def test_our_own_faults(self, call: SignedCall, server: Server, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """They change nothing for the caller."""
        monkeypatch.setattr(skewguard.timekeeping.timekeeper.Timekeeper, name, raising(ZeroDivisionError()))
        assert not attempt(call, server)


S3 = b"""<?xml version="1.0"?><Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time
and the current time is too large.</Message><RequestTime>20260101T000000Z</RequestTime>
<ServerTime>2026-01-01T02:00:00Z</ServerTime><MaxAllowedSkewMilliseconds>900000</MaxAllowedSkewMilliseconds></Error>"""
QUERY = b"""<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>SignatureDoesNotMatch</Code><Message>%s</Message></Error><RequestId>1</RequestId></ErrorResponse>"""
EC2 = b"<Response><Errors><Error><Code>AuthFailure</Code><Message>%s</Message></Error></Errors></Response>"
TEXT = b"Signature expired: 20260101T000000Z is now earlier than 20260101T015500Z (20260101T020000Z - 5 min.)"
NOW = 1_767_232_800 * SECOND


class TestBodies:
    """An error is read by its own form, because no model tells the protocol."""

    @pytest.mark.parametrize(
        ("body", "headers", "code"),
        [
            (S3, {}, "RequestTimeTooSkewed"),
            (QUERY % TEXT, {}, "SignatureDoesNotMatch"),
            (EC2 % TEXT, {}, "AuthFailure"),
            (b'{"__type": "com.amazon#InvalidSignatureException", "message": "%s"}' % TEXT, {}, "Invalid"),
            (b'{"message": "%s"}' % TEXT, {"x-amzn-errortype": "InvalidSignatureException:http://x/"}, "Invalid"),
            (b'{"Message": "%s"}' % TEXT, {}, ""),
        ],
    )
    def test_each_protocols(self, body: bytes, headers: dict[str, str], code: str) -> None:
        reply = read(403, HeadersDict(headers), parse_error(403, HeadersDict(headers), body))
        assert reply.code.startswith(code)
        assert reply.explicit
        assert reply.stated is not None
        assert reply.stated == Span(reply.stated.earliest, reply.stated.latest)
        assert reply.stated.earliest <= NOW <= reply.stated.latest

    @pytest.mark.parametrize("body", [b"", b"<", b"<html><body>Forbidden", b"[1]", b"null", b"\xff", b"<a>" * 30_000])
    def test_what_is_no_error(self, body: bytes) -> None:
        assert not read(403, HeadersDict(), parse_error(403, HeadersDict(), body)).explicit

    @given(
        st.integers(300, 599),
        st.dictionaries(st.sampled_from(["date", "x-amzn-errortype", "age"]), st.text(max_size=40)),
        st.one_of(
            st.binary(max_size=200),
            st.text(max_size=100).map(lambda text: json.dumps({"message": text, "__type": text}).encode()),
            st.binary(max_size=60).map(lambda inside: b"<Error><Code>" + inside + b"</Code></Error>"),
        ),
    )
    def test_any_bytes(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Whatever a server sends: no exception."""
        read(status, HeadersDict(headers), parse_error(status, HeadersDict(headers), body))


class TestRemembered:
    """What botocore signed and others send is found by its signature, if something asks."""

    def test_nothing_unless_it_is_wanted(self, guarded: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(remembered, "_wanted", False)
        assert remembered.take(sign().headers["Authorization"]) is None

    def test_once(self, guarded: None) -> None:
        remembered.remember_from_now_on()
        first, second = sign(), sign(AWS + "?b")
        found = remembered.take(second.headers["Authorization"])
        assert found is not None
        assert found.url == AWS + "?b"
        assert remembered.take(second.headers["Authorization"]) is None
        assert remembered.take(first.headers["Authorization"]) is not None
        assert found.sign_again() == dict(second.headers.items())

    def test_no_more_than_some(self, guarded: None) -> None:
        """Bodies are kept, so what is never answered is dropped."""
        remembered.remember_from_now_on()
        first = sign()
        for number in range(64):
            sign(f"{AWS}?{number}")
        assert remembered.take(first.headers["Authorization"]) is None

    def test_not_for_ever(self, guarded: None, clocks: FakeClocks) -> None:
        """A signature that is not sent within some minutes is refused anyway."""
        remembered.remember_from_now_on()
        remembered.forget()
        old = sign()
        clocks.advance(10 * 60)
        young = sign(AWS + "?b")
        clocks.advance(6 * 60)
        sign(AWS + "?c")
        assert remembered.take(old.headers["Authorization"]) is None
        assert remembered.take(young.headers["Authorization"]) is not None

    def test_forgotten_on_demand(self, guarded: None) -> None:
        remembered.remember_from_now_on()
        signed = sign()
        remembered.forget()
        assert remembered.take(signed.headers["Authorization"]) is None

    def test_what_is_handed_out_is_not(self, guarded: None) -> None:
        """A presigned URL has no header to find it by."""
        remembered.remember_from_now_on()
        remembered.forget()
        sign(cls=botocore.auth.SigV4QueryAuth)
        assert not remembered._latest
        sign()
        assert len(remembered._latest) == 1


def test_it_may_be_the_first_to_load_botocores_signers() -> None:
    """They are patched all the same."""
    program = """if True:
        import sys
        import skewguard
        skewguard.install(sources=["response"])
        assert "botocore.auth" not in sys.modules
        with skewguard.SignedCall("s3").signing("https://s3.us-east-1.amazonaws.com/"):
            pass
        from skewguard.signing.patches import signers
        assert signers._unrecorded_time is not None
        """
    done = completed(sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
