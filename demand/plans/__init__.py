"""Signal plans for the levels and patterns of counted flows, and which of them runs when."""
