"""Names are replaced once, whoever comes when, and all are put back."""

from __future__ import annotations

import copy
import threading
from types import SimpleNamespace

import pytest

from skewguard import events
from skewguard.signing.patches import patching
from tests.fakes import Emitted
from tests.patience import PATIENCE


class Owner:
    """Stands in for a module of botocore's."""

    @staticmethod
    def now() -> int:
        return 1


def later(original: object) -> object:
    """Make a replacement that adds to what is there: applied twice, it would show."""
    assert callable(original)
    return staticmethod(lambda: original() + 1)


def replace_now() -> None:
    patching.replace("telling the time", Owner, "now", later)


class SlowLock:
    """Lets nobody in before two have come: each has found the name not yet replaced."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.both_here = threading.Barrier(2)

    def __enter__(self) -> None:
        self.both_here.wait(PATIENCE)
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def test_two_threads_at_once_replace_a_name_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a correction would be applied twice."""
    calls: list[int] = []

    def replace() -> None:
        calls.append(1)
        replace_now()

    monkeypatch.setattr(patching, "_lock", SlowLock())
    threads = [threading.Thread(target=patching.once, args=(replace,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    monkeypatch.undo()
    assert calls == [1]
    assert Owner.now() == 2
    patching.put_back()
    assert Owner.now() == 1


def test_a_child_forked_in_the_middle_replaces_the_rest() -> None:
    """What was replaced before the fork stays replaced once."""
    replace_now()  # and the fork comes here, before `once` could note that it is done
    patching.once(replace_now)
    assert Owner.now() == 2
    patching.put_back()
    assert Owner.now() == 1
    patching.once(replace_now)  # it can be opened again
    assert Owner.now() == 2
    patching.put_back()


@pytest.mark.parametrize("owner", [None, SimpleNamespace(), SimpleNamespace(now=7)])
def test_what_is_not_as_known_is_told_of_and_left_alone(owner: object, emitted: Emitted) -> None:
    """One warning, which names it."""
    before = copy.copy(owner)
    with patching.replacing():
        patching.replace("telling the time", owner, "now", later)
    patching.put_back()
    (event,) = emitted.of(events.Degraded)
    assert event.part == "telling the time"
    assert event.reason.endswith("botocore.now")
    assert owner == before


def test_who_is_told_may_make_a_session() -> None:
    """In whatever thread: that opens the seam again, while the one who was told waits for it."""
    opened: list[bool] = []

    def listen(_: events.Event) -> None:
        thread = threading.Thread(target=patching.once, args=(replace_now,), daemon=True)
        thread.start()
        thread.join(PATIENCE)
        opened.append(not thread.is_alive())

    unsubscribe = events.subscribe(listen)
    patching.once(lambda: patching.missing("telling the time", "now"))
    unsubscribe()
    patching.put_back()
    assert opened == [True]


def test_a_signal_may_come_in_the_middle() -> None:
    """Its handler, which makes a session too, runs in the thread that is replacing names."""
    patching.once(lambda: patching.once(replace_now))
    assert Owner.now() == 2
    patching.put_back()
