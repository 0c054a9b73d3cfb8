"""What the caller learns of a call: the response's metadata, and a note on the exception."""

from __future__ import annotations

import copy
import io
import pickle
import re
import sys
from typing import Any

import boto3
import freezegun
import pytest
from botocore.exceptions import ClientError, SSLError
from urllib3.exceptions import InsecureRequestWarning

import skewguard
from skewguard.testing import StrictEndpoint
from tests.support import UNCHUNKED, client, with_bucket

NOTES = sys.version_info >= (3, 11)


def notes_of(error: BaseException, caplog: pytest.LogCaptureFixture) -> list[str]:
    if NOTES:
        return list(getattr(error, "__notes__", []))
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("skewguard: ")]


def test_a_healthy_calls_response_is_botocores_own(strict_endpoint: StrictEndpoint) -> None:
    """No further key, whether it succeeds or is refused for other reasons."""
    plain = client("sts", strict_endpoint).get_caller_identity()["ResponseMetadata"]
    with skewguard.install():
        guarded = client("sts", strict_endpoint)
        for _ in range(2):
            assert guarded.get_caller_identity()["ResponseMetadata"].keys() == plain.keys()
        strict_endpoint.fail_next("AccessDenied")
        with pytest.raises(ClientError) as caught:
            guarded.get_caller_identity()
        assert "SkewGuard" not in caught.value.response["ResponseMetadata"]
        assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("offset", [-1200, 1200])
def test_a_retried_call_says_so_and_later_ones_that_they_were_corrected(
    strict_endpoint: StrictEndpoint, offset: int
) -> None:
    """The offset is true time minus wall clock, in seconds, as everywhere."""
    strict_endpoint.offset = offset
    with skewguard.install():
        sts = client("sts", strict_endpoint)
        first, later = (sts.get_caller_identity()["ResponseMetadata"]["SkewGuard"] for _ in range(2))
    assert first.pop("SignedOffset") == pytest.approx(offset, abs=3)
    assert later.pop("SignedOffset") == pytest.approx(offset, abs=3)
    assert first == {"Retried": True, "Verdict": "skew"}
    assert later == {"Retried": False, "Verdict": None}


def test_every_shape_of_response_carries_it(strict_endpoint: StrictEndpoint) -> None:
    """S3's streams, HEAD's empty bodies, JSON."""
    with_bucket(strict_endpoint)
    strict_endpoint.offset = 1200
    with skewguard.install():
        s3, dynamodb = client("s3", strict_endpoint), client("dynamodb", strict_endpoint)
        for answer in (
            s3.get_object(Bucket="bucket", Key="key"),
            s3.head_object(Bucket="bucket", Key="key"),
            dynamodb.list_tables(),
        ):
            assert answer["ResponseMetadata"]["SkewGuard"]["SignedOffset"] == pytest.approx(1200, abs=3)


class Once(io.BytesIO):
    """A body that cannot be sent again."""

    def seekable(self) -> bool:
        return False


def upload(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="new", Body=Once(b"body"), ContentLength=4)


def list_objects(s3: Any) -> None:
    s3.list_objects_v2(Bucket="bucket")


CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any], str]] = {
    "no attempt left": (
        list_objects,
        {"retries": {"total_max_attempts": 1}},
        {},
        "the caller allows no further attempt",
    ),
    "a body that cannot be sent again": (upload, UNCHUNKED, {}, "; its body cannot be sent again"),
    "a correction that is too large": (list_objects, {}, {"max_offset": 600}, "; max_offset forbids the correction"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_call_that_still_fails_for_its_time_has_a_note(
    strict_endpoint: StrictEndpoint, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    """botocore's own exception, with the error of which clock, and why the request was not signed again."""
    call, options, settings, why = CASES[case]
    with_bucket(strict_endpoint)
    strict_endpoint.offset = 1200
    with skewguard.install(**settings):
        s3 = client("s3", strict_endpoint, **options)
        with pytest.raises(ClientError, match="RequestTimeTooSkewed") as caught:
            call(s3)
    (note,) = notes_of(caught.value, caplog)
    assert re.match(
        r"skewguard: refused for its time: signed 12\d\d s behind the server's clock; this host's clock is ", note
    )
    assert f"behind the clock of {strict_endpoint.url}" in note
    assert note.endswith(why)
    metadata = caught.value.response["ResponseMetadata"]["SkewGuard"]
    assert (metadata["Retried"], metadata["Verdict"], metadata["Found"]) == (False, "skew", note)
    for copied in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
        assert copied.response == caught.value.response


def test_a_frozen_clock_is_named(strict_endpoint: StrictEndpoint, caplog: pytest.LogCaptureFixture) -> None:
    """freezegun's time is followed on purpose, and the note says so; nothing is learned or sent again."""
    with skewguard.install(), freezegun.freeze_time("2026-01-01"), pytest.raises(ClientError) as caught:
        client("sts", strict_endpoint).get_caller_identity()
    (note,) = notes_of(caught.value, caplog)
    assert note.startswith("skewguard: refused for its time")
    assert note.endswith("; freezegun fakes this process's clock; ignore_frozen_clock signs by true time")
    assert strict_endpoint.count == 1
    assert skewguard.status().domains == {}


def test_that_answers_may_not_teach_is_named(strict_endpoint: StrictEndpoint, caplog: pytest.LogCaptureFixture) -> None:
    """Where no source tells the time, nothing can be corrected."""
    strict_endpoint.offset = 1200
    options = {"learn_from_responses": False, "sources": ["response"]}
    with skewguard.install(**options), pytest.raises(ClientError) as caught:
        client("sts", strict_endpoint).get_caller_identity()
    (note,) = notes_of(caught.value, caplog)
    assert note.endswith("; the correct time is not known; learn_from_responses is off")


def test_an_unverified_certificate_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """AWS's words count for nothing if its certificate is not checked."""
    with StrictEndpoint(tls=True, offset=1200) as server, server.as_aws(), skewguard.install(sources=["response"]):
        options = server.client_kwargs | {"endpoint_url": None, "verify": False}
        with pytest.warns(InsecureRequestWarning), pytest.raises(ClientError) as caught:
            boto3.client("sts", **options).get_caller_identity()
    (note,) = notes_of(caught.value, caplog)
    assert note.endswith("; the server's certificate is not verified")


def test_a_second_refusal_for_another_reason_has_no_note(strict_endpoint: StrictEndpoint) -> None:
    """The report on the first stays: the call was signed again."""
    strict_endpoint.offset = 1200
    strict_endpoint.script(None)
    strict_endpoint.fail_next("AccessDenied")
    with skewguard.install(), pytest.raises(ClientError, match="AccessDenied") as caught:
        client("sts", strict_endpoint).get_caller_identity()
    metadata = caught.value.response["ResponseMetadata"]["SkewGuard"]
    assert metadata.keys() == {"SignedOffset", "Retried", "Verdict"}
    assert metadata["Retried"] is True
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("more", ["", " or the system clock is incorrect"])  # as OpenSSL 3.6 says
def test_a_certificate_that_is_not_yet_valid_is_explained(caplog: pytest.LogCaptureFixture, more: str) -> None:
    """If the clock is so slow that TLS fails first; other failures of TLS have no note."""
    from skewguard.signing.report import is_about_dates, note_failure

    keeper = skewguard._process.process.keeper()
    error = SSLError(endpoint_url="https://sts", error=f"certificate verify failed: certificate is not yet valid{more}")
    note_failure(error, keeper)
    (note,) = notes_of(error, caplog)
    assert note == (
        "skewguard: certificates are judged by this host's clock; the correct time is not known; "
        "the option true_time_tls judges them by true time where that is known well enough"
    )
    assert is_about_dates(error)
    other = SSLError(endpoint_url="https://sts", error="certificate verify failed: self-signed certificate")
    assert not is_about_dates(other)


def test_errors_made_by_others_are_left_alone(strict_endpoint: StrictEndpoint) -> None:
    """A ClientError from a stub, with anything for a response."""
    with skewguard.install():
        client("sts", strict_endpoint)  # opens the seam
        for response in ({}, {"ResponseMetadata": {}}, {"ResponseMetadata": {"SkewGuard": "?"}}):
            error = ClientError(response, "Op")
            assert error.response is response
            assert not hasattr(error, "__notes__")
