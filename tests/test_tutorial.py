"""``python -m skewguard.testing``, and what runs against it: the tutorial's commands as printed, and the examples."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skewguard.interval import EARLIEST, SECOND
from skewguard.sources.ntp import NtpSource
from skewguard.testing import StrictEndpoint, __main__
from skewguard.testing.ntp import TimeServer, reply
from tests.ntp_server import ask
from tests.pages import ROOT, blocks, masked
from tests.patience import PATIENCE

COMMAND = [sys.executable, "-m", "skewguard.testing"]
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def exported(lines: list[str]) -> dict[str, str]:
    """Read the variables as a shell would."""
    words = [shlex.split(line) for line in lines]
    assert all(first == "export" and len(rest) == 1 for first, *rest in words), lines
    return dict(rest[0].split("=", 1) for _, *rest in words)


class TestLines:
    def test_they_make_the_server_aws(self) -> None:
        with StrictEndpoint(credentials={"AKID": "it's; a $ecret"}) as endpoint:
            lines = __main__.lines(endpoint, "ntp://127.0.0.1:9", {})
            expected = {"AWS_ENDPOINT_URL": endpoint.url, "AWS_SECRET_ACCESS_KEY": "it's; a $ecret"}
            expected["SKEWGUARD_SOURCES"] = "ntp://127.0.0.1:9"
            assert exported(lines).items() >= expected.items()

    def test_what_would_lead_elsewhere_is_left_out(self) -> None:
        """A profile and a proxy of the user's, only where there is one."""
        with StrictEndpoint() as endpoint:
            *exports, last = __main__.lines(endpoint, "s", {"AWS_PROFILE": "x", "https_proxy": "http://proxy"})
        assert last == "unset AWS_PROFILE"
        assert exported(exports)["no_proxy"] == "127.0.0.1"


class TestTimeServer:
    def test_it_shows_its_clock(self) -> None:
        """To a source that believes nothing unlikely, in both eras of NTP."""
        for true in (EARLIEST + SECOND, EARLIEST + 15 * 365 * 86_400 * SECOND):
            with contextlib.closing(TimeServer(lambda true=true: true)) as server:  # type: ignore[misc]
                said = ask(NtpSource("127.0.0.1", int(server.uri.rpartition(":")[2])))
                assert said.earliest <= true <= said.latest

    @pytest.mark.parametrize("request_", [b"", b"\x23" * 47, b"\x24" + bytes(47), bytes(48)])
    def test_only_clients_get_a_reply(self, request_: bytes) -> None:
        assert reply(request_, EARLIEST) is None


@pytest.mark.slow
def test_the_server_ends_cleanly_at_an_interrupt() -> None:
    """Nothing on stderr, exit code 0; the lines were there before, and their reader was not kept waiting."""
    # A child inherits an ignored signal, as under nohup; and the default where the parent handles it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        signal.signal(signal.SIGINT, before)
        assert server.stdout is not None
        assert server.stderr is not None
        variables = exported(server.stdout.read().splitlines())  # ends although the server goes on
        assert variables["STRICT_ENDPOINT_PID"] == str(server.pid)
        assert server.poll() is None
        server.send_signal(signal.SIGINT)
        assert server.wait(PATIENCE) == 0
        assert server.stderr.read() == ""


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({block.page for block in blocks("console") if block.remark == "tutorial"}))
def test_the_tutorial(page: str, tmp_path: Path) -> None:
    """The commands of a page, typed one after the other in one terminal, print what it shows."""
    commands = [block for block in blocks("console", again=True) if block.page == page and block.remark == "tutorial"]
    assert commands
    for file in blocks("python", again=True):
        if file.page == page and file.title:
            (tmp_path / file.title).write_text(file.text, "utf-8")
    script = "\necho '>>>' 2>&1\n".join("\n".join(block.commands()) for block in commands)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SKEWGUARD_"))}
    environment |= {"PATH": PATH, "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, timeout=5 * PATIENCE, check=True, **both
    )
    printed = done.stdout.split(">>>\n")
    assert len(printed) == len(commands)
    for block, output in zip(commands, printed, strict=True):
        got = iter(same(output))
        assert all(line in got for line in same(block.printed())), f"{block.id} printed:\n{output}"
        assert "error" not in output.lower() or "error" in block.printed().lower(), output


def same(text: str) -> list[str]:
    return re.sub(r"(http|ntp)://[\w.:]+", r"\1://SERVER", masked(text)).splitlines()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="paths of shells")
def test_every_example_reads_its_photo(tmp_path: Path) -> None:
    """The examples run as they stand in the environment that the command prints, on a clock that is 20 minutes slow."""
    programs = {
        "lambda_function": "lambda_function.handler({'key': 'photo'}, None)",
        "flask_app": "flask_app.create_app().test_client().get('/').text",
        "fastapi_app": "fastapi_app.index()",
        "celery_app": "celery_app.read()",
        "photos.urls": "photos.urls.index(None).content.decode()",
    }
    before = "import os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'photos.settings'; import django; django.setup();"
    server = subprocess.Popen([*COMMAND, "--offset", "1200"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        variables = exported(server.stdout.read().splitlines())
        server.stdout.close()
        children = []
        for name, call in programs.items():
            django = before if name == "photos.urls" else ""
            program = f"{django}import {name}; print({call}, end='')"
            where = ROOT / "examples" / ("django_site" if django else "")
            environment = {**os.environ, **variables, "PYTHONPATH": str(where), "SKEWGUARD_SOURCES": "response"}
            environment["MAIL"] = str(tmp_path)
            children.append(
                subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
            )
        assert [child.communicate(timeout=5 * PATIENCE)[0] for child in children] == [
            *["a photo"] * 4,
            "a photo, 1 mail\n",
        ]
    finally:
        server.terminate()
        assert server.wait(PATIENCE) == 0
