"""System checks. W001 and W002 report what is known already; W003 and W004, for ``check --deploy``, ask the sources."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning

import skewguard
from skewguard.assessment import FAIL_FROM, OK, WARN_FROM, Outcome, assess
from skewguard.interval import SECOND
from skewguard.wording import length

TAG = "skewguard"
"""The tag of all checks: ``manage.py check --tag skewguard``."""

_REMEDY = "Let chrony, systemd-timesyncd or the hypervisor set the host's clock. Until then, skewguard corrects for it."


def assess_clock(offset: skewguard.Offset, warning: int = WARN_FROM, critical: int = FAIL_FROM) -> Outcome:
    """Assess this host's clock, by thresholds in ns, as ``skewguard check`` does."""
    off, bound = round(offset.seconds * SECOND), round(offset.error_bound * SECOND)
    return assess(off, bound, offset.source, warning, critical)


def check_clock(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """Report what is known already: W001, the clock is wrong; W002, skewguard is switched off."""
    del app_configs  # a clock belongs to no app
    return [*_wrong_clock(skewguard.offset()), *_switched_off()]


def check_sources(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """Ask the sources: W003, none gives the time; W004, one contradicts most others."""
    del app_configs
    status = skewguard.measure()
    found: list[CheckMessage] = []
    if not any(result.interval is not None for result in status.sources):
        errors = "; ".join(f"{result.name}: {result.error}" for result in status.sources)
        hint = f"Only AWS's answers will give the time, at the cost of a refused request. {errors}".strip()
        found.append(CheckWarning("No time source could be reached.", hint=hint, id="skewguard.W003"))
    for result in status.sources:
        if result.off_by:
            text = f"{result.name} is {length(result.off_by)} off what most sources agree on."
            found.append(CheckWarning(text, hint="Repair it, or remove it from the sources.", id="skewguard.W004"))
    return found


def _wrong_clock(offset: skewguard.Offset | None) -> list[CheckMessage]:
    if offset is None or (outcome := assess_clock(offset)).code == OK:
        return []
    return [CheckWarning(f"{outcome.text[0].upper()}{outcome.text[1:]}.", hint=_REMEDY, id="skewguard.W001")]


def _switched_off() -> list[CheckMessage]:
    made: skewguard.Installation = apps.get_app_config("skewguard").installation
    if made.in_force and made.settings.enabled is not False:
        return []
    hint = "See SKEWGUARD['enabled'] and AWS_DISABLE_CLOCK_SKEW_CORRECTION."
    return [CheckWarning("skewguard is switched off.", hint=hint, id="skewguard.W002")]
