"""Clocks, the pytest plugin and the documentation."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from skewguard.testing import FakeClocks, StrictEndpoint, steady_utc
from tests.endpoint.helpers import client, refused
from tests.support import run_python

ROOT = Path(__file__).parent.parent.parent


def test_fake_clocks() -> None:
    clocks = FakeClocks(wall=100 * 10**9, steady=5 * 10**9)
    start = clocks.read()
    assert start == (clocks.steady, clocks.wall) == (5 * 10**9, 100 * 10**9)
    quick = clocks.quick_ns()
    clocks.advance(1.5)
    assert clocks.read() == (start.steady + 1_500_000_000, start.wall + 1_500_000_000)
    assert clocks.quick_ns() == quick + 1_500_000_000 != clocks.steady
    assert clocks.wall_ns() == clocks.wall
    clocks.step(-3600)
    clocks.sleep(2)
    assert clocks.read() == (start.steady + 3_500_000_000, start.wall + 3_500_000_000 - 3600 * 10**9)
    with pytest.raises(ValueError, match="backwards"):
        clocks.advance(-1)


def test_server_clock_outlives_fakes(endpoint: StrictEndpoint) -> None:
    """Neither time-machine nor freezegun moves it."""
    time_machine = pytest.importorskip("time_machine")
    freezegun = pytest.importorskip("freezegun")
    endpoint.clock = steady_utc()
    true = time.time_ns()
    with time_machine.travel("2020-01-01"):
        assert abs(endpoint.now() - true) < 10e9
        assert "Signature expired: 20200101" in refused(client(endpoint, "sts").get_caller_identity)[2]
    with freezegun.freeze_time("2020-01-01"):
        assert abs(endpoint.now() - true) < 10e9


@pytest.mark.slow
def test_plugin_and_documentation(tmp_path: Path) -> None:
    """The documentation's examples run as they are, and loading the plugin loads next to nothing."""
    text = (ROOT / "docs" / "testing.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert examples
    for number, example in enumerate(examples):
        (tmp_path / f"test_example_{number}.py").write_text(example)
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    environment["PYTHONWARNINGS"] = "error"
    pytest_main = "import pytest, sys; sys.exit(pytest.main(sys.argv[1:]))"
    options = ["-q", "-p", "skewguard_pytest", "-p", "no:cacheprovider"]
    run_python(pytest_main, *options, str(tmp_path), env=environment, cwd=tmp_path)
    code = "import pytest, sys; before = {*sys.modules}; import skewguard_pytest; print(*{*sys.modules} - before)"
    assert run_python(code, env=environment).split() == ["skewguard_pytest"]
    assert '\nskewguard = "skewguard_pytest"\n' in (ROOT / "pyproject.toml").read_text()
