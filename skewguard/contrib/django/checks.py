"""System checks. W001 and W002 report what is known already; W003 and W004, for ``check --deploy``, ask the sources."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning

import skewguard
from skewguard._status import assess_status
from skewguard.assessment import OK
from skewguard.wording import sentence, source_verdict, unknown_time

TAG = "skewguard"
"""The tag of all checks: ``manage.py check --tag skewguard``."""

_REMEDY = "Let chrony, systemd-timesyncd or the hypervisor set the host's clock. Until then, skewguard corrects for it."


def check_clock(**_: Any) -> list[CheckMessage]:
    """Report what is known already: W001, the clock is wrong; W002, skewguard is switched off."""
    return [*_wrong_clock(skewguard.status()), *_switched_off()]


def check_sources(**_: Any) -> list[CheckMessage]:
    """Ask the sources: W003, none gives the time; W004, one contradicts most others."""
    status = skewguard.measure()
    found: list[CheckMessage] = []
    if not any(result.interval is not None for result in status.sources):
        text = unknown_time([(result.name, result.error) for result in status.sources], 1)
        hint = "Only AWS's answers will give the time, at the cost of a refused request."
        found.append(CheckWarning(sentence(text), hint=hint, id="skewguard.W003"))
    for result in status.sources:
        if result.off_by:
            text = f"{result.name} is {source_verdict(result.name, result.error, result.off_by)}."
            found.append(CheckWarning(text, hint="Repair it, or remove it from the sources.", id="skewguard.W004"))
    return found


def _wrong_clock(status: skewguard.Status) -> list[CheckMessage]:
    if status.offset is None or (outcome := assess_status(status)).code == OK:
        return []
    return [CheckWarning(sentence(outcome.text), hint=_REMEDY, id="skewguard.W001")]


def _switched_off() -> list[CheckMessage]:
    made: skewguard.Installation = apps.get_app_config("skewguard").installation
    if made.in_force and made.settings.enabled is not False:
        return []
    hint = "See SKEWGUARD['enabled'] and AWS_DISABLE_CLOCK_SKEW_CORRECTION."
    return [CheckWarning("skewguard is switched off.", hint=hint, id="skewguard.W002")]
