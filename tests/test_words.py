"""The project's English: words and openings that code, comments, messages and pages do not use.

The two tables below are the only list. A word that must be quoted in a page stands there in backticks.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

_READ = "clocks and files are read, a host is inspected or examined"
_THINGS = "name the thing: the source, the caller, the server, the file"
WORDS = {
    "nobody": _THINGS,
    "somebody": _THINGS,
    "anybody": _THINGS,
    "everybody": _THINGS,
    "whoever": _THINGS,
    "whomever": _THINGS,
    "no one": _THINGS,
    "someone": _THINGS,
    "anyone": _THINGS,
    "everyone": _THINGS,
    "told of": "warned, reported, logged",
    "have it told": "report, log, emit",
    "as one that": "as a ... that",
    "in the place of": "instead of; replace, patch",
    "be it": "whether",
    ", for it": "because",
    ", for they": "because",
    "look at": _READ,
    "looks at": _READ,
    "looked at": _READ,
    "looking at": _READ,
    "hand back": "return",
    "hands back": "return",
    "handed back": "return",
    "put right": "set right, correct",
    "puts right": "set right, correct",
    "as ever": "as before, as without skewguard",
    "besides": "also",
}
"""What stands nowhere, neither in prose nor in names, and what to write instead."""

OPENINGS = {
    "tell": "Return whether, Report",
    "say": "Return, Format, Describe",
    "put": "Patch, Set, Write, Format",
    "answer": "Return, Reply to",
    "take": "Accept, Read, Acquire",
    "have": "Make, Register, or what the function does itself",
    "hear": "Read, Learn from",
    "be": "a noun phrase, or what the function does",
}
"""What no docstring begins with, in the imperative or the third person, and what to begin with instead."""

_SUFFIXES = {".cfg", ".ini", ".json", ".md", ".py", ".sh", ".toml", ".yaml", ".yml"}
_FOLDERS = (".ci", ".github", "benchmarks", "docs", "examples", "fuzz", "skewguard", "tests")
_GAP = r"(?:[\s#\"'_]|\\n)+"  # words may be parted by the end of a line, or joined to a name
_BANNED = re.compile(
    "|".join(rf"(?<![a-z]){re.escape(words).replace(chr(92) + ' ', _GAP)}(?![a-z])" for words in WORDS), re.I
)


def texts() -> Iterator[Path]:
    """List every text of the project, apart from this list."""
    for path in ROOT.iterdir():
        if path.is_file() and (path.suffix in _SUFFIXES or path.name == "Makefile"):
            yield path
    for folder in _FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if (path.suffix in _SUFFIXES or path.parent.name == ".ci") and path != Path(__file__):
                yield path


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Find the docstrings of modules, classes, functions and attributes, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def found_in(name: str, text: str) -> list[str]:
    """List what breaks the rule in one file."""
    prose = re.sub(r"`[^`\n]+`", lambda quoted: "`" * len(quoted[0]), text) if name.endswith(".md") else text
    found = []
    for match in _BANNED.finditer(prose):
        words = re.sub(_GAP, " ", match[0].lower())
        found.append(f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {words!r} (write: {WORDS[words]})")
    for line, docstring in docstrings(text) if name.endswith(".py") else ():
        first = re.match(r"\w*", docstring.lstrip().lower())
        word = {"has": "have", "is": "be"}.get(first[0], first[0].removesuffix("s")) if first else ""
        if word in OPENINGS:
            found.append(f"{name}:{line}: begins with {docstring.split()[0]!r} (begin with: {OPENINGS[word]})")
    return found


def test_plain_english() -> None:
    found = [each for path in texts() for each in found_in(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("a.py", 'x = "nobody"  # and no\n# one', 2),
        ("a.py", "def test_whoever_is_killed(): ...", 1),
        ("a.py", '"""Tells what."""\nx = 1\n"""Put it."""', 2),
        ("a.py", '"""Return it."""\nmaybe = it.none_other', 0),
        ("a.md", "`nobody`, Anybody", 1),
    ],
)
def test_the_check_itself(name: str, text: str, count: int) -> None:
    """It finds words across lines, in names and in docstrings, and leaves quoted ones alone."""
    assert len(found_in(name, text)) == count
