"""Fuzzing of the parsers that are written in Python; those in C are under cext/fuzz."""
