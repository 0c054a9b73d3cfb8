"""What the build of the docs checks besides: that browsers fetch nothing from elsewhere, and the form of links out."""

from __future__ import annotations

import logging
import re
from urllib.parse import urlsplit

log = logging.getLogger("mkdocs.hooks.links")  # under mkdocs: a warning of it fails a strict build

_TAG = re.compile(r"<(a|audio|iframe|img|link|script|source|video)\b[^>]*?\b(?:href|src)=[\"']?([^\"'\s>]+)", re.I)


def on_post_page(output: str, page: object, **_: object) -> str:
    """Look at a page as it will be served. mkdocs calls this."""
    for problem in problems(output):
        log.warning("%s: %s", getattr(page, "url", "?"), problem)
    return output


def problems(html: str) -> list[str]:
    """List the resources that a page fetches from elsewhere, and the links out of it that cannot be right."""
    found = []
    for tag, address in _TAG.findall(html):
        if not re.match(r"[a-z][a-z0-9+.-]*:|//", address, re.I) or address.startswith(("data:", "mailto:")):
            continue  # within the site: mkdocs checks those
        if tag.lower() != "a":
            found.append(f"<{tag}> fetches {address}")
        elif not well_formed(address):
            found.append(f"a link that cannot be right: {address}")
    return found


def well_formed(address: str) -> bool:
    """Tell whether a link out is one that a browser can follow, safely."""
    try:
        parts = urlsplit(address)
        host, alone = parts.hostname or "", parts.username is None and parts.port is None
    except ValueError:
        return False
    return parts.scheme == "https" and alone and re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", host) is not None
