"""Everything botocore signs, on wrong clocks: real processes, real wall clocks, botocore with and without awscrt."""

from __future__ import annotations

import base64
import datetime
import functools
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import botocore.auth
import pytest

from skewguard.testing.aws import post
from skewguard.testing.aws.sigv4 import parse_time
from skewguard.testing.aws.verifier import Key, Verifier
from skewguard.testing.wire import Request
from tests.real.faketime import FakeTime
from tests.real.need import need
from tests.signer_cells import (
    CELLS,
    CLOCKS,
    FORMS,
    KEY,
    LASTS,
    PAGE,
    SECOND,
    SECRET,
    SIGNERS,
    TIMELESS,
    TOKEN,
    Cell,
    page,
)

UNVERIFIED = {"v2", "v3", "v3https", "v4a", "s3v4a"}  # the strict endpoint cannot check these; their time is read

PRESENT = [cell for cell in CELLS if cell.version != "v4-s3express" or hasattr(botocore.auth, "S3ExpressAuth")]
"""The cells of the present botocore; S3 Express came with 1.33."""


class Made(NamedTuple):
    """One cell's signatures, and true time before and after the guarded one was made, ns."""

    before: int
    after: int
    guarded: dict[str, Any]
    unguarded: dict[str, Any]


class Signed(NamedTuple):
    """A child's output: the signature versions that its botocore knows, and every cell's signatures."""

    versions: list[str]
    made: dict[tuple[str, ...], Made]


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Signed]]:
    """Run a child for one kind of botocore, once, on all four clocks."""
    with FakeTime(tmp_path_factory.mktemp("clock")) as fake_time:

        @functools.cache
        def run(kind: str) -> Signed:
            if kind == "crt":
                need(importlib.util.find_spec("awscrt") is not None, "awscrt", "pip install awscrt")
            variables = {"BOTO_DISABLE_CRT": str(kind != "crt").lower(), "SKEWGUARD_SHARE": "false"}
            program = "from tests.signer_cells import child; child()"
            child = fake_time.popen(program, env={"PYTHONPATH": ":".join(sys.path), **variables}, stderr=None)
            found = Signed(json.loads(child.stdout.readline()), {})
            for clock, ahead in CLOCKS.items():
                now, then = time.time_ns(), time.monotonic_ns()
                truth = _truth(clock, now)
                fake_time.shift(f"{round((truth - now) / SECOND) + ahead:+d}")
                print(json.dumps([truth, then]), file=child.stdin, flush=True)
                for version, form, *rest in json.loads(child.stdout.readline()):
                    found.made[version, form, kind, clock] = Made(*rest)
            return found

        yield run


def _truth(clock: str, now: int) -> int:
    """Return true time for a wrong clock, ns: just on the other side of midnight from the wall clock's."""
    if "midnight" not in clock:
        return now
    midnight = int(datetime.datetime(2026, 3, 2, tzinfo=datetime.timezone.utc).timestamp())
    return (midnight + 1 if clock.startswith("slow") else midnight - 60) * SECOND


@pytest.mark.parametrize("cell", PRESENT, ids="-".join)
def test_the_time_signed_is_the_truth(signed: Callable[[str], Signed], cell: Cell) -> None:
    """Within 1 s, at every place of the time, and the signature is valid; unguarded it is 2 h off."""
    made = signed(cell.kind).made[tuple(cell)]
    for when in times(cell, made.guarded):  # whole seconds, truncated; 50 ms for libfaketime's cost
        assert made.before - SECOND - 50_000_000 < when * SECOND < made.after + 50_000_000
    for when in times(cell, made.unguarded):
        assert abs(when * SECOND - made.before - CLOCKS[cell.clock] * SECOND) < 5 * SECOND
    if cell.version not in UNVERIFIED:
        verify(cell, made.guarded, made.after / SECOND)
    if "midnight" in cell.clock:
        days = {datetime.datetime.fromtimestamp(when, datetime.timezone.utc).day for when in times(cell, made.guarded)}
        off = {datetime.datetime.fromtimestamp(when, datetime.timezone.utc).day for when in times(cell, made.unguarded)}
        assert len(days) == len(off) == 1
        assert days != off


def times(cell: Cell, made: dict[str, Any]) -> list[int]:
    """Return every time in a signature, s since the Unix epoch.

    Fail if a scope's day differs from its timestamp's.
    """
    if cell.form == "post":
        fields = made["fields"]
        policy = json.loads(base64.b64decode(fields["policy"]))
        found = [_iso(policy["expiration"]) - LASTS]
        if "x-amz-date" in fields:
            found.append(_basic(fields["x-amz-date"], fields["x-amz-credential"]))
            assert {"x-amz-date": fields["x-amz-date"]} in policy["conditions"]
        return found
    if cell.form == "query":
        query = {name: values[0] for name, values in parse_qs(urlsplit(made["url"]).query).items()}
        if cell.version == "s3":
            return [int(query["Expires"]) - LASTS]
        assert query["X-Amz-Expires"] == str(LASTS)
        return [_basic(query["X-Amz-Date"], query["X-Amz-Credential"])]
    headers = made["headers"]
    if cell.version == "v2":
        return [_iso(made["params"]["Timestamp"])]
    if cell.version in ("s3", "v3", "v3https"):
        return [parse_time(headers["date"])]
    return [_basic(headers["x-amz-date"], headers["authorization"].partition("Credential=")[2].partition(",")[0])]


def _iso(text: str) -> int:
    return int(datetime.datetime.strptime(f"{text}+0000", "%Y-%m-%dT%H:%M:%SZ%z").timestamp())


def _basic(stamp: str, credential: str) -> int:
    assert credential.split("/")[1] == stamp[:8]
    return parse_time(stamp)


def verify(cell: Cell, made: dict[str, Any], now: float) -> None:
    """Check a signature as the service would at this time (s), tolerating 2 s. Raise Problem if it is refused."""
    keys = {KEY: Key(SECRET, TOKEN)}
    if cell.form == "post":
        form = post.Form({name.lower(): value for name, value in made["fields"].items()}, b"", "")
        post.check_signature(form, post.find(form), SECRET)
        post.check_policy(form, "bucket", now)
        return
    url = urlsplit(made["url"])
    headers = {"host": url.netloc, **made["headers"]}
    verifier = Verifier(keys, tolerance=2)
    verifier.check(verifier.read(Request("GET", url.path, url.query, headers)), now)


@pytest.mark.parametrize("kind", ["python", "crt"])
def test_no_signature_version_is_forgotten(signed: Callable[[str], Signed], kind: str) -> None:
    known = {f"{cell.version}{FORMS[cell.form]}" for cell in PRESENT if cell.kind == kind}
    assert set(signed(kind).versions) == known | TIMELESS


def test_the_table_in_the_docs_is_this_list() -> None:
    """It is generated: `python -m tests.signer_cells --write`."""
    assert PAGE.read_text("utf-8") == page()
    assert len(CELLS) == len(set(CELLS)) == 4 * sum(len(forms) for kinds in SIGNERS.values() for forms in kinds)


def test_a_token_carries_no_time() -> None:
    """So bearer is not in the table."""
    assert {name for name, cls in botocore.auth.AUTH_TYPE_MAPS.items() if cls.REQUIRES_TOKEN} == TIMELESS
