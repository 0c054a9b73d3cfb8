"""Successes: just enough of STS, DynamoDB, SQS, Lambda and EC2, and an empty success for everything else."""

from __future__ import annotations

import hashlib
import secrets
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from skewguard.testing.aws import formats
from skewguard.testing.aws.dialects import Content, Problem
from skewguard.testing.aws.verifier import Claim, Key, Verifier

ACCOUNT = "123456789012"

_REGIONS = ("eu-central-1", "eu-west-1", "us-east-1", "us-west-2")


class Temporary(NamedTuple):
    """Temporary credentials; `expires` in seconds since the Unix epoch."""

    access_key: str
    secret: str
    token: str
    expires: int


class Asked(NamedTuple):
    """What an operation is called with; `now` in seconds since the Unix epoch, by the server's clock."""

    parameters: Mapping[str, Any]
    access_key: str
    now: float


class Services:
    """The state of the services: items, and the temporary credentials handed out."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._lock = threading.Lock()
        self._tables: dict[str, list[dict[str, object]]] = {}
        self._queues: dict[str, dict[str, tuple[str, bool]]] = {}  # body, and whether it was received, by handle

    def serve(self, claim: Claim, operation: str | None, now: float) -> Content:
        """Serve an accepted request; `now` in seconds by the server's clock. Problem if a parameter is unusable."""
        parameters = claim.dialect.parameters(claim.request, claim.body)
        handler = _HANDLERS.get((claim.service, operation)) or _HANDLERS.get((claim.service, None))
        asked = Asked(parameters, claim.signed.scope.access_key if claim.signed else "", now)
        return claim.dialect.success(claim.service, operation, handler(self, asked) if handler else {})

    def temporary(self, now: float, seconds: int) -> Temporary:
        """Make credentials that this server accepts for so many seconds."""
        access = "ASIA" + secrets.token_hex(8).upper()
        made = Temporary(access, secrets.token_hex(20), secrets.token_urlsafe(48), int(now) + seconds)
        self._verifier.keys[access] = Key(made.secret, made.token, made.expires)
        return made

    def _caller(self, asked: Asked) -> Mapping[str, object]:
        key = asked.access_key
        arn = _assumed(asked) if key.startswith("ASIA") else f"arn:aws:iam::{ACCOUNT}:user/test"
        return {"Arn": arn, "UserId": key, "Account": ACCOUNT}

    def _session_token(self, asked: Asked) -> dict[str, object]:
        seconds = str(asked.parameters.get("DurationSeconds", 3600))
        if not seconds.isascii() or not seconds.isdigit() or not 1 <= int(seconds[:9]) <= 43_200:
            raise Problem("ValidationError", "DurationSeconds must be between 1 and 43200", status=400)
        made = self.temporary(asked.now, int(seconds))
        return {
            "Credentials": {
                "AccessKeyId": made.access_key,
                "SecretAccessKey": made.secret,
                "SessionToken": made.token,
                "Expiration": formats.iso(made.expires),
            }
        }

    def _assume_role(self, asked: Asked) -> Mapping[str, object]:
        user = {"AssumedRoleId": f"AROATEST:{_session_name(asked)}", "Arn": _assumed(asked)}
        return {**self._session_token(asked), "AssumedRoleUser": user}

    def _role_credentials(self, asked: Asked) -> Mapping[str, object]:
        made = self.temporary(asked.now, 3600)
        role = {"accessKeyId": made.access_key, "secretAccessKey": made.secret, "sessionToken": made.token}
        return {"roleCredentials": {**role, "expiration": made.expires * 1000}}

    def _list_tables(self, asked: Asked) -> Mapping[str, object]:
        with self._lock:
            return {"TableNames": sorted(self._tables)}

    def _put_item(self, asked: Asked) -> Mapping[str, object]:
        item = asked.parameters.get("Item")
        if not isinstance(item, dict):
            raise Problem("ValidationException", "Item must be a map", status=400)
        with self._lock:
            self._tables.setdefault(str(asked.parameters.get("TableName")), []).append(item)
        return {}

    def _get_item(self, asked: Asked) -> Mapping[str, object]:
        key = asked.parameters.get("Key")
        if not isinstance(key, dict):
            raise Problem("ValidationException", "Key must be a map", status=400)
        with self._lock:
            items = self._tables.get(str(asked.parameters.get("TableName")), [])
            # Without a schema, it is not known which item a later one replaces: the newest that matches is returned.
            for item in reversed(items):
                if all(item.get(name) == value for name, value in key.items()):
                    return {"Item": item}
        return {}

    def _send_message(self, asked: Asked) -> Mapping[str, object]:
        body = str(asked.parameters.get("MessageBody", ""))
        with self._lock:
            self._queue(asked)[secrets.token_hex(8)] = (body, False)
        return {"MessageId": str(uuid.uuid4()), "MD5OfMessageBody": _md5(body)}

    def _receive_message(self, asked: Asked) -> Mapping[str, object]:
        with self._lock:
            queue = self._queue(asked)
            waiting = [handle for handle, (_, received) in queue.items() if not received]
            found = {
                handle: queue[handle][0] for handle in waiting[: int(asked.parameters.get("MaxNumberOfMessages", 1))]
            }
            queue.update({handle: (body, True) for handle, body in found.items()})
        if not found:
            return {}
        common = {"MessageId": str(uuid.uuid4()), "Attributes": {"ApproximateReceiveCount": "1"}}
        return {
            "Messages": [
                {**common, "ReceiptHandle": handle, "Body": body, "MD5OfBody": _md5(body)}
                for handle, body in found.items()
            ]
        }

    def _delete_message(self, asked: Asked) -> Mapping[str, object]:
        with self._lock:
            self._queue(asked).pop(str(asked.parameters.get("ReceiptHandle")), None)
        return {}

    def _queue_attributes(self, asked: Asked) -> Mapping[str, object]:
        with self._lock:
            waiting = sum(not received for _, received in self._queue(asked).values())
        return {"Attributes": {"ApproximateNumberOfMessages": str(waiting)}}

    def _queue(self, asked: Asked) -> dict[str, tuple[str, bool]]:
        return self._queues.setdefault(str(asked.parameters.get("QueueUrl")), {})

    def _describe_regions(self, asked: Asked) -> Mapping[str, object]:
        return {"regionInfo": [{"regionName": one, "regionEndpoint": f"ec2.{one}.amazonaws.com"} for one in _REGIONS]}


def _md5(text: str) -> str:
    return hashlib.md5(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def _session_name(asked: Asked) -> str:
    return str(asked.parameters.get("RoleSessionName", "test"))


def _assumed(asked: Asked) -> str:
    role = str(asked.parameters.get("RoleArn", f"arn:aws:iam::{ACCOUNT}:role/test"))
    return f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.rpartition('/')[2]}/{_session_name(asked)}"


_Handler: TypeAlias = Callable[[Services, Asked], Mapping[str, object]]

_HANDLERS: dict[tuple[str, str | None], _Handler] = {  # None: every operation of the service
    ("dynamodb", "GetItem"): Services._get_item,
    ("dynamodb", "ListTables"): Services._list_tables,
    ("dynamodb", "PutItem"): Services._put_item,
    ("ec2", "DescribeInstances"): lambda *_: {"reservationSet": []},
    ("ec2", "DescribeRegions"): Services._describe_regions,
    ("lambda", "ListFunctions"): lambda *_: {"Functions": []},
    ("ses", None): lambda *_: {"MessageId": str(uuid.uuid4())},
    ("sqs", "DeleteMessage"): Services._delete_message,
    ("sqs", "GetQueueAttributes"): Services._queue_attributes,
    ("sqs", "ReceiveMessage"): Services._receive_message,
    ("sqs", "SendMessage"): Services._send_message,
    ("sso", "GetRoleCredentials"): Services._role_credentials,
    ("sts", "AssumeRole"): Services._assume_role,
    ("sts", "AssumeRoleWithSAML"): Services._assume_role,
    ("sts", "AssumeRoleWithWebIdentity"): Services._assume_role,
    ("sts", "GetCallerIdentity"): Services._caller,
    ("sts", "GetSessionToken"): Services._session_token,
}
