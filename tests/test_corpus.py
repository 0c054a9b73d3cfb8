"""The fuzz targets without a fuzzer: the corpus, and variations of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(path for path in CORPUS.glob("*/*") if path.is_file())
EDITS = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 4), st.binary(max_size=9)), max_size=4)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_corpus(path: Path) -> None:
    """No file of the corpus breaks a promise of its target."""
    TARGETS[path.parent.name].run(path.read_bytes())


def test_every_target_has_a_corpus() -> None:
    """And each folder a target; a few kB each, because every run reads them."""
    sizes: dict[str, int] = {}
    for path in FILES:
        sizes[path.parent.name] = sizes.get(path.parent.name, 0) + path.stat().st_size
    assert sizes.keys() == TARGETS.keys()
    assert max(sizes.values()) < 16_384


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60)
@given(data=st.data())
def test_variations(name: str, data: st.DataObject) -> None:
    """The promises hold for any bytes, and for the corpus with bytes replaced, removed or inserted."""
    seeds = [path for path in FILES if path.parent.name == name]
    given_bytes = data.draw(
        st.binary(max_size=TARGETS[name].longest)
        | st.sampled_from(seeds).flatmap(lambda path: _edited(path.read_bytes()))
    )
    TARGETS[name].run(given_bytes)


def _edited(seed: bytes) -> st.SearchStrategy[bytes]:
    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        result = seed
        for place, removed, added in edits:
            at = place % (len(result) + 1)
            result = result[:at] + added + result[at + removed :]
        return result

    return EDITS.map(apply)
