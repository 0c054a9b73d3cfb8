"""The README, what a package index shows of it, the pages, and what the build adds to them."""

from __future__ import annotations

import importlib.metadata
import re

import pytest

import mkdocs_hooks
from tests import terminals
from tests.pages import ROOT, masked
from tests.support import run_python

README = (ROOT / "README.md").read_text("utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
ALERTS = (ROOT / "examples" / "monitoring" / "alerts.yml").read_text("utf-8")
RUNBOOKS = re.findall(r"- alert: (\w+)\n(?:.*\n)*?          runbook_url: (\S+)\n", ALERTS)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def test_the_readme_is_short() -> None:
    """A promise, how to install it, two lines, a picture, five links, and two commands for contributors."""
    assert len(README.split()) < 450
    pictures = re.findall(r"!\[[^\]]{20,}\]\(", README)
    assert len(pictures) == 1
    assert len(LINK.findall(README)) == len(pictures) + 5
    _, _, contributors = README.partition("## Contribute")
    assert re.findall(r"^\$ (make \w+)", README, re.M) == re.findall(r"^\$ (make \w+)", contributors, re.M)
    assert re.findall(r"^\$ (make \w+)", contributors, re.M) == ["make demo", "make test"]


def test_the_links_of_the_readme_lead_somewhere() -> None:
    assert [link for link in LINK.findall(README) if not (ROOT / link).is_file()] == []


def test_a_package_index_shows_no_relative_link() -> None:
    """There the links lead to the documentation, by the substitutions in pyproject.toml."""
    substitutions = re.findall(r"\{ pattern = '(.+)', replacement = '(.+)' \}", PROJECT)
    shown = README
    for pattern, replacement in substitutions:
        shown = re.sub(pattern, replacement, shown)
    [base] = re.findall(r'^Documentation = "(.+)"$', PROJECT, re.M)
    links = LINK.findall(shown)
    assert len(links) == len(LINK.findall(README))
    for link in links:
        assert link.startswith(base), link
        path = link.removeprefix(base)
        assert (ROOT / "docs" / re.sub(r"\.html$", ".md", path)).is_file(), link


def test_the_address_stands_in_one_place() -> None:
    """In pyproject.toml, where the build of the docs reads it; the alerts repeat it, in the links to their runbooks."""
    block = PROJECT[PROJECT.index("[project.urls]") : PROJECT.index("[project.optional-dependencies]")]
    addresses = re.findall(r"https://[^\s\"'\\]+", block)
    [owner] = {re.sub(r"^https://(?:github\.com/)?([\w-]+).*", r"\1", address) for address in addresses}
    folders = [ROOT / name for name in ("benchmarks", "docs", "examples", "fuzz", "skewguard", "tests")]
    files = [*ROOT.iterdir(), *(path for folder in folders for path in folder.rglob("*"))]
    allowed = {"tests/test_docs_pages.py", "examples/monitoring/alerts.yml", "examples/monitoring/alerts_test.yml"}
    for path in files:
        if path.suffix in {".md", ".py", ".toml", ".yml", ".yaml"}:
            text = path.read_text("utf-8").replace(block, "")
            named = re.search(rf"{owner}\.github\.io|github\.com/{owner}/", text)
            assert not named or path.relative_to(ROOT).as_posix() in allowed, path
    [base] = re.findall(r'^Documentation = "(.+)"$', PROJECT, re.M)
    page = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
    for alert, runbook in RUNBOOKS:
        assert runbook == f"{base}monitoring.html#{alert.lower()}"
        assert f"\n### {alert}\n" in page
    assert len(RUNBOOKS) == ALERTS.count("- alert:") > 5


def test_the_metadata_is_complete() -> None:
    """Every supported Python, and the words by which people search."""
    found = importlib.metadata.metadata("skewguard")
    versions = {f"3.{minor}" for minor in range(10, 15)}
    listed = set(re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PROJECT))
    assert listed == versions
    assert found["Summary"] in README.replace("**", "")
    keywords = re.findall(r'"([\w-]+)"', PROJECT.partition("keywords = [")[2].partition("]")[0])
    assert {"aws", "boto3", "botocore", "clock-skew", "RequestTimeTooSkewed", "SignatureDoesNotMatch"} <= {*keywords}


def test_what_it_patches_is_listed() -> None:
    """The page names each part that `install` patches, and no other."""
    program = """
import boto3, skewguard
skewguard.install(sources=["response"], share=False)
boto3.client("s3", region_name="us-east-1")
from skewguard.signing.patches import patching
for group in patching._groups:
    for patch in group._patches or ():
        if hasattr(patch, "_part"):
            print(patch._part)
"""
    page = (ROOT / "docs" / "safe-in-production.md").read_text("utf-8")
    table = page.partition("| part | in botocore |\n|---|---|\n")[2].partition("\n\n")[0]
    assert {*re.findall(r"^\| ([^|]+) \|", table, re.M)} == {*run_python(program).splitlines()}


def test_every_page_is_found() -> None:
    """By the navigation, and by the front page's or README's readers: what people search for has a page."""
    named = re.findall(r"([\w/-]+\.md)", (ROOT / "mkdocs.yml").read_text("utf-8").partition("nav:")[2])
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(named) == sorted(pages)
    words = {"kubernetes", "airflow", "faq", "changelog", "contributing"}
    assert {word for word in words if any(word in page for page in pages)} == words


@pytest.mark.slow
@pytest.mark.parametrize("name", terminals.PRINTED)
def test_the_terminals_show_what_is_printed(name: str) -> None:
    """They are drawn by `python -m tests.terminals --write`; times, lengths and addresses differ between runs."""
    drawn = (terminals.FOLDER / name).read_text("utf-8")
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", ""), "it fetches something, or names this host"
    now = terminals.draw(name, terminals.PRINTED[name]())
    assert masked(re.sub(r"\d{8}T\d{6}Z", "TIME", terminals.shown(drawn))) == masked(
        re.sub(r"\d{8}T\d{6}Z", "TIME", terminals.shown(now))
    )


class TestTheBuild:
    """mkdocs_hooks.py."""

    def test_a_copy_button_copies_what_is_typed(self) -> None:
        """Without the prompt, and without what was printed."""
        text = "$ first \\\n    --more\nprinted\n$ second <a>\n[ OK ] printed\n"
        assert mkdocs_hooks.typed(text) == "first \\\n    --more\nsecond <a>"
        code = "<pre><code>" + text.replace("<", "&lt;") + "</code></pre>"
        made = mkdocs_hooks.on_page_content(f'<div class="language-console highlight">{code}</div>', Page())
        assert 'data-copy="first \\\n    --more\nsecond &lt;a&gt;"' in made

    @pytest.mark.parametrize(
        ("text", "scrolls"), [("a  b\n" * 3, False), ("a    b\n" * 3, True), ("a ──► b\n", True), ("x" * 300, False)]
    )
    def test_only_columns_scroll(self, text: str, scrolls: bool) -> None:
        made = mkdocs_hooks.on_page_content(f'<div class="language-text highlight">{text}</div>', Page())
        assert ("columns" in made) == scrolls

    def test_each_page_has_its_description(self) -> None:
        page = Page()
        mkdocs_hooks.on_page_content(f"<h1>T</h1><p>One <b>two</b> &amp; {'word ' * 99}</p><p>x</p>", page)
        assert page.meta["description"].startswith("Title: One two & word word")
        assert 100 < len(page.meta["description"]) < 160

    def test_files_of_the_root_are_pages(self) -> None:
        made = mkdocs_hooks.on_page_markdown("<!-- include: CONTRIBUTING.md -->\n")
        assert "# Contributing" in made
        assert "](architecture.md)" in made
        assert "](docs/" not in made


class Page:
    title = "Title"

    def __init__(self) -> None:
        self.meta: dict[str, str] = {}
