"""The README and the docs say what is true: their Python runs, their names exist, their table is the code's."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import skewguard
from skewguard.config import Settings
from tests.real.need import installed

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
BLOCKS = [
    pytest.param(block, id=f"{page}-{index}")
    for page in PAGES
    for index, block in enumerate(re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.S | re.M))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_python_runs_as_it_stands(block: str, tmp_path: Path) -> None:
    """Every block, alone, in a fresh interpreter; one that defines tests is run by pytest, as its reader would."""
    frameworks = "celery|django|fastapi|flask|opentelemetry|prometheus_client"
    installed(*re.findall(rf"^(?:from|import) (?:skewguard\.contrib\.)?({frameworks})\b", block, re.M))
    path = tmp_path / "test_block.py"
    path.write_text(block.replace("169.254.169.123", "127.0.0.1:9"), "utf-8")
    runner = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if "def test_" in block else []
    command = [sys.executable, *runner, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_option_table_is_complete() -> None:
    """One row per option, and no other."""
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "README.md").read_text("utf-8"), re.M)
    assert sorted(rows) == sorted([*(field.name for field in fields(Settings)), "wait"])


def test_the_promised_names_are_there_and_no_others() -> None:
    """The public API."""
    assert skewguard.__all__ == sorted(skewguard.__all__)
    for name in skewguard.__all__:
        assert getattr(skewguard, name).__doc__


def test_import_is_light() -> None:
    """Nothing runs at import, and nothing heavy is loaded."""
    heavy = ["boto3", "botocore.auth", "ssl", "ntplib", "django", "flask", "trustme"]
    program = f"import sys, skewguard; print(*(name for name in {heavy} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_room_is_on_the_plan() -> None:
    """docs/architecture.md names each module."""
    plan = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rooms = [path.name for path in (ROOT / "skewguard").glob("*.py")]
    rooms += [f"signing/{path.name}" for path in (ROOT / "skewguard" / "signing").glob("[!_]*.py")]
    assert [room for room in rooms if f"`{room}`" not in plan] == []
