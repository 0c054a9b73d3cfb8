"""Run the fuzzer: ``python -m fuzz TARGET [libFuzzer's options]``, or ``python -m fuzz all --runs N``.

New inputs are kept in ``.fuzz/TARGET``, findings in ``.fuzz/findings``. To keep only the inputs that add coverage, run
``python -m fuzz TARGET -merge=1 tests/corpus/TARGET .fuzz/TARGET``.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "tests" / "corpus"
LEARNED = ROOT / ".fuzz"


def main(arguments: list[str]) -> int:
    """Run one target, or all."""
    if arguments[:1] != ["all"]:
        if not arguments:
            print(__doc__)
            return 2
        return run(arguments[0], arguments[1:])
    parser = argparse.ArgumentParser(prog="python -m fuzz all")
    parser.add_argument("--runs", type=int, default=1_000_000, help="inputs for each target")
    return run_all(parser.parse_args(arguments[1:]).runs)


def run_all(runs: int) -> int:
    """Run every target in its own process, and print the result and the duration."""
    from fuzz.targets import TARGETS

    failed = []
    for name in TARGETS:
        began = time.monotonic()
        command = [sys.executable, "-m", "fuzz", name, f"-runs={runs}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
        took = time.monotonic() - began
        print(f"{name:12} {runs:9,} inputs in {took:6.1f} s, {'ok' if not done.returncode else 'FAILED'}", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stdout[-8000:], done.stderr[-8000:], sep="\n")
    return 1 if failed else 0


def run(name: str, options: list[str]) -> int:
    """Run one target until it fails or reaches its limit; in the latter case libFuzzer ends the process."""
    try:
        import atheris
    except ImportError:
        print("atheris is missing: pip install --group fuzz (Linux on x86-64), or run `make fuzz`")
        return 2

    # Only modules imported here are instrumented, so import all that the targets need.
    with atheris.instrument_imports(include=["fuzz", "skewguard", "ntplib"]):
        import ntplib  # noqa: F401

        import skewguard.sources.chrony
        import skewguard.sources.clockbound
        import skewguard.sources.ntp  # noqa: F401
        from fuzz.targets import TARGETS

    if name not in TARGETS:
        print(f"there is no target {name}; there are {', '.join(TARGETS)}")
        return 2
    target = TARGETS[name]
    logging.getLogger("skewguard").addHandler(logging.NullHandler())  # many inputs are worth a line
    warnings.simplefilter("ignore")
    learned, findings = LEARNED / name, LEARNED / "findings"
    for folder in (learned, findings):
        folder.mkdir(parents=True, exist_ok=True)
    if all(option.startswith("-") for option in options):
        options = [*options, str(learned), *([str(CORPUS / name)] if (CORPUS / name).is_dir() else [])]
    defaults = [f"-max_len={target.longest}", f"-artifact_prefix={findings / name}-"]
    again = f"{sys.executable} -m fuzz {name}"  # the command that libFuzzer runs in a shell to merge
    atheris.Setup([again, *defaults, *options], target.run)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
