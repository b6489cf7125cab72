"""SUMO itself: how it is started, stepped, read, shown, and what it wrote."""
