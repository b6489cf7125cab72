"""From counts to traffic: import, clean, forecast and generate counts, and calibrate a scenario to them."""

import os
import sys

# Python's argv while it looks for the program of `python -m`, with the caller's folder first on its path
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
