"""Run at the start of every Python below ``skewguard exec``. The directory holds nothing else.

It imports nothing. Once the program has loaded ``botocore.session``, the first session installs skewguard. So a program
without sessions pays nothing, and a program's own `skewguard.install` comes first. Nothing here may stop the program,
in any version of Python: if it fails, the program runs unguarded, and one line on stderr says so.
"""

import _thread
import os
import sys

TYPE_CHECKING = False  # to import typing's would cost time
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any


class _SkewguardStartup:
    """Installs skewguard at the first session. Names are long because similar tools run this file in their module."""

    def __init__(self, here: str) -> None:
        self.root = os.path.dirname(os.path.dirname(os.path.dirname(here)))
        self.lock = _thread.RLock()
        self.done = False
        self.warned = False

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "ModuleSpec | None":
        """Register the initializer when ``botocore.session`` is about to be loaded.

        Its package is complete by then. It may be loaded again: ddtrace-run drops the modules loaded at the start.
        """
        if name != "botocore.session" or self.done:
            return None
        botocore = sys.modules["botocore"]
        try:
            if hasattr(botocore, "register_initializer"):
                botocore.register_initializer(self.first_session)
                return None
            # The AWS CLI, version 2. What is installed now reaches its sessions by a finder of its own.
            self.first_session(None)
            return next(filter(None, (each.find_spec(name, path, target) for each in sys.meta_path)), None)
        except Exception as error:
            self.warn(f"not guarded: {error}")
            return None

    def first_session(self, _session: object) -> None:
        """Install. botocore calls the initializer that this registers next, for this session too.

        Other threads that make a session wait here.
        """
        with self.lock:
            if self.done:
                return
            self.done = True
            sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
            try:
                self.install()
            except Exception as error:
                self.warn(f"not guarded: {error}")

    def install(self) -> None:
        """Install this interpreter's own skewguard, else the one that ran ``exec``."""
        if sys.version_info < (3, 10):
            raise RuntimeError(f"skewguard needs Python 3.10, and this is {sys.version.split()[0]}")
        sys.meta_path.append(_SkewguardFinder(self.root))
        import skewguard

        skewguard.install()

    def warn(self, line: str) -> None:
        """Report one thing that is switched off. On stderr, because few programs show the log of a library."""
        if not self.warned and sys.stderr is not None:
            self.warned = True
            print(f"skewguard exec: {line}", file=sys.stderr)


class _SkewguardFinder:
    """Finds skewguard and its one dependency, next to this file, and nothing else.

    It is the last finder, because an interpreter's own modules come first.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        if name not in ("skewguard", "ntplib"):
            return None
        from importlib.machinery import PathFinder

        return PathFinder.find_spec(name, [self.root])


def _skewguard_start(here: str) -> None:
    sys.meta_path.insert(0, _SkewguardStartup(here))
    # Undo this file's traces: children find it by PYTHONPATH, and the sitecustomize that it hid must run. That may be
    # another such tool's, which does the same.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    ours = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # noqa: F401
    except ImportError as error:
        if ours is not None:
            sys.modules["sitecustomize"] = ours
        if error.name != "sitecustomize":
            raise


_skewguard_start(os.path.dirname(os.path.abspath(__file__)))
