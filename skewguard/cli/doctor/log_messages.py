"""Split a pasted error, or a whole log, into the messages that may be about time. Pure.

A message is an error in XML, over any number of lines, or else one line with words that `doctor` knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

LIMIT = 4_194_304
"""The most characters to read of a log."""

_LONGEST = 8_192  # of one message
_WRAPPED_LINES = 20
_CLOCKS = re.compile(r"Signature (?:expired|not yet current): \d{8}T\d{6}Z is [^\n]{0,80}? min\.\)")
_XML = re.compile(r"<Error>(?:(?!<Error>).){0,8000}?</Error>|(?:<(\w+)>[^<]{0,2000}</\1>\s*){2,20}", re.DOTALL)


class Message(NamedTuple):
    """One message.

    Attributes:
        text: Its words.
        line: The line in which it begins, from 1.
    """

    text: str
    line: int = 1


def split(text: str, known: Callable[[str], bool]) -> list[Message]:
    """List the messages of a text; `known` finds words that `doctor` knows.

    A text of few lines that says more without its line breaks is one message, as a terminal wrapped it.
    """
    text = text[:LIMIT]
    if text.count("\n") < _WRAPPED_LINES and not _CLOCKS.search(text):
        for joined in (re.sub(r"\s*\n", "", text), re.sub(r"\s+", " ", text)):
            if _CLOCKS.search(joined):
                return [Message(joined[:_LONGEST])]
    return list(_messages(text, known)) or [Message(text[:_LONGEST])]


def _messages(text: str, known: Callable[[str], bool]) -> Iterator[Message]:
    end, line = 0, 1
    for block in _XML.finditer(text) if "</" in text else ():
        if known(block[0]):
            begin = max(text.rfind("\n", 0, block.start()) + 1, end)  # the words before it on its line belong to it
            yield from _lines(text[end:begin], line, known)
            line += text.count("\n", end, begin)
            yield Message(text[max(begin, block.start() - _LONGEST) : block.end()], line)
            line += block[0].count("\n")
            end = block.end()
    yield from _lines(text[end:], line, known)


def _lines(text: str, first: int, known: Callable[[str], bool]) -> Iterator[Message]:
    for number, line in enumerate(text.splitlines(), first):
        if known(line):
            yield Message(line[:_LONGEST], number)
