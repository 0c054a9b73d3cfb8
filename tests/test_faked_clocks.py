"""freezegun and time-machine: while a test fakes the wall clock, the faked time counts; afterwards all is as before."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import freezegun
import pytest
import time_machine

import skewguard
from skewguard.testing import StrictEndpoint, steady_utc
from tests.support import client, code_of

WISH = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)

FAKES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "freezegun": lambda: freezegun.freeze_time(WISH),
    "freezegun, ticking": lambda: freezegun.freeze_time(WISH, tick=True),
    "time-machine": lambda: time_machine.travel(WISH, tick=False),
    "time-machine, ticking": lambda: time_machine.travel(WISH),
}


@pytest.fixture
def server() -> Iterator[StrictEndpoint]:
    """A server an hour ahead of this host, with a clock that no fake moves."""
    with StrictEndpoint(clock=steady_utc(), offset=3600) as running:
        yield running


@pytest.mark.parametrize("fake", FAKES.values(), ids=FAKES)
def test_a_request_is_signed_as_of_the_faked_time_and_its_refusal_is_an_error(
    fake: Callable[[], AbstractContextManager[Any]], server: StrictEndpoint
) -> None:
    """Also during a correction: in one request, and without learning from the answer."""
    with skewguard.install():
        sts = client("sts", server)
        sts.get_caller_identity()
        assert [record.status for record in server.requests] == [403, 200]
        server.clear()
        with fake():
            assert skewguard.status().state == "faked"
            assert code_of(sts.get_caller_identity) == "SignatureDoesNotMatch"
        [record] = server.requests
        assert 0 <= record.signed_at / 1e9 - WISH.timestamp() < 5
        server.clear()
        sts.get_caller_identity()
        assert [record.status for record in server.requests] == [200], "what was known before is still known"
        assert skewguard.status().state != "faked"


@pytest.mark.parametrize("fake", FAKES.values(), ids=FAKES)
def test_installing_in_faked_time_guards_once_it_is_over(
    fake: Callable[[], AbstractContextManager[Any]], server: StrictEndpoint
) -> None:
    """A test suite may freeze time before its program starts."""
    with fake():
        handle = skewguard.install()
        sts = client("sts", server)
        assert code_of(sts.get_caller_identity) == "SignatureDoesNotMatch"
        assert not skewguard.status().correcting
    server.clear()
    sts.get_caller_identity()
    assert [record.status for record in server.requests] == [403, 200]
    handle.uninstall()
