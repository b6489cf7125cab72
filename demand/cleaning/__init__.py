"""Cleaning: what is wrong with counts, what stands in for it, and the report that tells both."""
