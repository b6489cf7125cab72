"""Controllers that decide without learning: what a learned policy has to beat."""
