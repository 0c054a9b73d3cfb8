"""When the renewal of a login is repeated. `test_expiry_caches` makes the calls, with botocore's own fetcher."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from skewguard.interval import SECOND
from skewguard.signing.patches import login
from tests.fakes import Emitted

BEFORE, AFTER = 0, 1200 * SECOND


class Service:
    """Renews a login, but refuses at first; its refusal tells the time."""

    def __init__(self, status: int | None, after: int = AFTER, refusals: int = 1) -> None:
        self.status, self.after, self.refusals = status, after, refusals
        self.behind, self.asked = BEFORE, 0

    def renew(self) -> str:
        self.asked += 1
        if self.asked > self.refusals:
            return "renewed"
        self.behind = self.after
        if self.status is None:
            raise EndpointConnectionError(endpoint_url="https://example.com")
        answer = {"Error": {"Code": "AccessDeniedException"}, "ResponseMetadata": {"HTTPStatusCode": self.status}}
        raise RuntimeError("expired") from ClientError(answer, "CreateOAuth2Token")

    async def renew_soon(self) -> str:
        return self.renew()


@pytest.mark.parametrize("way", ["botocore", "aiobotocore"])
@pytest.mark.parametrize(
    ("service", "asked"),
    [
        (Service(400), 2),
        (Service(403, -AFTER), 2),
        (Service(400, refusals=2), 2),
        (Service(400, SECOND), 1),
        (Service(500), 1),
        (Service(None), 1),
    ],
    ids=["slow", "fast", "refused again", "the clock was right", "the service failed", "no answer"],
)
def test_it_is_repeated_once_if_the_refusal_told_the_time(
    way: str, service: Service, asked: int, monkeypatch: pytest.MonkeyPatch, emitted: Emitted
) -> None:
    """Else the program gets the error, as from botocore alone."""
    service.asked, service.behind = 0, BEFORE
    monkeypatch.setattr(login, "_behind", lambda: service.behind)
    renew: Any = login._repeated(service.renew if way == "botocore" else service.renew_soon)

    def call() -> Any:
        return renew() if way == "botocore" else asyncio.run(renew())

    if service.refusals < asked:
        assert call() == "renewed"
    else:
        with pytest.raises((RuntimeError, EndpointConnectionError)):
            call()
    assert service.asked == asked
    assert len(emitted) == asked - 1


def test_a_failure_of_ours_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "_behind", lambda: 1 // 0)
    with pytest.raises(RuntimeError, match="expired"):
        login._repeated(Service(400).renew)()
