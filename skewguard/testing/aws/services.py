"""Healthy answers: just enough of STS, DynamoDB, SQS, Lambda and EC2, and an empty answer for everything else."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import uuid
from collections.abc import Callable
from xml.sax.saxutils import escape

from skewguard.testing.aws import dialects
from skewguard.testing.aws.dialects import Problem, Reply
from skewguard.testing.aws.judge import Claim, Judge, Key

ACCOUNT = "123456789012"

_REST = {
    ("lambda", "GET", "/2015-03-31/functions"): "ListFunctions",
    ("sso", "GET", "/federation/credentials"): "GetRoleCredentials",
}
_REGIONS = ("eu-central-1", "eu-west-1", "us-east-1", "us-west-2")


def operation(claim: Claim) -> str | None:
    """Name the operation asked for, where the protocol or a small table tells; S3 is `buckets.operation`'s."""
    request = claim.request
    if claim.dialect == "json":
        return request.headers.get("x-amz-target", "").rpartition(".")[2] or None
    if claim.dialect in ("query", "ec2"):
        return dialects.form(request).get("Action")
    if claim.dialect == "cbor":
        return request.path.rpartition("/operation/")[2] or None
    return _REST.get((claim.service, request.method, request.path.rstrip("/")))


class Services:
    """The state behind the answers: items, queues, and the temporary credentials handed out."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._lock = threading.Lock()
        self._tables: dict[str, list[dict[str, object]]] = {}

    def answer(self, claim: Claim, name: str | None, now: float) -> Reply:
        """Answer an accepted request.

        Args:
            claim: The request.
            name: Its operation, if known.
            now: The server's time, seconds since the Unix epoch.

        Raises:
            Problem: The request makes no sense to the service.
        """
        if claim.dialect == "json":
            return self._json(claim, name or "")
        if claim.dialect in ("query", "rest-xml"):
            result = self._sts(claim, name, now) if claim.service == "sts" else ""
            if claim.service == "ses":
                result = f"<MessageId>{uuid.uuid4()}</MessageId>"
            return _query(claim.service, name or "Unknown", result)
        if claim.dialect == "ec2":
            return _ec2(name or "Unknown")
        if claim.dialect == "cbor":
            kinds = (("Content-Type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor"))
            return Reply(200, kinds, dialects.cbor({}))
        content: dict[str, object] = {}
        if name == "ListFunctions":
            content = {"Functions": []}
        elif name == "GetRoleCredentials":
            given = self.temporary(now, 3600)
            role = {"accessKeyId": given[0], "secretAccessKey": given[1], "sessionToken": given[2]}
            content = {"roleCredentials": {**role, "expiration": given[3] * 1000}}
        return Reply(200, (("Content-Type", "application/json"),), json.dumps(content).encode())

    def temporary(self, now: float, seconds: int) -> tuple[str, str, str, int]:
        """Hand out credentials this server will accept until then.

        Returns:
            Access key, secret, session token, expiry in seconds since the Unix epoch.
        """
        access = "ASIA" + secrets.token_hex(8).upper()
        secret, token, until = secrets.token_hex(20), secrets.token_urlsafe(48), int(now) + seconds
        self._judge.keys[access] = Key(secret, token, until)
        return access, secret, token, until

    def _sts(self, claim: Claim, name: str | None, now: float) -> str:
        asked = dialects.form(claim.request)
        role = asked.get("RoleArn", f"arn:aws:iam::{ACCOUNT}:role/test")
        session = asked.get("RoleSessionName", "test")
        assumed = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.rpartition('/')[2]}/{session}"
        if name == "GetCallerIdentity":
            key = claim.signed.scope.access_key if claim.signed else ""
            arn = assumed if key.startswith("ASIA") else f"arn:aws:iam::{ACCOUNT}:user/test"
            return f"<Arn>{escape(arn)}</Arn><UserId>{escape(key)}</UserId><Account>{ACCOUNT}</Account>"
        if name is None or not (name.startswith("AssumeRole") or name == "GetSessionToken"):
            return ""
        seconds = asked.get("DurationSeconds", "3600")
        if not seconds.isascii() or not seconds.isdigit() or not 1 <= int(seconds[:9]) <= 43_200:
            raise Problem("ValidationError", "DurationSeconds must be between 1 and 43200", status=400)
        access, secret, token, until = self.temporary(now, int(seconds))
        user = f"<AssumedRoleUser><AssumedRoleId>AROATEST:{escape(session)}</AssumedRoleId><Arn>{escape(assumed)}</Arn>"
        return (
            f"<Credentials><AccessKeyId>{access}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>"
            f"<SessionToken>{token}</SessionToken><Expiration>{dialects.iso(until)}</Expiration></Credentials>"
            + ("" if name == "GetSessionToken" else user + "</AssumedRoleUser>")
        )

    def _json(self, claim: Claim, name: str) -> Reply:
        try:
            asked = json.loads(claim.body or b"{}")
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            raise Problem("SerializationException", "", status=400)
        handler = _HANDLERS.get((claim.service, name))
        content = handler(self, asked) if handler is not None else {}
        kind = "application/x-amz-json-1.0" if claim.service in ("dynamodb", "sqs") else "application/x-amz-json-1.1"
        return Reply(200, (("Content-Type", kind),), json.dumps(content).encode())

    def _list_tables(self, asked: dict[str, object]) -> dict[str, object]:
        with self._lock:
            return {"TableNames": sorted(self._tables)}

    def _put_item(self, asked: dict[str, object]) -> dict[str, object]:
        item = asked.get("Item")
        if not isinstance(item, dict):
            raise Problem("ValidationException", "Item must be a map", status=400)
        with self._lock:
            self._tables.setdefault(str(asked.get("TableName")), []).append(item)
        return {}

    def _get_item(self, asked: dict[str, object]) -> dict[str, object]:
        key = asked.get("Key")
        if not isinstance(key, dict):
            raise Problem("ValidationException", "Key must be a map", status=400)
        with self._lock:
            items = self._tables.get(str(asked.get("TableName")), [])
            # No schema is known, so nothing says what a later item replaces: the newest that fits is the one.
            for item in reversed(items):
                if all(item.get(name) == value for name, value in key.items()):
                    return {"Item": item}
        return {}

    def _send_message(self, asked: dict[str, object]) -> dict[str, object]:
        body = str(asked.get("MessageBody", "")).encode("utf-8", "replace")
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        return {"MessageId": str(uuid.uuid4()), "MD5OfMessageBody": digest}


_HANDLERS: dict[tuple[str, str], Callable[[Services, dict[str, object]], dict[str, object]]] = {
    ("dynamodb", "ListTables"): Services._list_tables,
    ("dynamodb", "PutItem"): Services._put_item,
    ("dynamodb", "GetItem"): Services._get_item,
    ("sqs", "SendMessage"): Services._send_message,
}


def _query(service: str, name: str, result: str) -> Reply:
    name = name if name.isascii() and name.isalnum() else "Unknown"
    inner = f"<{name}Result>{result}</{name}Result><ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId>"
    text = f'<{name}Response xmlns="{dialects.xmlns(service)}">{inner}</ResponseMetadata></{name}Response>'
    return Reply(200, (("Content-Type", "text/xml"),), text.encode())


def _ec2(name: str) -> Reply:
    name = name if name.isascii() and name.isalnum() else "Unknown"
    inner = ""
    if name == "DescribeRegions":
        items = "".join(
            f"<item><regionName>{r}</regionName><regionEndpoint>ec2.{r}.amazonaws.com</regionEndpoint></item>"
            for r in _REGIONS
        )
        inner = f"<regionInfo>{items}</regionInfo>"
    elif name == "DescribeInstances":
        inner = "<reservationSet/>"
    namespace = dialects.xmlns("ec2")
    text = f'<{name}Response xmlns="{namespace}"><requestId>{uuid.uuid4()}</requestId>{inner}</{name}Response>'
    return Reply(200, (("Content-Type", "text/xml;charset=UTF-8"),), text.encode())
