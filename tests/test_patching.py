"""Patches are applied once, whichever threads, forks and signals come when, and all can be undone."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace

import pytest

from skewguard import events
from skewguard.signing.patches import patching
from skewguard.signing.patches.patching import Absent, CodePatch, Group, NamePatch
from tests.patience import in_threads
from tests.test_interrupts import Interrupter

PART = "telling the time"


class Owner:
    """Replaces a module of botocore's."""

    @staticmethod
    def now() -> int:
        return 1


def later(original: object) -> object:
    """Return a replacement that adds to what is there: applied twice, it would show."""
    assert callable(original)
    return staticmethod(lambda: original() + 1)


def patch_now() -> NamePatch:
    return NamePatch(PART, Owner, "now", later)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Undo the patches of a test, and forget its groups."""
    groups = list(patching._groups)
    yield
    for group in patching._groups[len(groups) :]:
        group.undo()
    patching._groups[:] = groups
    assert Owner.now() == 1


class SlowLock:
    """Lets no thread in before two have come: each has found the patch not yet applied."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.both_here = threading.Barrier(2)

    def __enter__(self) -> None:
        self.both_here.wait(60)
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def test_two_threads_at_once_patch_a_name_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a correction would be applied twice."""
    group = Group(lambda: [patch_now()])
    monkeypatch.setattr(patching, "_lock", SlowLock())
    in_threads(2, group.apply)
    monkeypatch.undo()
    assert Owner.now() == 2
    group.undo()
    assert Owner.now() == 1


def test_patches_can_be_applied_again_after_they_were_undone() -> None:
    """A group lists them anew, because botocore may have changed meanwhile."""
    group = Group(lambda: [patch_now()])
    for _ in range(2):
        group.apply()
        group.apply()
        assert Owner.now() == 2
        group.undo()
        assert Owner.now() == 1


class InterruptError(Exception):
    """What a signal's handler raises."""


def _interrupted_at(bytecode: int, function: Callable[[], object]) -> bool:
    """Run a function, and interrupt it before the given bytecode of `patching`; return whether it had so many."""
    interrupter = Interrupter(bytecode, patching.__file__, InterruptError())
    with contextlib.suppress(InterruptError):
        interrupter.run(function)
    return interrupter.reached


def _some_time() -> int:
    return 10


def test_an_interrupt_at_any_bytecode_leaves_nothing_half_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Applying again finishes it: each name is replaced, once, and can be restored."""
    # This thread may keep the lock, because CPython lets no signal in between a lock's acquisition and its `with`.
    monkeypatch.setattr(patching, "_lock", threading.RLock())
    module = ModuleType("library_of_time")
    module.some_time = _some_time  # type: ignore[attr-defined]
    original = _some_time.__code__
    for bytecode in range(10_000):
        group = Group(lambda: [patch_now(), CodePatch(PART, module, "some_time", lambda now: lambda: now() + 1)])
        interrupted = _interrupted_at(bytecode, group.apply)
        group.apply()
        assert (Owner.now(), _some_time()) == (2, 11), bytecode
        group.undo()
        assert (Owner.now(), _some_time()) == (1, 10), bytecode
        assert _some_time.__code__ is original
        if not interrupted:
            break
    assert 50 < bytecode < 9_999


def test_a_signal_may_come_in_the_middle() -> None:
    """Its handler, which makes a session too, runs in the thread that is applying patches."""

    def wrap(original: object) -> object:
        if not nested:
            nested.append(True)
            group.apply()
        return later(original)

    nested: list[bool] = []
    group = Group(lambda: [NamePatch(PART, Owner, "now", wrap)])
    group.apply()
    assert Owner.now() == 2
    group.undo()
    assert Owner.now() == 1


def test_what_another_library_has_wrapped_since_is_left_to_it() -> None:
    """Restoring the original would take its wrapper away."""
    patch = patch_now()
    patch.apply()
    ours = vars(Owner)["now"]
    Owner.now = staticmethod(lambda: 100 + ours())  # type: ignore[method-assign]
    patch.undo()
    assert Owner.now() == 102
    patch.apply()
    assert Owner.now() == 102
    Owner.now = ours
    patch.undo()
    assert Owner.now() == 1


@pytest.mark.parametrize("owner", [None, SimpleNamespace(), SimpleNamespace(now=7)])
def test_what_is_not_as_expected_is_left_alone(owner: object) -> None:
    """With one event, which names it."""
    before = copy.copy(owner)
    event = NamePatch(PART, owner, "now", later).apply()
    assert isinstance(event, events.Degraded)
    assert event.part == PART
    assert event.reason.endswith("botocore.now")
    assert owner == before


@pytest.mark.parametrize("function", [None, len, lambda zone: zone])
def test_a_function_that_is_not_as_expected_is_left_alone(function: object) -> None:
    """Its code is replaced only if it takes no arguments."""
    module = ModuleType("library_of_time")
    module.some_time = function  # type: ignore[attr-defined]
    event = CodePatch(PART, module, "some_time", lambda now: now).apply()
    assert event.reason.endswith("library_of_time.some_time()")
    assert module.some_time is function


def test_a_listener_may_make_a_session() -> None:
    """In whatever thread: that applies the patches too, while the thread that emits waits for it."""
    opened: list[bool] = []

    def listen(_: events.Event) -> None:
        thread = threading.Thread(target=group.apply, daemon=True)
        thread.start()
        thread.join(60)
        opened.append(not thread.is_alive())

    group = Group(lambda: [Absent(PART, "it is not there")])
    unsubscribe = events.subscribe(listen)
    group.apply()
    group.apply()
    unsubscribe()
    assert opened == [True]
