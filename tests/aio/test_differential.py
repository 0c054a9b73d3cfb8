"""No call of aiobotocore's is worse off for being guarded; `tests/test_differential.py` explains the comparison."""

from __future__ import annotations

from tests.differential.play import worse


def test_no_call_is_worse_off() -> None:
    """Other pairs than botocore's."""
    assert [(one.seed, one.complaints, one.script.line()) for one in worse(1000, 1200, "aiobotocore")] == []
