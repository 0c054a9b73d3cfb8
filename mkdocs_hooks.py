"""What the docs build adds to mkdocs: the project's address and version, descriptions, copy buttons, and checks.

No page fetches anything from another site, and links to other sites are valid.
"""

from __future__ import annotations

import html
import logging
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

log = logging.getLogger("mkdocs.hooks.links")  # below mkdocs, so that its warnings fail a strict build

ROOT = Path(__file__).parent

_TAG = re.compile(r"<(a|audio|iframe|img|link|script|source|video)\b[^>]*?\b(?:href|src)=[\"']?([^\"'\s>]+)[^>]*", re.I)
_BLOCK = re.compile(r'<div class="language-(\w+) highlight">(.*?)</div>', re.S)
_COLUMNS = re.compile(r"\S {3,}\S")


def on_config(config: Any) -> Any:
    """Set what the project's own files know: its address and its version. mkdocs calls this."""
    version = re.search(r'__version__ = "(.+)"', (ROOT / "skewguard" / "__init__.py").read_text("utf-8"))
    config.copyright = f"skewguard {version[1] if version else ''}, Apache-2.0"
    address = re.search(r'^Documentation = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    if address and "OWNER" not in address[1]:  # else no page would name its own address rightly
        config.site_url = address[1]
    return config


def on_page_markdown(markdown: str, **_: object) -> str:
    """Show a file of the project's root as a page, its links as links of pages. mkdocs calls this."""

    def included(name: re.Match[str]) -> str:
        return re.sub(r"\]\(docs/([\w/-]+\.md)", r"](\1", (ROOT / name[1]).read_text("utf-8"))

    return re.sub(r"^<!-- include: ([A-Z]+\.md) -->$", included, markdown, flags=re.M)


def on_page_content(output: str, page: Any, **_: object) -> str:
    """Describe the page by its first paragraph, and prepare its code blocks. mkdocs calls this."""
    page.meta.setdefault("description", description(page.title or "", output))
    return _BLOCK.sub(block, output)


def description(title: str, output: str) -> str:
    """Make what a search engine shows of a page: its title, and its first paragraph as far as there is room."""
    first = re.search(r"<p>(.*?)</p>", output, re.S)
    words = html.unescape(re.sub(r"<[^>]+>", "", f"{title}: {first[1]}" if first else title)).split()
    text = ""
    for word in words:
        if len(text) + len(word) > 158:
            return f"{text}…"
        text = f"{text} {word}".strip()
    return text


def block(found: re.Match[str]) -> str:
    """Mark what a copy button copies of a terminal, and blocks whose columns forbid to wrap their lines."""
    language, code = found.groups()
    text = html.unescape(re.sub(r"<[^>]+>", "", code))
    kind, copied = f"language-{language} highlight", ""
    if sum(map(bool, map(_COLUMNS.search, text.splitlines()))) > 2 or re.search("[─-╿►]", text):
        kind += " columns"
    if language == "console":
        copied = f' data-copy="{html.escape(typed(text))}"'
    return f'<div class="{kind}"{copied}>{code}</div>'


def typed(text: str) -> str:
    """Return the commands of a terminal, without prompts and output."""
    lines: list[str] = []
    continued = False
    for line in text.splitlines():
        if continued or line.startswith("$ "):
            lines.append(line if continued else line[2:])
            continued = line.endswith("\\")
    return "\n".join(lines)


def on_post_page(output: str, page: object, **_: object) -> str:
    """Check a page as it will be served. mkdocs calls this."""
    for problem in problems(output):
        log.warning("%s: %s", getattr(page, "url", "?"), problem)
    return output


def problems(output: str) -> list[str]:
    """List the resources that a page fetches from other sites, and its invalid links to other sites."""
    found = []
    for match in _TAG.finditer(output):
        tag, address = match.groups()
        if not re.match(r"[a-z][a-z0-9+.-]*:|//", address, re.I) or address.startswith(("data:", "mailto:")):
            continue  # within this site: mkdocs checks those
        if re.search(r"\brel=[\"']?(canonical|next|prev)\b", match[0]):
            continue  # names an address, fetches nothing
        if tag.lower() != "a":
            found.append(f"<{tag}> fetches {address}")
        elif not well_formed(address):
            found.append(f"an invalid link: {address}")
    return found


def well_formed(address: str) -> bool:
    """Return whether a browser can follow a link to another site, over TLS and without credentials or a port."""
    try:
        parts = urlsplit(address)
        host, alone = parts.hostname or "", parts.username is None and parts.port is None
    except ValueError:
        return False
    return parts.scheme == "https" and alone and re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", host) is not None
