"""How much an environment costs beside SUMO itself: ratios in one run, interleaved, since machines are noisy.

Per scenario one window (an hour, unless --decisions shortens it) runs under random phases. `bare` is the same
simulation, trip for trip, stepped by libsumo alone: the signals' recorded states run as a plain program, and nothing
is read or set. One environment is interleaved with it: ten decisions of the one, ten of the other, and so on, so that
both meet the same moments of a noisy machine. Observation, reward and mask are included wherever an environment
is timed. sumo-rl decides for itself and is compared with bare libsumo on the traffic that was recorded of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.course import Course
from benchmarks.systems import NOT_BY_DEFAULT, SYSTEMS, System, Window, make_systems
from benchmarks.tables import Sample, flatness, growth_plot, markdown, rows_of, summary
from plumbing.command import run_command
from plumbing.errors import InputError, did_you_mean
from plumbing.held import scratch
from plumbing.whole import write_whole
from scenarios.loading import load
from scenarios.scenario import Scenario

SCENARIOS = ("cologne1", "cologne8", "grid4x4", "ingolstadt21")
GRIDS = ("grid:5x5", "grid:10x10", "grid:20x20", "grid:30x30")
QUICK = {
    "scenarios": ["cologne1", "grid:5x5"],
    "systems": ["sumo", "ours", "ours-batch-1", "ours-batch-2", "sumo-rl-libsumo"],
    "repeats": 3,
    "stepwise": 2,
    "decisions": 120,
}
SLOW_REPEATS = 2
"""Of what takes tens of times as long as the rest: its ratio is far above the noise."""
INSIDE_REPEATS = 3
"""Of the run with SUMO's steps timed apart, which needs no other to compare with."""

EXAMPLES = f"""systems, beside bare libsumo:
{chr(10).join(f"  {name:<25}{what}" for name, what in SYSTEMS.items())}

examples:
  python benchmarks/speed.py --quick
  python benchmarks/speed.py --scenarios cologne8 grid4x4 --systems sumo ours --repeats 9
  python benchmarks/speed.py --scenarios {" ".join(GRIDS)} --systems ours bare-prepared --decisions 240 --out figures
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--scenarios", nargs="+", default=list(SCENARIOS), metavar="NAME",
        help=f"names or files, also generated grids such as {GRIDS[1]} (default: {' '.join(SCENARIOS)})",
    )  # fmt: skip
    p.add_argument(
        "--systems", nargs="+", default=[name for name in SYSTEMS if name not in NOT_BY_DEFAULT], metavar="NAME",
        help=f"what to time beside bare libsumo (default: all below but {', '.join(NOT_BY_DEFAULT)})",
    )  # fmt: skip
    p.add_argument("--repeats", type=int, default=5, metavar="N", help="of each measurement (default: 5)")
    p.add_argument(
        "--windows", type=int, default=20, metavar="N",
        help="windows that one environment runs interleaved with bare libsumo and the binary (default: 20; 0: none)",
    )  # fmt: skip
    p.add_argument(
        "--decisions", type=int, metavar="N",
        help="end a window after so many decisions of 5 s each (default: the scenario's end; an hour has 720)",
    )  # fmt: skip
    p.add_argument("--quick", action="store_true", help="two scenarios, ten minutes, the main systems: a look")
    p.add_argument("--json", action="store_true", help="print JSON on stdout, and nothing else there")
    p.add_argument("--out", type=Path, metavar="DIR", help="write speed.md, speed.json and speed.svg there")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    command = parser().parse_args(arguments)
    if command.quick:
        vars(command).update(QUICK)
    check(command)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for name in command.scenarios:
        rows += measure(window(name, command.decisions), command.systems, command.repeats, command.windows, notes)
    parts = (markdown(rows), summary(rows), flatness(rows), "\n".join(f"- {note}" for note in notes))
    text = "\n\n".join(part for part in parts if part)
    content = json.dumps({"rows": rows, "notes": notes}, indent=2)
    print(content if command.json else text)
    if command.out is not None:
        said = "python benchmarks/speed.py " + " ".join(arguments if arguments is not None else sys.argv[1:])
        write_whole(command.out / "speed.md", lambda path: path.write_text(f"# Speed\n\n`{said}`\n\n{text}\n"))
        write_whole(command.out / "speed.json", lambda path: path.write_text(content))
        growth_plot(rows, command.out / "speed.svg")
    return 0


def check(command: argparse.Namespace) -> None:
    """Refuse what cannot be measured.

    Raises:
        InputError: a number or a name is wrong.
    """
    if command.repeats < 1:
        raise InputError(f"--repeats is {command.repeats}; it must be at least 1")
    if command.windows < 0:
        raise InputError(f"--windows is {command.windows}; it must be at least 0")
    if command.decisions is not None and command.decisions < 2:
        raise InputError(f"--decisions is {command.decisions}; it must be at least 2")
    for name in command.systems:
        if name not in SYSTEMS:
            raise InputError(
                f"--systems: unknown system {name!r}; known are {', '.join(SYSTEMS)}.{did_you_mean(name, SYSTEMS)}"
            )


def window(name: str, decisions: int | None) -> Scenario:
    """The scenario, cut off after so many decisions."""
    scenario = load(name)
    if decisions is None:
        return scenario
    return load(name, end_s=min(scenario.end_s, scenario.begin_s + 5.0 * decisions))


def measure(
    scenario: Scenario, wanted: Sequence[str], repeats: int, windows: int, notes: list[str]
) -> list[dict[str, Any]]:
    """The rows of one scenario."""
    tell(f"{scenario.name}: recording {scenario.horizon_s:g} s of traffic")
    with scratch("speed") as folder, contextlib.ExitStack() as stack:
        course = Course(scenario, folder)
        systems = make_systems(course, wanted, stack, notes)
        samples = in_turns(systems, repeats, scenario.name)
        own = [course.run_inside() for _ in range(min(repeats, INSIDE_REPEATS))]
        return rows_of(course, systems, samples, own, interleaved(systems, windows, scenario.name))


def in_turns(systems: Sequence[System], repeats: int, name: str) -> dict[str, list[Sample]]:
    """Every system once in each turn, forwards and backwards by turns, so that a slow moment hits all of them."""
    samples: dict[str, list[Sample]] = {system.name: [] for system in systems}
    for turn in range(repeats):
        tell(f"{name}: turn {turn + 1} of {repeats}")
        for system in systems if turn % 2 == 0 else systems[::-1]:
            if not system.slow or turn < SLOW_REPEATS:
                samples[system.name].append(Sample(turn, system.run()))
    return samples


def interleaved(systems: Sequence[System], windows: int, name: str) -> dict[str, list[Window]]:
    """So many windows of each environment that can be interleaved with bare libsumo."""
    found: dict[str, list[Window]] = {system.name: [] for system in systems if system.interleaved}
    for window in range(windows if found else 0):
        if window % 5 == 0:
            tell(f"{name}: interleaved, window {window + 1} of {windows}")
        for system in systems:
            if system.interleaved:
                found[system.name].append(system.interleaved())
    return found


def tell(line: str) -> None:
    """Progress, on stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(main)
