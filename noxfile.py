"""The test suite on every supported Python, with the oldest and the newest botocore, with and without awscrt.

    pipx run nox            all of it, on the Pythons that are installed
    pipx run nox -s newest  botocore's newest release; a scheduled CI job runs this and the next
    pipx run nox -s older   the tests of signing and calls, with what distributions ship

`make test` covers real servers and daemons. This file varies the library's environment.
"""

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False

# Pure, or over TCP on loopback alone: no Unix sockets, forks, shells, or files of a particular system.
PORTABLE = [
    "calls",
    "chrony_packet",
    "corpus",
    "domains",
    "interval",
    "knowledge",
    "ntp_packet",
    "polling",
    "reply",
    "sep_vectors",
    "stale",
    "uri",
]

OLDEST = "1.40.2"  # the first with get_current_datetime; the whole suite needs what came with it

OLDER = {"1.29.27": "1.26.27", "1.34.46": "1.34.46", "1.40.0": "1.40.0"}  # Debian 12's, Ubuntu 24.04's; and boto3's

# What signing and calls rest on. Tests of what came later are skipped.
SIGNING = [
    "calls",
    "direct_use",
    "expiry",
    "expiry_caches",
    "expiry_two_clocks",
    "fail_open",
    "faults",
    "handed_out",
    "install",
    "login",
    "made_before",
    "patched_signers",
    "patching",
    "report",
    "sep_vectors",
    "signed_call",
    "signers",
    "stale",
]


def prepare(session: nox.Session, *versions: str) -> None:
    """Install skewguard, its tests' dependencies, and the given versions."""
    session.install("pip>=25.1")  # the first with --group
    session.install("--group", "tests", "--editable", ".", *versions)


def run(session: nox.Session) -> None:
    """Run the tests."""
    session.run("python", "-m", "pytest", "--ignore=tests/real", *session.posargs)


@nox.session(python=["3.10", "3.11", "3.12", "3.13", "3.14"])
@nox.parametrize("botocore", ["oldest", "newest"])
def tests(session: nox.Session, botocore: str) -> None:
    """Run the tests with the oldest or the newest botocore."""
    prepare(session, *([f"botocore=={OLDEST}", f"boto3=={OLDEST}"] if botocore == "oldest" else []))
    run(session)


@nox.session(python=["3.11"])
@nox.parametrize("botocore", list(OLDER))
def older(session: nox.Session, botocore: str) -> None:
    """Run the tests of signing and calls with a botocore that distributions ship, and its awscrt."""
    session.install("pip>=25.1")
    versions = (f"botocore[crt]=={botocore}", f"boto3=={OLDER[botocore]}", "libfaketime==3.0.1")
    session.install("--group", "unit", "--editable", ".", *versions)
    tests = (f"tests/test_{name}.py" for name in SIGNING)
    session.run("python", "-m", "pytest", *tests, *session.posargs, env={"CI": ""})  # in CI, skipping is an error


@nox.session(python=["3.10", "3.13"])
def without_crt(session: nox.Session) -> None:
    """Run the tests without awscrt."""
    prepare(session)
    session.run("python", "-m", "pip", "uninstall", "--yes", "--quiet", "awscrt")
    run(session)


@nox.session
def newest(session: nox.Session) -> None:
    """Run the tests with botocore's latest release, whatever its dependants pin."""
    prepare(session)
    session.install("--upgrade", "--pre", "botocore", "boto3")
    run(session)


@nox.session
def portable(session: nox.Session) -> None:
    """Run the tests that need no particular system, for macOS and Windows."""
    session.install("pip>=25.1")
    session.install("--group", "unit", "--editable", ".")
    session.run("python", "-m", "pytest", *(f"tests/test_{name}.py" for name in PORTABLE), *session.posargs)
