"""The test bench: clocks that tests move, and servers that refuse as their facts state, without skewguard."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError

from tests.real import servers
from tests.real.faketime import FakeTime
from tests.real.need import need
from tests.real.servers import BODY, BUCKET, KEY, Server, counted
from tests.real.starting import free_ports

SECOND = 10**9

CLOCKS = """
    import sys, time
    names = ["CLOCK_REALTIME", "CLOCK_MONOTONIC", "CLOCK_MONOTONIC_RAW", "CLOCK_BOOTTIME"]
    print("ready")
    for _ in sys.stdin:
        print(*(time.clock_gettime_ns(getattr(time, name)) for name in names), time.time_ns(), time.perf_counter_ns())
"""

CALLS = """
    import json, sys
    import boto3, botocore.exceptions
    service, operation, arguments = json.loads(sys.argv[1])
    client = boto3.client(service)
    print("ready")
    for _ in sys.stdin:
        try:
            answer = getattr(client, operation)(**arguments)
        except botocore.exceptions.ClientError as error:
            answer = error.response
        error = answer.get("Error", {})
        print(json.dumps([answer["ResponseMetadata"]["HTTPStatusCode"], error.get("Code"), error.get("Message", "")]))
"""


def ask(child: subprocess.Popen[str]) -> str:
    """Let the child work once more, and return the line it prints."""
    child.stdin.write("\n")
    child.stdin.flush()
    line = child.stdout.readline()
    assert line, child.communicate()[1]
    return line


def begin(child: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert child.stdout.readline() == "ready\n", child.communicate()[1]
    return child


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_what_is_missing_is_named_with_its_command(ci: str, outcome: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer sees what to install; in CI, where everything should be installed, it is a failure."""
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match=r"^gravity is missing: apt-get install mass$"):
        need(False, "gravity", "apt-get install mass")


class TestFakeTime:
    def test_a_shift_is_seen_at_once_and_by_the_wall_clock_alone(self, fake_time: FakeTime) -> None:
        """Forward, back and home: the next reading shows it; the steady clocks are this process's own."""
        child = begin(fake_time.popen(CLOCKS))
        for shift, seconds in (("+0", 0), ("+20m", 1200), ("-90", -90), ("+1.5d", 129_600), ("-2h", -7200), ("+0", 0)):
            fake_time.shift(shift)
            before = [time.clock_gettime_ns(clock) for clock in _CLOCK_IDS]
            wall, monotonic, raw, boot, time_ns, perf = map(int, ask(child).split())
            after = [time.clock_gettime_ns(clock) for clock in _CLOCK_IDS]
            for seen in (wall, time_ns):
                assert before[0] + seconds * SECOND <= seen <= after[0] + seconds * SECOND
            # One kernel has one set of steady clocks: the child's reading must lie between two of this process.
            for seen, earliest, latest in zip((monotonic, raw, boot), before[1:], after[1:], strict=True):
                assert earliest <= seen <= latest
            assert before[1] <= perf <= after[1]

    def test_it_can_start_on_a_wrong_clock(self, tmp_path: Path) -> None:
        """The first reading shows the shift: imports and certificates are checked with it."""
        with FakeTime(tmp_path, "-20m") as clock:
            seen = float(clock.run("import time; print(time.time())").stdout)
        assert seen - time.time() == pytest.approx(-1200, abs=30)

    def test_a_given_date_runs_on(self, fake_time: FakeTime) -> None:
        """An absolute setting is where the clock starts; it runs on from there."""
        fake_time.shift("@2030-01-01 00:00:00")
        first, second = map(float, fake_time.run("""
            import time
            print(time.time()); time.sleep(0.2); print(time.time())
        """, env={"TZ": "UTC"}).stdout.split())  # fmt: skip
        assert first == pytest.approx(1_893_456_000, abs=30)
        assert second - first >= 0.19

    @pytest.mark.parametrize("shift", ["+0", "+20m", "-20m"])
    def test_sleeps_and_timeouts_last_as_long_as_they_say(self, fake_time: FakeTime, shift: str) -> None:
        """botocore sleeps between attempts and urllib3 waits with a deadline: none may fail, hang or hurry."""
        fake_time.shift(shift)
        out = fake_time.run("""
            import select, threading, time
            lock = threading.Lock()
            lock.acquire()
            time.sleep(0)
            for wait in (
                time.sleep,
                threading.Event().wait,
                lambda s: lock.acquire(timeout=s),
                lambda s: select.select([], [], [], s),
            ):
                began = time.monotonic()
                wait(0.2)
                print(time.monotonic() - began)
        """).stdout  # fmt: skip
        took = [float(line) for line in out.split()]
        assert len(took) == 4
        assert all(0.19 <= each < 10 for each in took)

    def test_a_sleep_outlasts_a_step(self, fake_time: FakeTime) -> None:
        """A step while the child sleeps neither wakes it nor delays it."""
        child = begin(fake_time.popen("""
            import sys, time
            print("ready"); sys.stdin.readline()
            began = time.monotonic(); print("asleep"); time.sleep(1); print(time.monotonic() - began)
        """))  # fmt: skip
        assert ask(child) == "asleep\n"
        fake_time.shift("+2h")
        assert 0.99 <= float(child.stdout.readline()) < 10

    def test_a_script_and_its_arguments(self, fake_time: FakeTime, tmp_path: Path) -> None:
        """A path is a script; it gets its arguments, variables and input."""
        script = tmp_path / "script.py"
        script.write_text("import os, sys; print(sys.argv[1:], os.environ['MORE'], sys.stdin.read())")
        done = fake_time.run(script, "a", "b", env={"MORE": "more"}, stdin="in")
        assert done.stdout == "['a', 'b'] more in\n"

    def test_failure_and_hanging_fail_the_test(self, fake_time: FakeTime) -> None:
        """The child's error output is shown; a child that hangs is ended."""
        with pytest.raises(pytest.fail.Exception, match="ZeroDivisionError"):
            fake_time.run("1 / 0")
        assert fake_time.run("raise SystemExit(3)", check=False).returncode == 3
        with pytest.raises(pytest.fail.Exception, match=r"hung for 1 s.*\n.*so far"):
            fake_time.run("import time; print('so far'); time.sleep(60)", timeout=1)

    def test_a_clock_that_would_stand_still_is_refused(self, fake_time: FakeTime) -> None:
        """A bare date would freeze the clock, and an empty setting would end the child at its start."""
        for amount in ("2030-01-01 00:00:00", "", "20m"):
            with pytest.raises(ValueError, match="not a shift"):
                fake_time.shift(amount)

    def test_a_killed_child_leaves_nothing(self, fake_time: FakeTime) -> None:
        """libfaketime's shared memory outlives a kill: it would break a later process of the same id."""
        child = begin(fake_time.popen(CLOCKS))
        fake_time.close()
        assert child.returncode == -9
        assert not [path for path in Path("/dev/shm").iterdir() if path.name.endswith(f"_{child.pid}")]


_CLOCK_IDS = [
    getattr(time, name, 0) for name in ("CLOCK_REALTIME", "CLOCK_MONOTONIC", "CLOCK_MONOTONIC_RAW", "CLOCK_BOOTTIME")
]


class Case(NamedTuple):
    """A call, and how a server refuses it from a clock 20 minutes slow, and fast: status, code, start of message."""

    server: str
    service: str
    operation: str
    arguments: dict[str, Any]
    slow: tuple[int, str, str]
    fast: tuple[int, str, str]


GET: tuple[str, str, dict[str, Any]] = ("s3", "get_object", {"Bucket": BUCKET, "Key": KEY})
HEAD: tuple[str, str, dict[str, Any]] = ("s3", "head_bucket", {"Bucket": BUCKET})
WHOAMI: tuple[str, str, dict[str, Any]] = ("sts", "get_caller_identity", {})
SKEWED = (403, "RequestTimeTooSkewed", "The difference between the request time and ")
BARE = (403, "403", "Forbidden")  # HEAD has no body: as for a wrong secret
LATE, EARLY = "Signature expired: ", "Signature not yet current: "
SDNM, ISE = "SignatureDoesNotMatch", "InvalidSignatureException"  # as for a wrong secret, apart from the message
AUTH = (401, "AuthFailure", "AWS was not able to validate ")  # as for a wrong secret, word for word
MAXIMUM = "The difference between the request time and the server's time exceeds the maximum allowed."
CASES = [
    Case("ministack", *GET, SKEWED, SKEWED),
    Case("ministack", *HEAD, BARE, BARE),
    Case("ministack", *WHOAMI, (403, SDNM, LATE), (403, SDNM, EARLY)),
    Case("ministack", "dynamodb", "list_tables", {}, (400, ISE, LATE), (400, ISE, EARLY)),
    Case("ministack", "sqs", "list_queues", {}, (403, SDNM, LATE), (403, SDNM, EARLY)),
    Case("ministack", "lambda", "list_functions", {}, (403, ISE, LATE), (403, ISE, EARLY)),
    Case("ministack", "ec2", "describe_regions", {}, AUTH, AUTH),
    Case("ministack_tls", *GET, SKEWED, SKEWED),
    Case("ministack_tls", *WHOAMI, (403, SDNM, LATE), (403, SDNM, EARLY)),
    Case("rclone", *GET, (400, "AccessDenied", MAXIMUM), SKEWED),
    Case("rclone", *HEAD, (400, "400", "Bad Request"), BARE),
    Case("seaweedfs", *GET, SKEWED, SKEWED),
    Case("seaweedfs", *HEAD, BARE, BARE),
    Case("seaweedfs_tls", *GET, SKEWED, SKEWED),
]
SERVERS = ["ministack", "ministack_tls", "rclone", "seaweedfs", "seaweedfs_tls"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.server}-{case.service}-{case.operation}")
def test_a_server_refuses_as_documented(case: Case, fake_time: FakeTime, request: pytest.FixtureRequest) -> None:
    """One process, its clock right, 20 minutes slow, fast, and right again: accepted, refused, refused, accepted."""
    server: Server = request.getfixturevalue(case.server)
    call = json.dumps([case.service, case.operation, case.arguments])
    child = begin(fake_time.popen(CALLS, call, env={**server.environment(), "AWS_MAX_ATTEMPTS": "1"}))
    for shift, expected in (("+0", (200, None, "")), ("-20m", case.slow), ("+20m", case.fast), ("+0", (200, None, ""))):
        fake_time.shift(shift)
        status, code, message = json.loads(ask(child))
        assert (status, code) == expected[:2], f"{shift}: {message}"
        assert message.startswith(expected[2])


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_checks_signatures_and_its_requests_can_be_counted(name: str, request: pytest.FixtureRequest) -> None:
    """The right key reads and writes, over aws-chunked too; a wrong secret is refused; each request is seen once."""
    server: Server = request.getfixturevalue(name)
    s3 = server.client("s3")
    seen = counted(s3)
    assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == BODY
    s3.put_object(Bucket=BUCKET, Key="other", Body=os.urandom(300_000))
    assert seen == [200, 200]
    wrong = server.client("s3", secret_key="wrong", retries={"total_max_attempts": 1})
    refused = counted(wrong)
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        wrong.list_objects_v2(Bucket=BUCKET)
    assert refused == [403]


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_listens_on_loopback_alone(name: str, request: pytest.FixtureRequest) -> None:
    """Nothing that tests start can be reached from elsewhere."""
    server: Server = request.getfixturevalue(name)
    own, listening = _sockets(server.pid), []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                listening.append(fields[1].split(":")[0])
    assert listening
    assert set(listening) == {"0100007F"}


def _sockets(pid: int) -> set[str]:
    directory = Path(f"/proc/{pid}/fd")
    need(directory.exists(), "/proc", "run on Linux")
    found = set()
    for path in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            found.add(str(path.readlink()))
    return found


def test_a_server_whose_own_clock_is_stepped(fake_time: FakeTime) -> None:
    """The other way round: the client's clock is true, and the server's moves between two calls."""
    with servers.ministack(environment=fake_time.env()) as server:
        sts = server.client("sts")
        seen = counted(sts)
        sts.get_caller_identity()
        for shift, message in (("+20m", LATE), ("-20m", EARLY)):
            fake_time.shift(shift)
            with pytest.raises(ClientError, match=message):
                sts.get_caller_identity()
        fake_time.shift("+0")
        sts.get_caller_identity()
        assert seen == [200, 403, 403, 200]


def test_a_request_that_never_arrives_is_counted_too() -> None:
    """With the name of botocore's exception."""
    [port] = free_ports()
    closed = Server(f"http://127.0.0.1:{port}", "key", "secret", None, 0)
    sts = closed.client("sts", retries={"total_max_attempts": 2})
    seen = counted(sts)
    with pytest.raises(Exception, match="Could not connect"):
        sts.get_caller_identity()
    assert seen == ["EndpointConnectionError"] * 2
