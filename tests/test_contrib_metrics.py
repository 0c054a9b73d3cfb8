"""Prometheus's text and OpenTelemetry's metrics, parsed by their own libraries."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore
import pytest
import yaml

import skewguard
from skewguard.assessment import FAIL_FROM, WARN_FROM
from skewguard.events import Refused, Stepped, emit
from skewguard.testing import StrictEndpoint
from skewguard.wording import plain
from tests.contrib_apps import EXAMPLES, aws
from tests.fakes import FakeSource
from tests.real.need import installed
from tests.support import client

pytestmark = pytest.mark.slow


@pytest.fixture
def registry() -> Any:
    installed("prometheus_client")
    from prometheus_client import CollectorRegistry

    return CollectorRegistry()


def samples(registry: Any) -> dict[tuple[str, ...], float]:
    """Each sample's value, by its name and its labels' values, as Prometheus's reference parser reads them."""
    from prometheus_client import generate_latest
    from prometheus_client.parser import text_string_to_metric_families

    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_the_example_alerts_have_our_thresholds() -> None:
    """Those of ``skewguard check``."""
    (group,) = yaml.safe_load((EXAMPLES / "monitoring" / "alerts.yml").read_text("utf-8"))["groups"]
    found = {rule["alert"]: rule["expr"] for rule in group["rules"]}
    assert found["ClockOff"].endswith(f" > {plain(WARN_FROM)}")
    assert found["ClockNearCliff"].endswith(f" > {plain(FAIL_FROM)}")


def test_prometheus_sees_the_clock_as_it_is_when_scraped(registry: Any, strict_endpoint: StrictEndpoint) -> None:
    """Unknown is NaN; then the offset, the bound, retries by service, steps; nothing after unexport."""
    from skewguard.contrib.prometheus import export

    unexport = export(registry)
    found = samples(registry)
    assert str(found["skewguard_clock_offset_seconds",]) == "nan"
    assert [found[f"skewguard_{name}",] for name in ("clock_known", "clock_proved", "steps_total")] == [0, 0, 0]
    assert found["skewguard_build_info", botocore.__version__, skewguard.__version__] == 1
    strict_endpoint.offset = 1200
    with skewguard.install(sources=[FakeSource("slow", offset=90, bound=0.5)]):
        client("sts", strict_endpoint).get_caller_identity()
        emit(Stepped(10**9))
        found = samples(registry)
    assert found["skewguard_clock_offset_seconds",] == pytest.approx(90, abs=0.5)
    assert found["skewguard_clock_offset_error_bound_seconds",] == pytest.approx(0.5, abs=0.1)
    assert [found[f"skewguard_{name}",] for name in ("clock_known", "clock_proved", "correcting")] == [1, 1, 1]
    assert found["skewguard_steps_total",] == 1
    assert found["skewguard_retries_total", "sts", "skew"] == 1
    unexport()
    assert samples(registry) == {}
    emit(Stepped(10**9))  # neither counted nor an error
    export(registry)()


def test_prometheus_sees_which_sources_agree(registry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources asked before and after; one that is wrong, one that stops answering."""
    from skewguard.contrib.prometheus import export

    def votes() -> dict[str, float]:
        found = samples(registry)
        return {name[1]: value for name, value in found.items() if name[0] == "skewguard_source_agrees"}

    right = [FakeSource(name, offset=90, bound=0.5) for name in "abc"]
    with skewguard.install(sources=[*right, FakeSource("liar", offset=0, bound=0.5)]):
        unexport = export(registry)
        skewguard.measure()
        said = {"a": 1, "b": 1, "c": 1, "liar": 0}
        assert votes() == said
        unexport()
        unexport = export(registry)
        assert votes() == said, "those that were asked before are known"
        unexport()
    unexport = export(registry)
    with skewguard.install(sources=[*right, FakeSource("liar", offset=0, bound=0.5)]):
        skewguard.measure()
        right[2].offset = None
        skewguard.measure()
        assert votes() == {**said, "c": pytest.approx(math.nan, nan_ok=True)}
        unexport()


MANY = """
import sys
import boto3
import skewguard
from skewguard.contrib.prometheus import export

export()
skewguard.install()
boto3.client("sts").get_caller_identity()
"""


def test_prometheus_adds_up_several_processes(
    registry: Any, strict_endpoint: StrictEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two children make a skewed call each; the collector, in a third process, counts two."""
    from prometheus_client.multiprocess import MultiProcessCollector

    strict_endpoint.offset = 1200
    environment = {**os.environ, **aws(strict_endpoint), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    children = [subprocess.Popen([sys.executable, "-c", MANY], env=environment) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    MultiProcessCollector(registry, str(tmp_path))
    found = samples(registry)
    assert found["skewguard_retries_total", "sts", "skew"] == 2
    assert found["skewguard_clock_known",] == 0  # a private endpoint teaches only itself
    assert str(found["skewguard_clock_offset_seconds",]) == "nan"


@pytest.fixture
def otel() -> Iterator[tuple[Any, Any]]:
    installed("opentelemetry.sdk")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    yield provider, reader
    provider.shutdown()


def read(reader: Any) -> dict[str, Any]:
    data = reader.get_metrics_data()
    return {
        metric.name: [(point.value, dict(point.attributes)) for point in metric.data.data_points]
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_opentelemetry_reads_the_clock_and_marks_the_calls_span(
    otel: tuple[Any, Any], strict_endpoint: StrictEndpoint
) -> None:
    """Through the SDK's own reader and exporter; no values after the end."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from skewguard.contrib.opentelemetry import instrument

    provider, reader = otel
    end = instrument(provider)
    assert "skewguard.clock.offset" not in read(reader)
    spans = InMemorySpanExporter()
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(spans))
    strict_endpoint.offset = 1200
    with skewguard.install(sources=[FakeSource("slow", offset=90, bound=0.5)]):
        with tracing.get_tracer("test").start_as_current_span("call"):
            client("sts", strict_endpoint).get_caller_identity()
        emit(Stepped(-(10**9)))
        emit(Refused("a", "for a test"))
        found = read(reader)
        end()
        emit(Stepped(10**9))
        later = read(reader)
    ((offset, _),) = found["skewguard.clock.offset"]
    assert offset == pytest.approx(90, abs=0.5)
    assert found["skewguard.correcting"] == [(1, {})]
    assert found["skewguard.retries"] == [(1, {"aws.service": "sts", "skewguard.verdict": "skew"})]
    assert found["skewguard.steps"] == [(1, {"skewguard.direction": "backward"})]
    assert found["skewguard.refused"] == [(1, {})]
    assert "skewguard.clock.offset" not in later
    assert later["skewguard.steps"] == found["skewguard.steps"]
    (span,) = spans.get_finished_spans()
    assert span.attributes["skewguard.retried"] is True
    (event,) = span.events
    assert re.fullmatch(r"signed 12\d\d s behind the server's clock", str(event.attributes["skewguard.reason"]))
    tracing.shutdown()


def test_opentelemetry_reads_which_sources_agree(otel: tuple[Any, Any]) -> None:
    """As Prometheus does; one that is silent has no value."""
    from skewguard.contrib.opentelemetry import instrument

    provider, reader = otel
    end = instrument(provider)
    right = [FakeSource(name, offset=90, bound=0.5) for name in "abc"]
    silent = FakeSource("silent", offset=None)
    with skewguard.install(sources=[*right, FakeSource("liar", offset=0, bound=0.5), silent]):
        skewguard.measure()
        votes = {told["skewguard.source"]: vote for vote, told in read(reader)["skewguard.source.agrees"]}
        end()
        assert "skewguard.source.agrees" not in read(reader)
    assert votes == {"a": 1, "b": 1, "c": 1, "liar": 0}
