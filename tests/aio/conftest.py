"""These tests need aiobotocore, which pins botocore: `tests/test_aiobotocore.py` runs them in its environment.

They are collected there only; where aiobotocore is missing, that file says how to install it.
"""

from __future__ import annotations

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("aiobotocore") else ["test_*.py"]
