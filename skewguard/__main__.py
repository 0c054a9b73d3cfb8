"""``python -m skewguard`` is the command ``skewguard``."""

from skewguard.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
