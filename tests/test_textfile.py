"""``skewguard check --textfile``: what node_exporter's collector reads."""

from __future__ import annotations

import math
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skewguard.assessment import CRITICAL, UNKNOWN, Outcome
from skewguard.cli import check, main, textfile
from skewguard.cli.survey import ClockOffset, SourceResult, Survey
from skewguard.interval import SECOND
from tests.real.need import installed


def survey(offset: float | None, *, name: str = "ntp://a") -> Survey:
    said = None if offset is None else ClockOffset(round(offset * SECOND), SECOND // 100, name)
    results = (SourceResult(name, said, None if said else "silent", 0 if said else None),)
    return Survey(said, results, 1_800_000_000 * SECOND)


def parsed(text: str) -> dict[tuple[str, ...], float]:
    """Parse with Prometheus's own parser: each sample's value, by its name and its labels' values."""
    installed("prometheus_client")
    from prometheus_client.parser import text_string_to_metric_families

    families = list(text_string_to_metric_families(text))
    assert all(family.documentation and family.type == "gauge" for family in families)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_what_is_known_and_what_is_not() -> None:
    """With the names of `skewguard.contrib.prometheus`; NaN where nothing is known."""
    found = survey(1200)
    values = parsed(textfile.render(check.assess(found), found))
    assert values["skewguard_clock_offset_seconds",] == 1200
    assert values["skewguard_clock_offset_error_bound_seconds",] == 0.01
    assert (values["skewguard_check_status",], values["skewguard_clock_known",]) == (CRITICAL, 1)
    assert values["skewguard_source_agrees", "ntp://a"] == 1
    for found_none in (survey(None), None):
        values = parsed(textfile.render(Outcome(UNKNOWN, "x"), found_none))
        assert math.isnan(values["skewguard_clock_offset_seconds",])
        assert (values["skewguard_check_status",], values["skewguard_clock_known",]) == (UNKNOWN, 0)


@given(st.text())
def test_any_name_of_a_source_can_be_read(name: str) -> None:
    [(_, label)] = [key for key in parsed(textfile.render(Outcome(0, ""), survey(0, name=name))) if "agrees" in key[0]]
    assert label == name


def test_the_command_replaces_the_file_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It can be read by other users; nothing else is left; the line on stdout stays."""
    path = tmp_path / "skewguard.prom"
    path.write_text("old")
    before = path.stat().st_ino
    code = main(["check", "--source", "chrony:/nonexistent", "--timeout", "0.1", "--textfile", str(path)])
    assert code == CRITICAL
    assert capsys.readouterr().out.startswith("CRITICAL - ")
    assert "skewguard_clock_known 0\n" in path.read_text()
    assert path.stat().st_ino != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [*tmp_path.iterdir()] == [path]


def test_a_file_that_cannot_be_written_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also if the rename fails; then nothing is left behind."""
    for path in (tmp_path / "missing" / "a.prom", tmp_path):
        code = main(["check", "--source", "chrony:/nonexistent", "--timeout", "0.1", "--textfile", str(path)])
        assert code == UNKNOWN
        assert f"UNKNOWN - {path} cannot be written: " in capsys.readouterr().out
    assert [*tmp_path.iterdir()] == []
    assert [*tmp_path.parent.glob(f".{tmp_path.name}.*")] == []
