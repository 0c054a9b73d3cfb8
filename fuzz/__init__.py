"""Fuzzing: what any bytes may do to the parsers. See `targets` for what is asked, `__main__` for how to run it."""
