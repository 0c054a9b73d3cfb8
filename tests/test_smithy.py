"""The tests in `tests/smithy`, run in another environment, because those SDKs need Python 3.12."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.real.need import need
from tests.test_aiobotocore import ROOT, passes

pytestmark = pytest.mark.slow

ENVIRONMENT = Path(os.environ.get("TEST_SMITHY") or ROOT / ".venv-smithy").absolute()

if not (ENVIRONMENT / "none").exists():  # `make setup` has found no Python 3.12

    def test_with_smithys_sdks() -> None:
        """Every test of them passes there, and none is skipped."""
        python = ENVIRONMENT / "bin" / "python"
        need(python.exists(), "an SDK of smithy-python", "make setup")
        passes(python, "tests/smithy")
