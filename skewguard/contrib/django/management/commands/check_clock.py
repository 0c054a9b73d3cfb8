"""``manage.py check_clock``: one line and an exit code, as Nagios and its relatives expect them."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

import skewguard
from skewguard.contrib.django.checks import CRITICAL, WARNING, wording


class Command(BaseCommand):
    """Exits with 0 (well), 1 (off by --warning or more), 2 (by --critical or more, or nobody could tell)."""

    help = "Ask the time sources how far off this host's clock is."
    requires_system_checks: list[str] = []  # noqa: RUF012 -- Django's own way of asking for none

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Describe the thresholds."""
        parser.add_argument("--warning", type=float, default=WARNING, metavar="SECONDS", help="default %(default)s")
        parser.add_argument("--critical", type=float, default=CRITICAL, metavar="SECONDS", help="default %(default)s")
        parser.add_argument("--timeout", type=float, metavar="SECONDS", help="how long the sources may take")

    def handle(self, *_: Any, warning: float, critical: float, timeout: float | None, **__: Any) -> None:
        """Ask, print, and exit with what was found."""
        offset = skewguard.measure(timeout).offset
        if offset is None:
            self.stdout.write("CRITICAL - no time source could be reached")
            sys.exit(2)
        off = abs(offset.seconds)
        code = 2 if off >= critical else 1 if off >= warning else 0
        name = ("OK", "WARNING", "CRITICAL")[code]
        ranges = f"-{warning:g}:{warning:g};-{critical:g}:{critical:g}"
        self.stdout.write(f"{name} - {wording(offset)} | offset={offset.seconds:.6f}s;{ranges}")
        if code:
            sys.exit(code)
