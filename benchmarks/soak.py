"""Does anything grow? Thousands of resets and weeks of simulated time in one worker, with what its processes hold.

First --resets episodes of ten seconds, then --days episodes of a simulated day each, in which the scenario's demand
repeats all day and max-pressure decides. Sampled on the way: memory (RSS and private pages) of the environment's
process, of the worker's template and of the episode; open files, processes, threads, shared memory files, semaphores.
At the end everything is closed and compared with the beginning.

A quantity counts as growing where the median of the last quarter of its samples exceeds that of the first quarter by
more than 2 % and 1 MB (memory), or by one or more (everything else); the first fifth is warming up and left out.
"""

from __future__ import annotations

import argparse
import copy
import csv
import dataclasses
import io
import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.processes import holdings
from benchmarks.speed import tell
from controllers.heuristics import MaxPressure
from envs.sumo.setup import make_setup
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from plumbing.command import run_command
from plumbing.errors import InputError
from plumbing.held import scratch
from plumbing.whole import write_whole
from scenarios.loading import load
from scenarios.scenario import Scenario

DECISIONS = 2
"""Of each of the many short episodes."""
DAY_S, HOUR_S = 86_400.0, 3_600.0
WARMING = 0.2
"""Share of the samples that is left out."""
MEMORY_SHARE, MEMORY_MB = 0.02, 1.0
"""More than both, and memory counts as growing."""
LEAST_SAMPLES = 20
QUICK = {"resets": 40, "days": 1.0}
DEPARTING = ("vehicle", "trip", "person")
Row = dict[str, float | str]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--scenario", default="single", metavar="NAME", help="default: single")
    p.add_argument("--resets", type=int, default=10_000, metavar="N", help="default: 10000; 0: none")
    p.add_argument("--days", type=float, default=24.0, metavar="D", help="simulated days (default: 24; 0: none)")
    p.add_argument("--samples", type=int, default=200, metavar="N", help="of the resets (default: 200)")
    p.add_argument("--quick", action="store_true", help=f"{QUICK['resets']} resets and one day")
    p.add_argument("--json", action="store_true", help="print JSON on stdout, and nothing else there")
    p.add_argument("--out", type=Path, metavar="DIR", help="write soak.csv (as it goes) and soak.md there")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; the exit status is 1 where something grows or is left behind."""
    command = parser().parse_args(arguments)
    if command.quick:
        vars(command).update(QUICK)
    if command.resets < 0 or command.days < 0 or command.samples < 1:
        raise InputError("--resets and --days must be at least 0, --samples at least 1")
    scenario = load(command.scenario)
    before, rows = holdings(), list[Row]()
    for phase in (resets(scenario, command.resets, command.samples), days(scenario, command.days)):
        for row in phase:
            rows.append(row)
            if command.out is not None:
                text = as_csv(rows)
                write_whole(command.out / "soak.csv", lambda path, text=text: path.write_text(text))  # type: ignore[misc]
    judged = verdicts(rows)
    left = leftovers(before, holdings())
    text = report(judged, left)
    if command.json:
        print(json.dumps({"rows": judged, "left_behind": left, "samples": rows}, indent=2))
    else:
        print(text)
    if command.out is not None:
        said = "python benchmarks/soak.py " + " ".join(arguments if arguments is not None else sys.argv[1:])
        write_whole(command.out / "soak.md", lambda path: path.write_text(f"# Soak\n\n`{said}`\n\n{text}\n"))
    return int(bool(left) or any(row["verdict"] == "growing" for row in judged))


def resets(scenario: Scenario, number: int, samples: int) -> Iterator[Row]:
    """Begin an episode again and again in one worker."""
    every, began = max(1, number // samples), time.monotonic()
    with RemoteSimulation(WorkerSetup(make_setup(scenario))) as worker:
        for done in range(1, number + 1):
            worker.begin(done)
            for _ in range(DECISIONS):
                worker.decide(worker.snapshot.phase)
            if done % every == 0:
                yield {"phase": "resets", "done": done, "seconds": round(time.monotonic() - began, 1), **holdings()}
            if done % (10 * every) == 0:
                tell(f"{done:,} of {number:,} resets")


def days(scenario: Scenario, number: float) -> Iterator[Row]:
    """Simulate day after day in one worker; a sample every simulated hour."""
    began, hours = time.monotonic(), 0
    with scratch("soak") as folder:
        left_s = number * DAY_S
        day = lengthened(scenario, min(left_s, DAY_S), folder) if left_s else scenario
        setup, controller = make_setup(day), MaxPressure()
        with RemoteSimulation(WorkerSetup(setup)) as worker:
            controller.reset(setup.plan.intersections, setup.layout, seed=0)
            while left_s > 0:
                worker.begin(hours)
                sampled_s = day.begin_s
                while not worker.done and worker.snapshot.time_s[0] - day.begin_s < left_s:
                    worker.decide(controller.decide(worker.snapshot))
                    if worker.snapshot.time_s[0] - sampled_s >= HOUR_S:
                        hours, sampled_s = hours + 1, float(worker.snapshot.time_s[0])
                        row: Row = {"phase": "days", "done": round(hours / 24, 3)}
                        row["seconds"] = round(time.monotonic() - began, 1)
                        yield {**row, **holdings()}
                left_s -= day.horizon_s
                tell(f"{hours / 24:.1f} of {number:g} days")


def lengthened(scenario: Scenario, horizon_s: float, folder: Path) -> Scenario:
    """The scenario with its window's demand over and over, until the horizon."""
    rounds = max(1, round(horizon_s / scenario.horizon_s))
    routes = folder / "repeated.rou.xml"
    routes.write_text(repeated(scenario, rounds))
    end_s = scenario.begin_s + rounds * scenario.horizon_s
    return dataclasses.replace(scenario, route_files=(routes,), end_s=end_s)


def repeated(scenario: Scenario, rounds: int) -> str:
    """The route files' text, with every departure of the window once in each round."""
    once: list[ElementTree.Element] = []
    departing: list[tuple[float, ElementTree.Element]] = []
    for path in scenario.route_files:
        for element in ElementTree.parse(path).getroot():
            if element.tag not in DEPARTING:
                once.append(element)
            elif scenario.begin_s <= float(element.get("depart", "nan")) < scenario.end_s:
                departing.append((float(element.get("depart", "nan")), element))
    departing.sort(key=lambda entry: entry[0])
    root = ElementTree.Element("routes")
    root.extend(once)
    for number in range(rounds):
        for depart_s, element in departing:
            again = copy.deepcopy(element)
            again.set("id", f"{element.get('id')}.{number}")
            again.set("depart", f"{depart_s + number * scenario.horizon_s:.2f}")
            root.append(again)
    return ElementTree.tostring(root, encoding="unicode")


def growth(series: Sequence[float], *, memory: bool) -> tuple[float, float, bool]:
    """First and last quarter's median after warming up, and whether that counts as growing."""
    settled = list(series)[round(len(series) * WARMING) :]
    quarter = max(1, len(settled) // 4)
    first, last = statistics.median(settled[:quarter]), statistics.median(settled[-quarter:])
    limit = max(MEMORY_SHARE * first, MEMORY_MB) if memory else 1.0
    grown = last - first
    return first, last, grown > limit if memory else grown >= limit


def verdicts(rows: Sequence[Row]) -> list[Row]:
    """A line for each phase and quantity."""
    found: list[Row] = []
    for phase in dict.fromkeys(row["phase"] for row in rows):
        of = [row for row in rows if row["phase"] == phase]
        for name in of[0]:
            if name in ("phase", "done", "seconds"):
                continue
            series = [float(row[name]) for row in of]
            first, last, growing = growth(series, memory=name.endswith("_mb"))
            short = len(series) < LEAST_SAMPLES
            said = "too few samples" if short else "growing" if growing else "flat"
            row: Row = {"phase": phase, "quantity": name, "first": first, "last": last, "most": max(series)}
            found.append({**row, "verdict": said})
    return found


def leftovers(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What there is more of after closing than before opening."""
    names = ("open_files", "processes", "threads", "shared_memory_files", "semaphores")
    return {name: after[name] - before[name] for name in names if after[name] > before[name]}


def report(judged: Sequence[Row], left: Mapping[str, float]) -> str:
    """A Markdown table and the verdict."""
    lines = ["| phase | quantity | first quarter | last quarter | most | verdict |", "|---|---|---|---|---|---|"]
    for row in judged:
        numbers = " | ".join(f"{row[name]:.1f}" for name in ("first", "last", "most"))
        lines.append(f"| {row['phase']} | {row['quantity']} | {numbers} | {row['verdict']} |")
    growing = [f"{row['quantity']} ({row['phase']})" for row in judged if row["verdict"] == "growing"]
    short = any(row["verdict"] == "too few samples" for row in judged)
    said = f"growing: {', '.join(growing)}" if growing else "too few samples to tell" if short else "flat"
    after = ", ".join(f"{name} +{number:g}" for name, number in left.items()) or "nothing"
    return "\n".join([*lines, "", f"Verdict: {said}; left behind after closing: {after}."])


def as_csv(rows: Sequence[Row]) -> str:
    """All samples."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


if __name__ == "__main__":
    run_command(main)
