"""Real answers of AWS and S3-compatible servers to requests whose time was wrong, or seemed to be.

Each row: name, status, code, message, verdict, seconds the request was under way, when it was signed (None: as the
message quotes it), other fields than code and message, headers. The messages are facts, quoted from public reports.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from skewguard.signing.reply import Verdict

SKEW, STALE, NOT_TIME = Verdict.SKEW, Verdict.STALE, Verdict.NOT_TIME

WRONG_KEY = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
PRESIGNED = (
    "<Error><Code>AccessDenied</Code><Message>Request has expired</Message><X-Amz-Expires>300</X-Amz-Expires>"
    "<Expires>2017-07-20T04:18:45Z</Expires><ServerTime>2017-07-20T04:18:55Z</ServerTime></Error>"
)
FUTURE = (
    "<Error><Code>AccessDenied</Code><Message>Request is not yet valid</Message><X-Amz-Date>1558754452000</X-Amz-Date>"
    "<Expires>2019-05-25T03:35:52Z</Expires><ServerTime>2019-05-23T21:07:35Z</ServerTime></Error>"
)
CURRENT = "The difference between the request time and the current time is too large."
SERVERS = "The difference between the request time and the server's time is too large."
MAXIMUM = "The difference between the request time and the server's time exceeds the maximum allowed."


class Fixture(NamedTuple):
    """An answer, and the verdict on it."""

    name: str
    status: int
    code: str | None
    message: str | None
    verdict: Verdict
    under_way: float = 0.05
    signed: str | None = None
    fields: dict[str, str] = {}
    headers: dict[str, str] = {}

    @property
    def parsed(self) -> dict[str, Any]:
        """The answer as botocore parses it."""
        error = {"Code": self.code, "Message": self.message, **self.fields}
        return {"Error": {key: value for key, value in error.items() if value is not None}}


def early(signed: str, bound: str, now: str, minutes: int) -> str:
    """Format the message on an expired signature."""
    return f"Signature expired: {signed} is now earlier than {bound} ({now} - {minutes} min.)"


def late(signed: str, bound: str, now: str, minutes: int) -> str:
    """Format the message on a signature from the future."""
    return f"Signature not yet current: {signed} is still later than {bound} ({now} + {minutes} min.)"


EARLY = early("20220127T014007Z", "20220127T014428Z", "20220127T015928Z", 15)
LATE = late("20240319T145952Z", "20240319T130506Z", "20240319T130006Z", 5)
S3_ERROR = (
    f"<Error><Code>RequestTimeTooSkewed</Code><Message>{CURRENT}</Message><RequestTime>{{}}</RequestTime>"
    "<ServerTime>{}</ServerTime><MaxAllowedSkewMilliseconds>900000</MaxAllowedSkewMilliseconds></Error>"
)

ISE, SDNM, RTTS = "InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed"
M15 = {"MaxAllowedSkewMilliseconds": "900000"}


def dated(time: str) -> dict[str, Any]:
    """Return when a request was signed, and the ``Date`` of the answer, at that time of the same day."""
    return {"signed": "20240101T000000Z", "headers": {"Date": f"Mon, 01 Jan 2024 {time} GMT"}}


FIXTURES = [
    Fixture("1-lambda", 403, ISE, early("20160928T174419Z", "20160928T174724Z", "20160928T175224Z", 5), SKEW,
            headers={"Date": "Wed, 28 Sep 2016 17:52:23 GMT"}),
    Fixture("2-amplify-cloudfront", 403, ISE, early("20220331T094828Z", "20220331T095852Z", "20220331T100352Z", 5), SKEW,
            headers={"Date": "Thu, 31 Mar 2022 10:03:52 GMT", "X-Cache": "Error from cloudfront"}),
    Fixture("3-appconfig-coral-suffix", 403, ISE + ":http://internal.amazon.com/coral/com.amazon.coral.service/",
            late("20240319T145952Z", "20240319T130506Z", "20240319T130006Z", 5), SKEW),
    Fixture("5-dynamodb", 400, ISE, late("20190305T002809Z", "20190304T214315Z", "20190304T212815Z", 15), SKEW),
    Fixture("6-dynamodb-batch", 400, ISE, late("20211228T232918Z", "20211228T224426Z", "20211228T222926Z", 15), SKEW),
    Fixture("7-sts", 403, SDNM, early("20220127T001427Z", "20220127T014428Z", "20220127T015928Z", 15), SKEW),
    Fixture("9-sqs", 403, SDNM, early("20150619T100249Z", "20150619T100713Z", "20150619T102213Z", 15), SKEW),
    Fixture("10-sqs-kombu", 403, SDNM, "..." + early("20240220T151817Z", "20240220T152440Z", "20240220T153940Z", 15) + "...",
            SKEW),
    Fixture("12-sqs-ecs", 403, SDNM, early("20230119T051315Z", "20230119T054944Z", "20230119T060444Z", 15), SKEW),
    Fixture("13-sns", 403, SDNM, early("20140428T172145Z", "20140428T172828Z", "20140428T174328Z", 15), SKEW),
    Fixture("14-ses", 403, SDNM, early("20181107T003842Z", "20181107T005054Z", "20181107T005554Z", 5), SKEW),
    Fixture("16-route53", 403, SDNM, early("20160831T170848Z", "20160831T170921Z", "20160831T171421Z", 5), SKEW),
    Fixture("17-glacier", 403, ISE, late("20131120T113529Z", "20131120T104538Z", "20131120T104038Z", 5), SKEW),
    Fixture("19-apigw", 403, ISE, early("20240425T100521Z", "20240425T101638Z", "20240425T102138Z", 5), SKEW),
    Fixture("20-execute-api-no-code", 403, "403", late("20230804T000000Z", "20230803T172233Z", "20230803T171733Z", 5), SKEW),
    Fixture("20-execute-api-null-code", 403, None, late("20230804T000000Z", "20230803T172233Z", "20230803T171733Z", 5), SKEW),
    Fixture("21-cognito", 400, ISE, early("20190723T172834Z", "20190723T201503Z", "20190723T203003Z", 15), SKEW),
    Fixture("22-rekognition", 400, ISE, early("20180707T233021Z", "20180710T071214Z", "20180710T071714Z", 5), SKEW),
    Fixture("24-appsync", 403, "BadRequestException", late("20210205T063224Z", "20210205T062625Z", "20210205T062125Z", 5), SKEW),
    Fixture("25-transcoder-just-over", 403, ISE, early("20150411T064107Z", "20150411T064135Z", "20150411T064635Z", 5), SKEW),
    Fixture("26-cloudformation", 403, SDNM, late("20161008T200637Z", "20161008T195903Z", "20161008T195403Z", 5), SKEW),
    Fixture("27-swf", 400, ISE, late("20140819T173921Z", "20140819T173829Z", "20140819T173329Z", 5), SKEW),
    Fixture("27-sqs", 403, SDNM, early("20130401T030113Z", "20130401T034613Z", "20130401T040113Z", 15), SKEW),
    Fixture("28-twelve-day-old-signature", 403, ISE, early("20210805T032751Z", "20210817T205124Z", "20210817T205624Z", 5), STALE,
            under_way=12 * 86_400 + 62_913),
    Fixture("29-s3", 403, RTTS, CURRENT, SKEW, signed="20150604T232559Z",
            fields={"RequestTime": "20150604T232559Z", "ServerTime": "2015-06-04T22:26:16Z", **M15}),
    Fixture("29-s3-sigv2-request-time", 403, RTTS, CURRENT, SKEW, signed="20150604T232559Z",
            fields={"RequestTime": "Thu, 04 Jun 2015 23:25:59 GMT", "ServerTime": "2015-06-04T22:26:16Z", **M15}),
    Fixture("32-s3-queued-part", 403, RTTS, CURRENT, STALE, under_way=901.5, signed="20230725T161257Z",
            fields={"RequestTime": "20230725T161257Z", "ServerTime": "2023-07-25T16:27:59Z", **M15}),
    Fixture("33-s3-slow-upload", 403, RTTS, CURRENT, STALE, under_way=1882, signed="20230104T200955Z",
            fields={"RequestTime": "20230104T200955Z", "ServerTime": "2023-01-04T20:41:18Z", **M15},
            headers={"Date": "Wed, 04 Jan 2023 20:41:17 GMT", "Connection": "close"}),
    Fixture("35-minio", 403, RTTS, SERVERS, SKEW, **dated("00:20:00")),
    Fixture("36-s3-eight-seconds-off", 403, RTTS, CURRENT, NOT_TIME, **dated("00:00:08")),
    Fixture("36-s3-eight-seconds-off-slow-part", 403, RTTS, CURRENT, STALE, under_way=1000, **dated("00:16:48")),
    Fixture("37-ec2-sigv2", 400, "RequestExpired", "Request has expired. Timestamp date is 2011-03-26T23:22:53Z", SKEW,
            signed="20110326T232253Z", headers={"Date": "Sun, 27 Mar 2011 00:22:53 GMT"}),
    Fixture("37-ec2-sigv2-with-a-full-stop", 400, "RequestExpired", "Request has expired. Timestamp date is 2017-09-25T11:50:39Z.",
            NOT_TIME, signed="20170925T121000Z", headers={"Date": "Mon, 25 Sep 2017 12:20:39 GMT"}),
    Fixture("38-ec2-expired-credentials", 400, "RequestExpired", "Request has expired.", NOT_TIME, **dated("00:00:01")),
    Fixture("40-s3-head", 403, "403", "Forbidden", SKEW, **dated("00:20:00")),
    Fixture("40-s3-head-no-permission", 403, "403", "Forbidden", NOT_TIME, **dated("00:00:00")),
    Fixture("rclone-head-bare-400", 400, "400", "Bad Request", SKEW, **dated("00:20:00")),
    Fixture("41-presigned-expired", 403, "AccessDenied", "Request has expired", NOT_TIME, under_way=400,
            signed="20170720T041345Z", fields={"X-Amz-Expires": "300", "Expires": "2017-07-20T04:18:45Z",
                                                "ServerTime": "2017-07-20T04:18:55Z"}),
    Fixture("43-presigned-from-the-future", 403, "AccessDenied", "Request is not yet valid", SKEW, signed="20190525T032052Z",
            fields={"X-Amz-Date": "1558754452000", "Expires": "2019-05-25T03:35:52Z", "ServerTime": "2019-05-23T21:07:35Z"}),
    Fixture("45-no-date-sent", 403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header", SKEW, **dated("00:20:00")),
    Fixture("46-wrong-secret", 403, SDNM, WRONG_KEY, NOT_TIME, **dated("02:00:00")),
    Fixture("46-wrong-secret-quoting", 400, ISE, WRONG_KEY + "\n\nThe Canonical String for this request should have been\n'POST"
            "\n/\n\nx-amz-date:20240101T000000Z\n'", NOT_TIME, **dated("02:00:00")),
    Fixture("47-wrong-secret-s3", 403, SDNM, "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method.", NOT_TIME, **dated("02:00:00")),
    Fixture("rclone-slow-400-access-denied", 400, "AccessDenied", MAXIMUM, SKEW, **dated("00:20:00")),
    Fixture("rclone-fast", 403, RTTS, CURRENT[:-1], SKEW, signed="20261121T030357Z",
            fields={"ServerTime": "2026-11-21T02:43:57.43488977Z", **M15}),
    Fixture("ec2-auth-failure", 401, "AuthFailure", "AWS was not able to validate the provided access credentials", SKEW, **dated("00:20:00")),
    Fixture("ec2-wrong-secret-on-time", 401, "AuthFailure", "AWS was not able to validate the provided access credentials",
            NOT_TIME, **dated("00:00:01")),
    Fixture("ceph-empty-message", 403, RTTS, "", SKEW, **dated("00:20:00")),
    Fixture("ceph-wrong-secret-empty-message", 403, SDNM, "", NOT_TIME, **dated("00:00:00")),
    Fixture("access-denied-on-a-wrong-clock", 403, "AccessDenied", "User is not authorized", SKEW, **dated("00:10:00")),
    Fixture("access-denied-exception-on-a-wrong-clock", 400, "AccessDeniedException", "User is not authorized", SKEW, **dated("00:10:00")),
    Fixture("validation-on-a-wrong-clock", 400, "ValidationException", "1 validation error detected", SKEW, **dated("00:10:00")),
    Fixture("missing-key-on-a-wrong-clock", 404, "404", "Not Found", NOT_TIME, **dated("00:10:00")),
    Fixture("unavailable-on-a-wrong-clock", 503, "503", "Service Unavailable", NOT_TIME, **dated("00:10:00")),
    Fixture("exactly-at-the-stated-limit", 403, SDNM, early("20240101T000000Z", "20240101T000000Z", "20240101T001500Z", 15), SKEW),
    Fixture("ten-minutes-where-fifteen-are-allowed", 403, RTTS, CURRENT, NOT_TIME, fields=M15, **dated("00:10:00")),
    Fixture("another-requests-error", 403, ISE, early("20240425T100521Z", "20240425T101638Z", "20240425T102138Z", 5), NOT_TIME,
            signed="20240425T102137Z"),
    Fixture("no-clock-heard", 403, RTTS, CURRENT, SKEW, signed="20240101T000000Z"),
    Fixture("no-clock-heard-head", 403, "403", "Forbidden", NOT_TIME, signed="20240101T000000Z"),
    Fixture("grammar-that-does-not-add-up", 403, ISE, early("20240101T000000Z", "20240101T001600Z", "20240101T002000Z", 5),
            NOT_TIME, signed="20240101T000000Z"),
]  # fmt: skip
