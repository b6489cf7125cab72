"""Compiled code, and its one loader. The Python that uses it computes the same, and goes on without it."""
