"""``examples/monitoring`` with a real Prometheus, which scrapes a program whose clock is 20 minutes slow."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skewguard.testing import StrictEndpoint
from tests.contrib_apps import aws
from tests.ntp_server import wall_server
from tests.patience import PATIENCE, eventually
from tests.real.faketime import FakeTime
from tests.real.need import installed, need
from tests.real.starting import free_ports
from tests.support import completed

EXAMPLES = Path(__file__).parents[2] / "examples" / "monitoring"
INSTALL = "apt-get install -y prometheus (starts a service), or unpack that package as .ci/run does"
DASHBOARD = json.loads((EXAMPLES / "dashboard.json").read_text("utf-8"))
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]

PROGRAM = """
import sys

import boto3
from prometheus_client import start_http_server

import skewguard
from skewguard.contrib.prometheus import export

export()
skewguard.install(wait=10)
boto3.client("sts").get_caller_identity()
start_http_server(int(sys.argv[1]), "127.0.0.1")
sys.stdin.read()
"""


class Prometheus:
    """A running server and its API."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.process = process

    def get(self, path: str, **parameters: str) -> Any:
        """Send a request; return its data. Fails on an error."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=PATIENCE) as answer:
            reply = json.load(answer)
        assert reply["status"] == "success", reply
        return reply["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        data = self.get("query", query=expression)
        assert data["resultType"] == "vector"
        return list(data["result"])

    def firing(self) -> dict[str, float]:
        """Return the alerts that fire, and the value of each."""
        alerts = self.get("alerts")["alerts"]
        return {one["labels"]["alertname"]: float(one["value"]) for one in alerts if one["state"] == "firing"}


@contextlib.contextmanager
def prometheus(directory: Path, target: str) -> Iterator[Prometheus]:
    """Run one with the example's configuration, sped up: it scrapes `target` often, and alerts fire at once."""
    need(shutil.which("prometheus") is not None, "prometheus", INSTALL)
    hurried = (EXAMPLES / "prometheus.yml").read_text().replace("15s", "200ms").replace("localhost:9464", target)
    (directory / "prometheus.yml").write_text(hurried)
    (directory / "alerts.yml").write_text(re.sub(r"for: \w+", "for: 0s", (EXAMPLES / "alerts.yml").read_text()))
    [port] = free_ports()
    with (directory / "log").open("wb") as file:
        command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
        command.append(f"--web.listen-address=127.0.0.1:{port}")
        command.append("--scrape.discovery-reload-interval=100ms")  # undocumented; else it takes 10
        server = subprocess.Popen(command, stdout=file, stderr=file, cwd=directory)
    try:
        yield Prometheus(f"http://127.0.0.1:{port}", server)
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[FakeTime]:
    """The program's clock."""
    with FakeTime(tmp_path, "-20m") as faked:
        yield faked


@pytest.fixture
def watching(clock: FakeTime, tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus that has scraped the program a few times; one of the program's sources is wrong."""
    installed("prometheus_client")
    with contextlib.ExitStack() as ending:
        servers = [ending.enter_context(wall_server(offset)) for offset in (0, 0, 180)]
        sources = ",".join(server.uri for server in servers)
        endpoint = ending.enter_context(StrictEndpoint())
        more = {"SKEWGUARD_SOURCES": sources, "SKEWGUARD_SHARE": "false", "AWS_DEFAULT_REGION": "us-east-1"}
        target = f"127.0.0.1:{free_ports()[0]}"
        running = ending.enter_context(prometheus(tmp_path, target))  # first: it looks for its targets for 5 s
        child = clock.popen(PROGRAM, target.partition(":")[2], env={**aws(endpoint), **more}, stderr=None)
        ending.callback(child.kill)

        def scraped() -> bool:
            assert child.poll() is running.process.poll() is None, (tmp_path / "log").read_text()
            try:
                return running.query("sum_over_time(up[1m]) > 2") != []
            except urllib.error.HTTPError as error:  # it is not ready yet
                error.close()
            except OSError:  # it does not listen yet
                pass
            return False

        eventually(scraped)
        yield running


class TestAlerts:
    def test_when_each_fires(self) -> None:
        """Time is promtool's; the example's own tests say what is expected, an alert before the limit at 300 s."""
        need(shutil.which("promtool") is not None, "promtool", INSTALL)
        for command in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]):
            done = completed("promtool", *command, cwd=EXAMPLES)
            assert done.returncode == 0, done.stdout + done.stderr


class TestInPrometheus:
    """Alerts and dashboard in a Prometheus that scrapes; one test, because its start takes seconds."""

    def test_a_program_whose_clock_is_wrong(self, watching: Prometheus, clock: FakeTime) -> None:
        """Alerts for it, and for the source that contradicts others; once the clock is set, for the source alone."""
        eventually(lambda: len(watching.firing()) >= 3)
        firing = watching.firing()
        near = pytest.approx(1200, abs=0.5)
        assert firing == {"ClockOff": near, "ClockNearCliff": near, "Falseticker": 0}
        rules = [rule for group in watching.get("rules")["groups"] for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}, rules
        tried = re.findall(r"alertname[=:] ?\"?(\w+)", (EXAMPLES / "alerts_test.yml").read_text())
        assert {rule["name"] for rule in rules} == set(tried), "each alert is tried"

        for target in TARGETS:
            filled = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "1m")
            assert "$" not in filled
            assert watching.query(filled), f"the dashboard has no data for {filled}"
        (variable,) = [one for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
        asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
        assert asked, variable
        (instance,) = watching.get(f"label/{asked[2]}/values", **{"match[]": asked[1]})
        assert instance.startswith("127.0.0.1:")

        clock.shift("+0")
        eventually(lambda: set(watching.firing()) == {"Falseticker"})


class TestDashboard:
    def test_its_form(self) -> None:
        """Panels have different ids and do not overlap; every query is complete, and uses the chosen data source."""
        panels = DASHBOARD["panels"]
        assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
        assert "datasource" in {one["name"] for one in DASHBOARD["templating"]["list"] if one["type"] == "datasource"}
        taken: set[tuple[int, int]] = set()
        for panel in panels:
            x, y, width, height = (panel["gridPos"][name] for name in "xywh")
            cells = {(x + dx, y + dy) for dx in range(width) for dy in range(height)}
            assert x + width <= 24
            assert not cells & taken, panel["title"]
            taken |= cells
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        for part in (*panels, *TARGETS):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}

    if sys.version_info >= (3, 11):  # which Grafana's package needs

        def test_grafanas_own_types_hold_all_of_it(self) -> None:
            """Fields unknown to the types would be lost in a round trip."""
            installed("grafana_foundation_sdk")
            from grafana_foundation_sdk.cog import plugins
            from grafana_foundation_sdk.cog.encoder import JSONEncoder
            from grafana_foundation_sdk.models.dashboard import Dashboard

            plugins.register_default_plugins()  # the kinds of panels and queries, each with options of its own
            kept = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
            assert lost(DASHBOARD, kept) == []


def lost(before: Any, after: Any, where: str = "") -> list[str]:
    """List the entries of `before` that differ in `after`."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [one for key in before for one in lost(before[key], after.get(key), f"{where}/{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [one for place, (old, new) in pairs for one in lost(old, new, f"{where}/{place}")]
    return [] if before == after else [where]
