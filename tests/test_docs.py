"""README and docs are true: their Python runs, their commands print what is shown, their tables match the code."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import yaml

import mkdocs_hooks
import skewguard
import skewguard.testing
from skewguard.config import Settings
from skewguard.testing import StrictEndpoint
from tests import option_table, pictures
from tests.ntp_server import wall_server
from tests.pages import PAGES, ROOT, Block, blocks, masked
from tests.real.faketime import FakeTime
from tests.real.need import installed
from tests.support import completed, run_python

pytestmark = pytest.mark.slow

KNOWN = {"console", "ini", "json", "python", "text", "yaml"}
"""Languages of blocks. All are tested but ``text``, which is a message or a diagram."""

FRAMEWORKS = "celery|django|fastapi|flask|opentelemetry|prometheus_client"

TESTED_ELSEWHERE = {"healthy", "wrong", "check", "config", "error", "watch", "tutorial"}
"""Remarks of the blocks whose output test_cli_doctor.py, test_cli_watch.py and test_tutorial.py compare."""

SCRIPT = "import boto3; boto3.client('sts', region_name='us-east-1').get_caller_identity()\n"


@pytest.fixture(scope="module")
def time_server() -> Iterator[str]:
    """The URI of a correct NTP server on loopback."""
    with wall_server() as server:
        yield server.uri


@pytest.fixture(scope="module")
def aws() -> Iterator[StrictEndpoint]:
    """The AWS that the blocks call, with the bucket that they use."""
    with StrictEndpoint() as endpoint:
        s3 = boto3.client("s3", **endpoint.client_kwargs)
        s3.create_bucket(Bucket="my-bucket")
        s3.put_object(Bucket="my-bucket", Key="key", Body=b"here")
        s3.close()
        yield endpoint


class Terminal:
    """A terminal on a host whose clock is 20 minutes slow, and which has one time server."""

    def __init__(self, directory: Path, aws: StrictEndpoint, time_server: str, clock: FakeTime) -> None:
        self.directory, self.aws, self.time_server, self.clock = directory, aws, time_server, clock
        (directory / "script.py").write_text(SCRIPT, "utf-8")

    def here(self, text: str) -> str:
        """Replace the servers that a block names with servers on loopback."""
        text = text.replace("https://minio.example.com", self.aws.url)
        return re.sub(r"ntp://(169\.254\.169\.123|[a-z.]+\.(com|org))", self.time_server, text)

    def run(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the slow clock; its output is what the terminal would show."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        key, secret = (self.aws.client_kwargs[f"aws_{name}"] for name in ("access_key_id", "secret_access_key"))
        variables = {"PATH": path, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, **variables}
        both = {"capture_output": False, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return completed(*command, **both, cwd=self.directory, env=self.clock.env(**variables))


@pytest.fixture
def terminal(tmp_path: Path, aws: StrictEndpoint, time_server: str) -> Iterator[Terminal]:
    (tmp_path / "clock").mkdir()
    with FakeTime(tmp_path / "clock", "-20m") as clock:
        yield Terminal(tmp_path, aws, time_server, clock)


def ids(found: Block) -> str:
    return found.id


@pytest.mark.parametrize("block", blocks("python"), ids=ids)
def test_python_runs_as_it_stands(block: Block, terminal: Terminal) -> None:
    """Each block runs alone in a fresh interpreter; pytest runs a block that defines tests."""
    installed(*re.findall(rf"^(?:from|import) (?:skewguard\.contrib\.)?({FRAMEWORKS})\b", block.text, re.M))
    path = terminal.directory / "test_block.py"
    path.write_text(terminal.here(block.text), "utf-8")
    if "def test_" in block.text:  # it starts its own server
        done = terminal.run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path)
    else:
        done = terminal.run(sys.executable, path, AWS_ENDPOINT_URL=terminal.aws.url)
    assert done.returncode == block.exit_code, done.stdout


@pytest.mark.parametrize("block", [each for each in blocks("console") if each.remark not in TESTED_ELSEWHERE], ids=ids)
def test_commands_print_what_is_shown(block: Block, terminal: Terminal) -> None:
    """A block is one shell session. A block that cannot run here has a remark, and is at least a valid script."""
    script = terminal.here("\n".join(block.commands()))
    assert script, "no line begins with a prompt"
    syntax = completed("bash", "-n", "-c", script)
    assert syntax.returncode == 0, syntax.stderr
    if block.not_run:
        return
    if block.remark.startswith("right clock"):
        terminal.clock.shift("+0")
    for file in blocks("python"):
        if file.page == block.page and file.title:
            (terminal.directory / file.title).write_text(terminal.here(file.text), "utf-8")
    done = terminal.run(
        "bash", "-ec", script, AWS_ENDPOINT_URL=terminal.aws.url, SKEWGUARD_SOURCES=terminal.time_server
    )
    assert done.returncode == block.exit_code, done.stdout
    if block.printed():
        assert the_same_everywhere(done.stdout) == the_same_everywhere(block.printed())


def the_same_everywhere(text: str) -> list[str]:
    """Remove the lines of `skewguard doctor` that depend on the machine."""
    of_the_host = re.compile(
        r"\[.{4}\] (Time daemons|No time daemon|chronyd|ntpd|The kernel|systemd-timesyncd|The clock was|Hardware)"
    )
    return [line for line in masked(text.strip()).splitlines() if not of_the_host.match(line)]


@pytest.mark.parametrize("block", blocks("ini", "json", "yaml"), ids=ids)
def test_configuration_can_be_read(block: Block) -> None:
    if block.language == "yaml":
        assert list(yaml.safe_load_all(block.text))
    elif block.language == "json":
        assert json.loads(block.text)
    else:
        parser = configparser.RawConfigParser()
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(block.text)
        assert parser.sections()


def test_every_block_is_tested() -> None:
    """There are no other languages or remarks, and no fence that the other tests would miss."""
    assert {block.language for block in blocks()} <= KNOWN
    remarks = {block.remark for block in blocks() if block.remark and not block.not_run}
    known = TESTED_ELSEWHERE | {"exit 1", "right clock"}
    assert remarks <= known
    for page in PAGES:
        fences = re.findall(r"^ *```", page.read_text("utf-8"), re.M)
        assert len(fences) == 2 * sum(block.page == str(page.relative_to(ROOT)) for block in blocks(again=True)), page


def test_the_option_table_is_the_codes() -> None:
    """It is generated by `python -m tests.option_table --write`: one heading per option, each with its meaning."""
    assert option_table.page() == option_table.PAGE.read_text("utf-8")
    assert re.findall(r"^### `(\w+)`\n\n\S", option_table.table(), re.M) == [*Settings._fields]


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_the_pictures_show_skewguards_own_arithmetic(name: str) -> None:
    """They are generated by `python -m tests.pictures --write`."""
    assert pictures.PICTURES[name]() == (pictures.FOLDER / name).read_text("utf-8")


def test_every_cell_of_the_comparison_has_a_source() -> None:
    """A cell without a public source is empty; what was measured is a mark or a figure, and names a test."""
    page = (ROOT / "docs" / "comparison.md").read_text("utf-8")
    measured, _, sourced = page.partition("\n## How each does it\n")
    rows = [re.split(r" *\| *", line)[2:-1] for line in sourced.splitlines() if line.startswith("| ")]
    heads = {"corrects", "SDK"}
    cells = [cell for row in rows if row[0] not in heads for cell in row]
    assert len(cells) > 70
    assert [cell for cell in cells if cell and not re.fullmatch(r"(\[[^\]]+\]\([^)\s]+\)(; )?)+", cell)] == []
    rows = [re.split(r" *\| *", line)[2:-1] for line in measured.splitlines() if line.startswith("| ")]
    cells = [cell for row in rows if "Rust" not in row for cell in row]
    assert len(cells) > 60
    assert [cell for cell in cells if not re.fullmatch(r"[✓✗]|\d*|`tests/\w+\.py`", cell)] == []
    assert [cell for cell in cells if cell.startswith("`") and not (ROOT / cell.strip("`")).is_file()] == []


def test_the_reference_has_every_public_name() -> None:
    """The reference covers the package, `skewguard.testing` and the frameworks."""
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    names = {f"skewguard.{name}" for name in skewguard.__all__}
    names |= {f"skewguard.testing.{name}" for name in skewguard.testing.__all__}
    assert names - set(re.findall(r"^::: (\S+)$", page, re.M)) == set()
    contrib = {path.stem for path in (Path(skewguard.__file__).parent / "contrib").glob("[!_]*.py")} - {"awscli"}
    assert contrib == set(re.findall(r"^::: skewguard\.contrib\.(\w+)", page, re.M))


def test_the_public_names() -> None:
    """They are sorted, exist, and have docstrings."""
    assert skewguard.__all__ == sorted(skewguard.__all__)
    for name in skewguard.__all__:
        assert getattr(skewguard, name).__doc__


def modules_after(program: str) -> set[str]:
    """Run some imports in a fresh interpreter, and return the names of the loaded modules."""
    program += "; import sys; print(*sys.modules)"
    return set(run_python(program).split())


def test_import_is_light() -> None:
    """Nothing runs at import, and nothing heavy is loaded."""
    heavy = {"boto3", "botocore.auth", "ssl", "ntplib", "django", "flask", "trustme"}
    assert not modules_after("import skewguard") & heavy


def test_beside_boto3_import_adds_few_modules() -> None:
    """It loads neither the signing modules, nor the command, nor the module of any single source."""
    added = modules_after("import boto3, skewguard") - modules_after("import boto3")
    rooms = """_api _aws_profile _fail_open _files _late_imports _plugins _process _reach _signed_call _status _warnings
        clocks config errors events host_clock interval
        sources sources.auto
        signing signing.patches signing.patches.library
        timekeeping timekeeping.certificates timekeeping.domain timekeeping.evidence timekeeping.knowledge
        timekeeping.polling timekeeping.shared_file timekeeping.sharing timekeeping.timekeeper
        wording"""
    expected = {f"skewguard.{room}" for room in rooms.split()}
    assert added == {"skewguard", *expected}


def test_every_room_is_on_the_plan() -> None:
    """The tables of docs/architecture.md name every module, and no module that does not exist."""
    _, _, rooms = (ROOT / "docs" / "architecture.md").read_text("utf-8").partition("\n## Rooms\n")
    rooms, _, _ = rooms.partition("\n## ")
    planned = []
    for heading, table in re.findall(r"^### (.*)\n((?:(?!### |Beside the package:).*\n)*)", rooms, re.M):
        folder = re.match(r"`(.*?)`", heading)
        cells = re.findall(r"^\| (`.*?) \|", table, re.M)
        planned += [(folder[1] if folder else "") + name for cell in cells for name in re.findall(r"`(.*?)`", cell)]
    package = Path(skewguard.__file__).parent
    built = [str(path.relative_to(package)) for path in package.rglob("*.py") if path.name != "__init__.py"]
    assert sorted({*planned} ^ {*built, "__init__.py"}) == []


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ("<a href=other.html#x>", []),
        ('<img src="pictures/one.svg"><a class="b" href="https://example.com/a?b#c">', []),
        ('<script src="https://cdn.example.com/x.js"></script>', ["<script> fetches https://cdn.example.com/x.js"]),
        ("<link rel=x href=//fonts.example.com>", ["<link> fetches //fonts.example.com"]),
        ("<a href=http://example.com>", ["an invalid link: http://example.com"]),
        ("<a href=https://example>", ["an invalid link: https://example"]),
        ("<a href=https://example.com:x>", ["an invalid link: https://example.com:x"]),
    ],
)
def test_the_builds_own_checks(html: str, found: list[str]) -> None:
    """No page fetches anything from another site, and links to other sites are well formed."""
    assert mkdocs_hooks.problems(html) == found
