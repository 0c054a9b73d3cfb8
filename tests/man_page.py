"""The man page, generated from the command's parser.

``python -m tests.man_page --write`` writes it; tests/test_cli_completion.py checks that it is up to date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from skewguard import __version__
from skewguard.cli.parser import DESCRIPTION, Option, describe

PAGE = Path(__file__).parent.parent / "man" / "skewguard.1"


def escaped(text: str) -> str:
    """Escape a text for roff: a line must not begin with a dot or an apostrophe."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^(?=[.'])", r"\\&", text, flags=re.M)


def usage(text: str) -> str:
    """Return a usage without its line breaks."""
    return escaped(" ".join(text.split()))


def option(each: Option) -> list[str]:
    value = f" \\fI{escaped(each.value)}\\fR" if each.value else ""
    names = ", ".join(f"\\fB{escaped(name)}\\fR{value}" for name in each.names)
    listed = f" One of: {', '.join(each.choices)}." if each.choices else ""
    return [".TP", names or value.strip(), escaped(f"{each.help}.{listed}")]


def page() -> str:
    lines = [
        f'.TH SKEWGUARD 1 "" "skewguard {__version__}" "User Commands"',
        ".SH NAME",
        f"skewguard \\- {escaped(DESCRIPTION[0].lower() + DESCRIPTION[1:].rstrip('.'))}",
        ".SH SYNOPSIS",
        ".B skewguard",
        "\\fICOMMAND\\fR [\\fIOPTION\\fR ...]",
        ".SH DESCRIPTION",
        "Finds out how far off this host's clock is, and guards programs that call AWS. It needs no AWS credentials,",
        "and never sets a clock. Data goes to standard output, messages to standard error.",
        ".SH COMMANDS",
    ]
    for command in describe():
        lines += [f".SS {command.name}", escaped(command.help), ".PP", usage(command.usage)]
        for each in command.options:
            if each.names != ("-h", "--help"):
                lines += option(each)
        if command.epilog:
            lines += [".PP", escaped(command.epilog)]
    lines += [
        ".SH ENVIRONMENT",
        ".TP",
        ".B SKEWGUARD_*",
        "The options of the package, such as SKEWGUARD_SOURCES; \\fBskewguard doctor \\-\\-config\\fR lists them.",
        ".TP",
        ".B NO_COLOR",
        "If it is set, nothing is coloured.",
        ".SH SEE ALSO",
        ".BR aws (1),",
        ".BR chronyc (1)",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(), "utf-8")
    else:
        print(page())
