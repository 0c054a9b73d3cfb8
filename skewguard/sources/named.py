"""What sources of ours have in common: a name, which is their URI, equality, and what a path must look like."""

from __future__ import annotations

import os


class Named:
    """A source that is called by its URI without options, and equals another that asks the same and believes the same.

    So a source that is configured twice is asked once.
    """

    _name: str

    @property
    def name(self) -> str:
        """The source's URI, without options."""
        return self._name

    @property
    def _key(self) -> tuple[object, ...]:
        """What makes two sources of one class the same."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Named) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def usable_path(path: str) -> bool:
    """Tell whether a text can be the absolute path of a file or socket."""
    # Two slashes would begin a host's name in a URI.
    if not path.startswith("/") or (path.startswith("//") and not path.startswith("///")) or path.endswith("/"):
        return False
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeError:
        return False
