"""From a trained policy to a traffic-signal controller: bundles, plans, what runs beside it, and an emulated one."""

import os
import sys

# Python's argv while it looks for the program of `python -m`, with the caller's folder first on its path
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
