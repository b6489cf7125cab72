"""Unusual states of traffic, told from counts: learned of normal days without labels, watched minute by minute, and
judged on incidents that SUMO simulates."""
