"""The blocks of code in the README and the docs, and what a comment before one says of how to try it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^(?:<!-- ([^\n]+?) -->\n)?^( *)```([^\n]*)\n(.*?)^\2```$", re.S | re.M)


class Block(NamedTuple):
    """One block.

    Attributes:
        page: The page's path, from the project's root.
        line: Where its text begins there.
        language: What stands behind the first fence.
        title: The name of the file that it is, if the fence gives one.
        remark: What a comment in the line above says, such as ``not run: it sets the clock`` or ``exit 1``.
        text: What stands between the fences.
    """

    page: str
    line: int
    language: str
    title: str
    remark: str
    text: str

    @property
    def id(self) -> str:
        """Where to find it."""
        return f"{self.page}:{self.line}"

    @property
    def not_run(self) -> bool:
        """Whether it changes a host, or needs what a test has not."""
        return self.remark.startswith("not run: ")

    @property
    def exit_code(self) -> int:
        """How it ends."""
        code = re.search(r"exit (\d+)$", self.remark)
        return int(code[1]) if code else 0

    def commands(self) -> list[str]:
        """List what is typed in a block of a terminal; a line that ends with a backslash goes on in the next."""
        joined = re.sub(r"\\\n", "", self.text)
        return [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]

    def printed(self) -> str:
        """Hand back what the terminal shows besides."""
        joined = re.sub(r"\\\n", "", self.text)
        return "\n".join(line for line in joined.splitlines() if not line.startswith("$ ")).strip()


def blocks(*languages: str, again: bool = False) -> list[Block]:
    """List the blocks in these languages, or all, page by page; of several that are the same the first, or all."""
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


def masked(text: str) -> str:
    """Hide what differs from one run to the next: numbers, units and addresses."""
    text = re.sub(r"ntp://[\w.:\[\]-]+\w", "ntp://SERVER", text)
    text = re.sub(r"\bis (right(?=,)|\d+(\.\d+)? (us|ms) (slow|fast))", "is about right", text)
    text = re.sub(r"\b\d+(\.\d+)? (us|ms|s)\b", "LENGTH", text)
    return re.sub(r"\d+(\.\d+)?(e-\d+)?", "0", text)
