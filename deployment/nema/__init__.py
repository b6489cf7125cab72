"""One signal as a NEMA controller is set up for it: phases, patterns, objects and what is unsafe."""
