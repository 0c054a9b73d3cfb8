"""``skewguard wait``: scripts and systemd units wait for the time."""

from __future__ import annotations

import pytest

from tests.ntp_server import Server, by_wall, serving, wall_server
from tests.support import exit_code


def wait(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    """Run it; return its exit code, and what it wrote to stdout and stderr."""
    code = exit_code("wait", *arguments)
    return code, *capsys.readouterr()


def test_it_ends_once_the_time_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    """The line says how far off the clock is; the exit code does not judge that."""
    with wall_server(1200) as server:
        code, out, err = wait(capsys, "--source", server.uri)
    assert (code, err) == (0, "")
    assert out.startswith("this host's clock is 20 min 0 s behind true time (within ")


@pytest.mark.slow
def test_a_lost_packet_costs_a_second(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lost = iter([True])

    def loses_one(server: Server, request: bytes, peer: tuple[str, int]) -> None:
        if not next(lost, False):
            by_wall()(server, request, peer)

    monkeypatch.setenv("SKEWGUARD_TIMEOUT", "0.3")
    with serving(loses_one) as server:
        assert wait(capsys, "--source", server.uri, "--timeout", "60")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--source", "ntp://127.0.0.1:1"], " after 0.5 s: no time source gave the time: ntp://127.0.0.1:1: cannot be"),
        (["--source", "response"], ": no time source is configured"),
    ],
)
def test_it_gives_up(capsys: pytest.CaptureFixture[str], arguments: list[str], why: str) -> None:
    """With the exit code of ``chronyc waitsync``; at once if there is nothing to wait for."""
    code, out, err = wait(capsys, *arguments, "--timeout", "0.5")
    assert (code, out) == (1, "")
    assert err.startswith(f"skewguard wait: true time is not known well enough{why}")


def test_a_wide_answer_may_not_be_good_enough(capsys: pytest.CaptureFixture[str]) -> None:
    """Then the line says what is known."""
    with wall_server() as server:
        code, _, err = wait(capsys, "--source", server.uri, "--timeout", "0.5", "--within", "0.000001")
    assert code == 1
    assert "not known well enough after 0.5 s: this host's clock is " in err


@pytest.mark.parametrize("arguments", [["--source", "http://x"], ["--timeout", "soon"], ["--min-sources", "0"]])
def test_wrong_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, out, err = wait(capsys, *arguments)
    assert (code, out) == (2, "")
    assert "skewguard wait: " in err
