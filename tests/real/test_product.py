"""The product on clocks that are really wrong, against servers written by others.

Each test runs programs of a user in a child process whose wall clock libfaketime has moved.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.real.chronyd import chronyd
from tests.real.faketime import FakeTime
from tests.real.servers import BUCKET, KEY, Server

SHIFTS = ["-2h", "-20m", "+20m", "+2h"]
SERVERS = ["ministack", "ministack_tls", "seaweedfs", "seaweedfs_tls", "rclone"]

OPERATIONS = """
import io, json, os, sys
import boto3, botocore.exceptions, skewguard
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from tests.real.servers import counted

BUCKET, KEY = sys.argv[1:3]

def client(service="s3", **config):
    return boto3.Session().client(service, config=Config(s3={"addressing_style": "path"}, proxies={}, **config))

OPERATIONS = {
    "list": lambda s3: s3.list_objects_v2(Bucket=BUCKET),
    "get": lambda s3: s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read(),
    "head": lambda s3: s3.head_object(Bucket=BUCKET, Key=KEY),
    "put": lambda s3: s3.put_object(Bucket=BUCKET, Key="put", Body=b"x" * 100),
    "stream": lambda s3: s3.put_object(Bucket=BUCKET, Key="stream", Body=io.BytesIO(b"x" * 300_000)),
    "large": lambda s3: s3.put_object(Bucket=BUCKET, Key="large", Body=b"x" * 8_000_000),
    "multipart": lambda s3: s3.upload_fileobj(io.BytesIO(b"x" * 20_000_000), BUCKET, "multipart",
                                              Config=TransferConfig(multipart_threshold=8_000_000)),
    "delete": lambda s3: s3.delete_object(Bucket=BUCKET, Key="put"),
}
"""

EACH_FIRST = (
    OPERATIONS
    + """
try:
    OPERATIONS["get"](client())
    unguarded = "ok"
except botocore.exceptions.ClientError as error:
    unguarded = error.response["Error"]["Code"]

seen = {}
for name, operation in OPERATIONS.items():
    with skewguard.install(share=False):
        s3 = client()
        statuses = counted(s3)
        operation(s3)
        seen[name] = list(statuses)
        if name == "list":
            del statuses[:]
            for later in OPERATIONS.values():
                later(s3)
            seen["later"] = list(statuses)
print(json.dumps([unguarded, seen]))
"""
)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def run(fake_time: FakeTime, server: Server, program: str) -> Any:
    """Run a user's program on the moved clock, as a client of the server."""
    done = fake_time.run(program, BUCKET, KEY, env=server.environment(), timeout=120)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("shift", SHIFTS)
def test_every_s3_operation_costs_one_extra_request_when_first_and_none_later(
    fake_time: FakeTime, server: Server, shift: str, request: pytest.FixtureRequest
) -> None:
    """List, GET, HEAD, PUT of bytes, of a stream, of 8 MB, multipart of 20 MB, delete: each first, and each later."""
    fake_time.shift(shift)
    unguarded, seen = run(fake_time, server, EACH_FIRST)
    assert unguarded in ("RequestTimeTooSkewed", "AccessDenied")
    later = seen.pop("later")
    parts = 3  # of 8 MB or less
    assert len(later) == len(seen) - 1 + parts + 2
    assert all(status < 300 for status in later)
    for name, statuses in seen.items():
        refusals = [status for status in statuses if status >= 300]
        extra = parts + 1 if name == "multipart" else 0
        # botocore's redirector answers a bare 400 with a HeadBucket of its own, which is refused and sent again too.
        again = int(name == "head" and set(refusals) == {400})
        assert (name, len(refusals), len(statuses)) == (name, 1 + again, 2 + 2 * again + extra)
        assert statuses[0] in refusals


STEPS = (
    OPERATIONS
    + """
def step(amount):
    sys.stdout.write(f"step {amount}\\n"); sys.stdout.flush(); sys.stdin.readline()

skewguard.install()
made = {service: client(service) for service in ("lambda", "s3", "sts")}
seen = {service: counted(one) for service, one in made.items()}
report = []
def calls():
    made["lambda"].list_functions()
    made["sts"].get_caller_identity()
    OPERATIONS["put"](made["s3"])
    report.append({service: list(statuses) for service, statuses in seen.items()})
    for statuses in seen.values():
        del statuses[:]

calls()                    # ten minutes slow
step("+0"); calls()        # set right
step("-2h"); calls()       # and wrong again
step("+3h"); calls()
step("+0"); calls()
print(json.dumps(report))
"""
)


def stepping(child: subprocess.Popen[str], step: Callable[[str], None]) -> str:
    """Step the clock whenever a child asks for it; return the line that it prints at its end."""
    while (line := child.stdout.readline()).startswith("step "):
        step(line.split()[1])
        child.stdin.write("\n")
        child.stdin.flush()
    child.stdin.close()
    assert line, child.stderr.read() if child.stderr else ""
    return line


def test_steps_of_the_wall_clock_fail_no_call_and_waste_none(fake_time: FakeTime, ministack: Server) -> None:
    """Ten minutes slow, right, two hours slow, three hours fast, right again: one extra request in all."""
    fake_time.shift("-10m")
    child = fake_time.popen(STEPS, BUCKET, KEY, env=ministack.environment())
    line = stepping(child, fake_time.shift)
    first, *others = json.loads(line)
    assert first == {"lambda": [403, 200], "sts": [200], "s3": [200]}
    assert others == [{"lambda": [200], "sts": [200], "s3": [200]}] * 4


UNSTEADY = (
    OPERATIONS
    + """
import random, time

skewguard.install()
made = client("sts")
statuses = counted(made)
chance = random.Random(1)
pause = float(sys.argv[3])
for _ in range(50):
    # From a second to two hours from where it was, and as often forward as backward.
    amount = chance.choice((-1, 1)) * round(10 ** chance.uniform(0, 3.857))
    sys.stdout.write(f"step {amount:+d}\\n"); sys.stdout.flush(); sys.stdin.readline()
    for _ in range(24):
        made.get_caller_identity()
        time.sleep(pause)
print(json.dumps(statuses))
"""
)


def test_a_clock_that_never_rests_fails_no_call(fake_time: FakeTime, ministack: Server) -> None:
    """Fifty steps of up to two hours, 24 calls after each: none fails, and one request at the most is wasted."""
    position = 0

    def step(amount: str) -> None:
        nonlocal position
        position += int(amount)
        fake_time.shift(f"{position:+d}")

    pause = os.environ.get("SKEWGUARD_UNSTEADY_PAUSE", "0")
    child = fake_time.popen(UNSTEADY, BUCKET, KEY, pause, env=ministack.environment())
    statuses = json.loads(stepping(child, step))
    assert len([status for status in statuses if status == 200]) == 1200
    assert len(statuses) <= 1201


WRONG_SECRET = (
    OPERATIONS
    + """
os.environ["AWS_SECRET_ACCESS_KEY"] = "wrong"
skewguard.install()
report = []
for service, call in (("sts", lambda c: c.get_caller_identity()), ("dynamodb", lambda c: c.list_tables()),
                      ("s3", OPERATIONS["get"])):
    made = client(service)
    statuses = counted(made)
    for _ in range(2):
        try:
            call(made)
        except botocore.exceptions.ClientError as error:
            report.append([service, error.response["Error"]["Code"], len(statuses)])
        del statuses[:]
print(json.dumps(report))
"""
)


def test_a_wrong_secret_costs_one_extra_request_at_most(fake_time: FakeTime, ministack: Server) -> None:
    """ministack checks the date first: one retry, then the second error; nothing is retried later."""
    fake_time.shift("-20m")
    report = run(fake_time, ministack, WRONG_SECRET)
    query, json_ = ["SignatureDoesNotMatch"] * 2, ["InvalidSignatureException"] * 2
    assert [code for _, code, _ in report] == [*query, *json_, *query]
    # All three services share one address, so what the first refusal taught serves the others.
    assert [count for _, _, count in report] == [2, 1, 1, 1, 1, 1]


FIRST_CALL = """
import json, sys
import boto3, skewguard
from skewguard.testing import StrictEndpoint

shift, source, wait = float(sys.argv[1]), sys.argv[2], float(sys.argv[3])
with StrictEndpoint(tls=True, offset=-shift) as aws, StrictEndpoint() as neighbour, aws.as_aws():
    keys = {name: aws.client_kwargs[name] for name in ("aws_access_key_id", "aws_secret_access_key", "region_name")}
    skewguard.install(sources=[source], wait=wait)
    counts = []
    for service, call in (("sts", "get_caller_identity"), ("dynamodb", "list_tables"), ("lambda", "list_functions")):
        getattr(boto3.client(service, **keys), call)()
        counts.append(aws.count)
    boto3.client("sts", **neighbour.client_kwargs).get_caller_identity()
    offset = skewguard.offset()
    print(json.dumps([counts, neighbour.count, offset.seconds, offset.error_bound, [r.status for r in aws.requests]]))
"""


def first_calls(fake_time: FakeTime, shift: str, source: str, wait: str) -> None:
    """Fail unless every first call of a program is one request, and the offset is known."""
    done = fake_time.run(FIRST_CALL, shift, source, wait)
    counts, neighbour, seconds, bound, statuses = json.loads(done.stdout)
    assert statuses == [200, 200, 200]
    assert counts == [1, 2, 3]
    assert neighbour == 1
    assert abs(seconds + float(shift)) <= bound + 0.01


@pytest.mark.parametrize("shift", ["-1200", "+1200", "+7200"])
def test_with_a_time_source_the_very_first_call_takes_one_request(fake_time: FakeTime, shift: str) -> None:
    """A chronyd that knows true time; an AWS name over verified TLS; a loopback server on the same wrong clock."""
    with chronyd() as daemon:
        fake_time.shift(shift)
        first_calls(fake_time, shift, f"ntp://127.0.0.1:{daemon.port}?allow_local=1", "10")


def test_a_daemon_of_this_host_needs_no_waiting_for(fake_time: FakeTime) -> None:
    """The clock is 20 minutes slow, chronyd knows it and may not set it: the first signing asks, and is right.

    It may take 20 ms, which a busy machine may not give it at once.
    """
    with chronyd(offset_seconds=1200) as upstream, chronyd(upstream=upstream) as daemon:
        source = f"chrony://127.0.0.1:{daemon.cmdport}?allow_local=1"
        for tries_left in (4, 3, 2, 1, 0):
            with contextlib.suppress(AssertionError) if tries_left else contextlib.nullcontext():
                first_calls(fake_time, "-1200", source, "0")
                break


def test_a_lying_time_source_is_corrected_by_the_first_answer(fake_time: FakeTime) -> None:
    """A chronyd an hour off on a healthy host costs one request; then the verified answer outranks it."""
    with chronyd(offset_seconds=3600) as liar:
        source = f"ntp://127.0.0.1:{liar.port}?allow_local=1"
        counts, _, seconds, _, statuses = json.loads(fake_time.run(FIRST_CALL, "0", source, "10").stdout)
    assert statuses == [403, 200, 200, 200]
    assert counts == [2, 3, 4]
    assert abs(seconds) < 3
