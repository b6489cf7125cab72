"""Replays: one file per episode that proves itself by running again, and a page that shows it in a browser."""
