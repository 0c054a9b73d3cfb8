"""These tests need AWS's SDKs by smithy-python, which need Python 3.12: `tests/test_smithy.py` runs them elsewhere."""

from __future__ import annotations

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("aws_sdk_bedrock_runtime") else ["test_*.py"]
