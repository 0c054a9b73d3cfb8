"""For Flask: ``Skewguard(app)``, or ``Skewguard()`` and ``init_app`` for each of several apps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Flask

import skewguard
from skewguard.config import InstallOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Skewguard:
    """A Flask extension. A process has one clock, so the first app's options apply, and it stays installed."""

    def __init__(self, app: Flask | None = None, **options: Unpack[InstallOptions]) -> None:
        """Store the options, and call `init_app` if an app is given.

        Args:
            app: The app.
            **options: Those of `skewguard.install`; they override the app's configuration.
        """
        self._options = options
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Install with the app's ``SKEWGUARD_SOURCES``, ``SKEWGUARD_WAIT`` and so on.

        The `skewguard.Installation` is in ``app.extensions["skewguard"]``. Create clients after this.

        Raises:
            ConfigError: An option is unknown or its value unusable.
        """
        options: dict[str, Any] = app.config.get_namespace("SKEWGUARD_") | {**self._options}
        app.extensions["skewguard"] = skewguard.install(**options)
