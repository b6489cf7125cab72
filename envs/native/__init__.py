"""The compiled part, and its one loader. `signals` defines what it computes, to the bit."""
