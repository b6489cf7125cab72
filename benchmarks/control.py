"""How long a decision takes in the field: a recorded run is decided again, and each part of it timed, by the wall
clock and by the processor time that it used (on a machine that others use, too, the tail of the former is theirs).

    make demo-controller && python benchmarks/control.py [--out DIR] [--json]

DIR is what benchmarks/closed_loop.py wrote (default: runs/demo-controller): its bundle and its log.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deployment.bundle.read import read_bundle
from deployment.field.estimator import Site
from deployment.field.eventlog import read_log
from deployment.field.guard import Facts, Guard, Limits
from deployment.field.inference import ask
from deployment.field.pilot import Pilot
from deployment.field.reading import Reading
from plumbing.command import run_command
from plumbing.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


Times = tuple[float, float]
"""Wall and processor seconds."""


def measure(out: Path) -> dict[str, list[Times]]:
    """What each part took, per beat (polls: per poll).

    Raises:
        InputError: there is no such run.
    """
    logs = sorted(out.glob("seed-*/control.jsonl"))
    if not logs:
        raise InputError(f"{out} holds no run; make one by: make demo-controller")
    bundle = read_bundle(out / "bundle", public_key=out / "key.pub")
    assert bundle.loops is not None
    site = Site(bundle.plan, bundle.layout, bundle.loops, bundle.machine())
    pilot = Pilot(site, bundle.inputs, bundle.input_high, Guard(Limits()))
    found: dict[str, list[Times]] = {
        name: [] for name in ("poll", "look", "policy", "guard", "policy + guard", "all")
    }
    values: dict[str, int] = {}
    fast: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()
    for record in read_log(logs[0]):
        kind = record["k"]
        if kind == "start":
            fast, slow = tuple(record["fast"]), tuple(record["slow"])
        elif kind == "poll":
            values |= record["v"]
            reading = Reading(record["t"], {n: values[n] for n in ((*fast, *slow) if record.get("slow") else fast)})
            found["poll"].append(_timed(lambda reading=reading: pilot.poll(reading))[0])  # type: ignore[misc]
        elif kind == "begin":
            pilot.guard.begin(record["t"])
        elif kind == "beat":
            look_s, inputs = _timed(lambda record=record: pilot.look(record["t"], record["n"], Facts()))  # type: ignore[misc]
            policy_s, answer = _timed(lambda inputs=inputs: ask(bundle.policy, inputs))  # type: ignore[misc]
            guard_s, _ = _timed(lambda answer=answer: pilot.conclude(answer))  # type: ignore[misc]
            parts = {
                "look": (look_s,),
                "policy": (policy_s,),
                "guard": (guard_s,),
                "policy + guard": (policy_s, guard_s),
            }
            for name, times in {**parts, "all": (look_s, policy_s, guard_s)}.items():
                found[name].append((sum(t[0] for t in times), sum(t[1] for t in times)))
    return found


def _timed(work: Callable[[], Any]) -> tuple[Times, Any]:
    began, used = time.perf_counter(), time.thread_time()
    result = work()
    return (time.perf_counter() - began, time.thread_time() - used), result


MEANING = {
    "poll": "take a poll over: bits to counts, indications to phase and ages",
    "look": "snapshot, judgement of the controller's state, inputs",
    "policy": "onnxruntime, one thread, checked for finite numbers",
    "guard": "judgement of the answer, modes, command, log line",
    "policy + guard": "",
    "all": "from the last poll to the command",
}


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=ROOT / "runs" / "demo-controller")
    p.add_argument("--json", action="store_true", help="print JSON on stdout")
    arguments = p.parse_args(argv)
    found = measure(arguments.out)
    rows = {}
    for name, times in found.items():
        wall, used = np.array(times).T * 1e6
        rows[name] = {
            "count": len(times),
            "median_us": float(np.median(wall)),
            "p99_us": float(np.percentile(wall, 99)),
            "processor_p99_us": float(np.percentile(used, 99)),
            "processor_max_us": float(used.max()),
        }
    if arguments.json:
        print(json.dumps(rows))
        return 0
    keys = ("median_us", "p99_us", "processor_p99_us", "processor_max_us")
    print(f"{'':16}{'':8}{'wall':>10}{'':10}{'processor':>10}{'':10}   [us]")
    print(f"{'part':16}{'count':>8}{'median':>10}{'p99':>10}{'p99':>10}{'max':>10}")
    for name, row in rows.items():
        print(f"{name:16}{row['count']:8}" + "".join(f"{row[key]:10.0f}" for key in keys) + f"   {MEANING[name]}")
    return 0


if __name__ == "__main__":
    run_command(main)
