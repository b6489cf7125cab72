"""libsumo, stepped from decision to decision without reading or setting anything: what everything is compared with.

Reads one JSON line, {"args": SUMO's command line, "until_s": the moments to step to}, and answers {"seconds": …}.
With "stepwise": true it answers so once it has started, and after every further line, which is a number of moments to
go on by: whoever asks can run something else in between.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Iterable

import libsumo

from benchmarks.clock import quiet


def main() -> None:
    """Run once."""
    request = json.loads(sys.stdin.readline())
    answers = quiet()
    libsumo.start(request["args"])
    moments = iter(request["until_s"])
    if request.get("stepwise"):
        os.write(answers, line(0.0))
        for asked in sys.stdin:
            os.write(answers, line(go_on(itertools.islice(moments, int(asked)))))
        return
    taken = go_on(moments)
    libsumo.close()
    os.write(answers, line(taken))


def go_on(moments: Iterable[float]) -> float:
    """Step from one to the next [s]."""
    began = time.perf_counter()
    for moment in moments:
        libsumo.simulation.step(moment)
    return time.perf_counter() - began


def line(seconds: float) -> bytes:
    """The answer."""
    return json.dumps({"seconds": seconds}).encode() + b"\n"


if __name__ == "__main__":
    main()
