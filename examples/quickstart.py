"""See boto3 fail on a wrong clock, and succeed once skewguard is installed: ``make demo``, or run this file.

A server on this machine checks signatures and dates as strictly as AWS does. A second process, whose clock is faked
20 minutes slow and then 20 minutes fast, calls it with plain boto3, and again after ``skewguard.install()``. The server
counts the requests. Nothing leaves this machine, and no real clock is changed.
"""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

import skewguard
from skewguard.testing import StrictEndpoint

CALLS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "STS": ("sts", lambda sts: sts.get_caller_identity()),
    "DynamoDB": ("dynamodb", lambda dynamodb: dynamodb.list_tables()),
    "S3 GET": ("s3", lambda s3: s3.get_object(Bucket="bucket", Key="key")["Body"].read()),
    "S3 PUT": ("s3", lambda s3: s3.put_object(Bucket="bucket", Key="key", Body=io.BytesIO(b"hello"))),
    "S3 HEAD": ("s3", lambda s3: s3.head_object(Bucket="bucket", Key="key")),
    "EC2": ("ec2", lambda ec2: ec2.describe_regions()),
}


def user_program(client_kwargs: dict[str, Any]) -> None:
    """Run as the program with the wrong clock. It waits for a line of input before each call, to be counted."""
    logging.getLogger("skewguard").addHandler(logging.NullHandler())  # the table shows what its lines say

    def client(service: str) -> Any:
        return boto3.client(service, **client_kwargs, config=Config(s3={"addressing_style": "path"}))

    def attempt(call: Callable[[Any], Any], made: Any) -> None:
        sys.stdin.readline()
        try:
            call(made)
            outcome = "ok"
        except ClientError as error:
            outcome = error.response["Error"]["Code"]
        print(outcome, flush=True)

    for service, call in CALLS.values():
        attempt(call, client(service))

        with skewguard.install():  # in a program of your own: just skewguard.install(), once
            guarded = client(service)
            for _ in range(3):
                attempt(call, guarded)


def faked_clock(shift: int) -> dict[str, str] | None:
    """Return variables that shift a child's wall clock by `shift` seconds; None if that is not possible here."""
    spec = importlib.util.find_spec("libfaketime") if sys.platform == "linux" else None
    if spec is None or spec.origin is None:
        return None
    library = Path(spec.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    if not library.exists():
        return None
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{shift:+d}",
        "DONT_FAKE_MONOTONIC": "1",  # otherwise every timeout hangs
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # otherwise threads stall
    }


def outcomes(server: StrictEndpoint, environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Run the program, and yield the outcome of each call and the number of its requests."""
    command = [sys.executable, __file__, "--as-user-program", json.dumps(server.client_kwargs)]
    # No time source and no estimate from other processes: with either, even the first call would be right.
    alone = {"SKEWGUARD_SOURCES": "response", "SKEWGUARD_SHARE": "false"}
    environment = {**os.environ, **alone, **environment}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        for _ in range(4 * len(CALLS)):
            before = server.count
            program.stdin.write("\n")
            program.stdin.flush()
            outcome = program.stdout.readline().strip()
            yield outcome, server.count - before


def show(server: StrictEndpoint, shift: int) -> bool:
    """Print one table, and return whether every call had the expected outcome."""
    environment = faked_clock(shift)
    # If a process's clock cannot be faked, shift the server's the other way: for a signature this is the same.
    server.offset = 0 if environment else -shift
    print(f"\nA host whose clock is {abs(shift) // 60} minutes {'fast' if shift > 0 else 'slow'}"
          f"{'' if environment else ' (the server is shifted instead)'}:\n")  # fmt: skip
    print(f"  {'':10} {'unguarded':38} guarded: first call, second, third")
    calls = outcomes(server, environment or {})
    good = True
    for name in CALLS:
        row = [next(calls) for _ in range(4)]
        cells = [f"{outcome}, {count} request{'' if count == 1 else 's'}" for outcome, count in row]
        print(f"  {name:10} {cells[0]:38} {'   '.join(f'{cell:14}' for cell in cells[1:])}".rstrip())
        good &= row[0][0] != "ok" and row[0][1] == 1 and row[1:] == [("ok", 2), ("ok", 1), ("ok", 1)]
    return good


def main() -> int:
    """Run with a slow and a fast clock."""
    with StrictEndpoint() as server:
        s3 = boto3.client("s3", **server.client_kwargs)
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="key", Body=b"hello")
        good = all([show(server, -1200), show(server, 1200)])
    print("\nEach row starts with no estimate; only its first call needs an extra request."
          if good else "\nThis is not the expected result.")  # fmt: skip
    return 0 if good else 1


if __name__ == "__main__":
    if "--as-user-program" in sys.argv:
        user_program(json.loads(sys.argv[-1]))
    else:
        raise SystemExit(main())
