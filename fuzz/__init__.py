"""Fuzzing of the parsers. `targets` defines what is checked, and `__main__` how to run it."""
