"""The built docs in a browser: Debian's chromium, at the widths of a desktop and a telephone, light and dark.

No block of code is cut, no page scrolls sideways, every text has the contrast of WCAG AA, no link is broken, nothing is
asked of another host, the console has no error, and the search knows what people look for.
"""

from __future__ import annotations

import functools
import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from tests.pages import ROOT
from tests.patience import PATIENCE
from tests.real.need import need
from tests.support import running

pytestmark = pytest.mark.slow

INSTALL = "apt-get install chromium chromium-driver"
WIDTHS, SCHEMES = (1440, 390), ("default", "slate")

FAULTS = """
const faults = new Set(), width = innerWidth
const root = document.documentElement
if (root.scrollWidth > width) faults.add(`scrolls sideways: ${root.scrollWidth} of ${width}`)
for (const code of document.querySelectorAll("pre > code")) {
  const bar = code.closest(".columns") && getComputedStyle(code).overflowX === "scroll"
  if (code.clientWidth && code.scrollWidth > code.clientWidth + 1 && !bar) faults.add(`cut: ${code.innerText}`)
}

const pixel = document.createElement("canvas").getContext("2d", {willReadFrequently: true}), known = new Map()
function rgba(colour) {
  if (!known.has(colour)) {
    pixel.clearRect(0, 0, 1, 1); pixel.fillStyle = colour; pixel.fillRect(0, 0, 1, 1)
    const [r, g, b, a] = pixel.getImageData(0, 0, 1, 1).data
    known.set(colour, [r, g, b, a / 255])
  }
  return known.get(colour)
}
const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1)
function luminance([r, g, b]) {
  const [x, y, z] = [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  return 0.2126 * x + 0.7152 * y + 0.0722 * z
}
const grounds = new Map()
function ground(element) {  // the colour below an element's text, and the opacity that the element inherits
  if (!element) return [[255, 255, 255, 1], 1]
  if (!grounds.has(element)) {
    const style = getComputedStyle(element), [below, opacity] = ground(element.parentElement)
    grounds.set(element, [over(rgba(style.backgroundColor), below), opacity * style.opacity])
  }
  return grounds.get(element)
}
function contrast(element, colour) {
  const [below, opacity] = ground(element), [r, g, b, a] = rgba(colour)
  const [light, dark] = [over([r, g, b, a * opacity], below), below].map(luminance).sort((a, b) => b - a)
  return opacity < 0.05 ? 21 : (light + 0.05) / (dark + 0.05)
}
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), done = new Set()
while (texts.nextNode()) {
  const text = texts.currentNode.data.trim(), element = texts.currentNode.parentElement
  if (!text || done.has(element)) continue
  done.add(element)
  const style = getComputedStyle(element), box = element.getBoundingClientRect()
  if (!box.width || !box.height || box.right <= 0 || box.left >= width || style.visibility === "hidden") continue
  const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700)
  const found = contrast(element, style.color)
  if (found < (large ? 3 : 4.5))
    faults.add(`contrast ${found.toFixed(2)}: ${element.tagName}.${element.className}`)
}
return [...faults]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    need(importlib.util.find_spec("mkdocs") is not None, "mkdocs", "pip install --group docs")
    made = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(made)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(site))
    with running(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A chromium that resolves no name, and logs what it asks for."""
    program, driver_program = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    need(None not in {program, driver_program}, "chromium", INSTALL)
    need(importlib.util.find_spec("selenium") is not None, "selenium", "pip install --group tests")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(program)
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1440,900"):
        options.add_argument(f"--{argument}")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(driver_program)))
    driver.set_page_load_timeout(PATIENCE)
    driver.set_script_timeout(PATIENCE)
    yield driver
    driver.quit()


FRAMES = """
const [pages, widths, schemes, code] = arguments, done = arguments[arguments.length - 1], faults = []
async function check(page, width) {
  const frame = document.createElement("iframe")
  frame.style = `position: fixed; top: 0; left: 0; border: 0; height: 900px; width: ${width}px`
  await new Promise(loaded => { frame.onload = loaded; frame.src = page; document.body.append(frame) })
  const inside = frame.contentWindow, still = inside.document.createElement("style")
  still.textContent = "* { transition: none !important; animation: none !important }"
  inside.document.head.append(still)
  for (const scheme of schemes) {
    inside.document.body.setAttribute("data-md-color-scheme", scheme)
    for (const fault of new inside.Function(code)()) faults.push(`${page}, ${width} px, ${scheme}: ${fault}`)
  }
  frame.remove()
}
(async () => {
  for (const page of pages) await Promise.all(widths.map(width => check(page, width)))
})().then(() => done(faults), error => done([String(error)]))
"""
"""Shows pages in frames, one for each width: much quicker than to load and resize each page for itself."""


def look(browser: Any, pages: list[str]) -> list[str]:
    """Show pages of the site at both widths in both schemes, and list their faults."""
    return browser.execute_async_script(FRAMES, pages, WIDTHS, SCHEMES, FAULTS)  # type: ignore[no-any-return]


def asked(browser: Any) -> list[str]:
    """List the addresses that the browser has asked for since the last time."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def every_page_can_be_read(site: Path, address: str, browser: Any) -> None:
    """At both widths, in both schemes; asking nothing of other hosts, and without an error in the console."""
    pages = sorted(f"/{page.relative_to(site)}" for page in site.rglob("*.html"))
    assert len(pages) > 45
    browser.get(address + "404.html")
    faults = [fault for first in range(0, len(pages), 8) for fault in look(browser, pages[first : first + 8])]
    seen = asked(browser)
    assert {urlsplit(url).path for url in seen} > {*pages}
    faults += [f"asks for {url}" for url in seen if not url.startswith((address, "data:"))]
    faults += [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults[:60])


def each_fault_is_found(site: Path, address: str, browser: Any) -> None:
    """Planted into a page."""
    planted = "<pre><code style='white-space:pre;overflow:hidden;display:block'>" + "x" * 999 + "</code></pre>"
    planted += "<p style='color:#999;background:#fff'>pale</p><div style='width:3000px'>wide</div></article>"
    page = site / "planted.html"
    page.write_text((site / "faq.html").read_text("utf-8").replace("</article>", planted), "utf-8")
    browser.get(address + "404.html")
    found = "\n".join(look(browser, ["/planted.html"]))
    page.unlink()
    assert "/planted.html, 390 px, default: cut: xxx" in found
    assert re.search(r"1440 px, slate: contrast 2\.\d+: P\.", found)
    assert "390 px, slate: scrolls sideways" in found


def no_link_is_broken(site: Path) -> None:
    """Each leads to a file of the site, and to a place in it."""
    pages = {path: path.read_text("utf-8") for path in site.rglob("*.html")}
    ids = {path: set(re.findall(r'\b(?:id|name)="?([^"\s>]+)', text)) for path, text in pages.items()}
    broken, count = [], 0
    for path, text in pages.items():
        if path.name == "404.html":
            continue
        for link in re.findall(r'<(?:a|link|img|script)\b[^>]*?\b(?:href|src)="?([^"\s>]+)', text):
            parts = urlsplit(urljoin(f"/{path.relative_to(site)}", link.replace("&amp;", "&")))
            if parts.scheme:
                continue
            count += 1
            target = site / unquote(parts.path).lstrip("/")
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in ids.get(target, set())):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert count > 3000
    assert not broken, "\n".join(broken[:40])


def search(browser: Any, words: str) -> list[str]:
    """Paste into the search; return the pages that it lists, best first."""
    browser.execute_script(
        """const input = document.querySelector(".md-search__input"), pasted = new DataTransfer()
        document.querySelector("#__search").checked = true
        document.querySelector(".md-search-result__list").replaceChildren()
        input.focus(); input.value = ""
        pasted.setData("text", arguments[0])
        const paste = new ClipboardEvent("paste", {clipboardData: pasted, bubbles: true, cancelable: true})
        if (input.dispatchEvent(paste)) {  // what a browser does if no script prevents it
          input.value = arguments[0]
          for (const kind of ["input", "keyup"]) input.dispatchEvent(new Event(kind, {bubbles: true}))
        }""",
        words,
    )
    limit = time.monotonic() + PATIENCE / 3
    while time.monotonic() < limit:
        listed = "return [...document.querySelectorAll('.md-search-result__link')].map(one => one.href)"
        if found := browser.execute_script(listed):
            return [urlsplit(link).path.lstrip("/") for link in found]
        time.sleep(0.02)
    raise AssertionError(f"nothing is found for {words!r}")


def the_search_knows_what_people_look_for(address: str, browser: Any) -> None:
    """The words by which people search, each with its page first."""
    browser.get(address + "index.html")
    pages = {"kubernetes": "docker-kubernetes", "docker": "docker-kubernetes", "airflow": "airflow", "faq": "faq"}
    pages |= {"changelog": "changelog", "contributing": "contributing", "lambda layer": "lambda-layer"}
    pages |= {"is it safe in production": "safe-in-production", "deadband": "options"}
    pages |= {"RequestTimeTooSkewed": "troubleshooting/request-time-too-skewed"}
    assert {words: search(browser, words)[0] for words in pages} == {w: f"{page}.html" for w, page in pages.items()}


def a_pasted_error_finds_its_page(address: str, browser: Any) -> None:
    """The message of each page lists that page first, XML included."""
    browser.get(address + "index.html")
    pages = sorted((ROOT / "docs" / "troubleshooting").glob("[!i]*.md"))
    errors = {page.stem: re.search(r"^```text\n(.*?)\n```", page.read_text("utf-8"), re.S | re.M) for page in pages}
    found = {name: search(browser, error[1])[0] for name, error in errors.items() if error}
    assert len(found) > 11
    assert found == {name: f"troubleshooting/{name}.html" for name in found}


def a_copy_button_copies_what_is_typed(address: str, browser: Any) -> None:
    """Without the prompt, and without the output."""
    browser.get(address + "cli.html")
    granted = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": address.rstrip("/")}
    browser.execute_cdp_cmd("Browser.grantPermissions", granted)
    find = """const done = arguments[0], wait = setInterval(() => {
      const blocks = [...document.querySelectorAll(".language-console")]
      const block = blocks.find(one => one.innerText.includes("[FAIL]"))
      const button = block.querySelector("[data-clipboard-target]")
      block.scrollIntoView({block: "center"})
      if (button) { clearInterval(wait); done(button) }
    }, 20)"""
    browser.execute_async_script(find).click()
    read = "const done = arguments[0]; navigator.clipboard.readText().then(done, error => done(String(error)))"
    assert browser.execute_async_script(read) == "skewguard doctor"


def test_the_built_docs(site: Path, address: str, browser: Any) -> None:
    """One test, so that one worker builds the site, and once."""
    no_link_is_broken(site)
    each_fault_is_found(site, address, browser)
    every_page_can_be_read(site, address, browser)
    the_search_knows_what_people_look_for(address, browser)
    a_pasted_error_finds_its_page(address, browser)
    a_copy_button_copies_what_is_typed(address, browser)
