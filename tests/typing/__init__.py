"""Programs for the type checkers."""
