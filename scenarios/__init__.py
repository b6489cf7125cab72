"""Networks with their demand: find one by name or path, check it, and tell SUMO how to load it."""
