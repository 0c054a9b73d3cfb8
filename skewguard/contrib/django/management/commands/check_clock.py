"""``manage.py check_clock``: one line and an exit code, as Nagios and similar systems expect."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

import skewguard
from skewguard._status import assess_status
from skewguard.assessment import FAIL_FROM, WARN_FROM
from skewguard.interval import SECOND


class Command(BaseCommand):
    """Exit code 0: OK; 1: off by more than --warning; 2: by more than --critical, or the time is not known."""

    help = "Ask the time sources how far off this host's clock is."
    requires_system_checks: list[str] = []  # noqa: RUF012 -- Django's own way to ask for none

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the thresholds."""
        for name, default in (("--warning", WARN_FROM), ("--critical", FAIL_FROM)):
            seconds = default / SECOND
            parser.add_argument(name, type=float, default=seconds, metavar="SECONDS", help="default %(default)s")
        parser.add_argument("--timeout", type=float, metavar="SECONDS", help="how long the sources may take")

    def handle(self, *_: Any, warning: float, critical: float, timeout: float | None, **__: Any) -> None:
        """Ask, print, and exit with the code."""
        limits = {"warning": round(warning * SECOND), "critical": round(critical * SECOND)}
        outcome = assess_status(skewguard.measure(timeout), **limits)
        self.stdout.write(outcome.line)
        if outcome.code:
            sys.exit(outcome.code)
