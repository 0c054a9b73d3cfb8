"""The exceptions, as one small tree, and the warning. None of these ever reaches a caller's AWS call."""

from __future__ import annotations


class SkewguardError(Exception):
    """The base of every error raised by skewguard."""


class ConfigError(SkewguardError, ValueError):
    """An option given to `install`, `attach` or `session` is unknown or has an unusable value."""


class SourceError(SkewguardError):
    """A time source could not be read, or its statement must not be believed."""


class SkewguardWarning(UserWarning):
    """A setting is misspelt or unusable, and ignored. Each comes once; `warnings` can silence it."""


class StoreError(SkewguardError):
    """The file that a user's processes share could not be read, believed or written."""
