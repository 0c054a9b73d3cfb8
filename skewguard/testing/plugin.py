"""The pytest plugin by its former name, for environments that were installed with it."""

from skewguard_pytest import strict_endpoint

__all__ = ["strict_endpoint"]
