"""A botocore that corrects its requests' time by itself, by the rules of the AWS SDKs that do.

Each client keeps the difference between a response's ``Date`` and the wall clock, and signs that much later. A refusal
that may be about time is tried again if the difference is more than four minutes. What is handed out is not corrected.
"""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import botocore.auth
import botocore.compat
import botocore.endpoint
import pytest

from skewguard.signing.patches import library

CODES = {
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "AuthFailure",
    "RequestTimeTooSkewed",
    "AccessDeniedException",
}
_KEY = "own-correction"
_LEAST = datetime.timedelta(minutes=4)
_ZERO = datetime.timedelta(0)


def _modules() -> list[Any]:
    names = ["botocore.auth", *(["botocore.crt.auth"] if botocore.compat.HAS_CRT else [])]
    return [importlib.import_module(name) for name in names]


def apply(patch: pytest.MonkeyPatch, where: str, *, everywhere: bool = False) -> None:
    """Make botocore such a one; call this before skewguard patches it.

    Args:
        patch: What undoes it.
        where: ``signer`` if the signer adds the difference to the clock that it reads, ``clock`` if the clock does.
        everywhere: Whether what is handed out is corrected as well, by the client's difference.
    """
    endpoint = botocore.endpoint.Endpoint
    patch.setattr(endpoint, "create_request", _with_the_difference(endpoint.create_request))
    patch.setattr(endpoint, "_get_response", _learning(endpoint._get_response))
    patch.setattr(endpoint, "_needs_retry", _trying_again(endpoint._needs_retry))
    shift: list[datetime.timedelta] = [_ZERO]
    for module in _modules():
        if where == "clock":
            patch.setattr(module, "get_current_datetime", _shifted(module.get_current_datetime, shift))
    for signer in library.signer_classes():
        if "add_auth" in vars(signer):
            owner = importlib.import_module(signer.__module__)
            ahead = functools.partial(_replaced, owner) if where == "signer" else functools.partial(_set, shift)
            patch.setattr(signer, "add_auth", _once(signer.add_auth, ahead, everywhere))


_last: list[datetime.timedelta] = [_ZERO]  # of any client, for what is signed without an endpoint
_under_way: list[Any] = []  # the requests that are being signed


def _with_the_difference(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_request(self: Any, params: Any, *args: Any) -> Any:
        params["context"][_KEY] = getattr(self, _KEY, _ZERO)
        return original(self, params, *args)

    return create_request


def _learning(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_response(self: Any, *args: Any) -> Any:
        response, error = original(self, *args)
        if response is not None and "Age" not in response[0].headers:
            date = email.utils.parsedate_to_datetime(response[0].headers["Date"])
            _last[0] = date - datetime.datetime.now(datetime.timezone.utc)
            setattr(self, _KEY, _last[0])
        return response, error

    return get_response


def _trying_again(original: Callable[..., Any]) -> Callable[..., Any]:
    def needs_retry(self: Any, attempts: int, model: Any, request: Any, response: Any = None, error: Any = None) -> Any:
        if original(self, attempts, model, request, response, error):
            return True
        code = response and response[1].get("Error", {}).get("Code")
        return code in CODES and abs(getattr(self, _KEY)) > _LEAST and attempts < 3

    return needs_retry


def _once(original: Callable[..., Any], ahead: Callable[..., Any], everywhere: bool) -> Callable[..., Any]:
    """Make an `add_auth` that adds the difference, but not again where one `add_auth` calls another."""

    def add_auth(self: Any, request: Any) -> Any:
        difference = request.context.get(_KEY, _last[0] if everywhere else _ZERO)
        if any(each is request for each in _under_way) or not difference:
            return original(self, request)
        _under_way.append(request)
        try:
            with ahead(difference):
                return original(self, request)
        finally:
            _under_way.pop()

    return add_auth


def _shifted(original: Callable[..., Any], shift: list[datetime.timedelta]) -> Callable[..., Any]:
    return lambda *args, **kwargs: original(*args, **kwargs) + shift[0]


@contextlib.contextmanager
def _replaced(module: Any, difference: datetime.timedelta) -> Iterator[None]:
    now = module.get_current_datetime
    module.get_current_datetime = _shifted(now, [difference])
    try:
        yield
    finally:
        module.get_current_datetime = now


@contextlib.contextmanager
def _set(shift: list[datetime.timedelta], difference: datetime.timedelta) -> Iterator[None]:
    shift[0] = difference
    try:
        yield
    finally:
        shift[0] = _ZERO
