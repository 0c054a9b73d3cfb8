"""The tests in `tests/aio`, run in another environment, because aiobotocore pins botocore."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.real.need import need
from tests.support import completed

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PYTHON = Path(os.environ.get("TEST_AIOBOTOCORE") or ROOT / ".venv-aiobotocore").absolute() / "bin" / "python"


@pytest.mark.parametrize("name", sorted(path.name for path in ROOT.glob("tests/aio/test_*.py")))
def test_with_aiobotocore(name: str) -> None:
    """Every test of that file passes there, and none is skipped."""
    need(PYTHON.exists(), "aiobotocore", "make setup")
    passes(PYTHON, f"tests/aio/{name}")


def passes(python: Path, tests: str) -> None:
    """Run tests by another Python; fail unless all pass, and none is skipped."""
    command = [python, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "-rA", tests]
    done = completed(*command, cwd=ROOT, timeout=600)
    print(done.stdout)  # figures, shown with -s
    if done.returncode:
        pytest.fail(f"{done.stdout}{done.stderr}", pytrace=False)
    assert re.search(r"^\d+ passed(, \d+ warnings?)? in ", done.stdout, re.MULTILINE), done.stdout
