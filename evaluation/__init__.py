"""Runs, their honest metrics, and the tables and statistics made from them."""
