"""Readers: one module a format, each of which turns files of it into the table of counts."""
