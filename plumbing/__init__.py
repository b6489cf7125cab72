"""Shared by every package and command: whole files, locks, caches, plain values, errors, starting Python."""
