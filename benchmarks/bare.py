"""libsumo, stepped from decision to decision without reading or setting anything: what everything is compared with.

Reads one JSON line, {"args": SUMO's command line, "until_s": the moments to step to}, and answers {"seconds": …}.
"""

from __future__ import annotations

import json
import os
import sys
import time

import libsumo

from benchmarks.clock import quiet


def main() -> None:
    """Run once."""
    request = json.loads(sys.stdin.readline())
    answers = quiet()
    libsumo.start(request["args"])
    began = time.perf_counter()
    for moment in request["until_s"]:
        libsumo.simulation.step(moment)
    taken = time.perf_counter() - began
    libsumo.close()
    os.write(answers, json.dumps({"seconds": taken}).encode() + b"\n")


if __name__ == "__main__":
    main()
