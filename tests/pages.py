"""The code blocks in README and docs, and the comment before a block that tells how to test it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^(?:<!-- ([^\n]+?) -->\n)?^( *)```([^\n]*)\n(.*?)^\2```$", re.S | re.M)


class Block(NamedTuple):
    """One code block.

    Attributes:
        page: The page's path, relative to the project's root.
        line: The line in which its text begins.
        language: The language after the first fence.
        title: The file name after the first fence, if there is one.
        remark: The comment in the line above, such as ``not run: it sets the clock`` or ``exit 1``.
        text: The text between the fences.
    """

    page: str
    line: int
    language: str
    title: str
    remark: str
    text: str

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def not_run(self) -> bool:
        """Whether it would change the host, or needs something that a test does not have."""
        return self.remark.startswith("not run: ")

    @property
    def exit_code(self) -> int:
        code = re.search(r"exit (\d+)$", self.remark)
        return int(code[1]) if code else 0

    def commands(self) -> list[str]:
        """List the commands of a terminal block; a backslash continues a line."""
        joined = re.sub(r"\\\n", "", self.text)
        return [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]

    def printed(self) -> str:
        """Return the output that a terminal block shows."""
        joined = re.sub(r"\\\n", "", self.text)
        return "\n".join(line for line in joined.splitlines() if not line.startswith("$ ")).strip()


def blocks(*languages: str, again: bool = False) -> list[Block]:
    """List the blocks in these languages (or all), page by page; identical ones once, unless `again` is set."""
    found = [block for block in _all() if not languages or block.language in languages]
    first = {(each.language, each.remark, each.text): each for each in reversed(found)}
    return found if again else list(reversed(first.values()))


def _all() -> Iterator[Block]:
    for page in PAGES:
        written = page.read_text("utf-8")
        for match in _FENCE.finditer(written):
            remark, indent, info, text = match.groups()
            language, _, title = info.partition(" ")
            text = re.sub(rf"^{indent}", "", text, flags=re.M)
            line = written.count("\n", 0, match.start(4)) + 1
            yield Block(
                str(page.relative_to(ROOT)), line, language, title.removeprefix("title=").strip('"'), remark or "", text
            )


def console(remark: str) -> tuple[str, str]:
    """Return the command and the output of the one terminal block with this remark."""
    [found] = [block for block in blocks("console") if block.remark == remark]
    command, _, output = found.text.partition("\n")
    return command, output


def masked(text: str) -> str:
    """Mask what differs between runs: numbers, units and addresses."""
    text = re.sub(r"ntp://[\w.:\[\]-]+\w", "ntp://SERVER", text)
    text = re.sub(r"\bis \d+(\.\d+)? (us|ms) (slow|fast|(behind|ahead of) true time)", "is about right", text)
    text = re.sub(r"\b\d+(\.\d+)? (us|ms|s)\b", "LENGTH", text)
    return re.sub(r"\d+(\.\d+)?(e-\d+)?", "0", text)
