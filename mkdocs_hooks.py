"""Extra checks of the docs build: no page fetches anything from another site, and links to other sites are valid."""

from __future__ import annotations

import logging
import re
from urllib.parse import urlsplit

log = logging.getLogger("mkdocs.hooks.links")  # below mkdocs, so that its warnings fail a strict build

_TAG = re.compile(r"<(a|audio|iframe|img|link|script|source|video)\b[^>]*?\b(?:href|src)=[\"']?([^\"'\s>]+)", re.I)


def on_post_page(output: str, page: object, **_: object) -> str:
    """Check a page as it will be served. mkdocs calls this."""
    for problem in problems(output):
        log.warning("%s: %s", getattr(page, "url", "?"), problem)
    return output


def problems(html: str) -> list[str]:
    """List the resources that a page fetches from other sites, and its invalid links to other sites."""
    found = []
    for tag, address in _TAG.findall(html):
        if not re.match(r"[a-z][a-z0-9+.-]*:|//", address, re.I) or address.startswith(("data:", "mailto:")):
            continue  # within this site: mkdocs checks those
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
