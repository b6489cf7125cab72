"""What a NEMA controller's tables hold for one signal: patterns, NTCIP objects, and what is unsafe."""
