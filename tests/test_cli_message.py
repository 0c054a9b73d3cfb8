"""``skewguard doctor --error``: explanations of AWS error messages, given this host's clock."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from skewguard.cli import main
from skewguard.cli.doctor import error_message
from tests.ntp_server import wall_server
from tests.pages import Block, blocks
from tests.skew_fixtures import CURRENT, EARLY, FIXTURES, FUTURE, LATE, PRESIGNED, S3_ERROR
from tests.surveys import known

S3 = S3_ERROR.format("20150604T232559Z", "2015-06-04T22:26:16Z")


def client_error(code: str, text: str) -> str:
    """Return botocore's exception as Python prints it."""
    return f"botocore.exceptions.ClientError: An error occurred ({code}) when calling the PutObject operation: {text}"


BOTH_UNSTATED = client_error("RequestTimeTooSkewed", CURRENT)
AUTH_FAILURE = client_error("AuthFailure", "AWS was not able to validate the provided access credentials")
TIMESTAMP = "Request has expired. Timestamp date is 2011-03-26T23:22:53Z"
WRONG_KEY = "The request signature we calculated does not match the signature you provided."
TLS = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate is not yet valid (_ssl.c:1006)"
STILL = "RuntimeError: Credentials were refreshed, but the refreshed credentials are still expired."


def told(text: str, offset: float | None) -> str:
    """Return the explanation on a host that is so many seconds slow; None: it is not known."""
    found = error_message.explain(text, None if offset is None else known(offset))
    assert all(str(finding).startswith("[NOTE] The error: ") for finding in found)
    return " ".join(finding.text.removeprefix("The error: ") for finding in found)


@pytest.mark.parametrize(
    ("text", "offset", "words"),
    [
        (EARLY, None, "which is 19 min 21 s later; 15 min 0 s would be accepted."),
        (EARLY, None, "So the signing host's clock was slow, or the request waited that long (a slow upload"),
        (EARLY, 1161, "this host's clock is 19 min 21 s slow, which explains it."),
        (EARLY, 300, "this host's clock is 5 min 0 s slow, which explains it."),  # it waited too, within the tolerance
        (EARLY, 0, "this host's clock is right. If it was right then, the request waited that long: a slow upload"),
        (EARLY, -1161, "this host's clock is 19 min 21 s fast now, which does not explain it"),
        (LATE, None, "signed at 2024-03-19 14:59:52Z, refused at 2024-03-19 13:00:06Z by the server's clock"),
        (LATE, None, "which is 1 h 59 min 46 s earlier; 5 min 0 s would be accepted."),
        (LATE, None, "So the signing host's clock was fast, or the server's is slow"),
        (LATE, -7186, "this host's clock is 1 h 59 min 46 s fast, which explains it."),
        (LATE, 0, "If it was right then, the server's clock is slow, or the request was signed"),
        (client_error("SignatureDoesNotMatch", EARLY), 1161, "which explains it."),
        (S3, -3583, "this host's clock is 59 min 43 s fast, which explains it."),
        (BOTH_UNSTATED, 0, "does not state both clocks. This host's clock is right: the request waited"),
        (client_error("RequestExpired", TIMESTAMP), 900, "correct that first"),
        (AUTH_FAILURE, 0, "or about wrong credentials. This host's clock is right: check the credentials."),
        (AUTH_FAILURE, None, "It is not known whether this host's clock is right."),
        (client_error("SignatureDoesNotMatch", WRONG_KEY), 1200, "no clock is to blame: the secret key is wrong."),
        (client_error("403", "Forbidden"), 0, "it may be about time, or about wrong credentials."),
        (client_error("404", "Not Found"), 1200, "no clock is to blame"),
        (client_error("NoSuchBucket", "The specified bucket does not exist"), 1200, "no clock is to blame"),
        (client_error("ExpiredToken", "The provided token has expired."), 0, "the credentials have expired"),
        (TLS, 1200, "as happens when the local clock is slow."),
        (TLS.replace(" (", " or the system clock is incorrect ("), 0, "as happens when the local clock is slow."),
        ("verify failed: certificate has expired", 0, "But this host's clock is right. It is the certificate"),
        (TLS, 0, "as happens when the local clock is slow. But this host's clock is right."),
        (TLS.replace(" (", " by true time ("), 1200, "the certificate was judged by true time"),
        (TLS, -1200, "as happens when the local clock is slow. But this host's clock is 20 min 0 s fast."),
        (STILL, -1200, "as happens if that is fast. This host's clock is 20 min 0 s fast: correct that first."),
        (STILL, 0, "This host's clock is right: their issuer returned old ones."),
        (PRESIGNED, 1200, "On a slow clock, URLs expire early. This host's clock is 20 min 0 s slow"),
        (PRESIGNED, 0, "This host's clock is right: it was used too late, or made on another host."),
        (FUTURE, -108_797, "which is 1 d 6 h earlier."),
        ("boto3: RequestTimeTooSkewed!", 1200, "it is about time, but does not state both clocks."),
        ("AuthFailure", 0, "it may be about time"),
        ("SignatureDoesNotMatch", None, "it may be about time"),
        (WRONG_KEY, 1200, "no clock is to blame: the secret key is wrong."),
        ("", None, "no AWS error was found in it"),
        ("KeyError: 'x'", 0, "no AWS error was found in it"),
        ("\udcff<Code>", 0, "no AWS error was found in it"),
    ],
)
def test_what_a_message_means(text: str, offset: float | None, words: str) -> None:
    assert words in told(text, offset)


@pytest.mark.parametrize("fixture", [one for one in FIXTURES if "Signature" in one.message], ids=lambda one: one.name)
def test_both_clocks_of_real_messages_are_found(fixture: object) -> None:
    """Both are found in any context, but not if the times in the message do not add up."""
    said = told(client_error(fixture.code, fixture.message), None)  # type: ignore[attr-defined]
    assert ("by the server's clock" in said) == (fixture.name != "grammar-that-does-not-add-up")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "block", [one for one in blocks("text") if one.page.startswith("docs/troubleshooting/")], ids=lambda one: one.id
)
def test_each_message_that_has_a_page_is_known(block: Block) -> None:
    """All are explained as being about time, except the one about a wrong secret."""
    said = told(block.text, 1200)
    assert "no AWS error was found" not in said
    assert ("no clock is to blame" in said) == block.page.endswith("/signature-does-not-match.md")


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a healthy host, stdout has two more lines; the message may come through a pipe."""
    with wall_server() as server:
        source = server.uri
        assert main(["doctor", "--source", source, "--error", EARLY]) == 0
        typed = capsys.readouterr().out.splitlines()
        monkeypatch.setattr(sys, "stdin", io.StringIO(client_error("SignatureDoesNotMatch", EARLY)))
        assert main(["doctor", "--source", source, "--error", "-"]) == 0
        piped = capsys.readouterr().out.splitlines()
        command = [sys.executable, "-m", "skewguard", "doctor", "--source", source, "--error", "-"]
        log = subprocess.run(command, input=b"\xff\n" + EARLY.encode(), capture_output=True, timeout=60, check=True)
    assert [line[:6] for line in typed] == ["[ OK ]", "[NOTE]", "[NOTE]"]
    assert typed[1:] == piped[1:] == log.stdout.decode().splitlines()[1:], "a log may hold anything"
    assert typed[2].startswith("[NOTE] The error: this host's clock is right. If it was right then, the request waited")
