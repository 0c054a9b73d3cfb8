"""These tests need aiobotocore, which pins botocore: `tests/test_aiobotocore.py` runs them in its environment.

They are collected there only; without aiobotocore, that file explains how to install it.
"""

from __future__ import annotations

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("aiobotocore") else ["test_*.py"]
