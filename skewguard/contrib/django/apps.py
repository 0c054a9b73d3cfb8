"""The Django app: it installs skewguard, and registers the system checks."""

from __future__ import annotations

from types import ModuleType

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

import skewguard
from skewguard.contrib.django.checks import TAG, check_clock, check_sources


class SkewguardConfig(AppConfig):
    """Installs when Django creates it, so that clients created while models are imported are guarded too."""

    name = "skewguard.contrib.django"
    label = "skewguard"
    verbose_name = "Clock"

    def __init__(self, app_name: str, app_module: ModuleType | None) -> None:
        """Install with the options in the setting ``SKEWGUARD``; ImproperlyConfigured if they are wrong."""
        super().__init__(app_name, app_module)
        options = getattr(settings, "SKEWGUARD", {})
        try:
            self.installation = skewguard.install(**options)
        except (skewguard.ConfigError, TypeError) as error:
            raise ImproperlyConfigured(f"SKEWGUARD: {error}") from error

    def ready(self) -> None:
        """Register the checks. Only ``check --deploy`` asks the sources."""
        checks.register(check_clock, TAG)
        checks.register(check_sources, TAG, deploy=True)
