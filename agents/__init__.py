"""What learns: algorithms and networks; each yields a controller."""
