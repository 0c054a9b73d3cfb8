"""What the commands print with ``--json``, held to the schema in docs/cli-schema.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from skewguard.cli import main
from tests.ntp_server import wall_server
from tests.pages import ROOT
from tests.real.need import need
from tests.test_error_messages import MESSAGES

try:
    import jsonschema
except ImportError:
    need(False, "jsonschema", "pip install --group tests")

SCHEMA = json.loads((ROOT / "docs" / "cli-schema.json").read_text("utf-8"))
SILENT = "ntp://127.0.0.1:9"
KINDS = {
    "offset": ["offset"],
    "wait": ["wait", "--timeout", "0.2"],
    "check": ["check"],
    "watch": ["watch", "--count", "1"],
    "doctor": ["doctor"],
    "doctor-error": ["doctor", "--error", "\n".join(text for _, text, _ in MESSAGES)],
}


def valid(kind: str, text: str) -> Any:
    """Validate one line of output; return what it says."""
    found = json.loads(text)
    jsonschema.validate(found, {**SCHEMA, "$ref": f"#/$defs/{kind}"}, jsonschema.Draft202012Validator)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offset", [0.0, 30.0, 1200.0, None])
def test_each_command(kind: str, offset: float | None, capsys: pytest.CaptureFixture[str]) -> None:
    """On clocks that are right, tolerated, wrong and not known; the exit code is that without the option."""
    with wall_server(offset or 0) as server:
        code = main([*KINDS[kind], "--json", "--source", SILENT if offset is None else server.uri])
    found = valid(kind.partition("-")[0].replace("watch", "check"), capsys.readouterr().out)
    assert (found["offset"] is None) == (offset is None)
    assert found.get("exit_code", code) == code or kind == "watch"
    if kind in ("offset", "wait"):
        assert bool(found["error"]) == (offset is None)
    if kind == "doctor" and offset is None:
        assert found["commands"] == []


def test_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The options, and the AWS CLI's state where there is no CLI."""
    monkeypatch.setenv("SKEWGUARD_SORCES", "x")
    assert main(["doctor", "--config", "--json"]) == 1
    valid("doctor-config", capsys.readouterr().out)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["awscli", "status", "--json", "--profile-file", str(tmp_path / "config")]) == 1
    assert valid("awscli-status", capsys.readouterr().out)["guarded"] is False
    assert main(["awscli", "enable", "--json"]) == 2


def test_the_schema_itself() -> None:
    """It is one, and a page names it."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert "(cli-schema.json)" in (ROOT / "docs" / "cli.md").read_text("utf-8")
    with pytest.raises(jsonschema.ValidationError):
        valid("offset", '{"offset": "1", "error_bound": null, "source": null, "error": null}')
