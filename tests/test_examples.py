"""The examples run as they stand, with botocore's own signers and with awscrt's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support import completed

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("without_crt", ["true", "false"])
def test_quickstart_shows_what_it_says(without_crt: str) -> None:
    """Twelve rows: unguarded an error in one request; guarded two requests, then one, and one."""
    environment = {**os.environ, "BOTO_DISABLE_CRT": without_crt}
    done = completed(sys.executable, EXAMPLES / "quickstart.py", env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    rows = [line for line in done.stdout.splitlines() if "request" in line and line.startswith("  ")]
    assert len(rows) == 12
    assert all(row.endswith("ok, 2 requests   ok, 1 request    ok, 1 request") for row in rows)
