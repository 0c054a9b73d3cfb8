"""Error messages as programs print them, each judged on a right, a slow and a fast clock: is it this host's clock?

A row: name, text, and what `doctor --error` finds on a clock that is right, 20 minutes slow, 20 minutes fast: C, this
host's clock; O, something else; U, it cannot be known, with the reason. The texts are facts, quoted from public reports
or from the programs themselves.
"""

from __future__ import annotations

import itertools
import re
import time

import pytest

from skewguard.cli.doctor import error_message, log_messages, symptoms
from tests.pages import ROOT
from tests.skew_fixtures import CURRENT, EARLY, FUTURE, LATE, PRESIGNED, S3_ERROR, WRONG_KEY, early, late
from tests.surveys import known

CLIENT = "botocore.exceptions.ClientError: An error occurred ({}) when calling the {} operation: {}"
VALIDATE = "AWS was not able to validate the provided access credentials"
X509 = "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time {} is {} {}"
KAFKA = (
    "%3|1714955097.400|FAIL|producer-1| sasl_ssl://b-3.x.kafka.eu-west-1.amazonaws.com:9098/3: SASL authentication error: "
    "[6ad8e7d6-f5f0-41c9-930f-26cc577779ed]: Access denied (after 346ms in state AUTH_REQ)"
)
PHP = (
    "Fatal error: Uncaught exception 'Aws\\S3\\Exception\\S3Exception' with message 'Error executing \"PutObject\" on "
    '"https://s3.amazonaws.com/b/k"; AWS HTTP error: Client error: 403 RequestTimeTooSkewed (client): The difference '
    'between the request time and the current time is too large. - <?xml version="1.0" encoding="UTF-8"?> '
    + S3_ERROR.format("20150604T232559Z", "2015-06-04T22:26:16Z")
)
EXPIRED = "Token expired: current date/time 1624482533 must be before the expiration date/time1624482335"

MESSAGES = [
    # What the pages, the strict server and AWS's services say.
    ("two clocks", EARLY, "OCO"),
    ("two clocks, two hours", LATE, "OOO"),
    ("two clocks, by botocore", CLIENT.format("SignatureDoesNotMatch", "AssumeRole", EARLY), "OCO"),
    ("S3, an hour", S3_ERROR.format("20150604T232559Z", "2015-06-04T22:26:16Z"), "OOO"),
    ("S3, twenty minutes", S3_ERROR.format("20150604T220616Z", "2015-06-04T22:26:16Z"), "OCO"),
    ("S3, fields dropped", CLIENT.format("RequestTimeTooSkewed", "PutObject", CURRENT), "OCC"),
    ("EC2", CLIENT.format("RequestExpired", "Run", "Request has expired. Timestamp date is 2011-03-26T23:22:53Z"), "OCO"),
    ("EC2, credentials", CLIENT.format("RequestExpired", "Run", "Request has expired."), "OCO"),
    ("EC2, either", CLIENT.format("AuthFailure", "DescribeRegions", VALIDATE), "OCC"),
    ("wrong key", CLIENT.format("SignatureDoesNotMatch", "GetObject", WRONG_KEY), "OOO"),
    ("HEAD", CLIENT.format("403", "HeadObject", "Forbidden"), "OCC"),
    ("missing", CLIENT.format("404", "HeadObject", "Not Found"), "OOO"),
    ("no bucket", CLIENT.format("NoSuchBucket", "GetObject", "The specified bucket does not exist"), "OOO"),
    ("no permission", CLIENT.format("AccessDenied", "ListBuckets", "User: arn:aws:iam::1:user/x is not authorized"), "OOO"),
    ("dead token", CLIENT.format("ExpiredToken", "PutObject", "The provided token has expired."), "OCO"),
    ("dead token, STS", CLIENT.format("ExpiredTokenException", "X", "The security token included in the request is expired"), "OCO"),
    ("TLS, early", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate is not yet valid (_ssl.c:1006)", "OUO"),
    ("TLS, late", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired", "OOU"),
    ("fetched, expired", "RuntimeError: Credentials were refreshed, but the refreshed credentials are still expired.", "OOC"),
    ("presigned, late", PRESIGNED, "OCO"),
    ("presigned, early", FUTURE, "OOO"),
    ("S3's code alone", "boto3: RequestTimeTooSkewed!", "OCC"),
    ("early, code alone", "RequestInTheFuture: status code 403", "OOC"),
    ("code alone", "InvalidSignatureException", "OCC"),
    # The reports that were answered wrong before.
    ("frozen", CLIENT.format("SignatureDoesNotMatch", "Put", early("20120114T000000Z", "20261129T100000Z", "20261129T101500Z", 15)), "OOO"),
    ("SSO, judged here", "Error when retrieving token from sso: Token has expired and refresh failed", "OOC"),
    ("SSO, either", "The SSO session associated with this profile has expired or is otherwise invalid. To refresh this SSO "
     "session run aws sso login with the corresponding profile.", "OUU"),
    ("login", "Your session has expired or credentials have changed. Please reauthenticate using 'aws login'.", "OCC"),
    ("login, at once", "aws: [ERROR]: An error occurred (AccessDeniedException) when calling the CreateOAuth2Token "
     "operation: The refresh token has expired.", "OCC"),
    ("Go's TLS, early", X509.format("2026-11-29T00:00:00Z", "before", "2026-11-29T00:10:00Z"), "OCO"),
    ("Go's TLS, weeks late", X509.format("2023-01-28T09:08:05+01:00", "after", "2023-01-08T09:42:48Z"), "OOO"),
    ("Go's TLS, minutes late", X509.format("2023-01-08T09:52:48Z", "after", "2023-01-08T09:42:48Z"), "OOC"),
    ("Go's TLS, old", "Get https://index.docker.io/v1/: x509: certificate has expired or is not yet valid", "OUU"),
    ("RDS", 'FATAL:  PAM authentication failed for user "app"', "OCC"),
    ("EKS", "error: You must be logged in to the server (Unauthorized)", "OCC"),
    ("librdkafka", "Must supply an unexpired token: now=1764400300000ms, exp=1764400000000ms", "OOC"),
    ("MSK", KAFKA, "OCC"),
    ("CodeCommit", "fatal: unable to access 'https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/x/': The requested "
     "URL returned error: 403", "OCC"),
    # From public threads.
    ("awsbeats#48", "failed to put records: InvalidSignatureException: " + late("20181017T093750Z", "20181017T093639Z",
     "20181017T093139Z", 5), "OOO"),
    ("aws-sdk-php#612", PHP, "OOO"),
    ("ossutil#27", "Error: oss: service returned error: StatusCode=403, ErrorCode=RequestTimeTooSkewed, ErrorMessage=The "
     "difference between the request time and the current time is too large., RequestId=598338A88CEE3190462CAA94!", "OCC"),
    ("zadig#1660", "500 : Internal Error: RequestTimeTooSkewed: The difference between the request time and the server's "
     "time is too large. status code: 403, request id: , host id:", "OCC"),
    ("aws-orbit-workbench#707", CLIENT.format("ExpiredTokenException", "AssumeRoleWithWebIdentity", EXPIRED), "OCO"),
    ("JciHitachiHA#33", "NotAuthorizedException Invalid login token. Token expired: 1667365798 >= 1667235770", "OCO"),
    ("streamlit-cognito-auth#13", "Your 'access_token' token could not be verified (The token is not yet valid (iat)).", "OCO"),
    ("curl#12516", "curl: (60) SSL certificate problem: certificate is not yet valid", "OUO"),
    ("aws-vault#1049", "aws-vault: error: exec: Failed to get credentials: operation error STS: GetSessionToken, https "
     "response error StatusCode: 403, RequestID: x, api error SignatureDoesNotMatch: "
     + early("20221005T132736Z", "20221006T041807Z", "20221006T043307Z", 15), "OOO"),
    ("aws-sdk-js#254", '{"level":"info","message":{"message":"' + early("20140325T143453Z", "20140325T143751Z",
     "20140325T145251Z", 15) + '","code":"InvalidSignatureException","statusCode":400}}', "OCO"),
    ("aws-sdk-net#4433", 'Npgsql.PostgresException (0x80004005): 28000: PAM authentication failed for user "REDACTED"', "OCC"),
    ("authd#1822", "could not verify token: oidc: token is expired (Token Expiry: 2026-08-24 14:45:12 +0200 CEST)", "OOC"),
]  # fmt: skip

CLOCKS = {"right": 0, "slow": 1200, "fast": -1200}
CAUSES = {"C": "clock", "O": "other", "U": "unknown"}


@pytest.mark.parametrize(("name", "text", "causes"), MESSAGES, ids=[row[0] for row in MESSAGES])
def test_each_is_judged_right_on_each_clock(name: str, text: str, causes: str) -> None:
    """One message has one explanation; what cannot be known has a reason."""
    for (state, offset), cause in zip(CLOCKS.items(), causes, strict=True):
        found = error_message.explain(text, known(offset))
        assert {finding.cause for finding in found} == {CAUSES[cause]}, f"on a {state} clock: {found}"
        assert len({finding.id for finding in found}) == 1
        if cause == "U":
            reason = re.search("depends on|does not say|words are the same|once", found[-1].text)
            assert reason or "either" in found[0].text
    without = error_message.explain(text, None)
    assert {finding.cause for finding in without} <= {"unknown", "other"}, "no clock is blamed that is not known"


def test_a_frozen_clock_is_named() -> None:
    """By the length of the gap, or by the names in the traceback."""
    (frozen,) = [text for name, text, _ in MESSAGES if name == "frozen"]
    assert "freezegun or time-machine, may have frozen" in error_message.explain(frozen, known(0))[-1].text
    (last,) = error_message.explain('File "freezegun/api.py", line 8\n' + EARLY, known(0))[-1:]
    assert last.id == "error-frozen"


def test_a_log_is_answered_message_by_message() -> None:
    """Alike messages once, with the lines; what is no error of AWS's not at all."""
    log = ["2026-11-29 10:00:00 INFO starting"]
    log += [
        f"10:{m:02}:00 ERROR "
        + early(f"20220127T01{m:02}07Z", f"20220127T01{m:02}28Z", f"20220127T01{m + 15:02}28Z", 15)
        for m in range(30)
    ]
    log += ["10:31 ERROR An error occurred (NoSuchBucket) when calling the GetObject operation: no", "10:32 INFO ok"]
    log += [
        *S3_ERROR.format("20150604T220616Z", "2015-06-04T22:26:16Z").replace("><", ">\n<").splitlines(),
        "10:40 INFO",
    ]
    log += ['FATAL:  PAM authentication failed for user "a"', 'FATAL:  PAM authentication failed for user "b"']
    found = error_message.explain("\n".join(log), known(0))
    names = list(dict.fromkeys(finding.text.partition(": ")[0] for finding in found))
    assert names == [
        "Error 1 (line 2, and 29 more like it)",
        "Error 2 (line 32)",
        "Error 3 (line 34)",
        "Error 4 (line 42, and 1 more like it)",
    ]
    assert [finding.id for finding in found[-1:]] == ["error-token-refused"]


def test_a_message_that_a_terminal_wrapped() -> None:
    """In the middle of a word, or between two."""
    for wrapped in (EARLY[:30] + "\n" + EARLY[30:], EARLY.replace(" is ", "\n  is ")):
        (first, _) = error_message.explain(f"$ aws sts get-caller-identity\n\n{wrapped}\n", known(0))
        assert first.text.startswith("The error: signed at 2022-01-27 01:40:07Z, refused at 2022-01-27 01:59:28Z")


@pytest.mark.parametrize(
    "part", ["<Error>", "<a>x</a>", "SASL auth ", "AccessDenied ", "An error occurred (x) when ", "\n"]
)
def test_a_hostile_log_takes_no_time(part: str) -> None:
    began = time.process_time()
    error_message.explain(part * 20_000, None)
    assert time.process_time() - began < 5, "of processor time; some tenths of a second on an idle machine"


def test_every_kind_has_its_heading() -> None:
    """On the page of findings, so that an id leads there."""
    page = (ROOT / "docs" / "troubleshooting" / "doctor.md").read_text("utf-8")
    headings = set(re.findall(r"^### `(error-[a-z-]+)`", page, re.M))
    for (_, text, _), offset in itertools.product(MESSAGES, CLOCKS.values()):
        assert {finding.id for finding in error_message.explain(text, known(offset))} <= headings
    assert {"error-none", "error-frozen", "error-more"} <= headings
    assert log_messages.LIMIT > 1_000_000
    assert len(symptoms.SYMPTOMS) == len({symptom.words.pattern for symptom in symptoms.SYMPTOMS})
