"""What `status()` and its like look like to people, and the options' types to type checkers."""

from __future__ import annotations

import html.parser

import pytest

import skewguard
from skewguard.cli import check, survey
from skewguard.config import AttachOptions, InstallOptions, Settings, resolve
from skewguard.sources import Source
from skewguard.testing import FakeClocks
from tests.fakes import FakeSource


def test_the_types_name_every_option() -> None:
    """Also those of `attach`, which are the first that `install` has."""
    assert InstallOptions.__annotations__.keys() == set(Settings._fields)
    assert AttachOptions.__annotations__.keys() < InstallOptions.__annotations__.keys()


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ([], "CRITICAL - no time source is configured"),
        ([FakeSource(offset=0.0003)], "OK - this host's clock is 300 us behind true time (within "),
        ([FakeSource(offset=-90.0)], "WARNING - this host's clock is 90.0 s ahead of true time (within "),
        ([FakeSource(offset=1200.0)], "CRITICAL - this host's clock is 20 min 0 s behind true time (within "),
        ([FakeSource(offset=None)], "CRITICAL - no time source gave the time: source: is dead"),
        (
            [FakeSource("a", offset=0), FakeSource("b", offset=50)],
            "CRITICAL - the 2 time sources that answered disagree",
        ),
    ],
)
def test_printed_it_is_the_sentence_of_check(sources: list[Source], words: str) -> None:
    clocks = FakeClocks()
    found = survey.ask(resolve({"sources": sources}), clocks=clocks)
    checked = check.assess(found).line.partition(" | ")[0]
    with skewguard.install(sources=sources, clocks=clocks):
        skewguard.measure()
        shown = skewguard.status()
    assert str(shown) == checked
    assert checked.startswith(words)
    assert repr(shown).startswith("Status(installed=True, state='"), "exact, for a program's author"
    assert shown.offset is None or str(shown.offset) in checked


def test_before_any_source_was_asked() -> None:
    """The sentence says so, instead of blaming sources."""
    skewguard.uninstall()
    keeper = skewguard._process.process.keeper()
    keeper.configure(resolve({"sources": ["ntp://192.0.2.1"]}), FakeClocks())
    assert str(skewguard.status()) == "CRITICAL - the time is not known yet: no time source has been asked"


def test_in_a_notebook() -> None:
    """A table of valid HTML, in which nothing of a source's name is markup."""
    with skewguard.install(sources=[FakeSource("<b>'s", offset=1200.0), FakeSource("dead", offset=None)]):
        skewguard.measure()
        shown = skewguard.status()._repr_html_()
    seen: list[str] = []
    parser = html.parser.HTMLParser()
    parser.handle_starttag = lambda tag, attrs: seen.append(tag)  # type: ignore[method-assign]
    parser.handle_data = seen.append  # type: ignore[method-assign]
    parser.feed(shown)
    parser.close()
    assert "b" not in seen
    text = "\n".join(seen)
    assert "source <b>'s" in text
    assert "is dead" in text
    assert "20 min 0 s behind true time" in text
