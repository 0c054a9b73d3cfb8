"""The shared file itself: what is written can be read, and nothing else is believed, whatever its writer."""

from __future__ import annotations

import binascii
import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skewguard.clocks import Reading, system
from skewguard.errors import StoreError
from skewguard.events import Degraded
from skewguard.interval import SECOND, Interval, Trust
from skewguard.testing import FakeClocks
from skewguard.timekeeping import shared_file
from skewguard.timekeeping.domain import UTC
from skewguard.timekeeping.shared_file import MOST_BYTES, MOST_ENTRIES, Contents, Store, parse, render
from tests.fakes import Emitted, raising
from tests.patience import in_threads
from tests.real.need import need
from tests.support import nothing_left_open

TAG = "5ffdb7cd-2f7d-49f4-8023-c619e6314381 time:[4026531834] monotonic 0 0 boottime 0 0"
READING = Reading(1_000 * SECOND, 1_767_225_600 * SECOND)
ESTIMATE = Interval(900 * SECOND, 1_767_226_700 * SECOND, 1_767_226_703 * SECOND, Trust.AUTHENTICATED, "https://sts")
OWN = Interval(800 * SECOND, 1_767_220_000 * SECOND, 1_767_220_001 * SECOND, Trust.WITNESS, "https://minio:9000")
MEMORY = Contents(READING, {UTC: ESTIMATE, "https://minio:9000": OWN})

linux = pytest.mark.skipif(sys.platform != "linux", reason="nothing is shared elsewhere")

numbers = st.integers(0, 2**63 - 1)
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255)


@st.composite
def memories(draw: st.DrawFn) -> Contents:
    said = {}
    for key in draw(st.lists(words | st.just(UTC), max_size=MOST_ENTRIES, unique=True)):
        earliest, latest = sorted([draw(numbers), draw(numbers)])
        trust = Trust.AUTHENTICATED if key == UTC else Trust.WITNESS
        said[key] = Interval(draw(numbers), earliest, latest, trust, draw(words), draw(numbers.filter(bool)))
    return Contents(Reading(draw(numbers), draw(numbers)), said)


def signed(body: bytes) -> bytes:
    return body + b"end %08x\n" % binascii.crc32(body)


class TestFormat:
    """Bytes to value, or one error."""

    @given(memories())
    def test_what_is_written_can_be_read(self, memory: Contents) -> None:
        """To the nanosecond, and never longer than a file may be."""
        data = render(memory, TAG)
        assert len(data) <= MOST_BYTES
        assert parse(data) == (TAG, memory)

    @given(st.binary(max_size=300))
    def test_any_bytes_are_a_value_or_the_one_error(self, data: bytes) -> None:
        """With and without a sum that fits."""
        for whole in (data, signed(data), signed(render(MEMORY, TAG)[:-13] + data)):
            with contextlib.suppress(StoreError):
                parse(whole)

    @given(st.data())
    def test_a_field_of_any_text_is_a_value_or_the_one_error(self, data: st.DataObject) -> None:
        """Where the sum fits; and a value is only what would be written so."""
        fields = render(MEMORY, TAG)[:-13].split(b" ")
        fields[data.draw(st.integers(0, len(fields) - 1))] = data.draw(
            st.binary(max_size=30) | st.integers().map(lambda value: b"%d" % value)
        )
        whole = signed(b" ".join(fields))
        with contextlib.suppress(StoreError):
            tag, memory = parse(whole)
            assert parse(render(memory, tag)) == (tag, memory)

    def test_a_torn_file_is_none(self) -> None:
        """Whatever is missing at its end; or in its middle, as zeros."""
        data = render(MEMORY, TAG)
        for length in range(len(data)):
            with pytest.raises(StoreError):
                parse(data[:length])
            with pytest.raises(StoreError):
                parse(data[:length] + bytes(len(data) - length))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"estimates 2", b"estimates 1"),
            (b"\nread ", b"\nread -"),
            (b"read 1000000000000 ", b"read "),
            (b"read 1000000000000", b"read 9223372036854775808"),
            (b"read 1000000000000", b"read 01000000000000"),
            (b"read 1000000000000", b"read 1e12"),
            (b"on 5", b"at 5"),
            (b"https://sts ", b"https://sts  "),
            (b"https://sts ", b""),
            (b"https://sts", b"h" * 256),
            (b"https://sts", b"\x7f"),
            (b"https://sts", "ü".encode()),
            (b"estimate utc", b"estimate https://minio:9000"),
            (b"1767226700000000000 ", b"1767226704000000000 "),
            (b"estimate utc", b"heard utc"),
            (b"\nestimate", b"\n\nestimate"),
            (b" 100000\n", b" 0\n"),
        ],
    )
    def test_what_would_not_be_written_so_is_not_read(self, old: bytes, new: bytes) -> None:
        """Other versions, negative, huge, padded and missing numbers, two of one kind, an end before its beginning."""
        body = render(MEMORY, TAG)[:-13]
        assert old in body
        with pytest.raises(StoreError):
            parse(signed(body.replace(old, new)))

    def test_a_file_of_an_older_release_is_ignored(self) -> None:
        """It is replaced once there is something to write."""
        old = b"skewguard-estimates 1\non %s\nlook 1 2\nsaid utc https://sts 1 2 3 100000\n" % TAG.encode()
        with pytest.raises(StoreError, match="another version"):
            parse(signed(old))

    def test_a_file_cannot_claim_trust(self) -> None:
        """It follows from whom an entry speaks of."""
        assert {said.trust for key, said in parse(render(MEMORY, TAG))[1].estimates.items() if key != UTC} == {
            Trust.WITNESS
        }
        claimed = Interval(1, 2, 3, Trust.AUTHENTICATED, "x")
        assert (
            parse(render(Contents(READING, {"http://x": claimed}), TAG))[1].estimates["http://x"].trust is Trust.WITNESS
        )

    def test_its_length_is_bounded(self) -> None:
        """The latest entries stay."""
        many = {f"http://{index}": Interval(index, 2, 3, Trust.WITNESS, "s" * 255) for index in range(1000)}
        said = parse(render(Contents(READING, many), TAG))[1].estimates
        assert sorted(int(key[7:]) for key in said) == list(range(1000 - MOST_ENTRIES, 1000))
        with pytest.raises(StoreError, match="too long"):
            parse(bytes(MOST_BYTES + 1))
        body = render(MEMORY, TAG)[:-13]
        more = b"".join(b"estimate %d s 1 2 3 4\n" % index for index in range(MOST_ENTRIES))
        with pytest.raises(StoreError, match="head"):
            parse(signed(body + more))

    def test_endpoints_without_end_do_not_push_out_utc(self) -> None:
        """It was heard first, and every process needs it."""
        many = {f"http://{index}": Interval(index + 1, 2, 3, Trust.WITNESS, "s") for index in range(MOST_ENTRIES)}
        said = parse(render(Contents(READING, {UTC: ESTIMATE._replace(at=0), **many}), TAG))[1].estimates
        assert len(said) == MOST_ENTRIES
        assert said[UTC].at == 0

    def test_what_could_not_be_read_is_not_written(self) -> None:
        """A name with a space, a negative time; and a wall clock before 1970 writes nothing at all."""
        said = {"http://a b": OWN, "http://ü": OWN, "": OWN, "http://c": Interval(1, -2, 3, Trust.WITNESS, "c")}
        assert parse(render(Contents(READING, said), TAG))[1].estimates == {}
        with pytest.raises(StoreError, match="range"):
            render(Contents(Reading(1, -1), {}), TAG)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where the file may be, empty; and a process that is no test."""
    monkeypatch.setattr(shared_file, "bases", lambda: iter([str(tmp_path)]))
    shared_file.keep_private(False)
    tmp_path.chmod(0o700)
    return tmp_path


def read_clocks() -> Reading:
    return system().read()


def written(base: Path) -> Path:
    """Write a sound file, and show that it is one."""
    now = read_clocks()
    Store().write(Contents(now, {UTC: ESTIMATE._replace(at=now.steady)}))
    assert set(Store().read(system()).estimates) == {UTC}
    return next(base.iterdir()) / "estimates"


def nothing_is_shared() -> None:
    """Fail unless reading and writing are refused."""
    with pytest.raises(StoreError):
        Store().read(system())
    with pytest.raises(StoreError):
        Store().write(MEMORY)


HOSTILE: dict[str, Callable[[Path], object]] = {
    "fifo": lambda path: (path.unlink(), os.mkfifo(path, 0o600)),
    "symlink": lambda path: path.symlink_to(path.rename(path.with_name("elsewhere"))),
    "directory": lambda path: (path.unlink(), path.mkdir()),
    "symlinked directory": lambda path: path.parent.symlink_to(path.parent.rename(path.parent.with_name("elsewhere"))),
    "huge": lambda path: os.truncate(path, 1 << 40),
    "torn": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(os.urandom(500)),
    "missing": lambda path: path.unlink(),
    "unreadable": lambda path: (path.unlink(), path.symlink_to("/proc/self/mem")),
    "writable by others": lambda path: path.chmod(0o606),
    "writable by the group": lambda path: path.chmod(0o620),
    "in an open directory": lambda path: path.parent.chmod(0o750),
    "in a place that others may empty": lambda path: path.parent.parent.chmod(0o777),
}

SQUATTED: dict[str, Callable[[Path], object]] = {
    "a file": lambda name: name.touch(0o600),
    "a symlink": lambda name: (name.with_name("own").mkdir(0o700), name.symlink_to("own")),
    "a broken symlink": lambda name: name.symlink_to("nowhere"),
    "open to others": lambda name: (name.mkdir(), name.chmod(0o755)),
}


@linux
class TestFile:
    @pytest.mark.parametrize("way", HOSTILE)
    def test_anything_amiss_is_ignored(self, base: Path, way: str) -> None:
        """Without waiting, too: a FIFO has no other end."""
        HOSTILE[way](written(base))
        with pytest.raises(StoreError):
            Store().read(system())

    @pytest.mark.parametrize("way", HOSTILE)
    def test_writing_mends_it_or_fails_alike(self, base: Path, way: str) -> None:
        """And what a symlink leads to stays as it is."""
        path = written(base)
        HOSTILE[way](path)
        elsewhere = [found.read_bytes() for found in base.rglob("elsewhere") if found.is_file()]
        with contextlib.suppress(StoreError):
            written(base)
            assert "place" not in way
        assert [found.read_bytes() for found in base.rglob("elsewhere") if found.is_file()] == elsewhere
        assert not list(base.rglob("estimates.*"))

    def test_a_sticky_place_is_good_enough(self, base: Path) -> None:
        """As /dev/shm is one."""
        base.chmod(0o1777)
        written(base)

    def test_no_other_users_is_believed(self, base: Path, monkeypatch: pytest.MonkeyPatch, emitted: Emitted) -> None:
        """Not their file, nor their directory, nor a place of theirs."""
        path = written(base)
        me = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
        path.parent.rename(base / f"skewguard-{me + 1}")  # as another user would have put it there
        with pytest.raises(StoreError):
            Store().read(system())
        with pytest.raises(StoreError, match="safe place"):
            Store().write(MEMORY)
        monkeypatch.setattr(shared_file, "_sheltered", bool)  # as root's /dev/shm is to that user
        for _ in range(2):
            with pytest.raises(StoreError, match="safe place"):
                Store().write(MEMORY)
        assert len(emitted.of(Degraded)) == 1

    @pytest.mark.parametrize("way", SQUATTED)
    def test_a_name_that_is_taken_is_reported_once(
        self, base: Path, way: str, emitted: Emitted, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With the path, and what to do; only if no other place will do, and however often it is tried."""
        name = base / f"skewguard-{os.geteuid()}"
        SQUATTED[way](name)
        for _ in range(3):
            with pytest.raises(StoreError):
                Store().read(system())
            with pytest.raises(StoreError, match="safe place"):
                Store().write(MEMORY)
        (event,) = emitted.of(Degraded)
        assert event.reason.startswith(f"{name} is not a directory that only this user can enter; remove it")
        (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
        assert record.getMessage() == f"{event.part} is switched off: {event.reason}"

    @pytest.mark.parametrize("made", [False, True])
    def test_a_name_that_is_taken_does_not_matter_where_another_place_serves(
        self, base: Path, monkeypatch: pytest.MonkeyPatch, emitted: Emitted, made: bool
    ) -> None:
        """Before it or after it; made already or not."""
        places = [base / "squatted", base / "free"]
        for place in places:
            place.mkdir(mode=0o700)
        (base / "squatted" / f"skewguard-{os.geteuid()}").touch()
        for order in (places, places[::-1]):
            monkeypatch.setattr(shared_file, "bases", lambda order=order: map(str, order))
            if made:
                Store().write(Contents(read_clocks(), {}))
            with contextlib.suppress(StoreError):
                Store().read(system())
            Store().write(Contents(read_clocks(), {}))
        assert emitted == []

    def test_only_this_user_can_enter(self, base: Path) -> None:
        before = os.umask(0)
        try:
            path = written(base)
        finally:
            os.umask(before)
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert path.stat().st_mode & 0o777 == 0o600

    def test_the_next_place_serves_where_one_does_not(
        self, base: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A directory that does not exist, one that is none, one that others may empty."""
        open_to_all = tmp_path_factory.mktemp("open")
        open_to_all.chmod(0o777)
        places = [str(base / "nowhere"), "/dev/null", str(open_to_all), str(base)]
        monkeypatch.setattr(shared_file, "bases", lambda: iter(places))
        written(base)
        assert not list(open_to_all.iterdir())

    def test_the_places(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A relative XDG_RUNTIME_DIR is none, as its specification says."""
        everywhere = [f"/run/user/{os.geteuid()}", "/dev/shm"]
        for value, named in {"/somewhere": ["/somewhere"], "here": [], "": []}.items():
            monkeypatch.setenv("XDG_RUNTIME_DIR", value)
            assert list(shared_file.bases()) == named + everywhere

    @pytest.mark.parametrize("moved", [-1000, 1])
    def test_a_file_from_the_future_is_ignored(self, base: Path, moved: int) -> None:
        """The steady clock went back, or an entry is later than its writer's reading of the clocks."""
        now = read_clocks()
        late = ESTIMATE._replace(at=now.steady + max(moved, 0) * SECOND)
        Store().write(Contents(now, {UTC: late}))
        with pytest.raises(StoreError, match="future"):
            Store().read(FakeClocks(steady=now.steady + min(moved, 0) * SECOND))

    @pytest.mark.parametrize("changed", ["boot_id", "ns/time", "timens_offsets", "ns/pid", "1/stat"])
    def test_another_boot_or_namespace_is_ignored(
        self, base: Path, monkeypatch: pytest.MonkeyPatch, changed: str
    ) -> None:
        """Whichever part of the name differs; a namespace's number is reused, so its first process counts, too."""
        written(base)
        text, readlink = shared_file._text, os.readlink
        other = {
            "boot_id": "00000000-0000-4000-8000-000000000000\n",
            "timens_offsets": "monotonic 0 0\nboottime 9 0\n",
            "1/stat": f"1 (a) name) S {'1 ' * 49}\n",
        }
        monkeypatch.setattr(shared_file, "_text", lambda path: other[changed] if path.endswith(changed) else text(path))
        monkeypatch.setattr(os, "readlink", lambda path: "ns:[1]" if path.endswith(changed) else readlink(path))
        with pytest.raises(StoreError, match="another boot"):
            Store().read(system())

    @pytest.mark.parametrize(
        ("path", "content"),
        [("boot_id", None), ("boot_id", "\n"), ("uptime", ""), ("uptime", "1.0 1.0"), ("1/stat", "1 (init) S")],
    )
    def test_where_the_boot_has_no_name_nothing_is_shared(
        self, base: Path, monkeypatch: pytest.MonkeyPatch, path: str, content: str | None
    ) -> None:
        """No /proc; or one that contradicts this process's clocks, which are then a preloaded library's."""
        written(base)
        text = shared_file._text

        def instead(asked: str) -> str:
            if not asked.endswith(path):
                return text(asked)
            if content is None:
                raise FileNotFoundError(asked)
            return content

        monkeypatch.setattr(shared_file, "_text", instead)
        nothing_is_shared()

    def test_a_kernel_without_namespaces_will_do(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then there is but one of each."""
        boot = shared_file.tag().split()[0]
        listdir = os.listdir
        monkeypatch.setattr(os, "listdir", lambda path: [] if path == "/proc/self/ns" else listdir(path))
        assert shared_file.tag() == boot
        written(base)

    def test_a_process_that_proc_does_not_show_shares_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its namespaces cannot be told from those of another."""
        monkeypatch.setattr(os, "listdir", raising(FileNotFoundError()))
        with pytest.raises(StoreError, match="cannot be identified"):
            shared_file.tag()

    @pytest.mark.parametrize(("stat", "last"), [(None, "]"), (f"1 (ü) S {'7 ' * 49}", " 7")])
    def test_the_first_process_may_be_hidden_or_have_any_name(
        self, base: Path, monkeypatch: pytest.MonkeyPatch, stat: str | None, last: str
    ) -> None:
        """Other users' processes are hidden if ``/proc`` is mounted with ``hidepid``."""
        shown, text = base / "stat", shared_file._text
        if stat is not None:
            shown.write_text(stat, "utf-8")
        monkeypatch.setattr(shared_file, "_text", lambda path: text(str(shown) if path == "/proc/1/stat" else path))
        assert shared_file.tag().endswith(last)
        Store().write(Contents(read_clocks(), {}))
        assert Store().read(system()).estimates == {}

    def test_other_platforms_share_nothing(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        written(base)
        monkeypatch.setattr(sys, "platform", "darwin")
        nothing_is_shared()

    def test_what_killed_writers_left_is_swept(self, base: Path) -> None:
        """But not what another is writing at the moment."""
        path = written(base)
        old, new = path.with_name("estimates.1.a"), path.with_name("estimates.2.b")
        for left in (old, new):
            left.write_bytes(b"half")
        os.utime(old, (1, 1))
        written(base)
        assert not old.exists()
        assert new.exists()

    def test_nothing_stays_open(self, base: Path) -> None:
        with nothing_left_open():
            path = written(base)
            for way in ("torn", "fifo", "symlinked directory"):
                HOSTILE[way](path)
                with contextlib.suppress(StoreError):
                    Store().read(system())
                with contextlib.suppress(StoreError):
                    Store().write(MEMORY)
                shutil.rmtree(path.parent, ignore_errors=True)
                if path.parent.is_symlink():
                    path.parent.unlink()
                written(base)

    def test_a_process_that_plays_aws_keeps_to_itself(self, base: Path) -> None:
        """What it learns is true nowhere else."""
        written(base)
        shared_file.keep_private()
        nothing_is_shared()


HAMMER = """
import sys
from skewguard.timekeeping import shared_file as store
from skewguard.clocks import system
from skewguard.interval import Interval, Trust
store.bases = lambda: iter([sys.argv[1]])
for turn in range(400):
    now = system().read()
    source = sys.argv[2] * (1 + turn % 200)
    store.Store().write(store.Contents(now, {"utc": Interval(now.steady, 1, 2, Trust.AUTHENTICATED, source)}))
"""


@linux
@pytest.mark.slow
def test_two_writers_leave_a_valid_file_at_every_moment(base: Path) -> None:
    """The last one wins; a reader never sees half of one, nor parts of both."""
    written(base)
    writers = [subprocess.Popen([sys.executable, "-c", HAMMER, str(base), name]) for name in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        names = set(Store().read(system()).estimates[UTC].source)
        assert len(names) == 1 or names == set("https://sts")
        seen |= names
    assert [writer.returncode for writer in writers] == [0, 0]
    assert {"a", "b"} <= seen


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Use a directory in memory, as users have: renaming on a disk would take most of a writer's time."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as base:
        monkeypatch.setattr(shared_file, "bases", lambda: iter([base]))
        shared_file.keep_private(False)
        yield Path(base)


@linux
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.slow
def test_a_killed_writer_leaves_a_valid_file(in_memory: Path) -> None:
    """At least sixty writers, each at any moment, until some have left half a file; and the next one can write."""
    chance = random.Random(1)
    written(in_memory)
    for turn in itertools.count():
        if turn >= 60 and list(in_memory.rglob("estimates.*")):
            break
        assert turn < 6000, "none was killed before it had finished"
        child = os.fork()
        if not child:
            try:
                signal.alarm(60)
                while True:
                    now = read_clocks()
                    said = ESTIMATE._replace(at=now.steady, source=f"{turn}:{'x' * 200}")
                    Store().write(Contents(now, {UTC: said}))
            finally:  # the child of a test run must not go on as one
                os._exit(1)
        while not Store().read(system()).estimates[UTC].source.startswith(f"{turn}:"):
            assert os.waitpid(child, os.WNOHANG) == (0, 0)
        time.sleep(chance.uniform(0, 0.005))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert Store().read(system()).estimates[UTC].source == f"{turn}:{'x' * 200}"
    written(in_memory)


@linux
def test_threads_of_one_process_may_write_together(base: Path) -> None:
    """Names of unfinished files never collide."""
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(50):
                Store().write(Contents(read_clocks(), {}))
        except BaseException as error:
            failures.append(error)

    in_threads(8, write)
    assert failures == []
    assert [path.name for path in base.rglob("estimates*")] == ["estimates"]


NO_ROOM = """
import os, subprocess, sys
from skewguard.timekeeping import shared_file as store
from skewguard.clocks import system
from skewguard.interval import Interval, Trust
from tests.patience import in_threads
base, *commands = sys.argv[1:]
for command in commands:
    subprocess.run(command.split(), check=True)
store.bases = lambda: iter([base])
said = {f"http://{index}": Interval(1, 1, 2, Trust.WITNESS, "s" * 255) for index in range(64)}
try:
    store.Store().write(store.Contents(system().read(), said))
except store.StoreError as error:
    print(error)
print(os.listdir(f"{base}/skewguard-{os.geteuid()}"))
"""


@linux
@pytest.mark.parametrize(
    ("mounts", "message"),
    [
        (["mount -t tmpfs -o size=8k,mode=0700 none {0}"], "disk is full"),
        (
            ["mkdir -m 700 {0}/skewguard-0", "mount --bind {0} {0}", "mount -o remount,bind,ro {0}"],
            "Read-only file system",
        ),
    ],
)
def test_a_full_or_read_only_disk_is_one_error_and_leaves_nothing(base: Path, mounts: list[str], message: str) -> None:
    """Real ones, in a namespace where this user may mount."""
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    permitted = shutil.which("unshare") and subprocess.run([*alone, "true"], check=False).returncode == 0
    need(bool(permitted), "the right to make a user namespace", "sysctl kernel.unprivileged_userns_clone=1")
    command = [*alone, sys.executable, "-c", NO_ROOM, str(base), *(mount.format(base) for mount in mounts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert message in done.stdout, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
