"""The parts of the integrations, in this process or in a short one of their own."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import skewguard
from skewguard.contrib.fastapi import lifespan
from tests.contrib_apps import EXAMPLES, ROOT
from tests.ntp_server import Server, wall_server
from tests.real.need import installed
from tests.support import completed

pytestmark = pytest.mark.slow


def test_flasks_extension_serves_several_apps() -> None:
    """One installation for all, with the first app's configuration; options in code override it."""
    installed("flask")
    from flask import Flask

    from skewguard.contrib.flask import Skewguard

    clock = Skewguard(deadband=7)
    first, second = Flask("first"), Flask("second")
    first.config.update(SKEWGUARD_MAX_OFFSET=3600, SKEWGUARD_DEADBAND=99)
    clock.init_app(first)
    clock.init_app(second)
    settings = first.extensions["skewguard"].settings
    assert (settings.max_offset, settings.deadband) == (3600 * 10**9, 7 * 10**9)
    assert second.extensions["skewguard"].settings is settings
    assert skewguard.status().installed


def test_flasks_extension_reports_a_wrong_configuration() -> None:
    installed("flask")
    from flask import Flask

    from skewguard.contrib.flask import Skewguard

    app = Flask("wrong")
    app.config["SKEWGUARD_SOUCRES"] = "chrony"
    with pytest.raises(skewguard.ConfigError, match="'soucres' is unknown"):
        Skewguard(app)


def test_the_lifespan_installs_at_once_and_holds_the_apps_own_back_until_time_is_known() -> None:
    """The state that the app's own lifespan yields is passed on."""
    seen: list[object] = []

    @asynccontextmanager
    async def inner(app: object) -> AsyncIterator[dict[str, object]]:
        seen.append((app, skewguard.now() is not None))
        yield {"state": 1}
        seen.append("ended")

    async def run(whole: Any) -> None:
        async with whole("app") as state:
            seen.append(state)

    with wall_server() as server:
        whole = lifespan(inner, wait=10, sources=[server.uri])
        assert skewguard.status().installed
        asyncio.run(run(whole))
        assert seen == [("app", True), {"state": 1}, "ended"]
        skewguard.uninstall()
        asyncio.run(run(whole))  # as when an app is started again, in tests
        assert skewguard.status().installed


def test_a_lifespan_needs_no_other() -> None:
    async def run() -> None:
        async with lifespan()(None) as state:
            assert state is None

    asyncio.run(run())


def test_a_worker_waits_for_the_time_and_a_sender_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait happens in Celery's signal of a starting worker, and only for this app's."""
    installed("celery")
    from celery import Celery
    from celery.signals import worker_init

    from skewguard.contrib.celery import init_app

    waited: list[float] = []
    monkeypatch.setattr(skewguard, "wait_until_synchronized", waited.append)
    monkeypatch.setattr(worker_init, "receivers", list(worker_init.receivers or ()))
    app = Celery("one", set_as_current=False)
    init_app(app, wait=30, max_offset=60)
    assert waited == []
    assert skewguard.install().settings.max_offset == 60 * 10**9

    class Worker:
        def __init__(self, app: Celery) -> None:
            self.app = app

    worker_init.send(Worker(Celery("other", set_as_current=False)))
    assert waited == []
    worker_init.send(Worker(app))
    assert waited == [30]


def test_a_function_asks_no_source_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from skewguard.contrib import aws_lambda

    monkeypatch.delenv("SKEWGUARD_SOURCES")
    assert aws_lambda.install().settings.sources == ()
    skewguard.uninstall()
    monkeypatch.setenv("SKEWGUARD_SOURCES", "chrony")
    (source,) = aws_lambda.install().settings.sources or ()
    assert source.name == "chrony"
    skewguard.uninstall()
    (source,) = aws_lambda.install(sources=["clockbound"]).settings.sources or ()
    assert source.name == "clockbound"


class Django:
    """Runs the example's ``manage.py`` with settings of the test's."""

    def __init__(self, directory: Path) -> None:
        installed("django", "storages", "django_ses")
        self.directory = directory

    def manage(self, *arguments: str, settings: str = "", **env: str) -> tuple[int, str]:
        """Run it; exit code, and all it wrote."""
        (self.directory / "changed.py").write_text(f"from photos.settings import *\n{settings}\n", "utf-8")
        program = "import sys; from django.core.management import execute_from_command_line as run; run(sys.argv)"
        paths = [str(self.directory), str(EXAMPLES / "django_site"), str(ROOT)]
        path = {"PYTHONPATH": os.pathsep.join(paths)}
        # Python takes a source of the same size, changed within the same second, for the one that it has compiled.
        own = {"DJANGO_SETTINGS_MODULE": "changed", "DJANGO_COLORS": "nocolor", "PYTHONDONTWRITEBYTECODE": "1"}
        done = completed(sys.executable, "-c", program, *arguments, env={**os.environ, **path, **own, **env})
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def django(tmp_path: Path) -> Django:
    return Django(tmp_path)


def asking(server: Server, more: str = "") -> str:
    return f"SKEWGUARD = {{'sources': ['{server.uri}']{more}}}"


CHECK = ("check", "--tag", "skewguard")


def test_djangos_checks_are_silent_if_the_clock_is_right(django: Django) -> None:
    """Before the time is known, and after the sources have been asked."""
    with wall_server() as server:
        code, text = django.manage(*CHECK, settings=asking(server))
        assert (code, "no issues" in text) == (0, True), text
        code, text = django.manage(*CHECK, "--deploy", settings=asking(server))
        assert (code, "no issues" in text) == (0, True), text


def test_djangos_checks_warn_of_a_wrong_clock(django: Django) -> None:
    """W001, because the app has waited for the time; with the offset, the bound, and a remedy."""
    with wall_server(90) as server:
        code, text = django.manage(*CHECK, "--fail-level", "WARNING", settings=asking(server, ", 'wait': 20"))
        assert code == 1
        assert re.search(r"\(skewguard\.W001\) This host's clock is (90|89)\.", text)
        assert "behind true time" in text
        assert "HINT: " in text


def test_djangos_checks_warn_of_an_off_switch(django: Django) -> None:
    """W002, for AWS's switch in the environment and for our own."""
    for settings, env in (("SKEWGUARD = {'enabled': False}", {}), ("", {"AWS_DISABLE_CLOCK_SKEW_CORRECTION": "true"})):
        code, text = django.manage(*CHECK, settings=settings, **env)
        assert (code, "skewguard.W002" in text) == (0, True), text


def test_djangos_deploy_checks_warn_of_silence_and_contradiction(django: Django) -> None:
    """W003: no source answers. W004: one of three contradicts the others."""
    silent = "SKEWGUARD = {'sources': ['ntp://127.0.0.1:9'], 'timeout': 0.2}"
    _, text = django.manage(*CHECK, settings=silent)
    assert "no issues" in text, text  # only --deploy waits for an answer
    _, text = django.manage(*CHECK, "--deploy", settings=silent)
    assert "skewguard.W003" in text
    assert "ntp://127.0.0.1:9" in text
    with wall_server() as one, wall_server() as two, wall_server(500) as liar:
        names = [server.uri for server in (one, two, liar)]
        _, text = django.manage(*CHECK, "--deploy", settings=f"SKEWGUARD = {{'sources': {names}}}")
        assert f"(skewguard.W004) {liar.uri}" in text
        assert "skewguard.W003" not in text


def test_djangos_check_clock_is_a_nagios_plugin(django: Django) -> None:
    """Exit codes 0, 1, 2; 2 also if no source answers; performance data with the thresholds."""
    from pynag.Utils import PerfData

    for offset, arguments, code, word in (
        (0, (), 0, "OK"),
        (-50, (), 0, "OK"),
        (-90, (), 1, "WARNING"),
        (300, (), 2, "CRITICAL"),
        (90, ("--warning", "100"), 0, "OK"),
    ):
        with wall_server(offset) as server:
            done = django.manage("check_clock", "--timeout", "5", *arguments, settings=asking(server))
        assert done[0] == code, done
        assert done[1].startswith(f"{word} - this host's clock is ")
        told, _ = PerfData(done[1].strip().partition(" | ")[2]).metrics
        assert (told.label, told.uom, told.get_status()) == ("offset", "s", code), "the ranges say the same"
        assert float(told.value) == pytest.approx(offset, abs=1)
        assert told.crit == "-240:240"
    code, text = django.manage("check_clock", settings="SKEWGUARD = {'sources': ['ntp://127.0.0.1:9'], 'timeout': 0.2}")
    assert code == 2
    assert text.startswith("CRITICAL - no time source gave the time: ntp://127.0.0.1:9: cannot be reached: ")


def test_django_reports_wrong_settings(django: Django) -> None:
    code, text = django.manage(*CHECK, settings="SKEWGUARD = {'soucres': []}")
    assert code == 1
    assert "ImproperlyConfigured: SKEWGUARD: option 'soucres' is unknown" in text
