"""boto3's transfers by awscrt's S3 client, whose native code signs by the wall clock: the real client, on loopback."""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.compat
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

import skewguard
from skewguard import events
from skewguard.signing import repeated
from skewguard.testing import FakeClocks, StrictEndpoint
from tests.fakes import Emitted
from tests.patience import eventually
from tests.real.need import need
from tests.support import with_bucket

pytestmark = pytest.mark.slow

SIZE = 12 * 1024 * 1024
"""Two parts."""

DATA = bytes(range(256)) * (SIZE // 256)
CONFIG = TransferConfig(preferred_transfer_client="crt")

Call = Callable[[Any, Path, Callable[[int], None]], object]


def upload_file(s3: Any, file: Path, moved: Callable[[int], None]) -> None:
    s3.upload_file(str(file), "bucket", "new", Config=CONFIG, Callback=moved, ExtraArgs={"ContentType": "text/x"})


def upload_stream(s3: Any, file: Path, moved: Callable[[int], None]) -> None:
    s3.upload_fileobj(io.BytesIO(DATA), "bucket", "new", Config=CONFIG, Callback=moved)


def download_file(s3: Any, file: Path, moved: Callable[[int], None]) -> None:
    target = file.with_suffix(".down")
    s3.download_file("bucket", "large", str(target), Config=CONFIG, Callback=moved)
    assert target.read_bytes() == DATA


def download_stream(s3: Any, file: Path, moved: Callable[[int], None]) -> None:
    target = io.BytesIO()
    s3.download_fileobj("bucket", "large", target, Config=CONFIG, Callback=moved)
    assert target.getvalue() == DATA


CALLS: tuple[Call, ...] = (upload_file, upload_stream, download_file, download_stream)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictEndpoint]:
    """A server with an object of two parts, which this process's clients call by default, awscrt's included."""
    need(botocore.compat.HAS_CRT, "awscrt", "pip install awscrt")
    import boto3.crt
    import s3transfer.crt

    def plain(_session: Any, _config: Any, region: str, keys: Any) -> Any:
        return s3transfer.crt.create_s3_crt_client(region, crt_credentials_provider=keys, use_ssl=False)

    monkeypatch.setattr(boto3.crt, "_create_crt_client", plain)
    monkeypatch.setattr(boto3.crt, "CRT_S3_CLIENT", None)
    monkeypatch.setattr(boto3.crt, "BOTOCORE_CRT_SERIALIZER", None)
    # boto3 lets one process of a host use that client at a time, and other tests may run beside these.
    monkeypatch.setattr(boto3.crt, "PROCESS_LOCK_NAME", f"skewguard-test-{os.getpid()}")
    with StrictEndpoint() as running:
        keys = running.client_kwargs
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", str(keys["aws_access_key_id"]))
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", str(keys["aws_secret_access_key"]))
        with_bucket(running)
        boto3.Session().client("s3").put_object(Bucket="bucket", Key="large", Body=DATA)
        running.clear()
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(DATA)
    return made


def refused(server: StrictEndpoint) -> dict[str, int]:
    """Count the refused requests since the last call, by client; the accepted ones are dropped."""
    found = Counter(maker(record.headers) for record in server.requests if record.status >= 400)
    server.clear()
    return dict(found)


def maker(headers: Any) -> str:
    return "crt" if "CRTS3NativeClient" in headers["user-agent"] else "classic"


@pytest.mark.parametrize("call", [upload_file, download_file, download_stream])
def test_a_transfer_that_fails_for_its_time_is_repeated(
    server: StrictEndpoint, file: Path, emitted: Emitted, call: Call
) -> None:
    """The classic client learns; later ones are classic until the clock is right. No byte counts twice."""
    skewguard.install()
    s3 = boto3.Session().client("s3")
    moved: list[int] = []
    server.offset = -1200 if call is download_file else 1200
    call(s3, file, moved.append)
    assert sum(moved) == SIZE
    assert min(moved) > 0
    found = refused(server)
    assert found.pop("classic") == 1
    assert found == {"crt": 1 if "download" in call.__name__ else 6}

    call(s3, file, moved.append)
    assert {maker(record.headers) for record in server.requests} == {"classic"}
    assert refused(server) == {}
    server.offset = 0
    call(s3, file, moved.append)
    refused(server)
    call(s3, file, moved.append)
    assert {maker(record.headers) for record in server.requests} == {"crt"}
    assert refused(server) == {}
    assert not emitted.of(events.Degraded)
    if call is upload_file:
        assert s3.head_object(Bucket="bucket", Key="new")["ContentType"] == "text/x"


@pytest.mark.parametrize("call", CALLS)
def test_a_healthy_transfer_is_awscrts_own(server: StrictEndpoint, file: Path, call: Call) -> None:
    """Request for request, header for header."""
    changing = ("authorization", "x-amz-date", "amz-sdk-invocation-id", "user-agent")

    def requests() -> list[Any]:
        call(boto3.Session().client("s3"), file, lambda _: None)
        shown = []
        for record in server.requests:
            headers = [(name, "" if name in changing else value) for name, value in record.headers.items()]
            query = re.sub("uploadId=[^&]*", "", record.query)
            shown.append((record.method, record.path, query, sorted(headers), len(record.body)))
        server.clear()
        return sorted(shown)

    plain = requests()
    with skewguard.install():
        assert requests() == plain


@pytest.mark.parametrize("offset", [0, 1200])
def test_a_denial_costs_one_request_at_most(server: StrictEndpoint, file: Path, offset: int) -> None:
    """On a right clock none, because the answer shows that clock."""
    skewguard.install()
    s3 = boto3.Session().client("s3")
    server.offset = offset
    server.fail_next("AccessDenied", "no", status=403, times=9)
    with pytest.raises(ClientError, match="403"):
        download_file(s3, file, lambda _: None)
    assert server.count == (3 if offset else 1)  # a guarded call alone takes two on a clock that seems wrong


def test_it_ends_with_the_installation(server: StrictEndpoint, file: Path) -> None:
    """A client made under it is boto3's own again."""
    with skewguard.install():
        s3 = boto3.Session().client("s3")
    server.offset = 1200
    with pytest.raises(ClientError, match="403"):
        download_file(s3, file, lambda _: None)
    assert refused(server) == {"crt": 1}


class Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False


class TestStreams:
    """Only what can be made again is."""

    def test_an_upload_from_the_start_is_rewound(self) -> None:
        stream = io.BytesIO(b"12345")
        body = repeated._Upload(stream)
        stream.read(3)
        assert body.rewind()
        assert stream.tell() == 0

    def test_one_from_elsewhere_and_a_pipe_are_not(self) -> None:
        stream = io.BytesIO(b"12345")
        stream.seek(1)
        for each in (stream, Pipe(b"12345"), object()):
            assert not repeated._Upload(each).rewind()
        assert stream.tell() == 1

    def test_a_download_of_which_nothing_was_written(self) -> None:
        stream = io.BytesIO(b"before")
        stream.seek(6)
        body = repeated._Download(stream)
        assert body.rewind()
        stream.write(b"x")
        assert not body.rewind()
        assert not repeated._Download(Pipe()).rewind()


class TooSkewedError(Exception):
    name = "AWS_ERROR_S3_REQUEST_TIME_TOO_SKEWED"


class FakeManager:
    """A transfer manager that moves some bytes at once, and then succeeds or fails."""

    def __init__(self, *moves: int, error: Exception | None = None, crt: bool = False) -> None:
        self.moves = moves
        self.error = error
        self.crt = crt
        self.given: list[dict[str, Any]] = []
        self.ended: list[bool] = []

    def upload(self, *args: Any, extra_args: Any, subscribers: Any) -> Any:
        self.given.append(dict(extra_args))
        future = SimpleNamespace(
            meta=SimpleNamespace(call_args=SimpleNamespace(extra_args=extra_args)),
            done=lambda: True,
            result=self.result,
            cancel=lambda: None,
            set_exception=lambda error: setattr(self, "error", error),
        )
        (subscriber,) = subscribers
        subscriber.on_queued(future=future)
        extra_args["ContentMD5"] = "awscrt's manager adds this"
        for move in self.moves:
            subscriber.on_progress(future=future, bytes_transferred=move)
        subscriber.on_done(future=future, **({"error": self.error, "status_code": None} if self.crt else {}))
        return future

    delete = upload

    def result(self, _timeout: float | None = None) -> str:
        if self.error is not None:
            raise self.error
        return "moved"

    def shutdown(self, cancel: bool = False) -> None:
        self.ended.append(cancel)


class Subscriber:
    """What a caller subscribes, such as the AWS CLI: it adds arguments, and notes each event."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_queued(self, future: Any, **_: Any) -> None:
        future.meta.call_args.extra_args["ContentType"] = "text/plain"
        self.seen.append("queued")

    def on_progress(self, bytes_transferred: int, **_: Any) -> None:
        self.seen.append(bytes_transferred)

    def on_done(self, future: Any, **_: Any) -> None:
        try:
            self.seen.append(future.result())
        except Exception as error:
            self.seen.append(error)


class TestSubscribers:
    """They see one transfer, whichever client ends it."""

    @staticmethod
    def managers(crt: FakeManager, make_classic: Callable[[], Any]) -> repeated.RepeatingManager:
        clocks = FakeClocks()
        keeper = SimpleNamespace(clocks=clocks, signing_time=lambda _: (clocks.wall, clocks.wall, clocks.steady))
        guard: Any = SimpleNamespace(is_on=lambda: True, keeper=keeper, route=lambda *_: SimpleNamespace(domain=None))
        return repeated.RepeatingManager(crt, lambda _: None, make_classic, guard, "https://s3")

    def test_no_byte_counts_twice_and_what_they_add_is_kept(self) -> None:
        """awscrt fails after four bytes; the classic client moves all ten."""
        crt, classic, caller = FakeManager(1, 3, error=TooSkewedError(), crt=True), FakeManager(3, 3, 4), Subscriber()
        manager = self.managers(crt, lambda: classic)
        transfer = manager.upload("file", "bucket", "key", {"ACL": "private"}, [caller])
        assert transfer.result() == "moved"
        manager.shutdown(cancel=False)
        assert (crt.ended, classic.ended) == ([False], [False])
        eventually(lambda: len(caller.seen) == 6)
        assert caller.seen == ["queued", 1, 3, 2, 4, "moved"]
        assert classic.given == [{"ACL": "private", "ContentType": "text/plain"}]
        assert transfer.done()

    @pytest.mark.parametrize("name", ["upload", "delete"])
    def test_another_failure_is_theirs_at_once(self, name: str) -> None:
        """The classic manager is not even made."""
        error = ValueError("of another kind")
        crt, caller = FakeManager(error=error, crt=True), Subscriber()
        manager = self.managers(crt, lambda: 1 / 0)
        args = ("file", "bucket", "key") if name == "upload" else ("bucket", "key")
        transfer = getattr(manager, name)(*args, {}, [caller])
        with pytest.raises(ValueError, match="of another kind"):
            transfer.result()
        transfer.cancel()
        manager.shutdown(cancel=True)
        assert caller.seen == ["queued", error]
        assert manager.given == crt.given  # all else is awscrt's manager's

    def test_a_classic_manager_that_cannot_be_made_leaves_the_first_failure(self) -> None:
        error, caller = TooSkewedError(), Subscriber()
        manager = self.managers(FakeManager(error=error, crt=True), lambda: 1 / 0)
        transfer = manager.upload("file", "bucket", "key", {}, [caller])
        with pytest.raises(TooSkewedError):
            transfer.result()
        eventually(lambda: caller.seen == ["queued", error])
        replaced = KeyError("replaced")
        transfer.set_exception(replaced)
        with pytest.raises(KeyError):
            transfer.result()
