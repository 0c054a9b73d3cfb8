"""System checks. W001 and W002 tell what is known already; W003 and W004, for ``check --deploy``, ask the sources."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning

import skewguard

TAG = "skewguard"
"""What the checks go by: ``manage.py check --tag skewguard``."""

WARNING, CRITICAL = 60.0, 240.0
"""How far off a clock may be before people should hear of it, s, and before the strictest AWS services refuse it."""

_MEND = "Have chrony, systemd-timesyncd or the hypervisor set the host's clock. Until then skewguard corrects for it."


def wording(offset: skewguard.Offset) -> str:
    """Say in words how far off the wall clock is."""
    side = "behind" if offset.seconds > 0 else "ahead of"
    near = f"within {offset.error_bound:.3f} s, by {offset.source}"
    return f"the wall clock is {abs(offset.seconds):.3f} s {side} true time ({near})"


def check_clock(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """Tell what is known already: W001, the clock is wrong; W002, nothing is corrected."""
    del app_configs  # a clock belongs to no app
    return [*_off(skewguard.offset()), *_switched_off()]


def check_sources(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """Ask the sources: W003, nobody knows the time; W004, somebody is contradicted by most others."""
    del app_configs
    status = skewguard.measure()
    found: list[CheckMessage] = []
    if not any(result.interval is not None for result in status.sources):
        said = "; ".join(f"{result.name}: {result.error}" for result in status.sources)
        hint = f"Only AWS's answers will tell the time, at the price of a refused request. {said}".strip()
        found.append(CheckWarning("No time source could be reached.", hint=hint, id="skewguard.W003"))
    for result in status.sources:
        if result.off_by:
            text = f"{result.name} is {result.off_by / 1e9:.3f} s off what most time sources agree on."
            found.append(CheckWarning(text, hint="Repair it, or do not ask it.", id="skewguard.W004"))
    return found


def _off(offset: skewguard.Offset | None) -> list[CheckMessage]:
    if offset is None or abs(offset.seconds) - offset.error_bound < WARNING:
        return []
    text = wording(offset)
    return [CheckWarning(f"{text[0].upper()}{text[1:]}.", hint=_MEND, id="skewguard.W001")]


def _switched_off() -> list[CheckMessage]:
    made: skewguard.Installation = apps.get_app_config("skewguard").installation
    if made.in_force and made.settings.enabled is not False:
        return []
    hint = "Look at SKEWGUARD['enabled'] and AWS_DISABLE_CLOCK_SKEW_CORRECTION."
    return [CheckWarning("skewguard is switched off.", hint=hint, id="skewguard.W002")]
