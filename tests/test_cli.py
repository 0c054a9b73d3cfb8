"""``skewguard exec``: how the program runs, and that it is guarded."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import venv
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from skewguard.cli import exec_, main
from skewguard.testing import StrictEndpoint
from tests.ntp_server import after, by_wall, serving
from tests.support import completed, signed_at

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent

CALLS = """
import json, sys
import botocore.session
from botocore.exceptions import ClientError

def call(client):
    try:
        client.get_caller_identity()
        return "ok"
    except ClientError as error:
        return error.response["Error"]["Code"]

def main():
    client = botocore.session.Session().create_client("sts", region_name="us-east-1")
    print(json.dumps([call(client), call(client)]))

if __name__ == "__main__":
    main()
"""


def run(
    *command: str | Path, guarded: bool = True, cwd: Path = ROOT, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, by default under ``skewguard exec``."""
    before = [sys.executable, "-m", "skewguard", "exec", "--"] if guarded else []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    return completed(*before, *command, env=environment, cwd=cwd)


def python(program: str, *arguments: str, guarded: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-c", textwrap.dedent(program), *arguments, guarded=guarded, **variables)


def link(directory: Path, *names: str) -> None:
    for name in names:
        spec = find_spec(name)
        path = Path(spec.origin)
        path = path.parent if path.name == "__init__.py" else path
        (directory / path.name).symlink_to(path)


class TestTheCommand:
    def test_its_exit_code_and_its_signals_are_its_own(self) -> None:
        assert run("sh", "-c", "exit 7").returncode == 7
        assert run("sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM

    @pytest.mark.parametrize("separator", [[], ["--"]])
    def test_its_arguments_are_untouched(self, separator: list[str]) -> None:
        arguments = ["--", "-h", "--version", "exec", "", "a b", "--"]
        program = [sys.executable, "-c", "import sys; print(sys.argv[1:])", *arguments]
        done = run(sys.executable, "-m", "skewguard", "exec", *separator, *program, guarded=False)
        assert done.stdout == f"{arguments}\n"

    @pytest.mark.parametrize(
        ("command", "code"), [([], 125), (["--"], 125), (["no-such-command"], 127), (["--", "/"], 126)]
    )
    def test_what_cannot_be_run(self, command: list[str], code: int, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["exec", *command]) == code
        out, err = capfd.readouterr()
        assert not out
        assert err.startswith("skewguard exec: ")
        assert err.count("\n") == 1

    @pytest.mark.parametrize("typed", [["-h"], ["--version"], ["exec", "-h"]])
    def test_help(self, typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="0"):
            main(typed)
        assert "skewguard" in capsys.readouterr().out

    def test_without_exec_the_child_is_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As on Windows, where exec would end the process that the caller waits for."""
        monkeypatch.setattr(exec_, "REPLACES", False)
        assert main(["exec", "--", sys.executable, "-c", "raise SystemExit(7)"]) == 7


HANDED_OUT = {
    "a URL": "made('s3').generate_presigned_url('get_object', {'Bucket': 'bucket', 'Key': 'key'})",
    "a database's token": "made('rds').generate_db_auth_token('db.x.us-east-1.rds.amazonaws.com', 5432, 'me')",
    "a cluster's token": "made('sts').generate_presigned_url('get_caller_identity', ExpiresIn=60)",
}
"""What programs make that make one signature, and end."""


@pytest.mark.parametrize("expression", HANDED_OUT.values(), ids=HANDED_OUT)
def test_what_a_program_hands_out_waits_for_a_named_source(expression: str) -> None:
    """A server that answers after 150 ms would be too late for it."""
    program = f"""
    import botocore.session
    made = lambda service: botocore.session.Session().create_client(service, region_name="eu-central-1")
    print({expression})
    """
    with serving(after(lambda: time.sleep(0.15), by_wall(-7200))) as server:
        done = python(program, SKEWGUARD_SOURCES=server.uri, SKEWGUARD_TIMEOUT="60")
    assert done.returncode == 0, done.stderr
    assert abs(signed_at(done.stdout) - (time.time() - 7200)) < 60


class TestTheProgram:
    """The program is unaffected unless it creates a botocore session."""

    SEEN = "import sys; names, path = sorted(sys.modules), sys.path; import json; print(json.dumps([names, path]))"

    def test_without_botocore_nothing_is_loaded(self) -> None:
        """The loaded modules, and the path, are those of a plain start."""
        plain, guarded = (json.loads(python(self.SEEN, guarded=guarded).stdout) for guarded in (False, True))
        assert set(guarded[0]) - set(plain[0]) <= {"sitecustomize"}
        assert guarded[1] == plain[1]

    def test_botocore_alone_does_not_load_skewguard(self) -> None:
        """Some programs import it only for its version."""
        done = python("import botocore.session, sys; print('skewguard' in sys.modules)")
        assert done.stdout == "False\n", done.stderr

    @pytest.mark.parametrize("before", ["", "/nonexistent", "/nonexistent:/another"])
    def test_its_pythonpath_is_kept(self, before: str) -> None:
        """An empty entry would be the current directory."""
        assert exec_.guarded({"PYTHONPATH": before})["PYTHONPATH"] == ":".join(
            filter(None, [str(exec_.STARTUP), before])
        )
        twice = exec_.guarded(exec_.guarded({"PYTHONPATH": before}))
        assert twice == exec_.guarded({"PYTHONPATH": before})

    @pytest.mark.parametrize(
        "theirs",
        [
            "import sys; sys.theirs = 'ran'",
            "import sys; sys.theirs = 'ran'; raise ValueError('of its own')",
            "import sys; sys.theirs = 'ran'; import no_such_module",
        ],
    )
    def test_a_sitecustomize_that_it_had_still_runs(self, theirs: str, tmp_path: Path) -> None:
        """If it fails, Python reports that as usual."""
        (tmp_path / "sitecustomize.py").write_text(theirs)
        program = "import sys; print(sys.theirs, getattr(sys.modules.get('sitecustomize'), '__file__', None))"
        variables = {"PYTHONPATH": str(tmp_path)}
        plain, guarded = (python(program, guarded=False, **each) for each in (variables, exec_.guarded(variables)))
        assert plain.stdout.startswith("ran ")
        assert (guarded.stdout, guarded.stderr) == (plain.stdout, plain.stderr)


PROCESS = """
import multiprocessing, calls
if __name__ == "__main__":
    child = multiprocessing.get_context("{}").Process(target=calls.main)
    child.start()
    child.join()
"""
DROPPED = """
import sys, botocore.session
for name in [name for name in sys.modules if name.partition(".")[0] == "botocore"]:
    del sys.modules[name]
"""
GUARDED = {
    "a child": "import subprocess, sys; subprocess.run([sys.executable, '-m', 'calls'], check=True)",
    "a spawned process": PROCESS.format("spawn"),
    "a forked process": PROCESS.format("fork"),
    "a botocore that was dropped and loaded again": DROPPED + CALLS,  # as by ddtrace-run
    "a botocore without initializers": "import botocore; del botocore.register_initializer; " + CALLS,  # as AWS CLI 2's
}


class TestTheGuard:
    """The guard is installed when the first session is created."""

    def test_a_wrong_clock_costs_one_request(self, slow_host: StrictEndpoint) -> None:
        plain = python(CALLS, guarded=False, AWS_ENDPOINT_URL=slow_host.url)
        assert json.loads(plain.stdout) == ["SignatureDoesNotMatch"] * 2
        slow_host.clear()
        done = python(CALLS, AWS_ENDPOINT_URL=slow_host.url)
        assert json.loads(done.stdout) == ["ok", "ok"], done.stderr
        assert [record.status for record in slow_host.requests] == [403, 200, 200]
        behind = rf"skewguard: this host's clock is 1 h 0 min \d+ s behind the clock of {slow_host.url} "
        assert re.match(behind, done.stderr)
        assert done.stderr.count("\n") == 1

    @pytest.mark.parametrize("program", GUARDED.values(), ids=GUARDED)
    def test_it_is_guarded(self, program: str, slow_host: StrictEndpoint, tmp_path: Path) -> None:
        (tmp_path / "calls.py").write_text(CALLS)
        done = python(program, AWS_ENDPOINT_URL=slow_host.url, PYTHONPATH=str(tmp_path))
        assert json.loads(done.stdout) == ["ok", "ok"], done.stderr
        assert [record.status for record in slow_host.requests] == [403, 200, 200]

    def test_sessions_made_by_two_threads_at_once(self, slow_host: StrictEndpoint) -> None:
        """The second waits until the first has installed."""
        program = """
        import json, threading
        import botocore.session
        meet, statuses = threading.Barrier(8), []

        def use():
            session = botocore.session.Session.__new__(botocore.session.Session)
            meet.wait()
            session.__init__()
            client = session.create_client("sts", region_name="us-east-1")
            client.get_caller_identity()
            statuses.append("ok")

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(statuses))
        """
        done = python(program, AWS_ENDPOINT_URL=slow_host.url)
        assert done.stdout == "8\n", done.stderr

    def test_settings_are_the_environments(self, slow_host: StrictEndpoint) -> None:
        done = python(CALLS, AWS_ENDPOINT_URL=slow_host.url, AWS_DISABLE_CLOCK_SKEW_CORRECTION="true")
        assert json.loads(done.stdout) == ["SignatureDoesNotMatch"] * 2

    def test_a_wrong_setting_is_reported_once(self) -> None:
        done = python("import botocore.session; botocore.session.Session()", SKEWGUARD_DEADBAND="soon")
        assert done.returncode == 0
        line, _source = done.stderr.splitlines()
        assert line.endswith("SkewguardWarning: SKEWGUARD_DEADBAND is ignored: 'soon' is not a number of seconds")

    def test_a_programs_own_install_comes_first(self) -> None:
        done = python("""
        import logging, botocore.session, skewguard
        logging.basicConfig()
        handle = skewguard.install(deadband=5)
        botocore.session.Session()
        print(handle.in_force, skewguard.install().settings.deadband)
        """)
        assert (done.stdout, done.stderr) == (f"True {5 * 10**9}\n", "")

    def test_a_python_that_has_no_skewguard_gets_ours(self, slow_host: StrictEndpoint, tmp_path: Path) -> None:
        """The program, in a virtual environment of its own, gets nothing else that is installed with ours."""
        venv.create(tmp_path / "theirs", symlinks=True)
        [site_packages] = tmp_path.glob("theirs/lib/python*/site-packages")
        link(site_packages, "botocore", "dateutil", "jmespath", "six", "urllib3")
        (tmp_path / "ours").mkdir()
        link(tmp_path / "ours", "skewguard", "ntplib", "boto3")
        startup = tmp_path / "ours" / "skewguard" / "cli" / "startup"
        command = [tmp_path / "theirs" / "bin" / "python", "-c"]
        options: dict[str, Any] = {"guarded": False, "cwd": tmp_path, "PYTHONPATH": str(startup)}
        done = run(*command, CALLS, **options, AWS_ENDPOINT_URL=slow_host.url)
        assert json.loads(done.stdout) == ["ok", "ok"], done.stderr
        program = "import botocore.session; botocore.session.Session(); import skewguard, ntplib; print('both')"
        done = run(*command, f"{program}; import boto3", **options)
        assert done.stdout == "both\n", done.stderr
        assert done.stderr.endswith("ModuleNotFoundError: No module named 'boto3'\n")


class TestFailingOpen:
    """The program runs, unguarded; one line says so."""

    SESSION = "import botocore.session; [botocore.session.Session() for _ in range(3)]; print('ran')"

    def test_a_broken_skewguard(self, tmp_path: Path) -> None:
        (tmp_path / "skewguard.py").write_text("raise RuntimeError('broken')")
        # The program is a script elsewhere, because the current directory comes before PYTHONPATH.
        (tmp_path / "program.py").write_text(self.SESSION)
        done = run(sys.executable, tmp_path / "program.py", PYTHONPATH=str(tmp_path))
        assert (done.stdout, done.stderr) == ("ran\n", "skewguard exec: not guarded: broken\n")

    def test_an_old_python(self) -> None:
        done = python("import sys; import botocore.session; sys.version_info = (3, 9, 1); " + self.SESSION)
        assert done.stdout == "ran\n"
        assert done.stderr.startswith("skewguard exec: not guarded: skewguard needs Python 3.10, and this is ")
        assert done.stderr.count("\n") == 1

    def test_a_botocore_that_is_not_as_expected(self, slow_host: StrictEndpoint) -> None:
        """Both signing and POST forms lack a function that they need; the message names one of them."""
        less = "import botocore.auth as a, botocore.signers as s; a.get_current_datetime = s.get_current_datetime = 0; "
        done = python(less + self.SESSION)
        assert done.stdout == "ran\n"
        assert done.stderr.startswith("skewguard: signing is switched off: this botocore (")

    @pytest.mark.parametrize("startup", ["/nonexistent", "/nonexistent:elsewhere"])
    def test_no_startup_directory(
        self, startup: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(exec_, "STARTUP", Path(startup))
        monkeypatch.setattr(exec_, "REPLACES", False)
        assert main(["exec", "sh", "-c", "echo ran"]) == 0
        out, err = capfd.readouterr()
        assert out == "ran\n"
        assert err.startswith("skewguard exec: sh runs unguarded: ")
        assert err.count("\n") == 1
