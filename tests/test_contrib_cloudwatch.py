"""CloudWatch's embedded metric format, checked by the rules of its specification."""

from __future__ import annotations

import json
from typing import Any

import pytest

import skewguard
from skewguard.contrib.cloudwatch import export
from skewguard.events import Degraded, Refused, Stepped, emit
from skewguard.testing import StrictEndpoint
from tests.fakes import FakeSource
from tests.support import client

UNITS = {"Seconds", "Count", "None"}  # of those that CloudWatch knows


def read(line: str) -> dict[str, Any]:
    """Parse a line, and check what the specification demands of it."""
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    assert isinstance(found["_aws"]["Timestamp"], int)
    for directive in found["_aws"]["CloudWatchMetrics"]:
        assert 1 <= len(directive["Namespace"]) <= 255
        assert 1 <= len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert metric["Unit"] in UNITS
            assert isinstance(found[metric["Name"]], (int, float)), "a metric is a number at the root"
        for dimensions in directive["Dimensions"]:
            assert len(dimensions) <= 30
            assert all(isinstance(found[name], str) for name in dimensions), "a dimension is a text at the root"
    return found


def test_a_retry_and_an_offset(strict_endpoint: StrictEndpoint) -> None:
    """Dated by true time; nothing after the end, and nothing for other events."""
    lines: list[str] = []
    strict_endpoint.offset = 1200
    end = export("clocks", {"service": "photos"}, lines.append)
    with skewguard.install(sources=[FakeSource("slow", offset=90, bound=0.5)]):
        client("sts", strict_endpoint).get_caller_identity()
        found = [read(line) for line in lines]
        true = skewguard.now()
    assert true is not None
    [retried] = [one for one in found if one["Retries"]]
    assert (retried["Service"], retried["Operation"], retried["Verdict"]) == ("sts", "GetCallerIdentity", "skew")
    assert retried["ClockOffset"] == pytest.approx(90, abs=0.5)
    assert (retried["ClockKnown"], retried["Correcting"], retried["service"]) == (1, 1, "photos")
    assert retried["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]
    assert retried["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "clocks"
    assert retried["_aws"]["Timestamp"] / 1000 == pytest.approx(true.earliest / 1e9, abs=30)
    lines.clear()
    emit(Degraded("a part", "a reason"))
    assert lines == []
    end()
    emit(Stepped(10**9))
    assert lines == []


def test_nothing_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    """To stdout, without an offset, by the wall clock."""
    end = export()
    emit(Stepped(10**9))
    end()
    [line] = capsys.readouterr().out.splitlines()
    found = read(line)
    assert (found["Steps"], found["Retries"], found["Refused"], found["ClockKnown"]) == (1, 0, 0, 0)
    assert "ClockOffset" not in found
    assert found["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [[]]


def test_it_counts_what_was_refused() -> None:
    lines: list[str] = []
    end = export(write=lines.append)
    emit(Refused("ntp://a", "a reason"))
    end()
    assert [read(line)["Refused"] for line in lines] == [1]
