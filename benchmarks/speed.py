"""How much an environment costs beside SUMO itself: ratios in one run, interleaved, since machines are noisy.

For each scenario one hour runs with random actions through the PettingZoo environment (observation, reward and mask
included). `bare` is the same simulation, trajectory for trajectory, stepped by libsumo alone: the signals' recorded
states run as a plain program, and nothing is read or set. `sumo` is the stock binary on the same input.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt

from envs.options import EnvOptions
from envs.remote import RemoteSimulation
from envs.simulation import make_setup
from envs.worker import WorkerSetup
from scenarios.command import run_command, write_whole
from scenarios.scenario import Scenario, load

SCENARIOS = ("cologne1", "cologne8", "grid4x4", "ingolstadt21")
QUICK = ("cologne1", "cologne8")
SEED = 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), help=f"default: {' '.join(SCENARIOS)}")
    p.add_argument("--repeats", type=int, default=5, metavar="N", help="of each measurement (default: 5)")
    p.add_argument("--quick", action="store_true", help=f"only {' and '.join(QUICK)}, three repeats")
    p.add_argument("--json", action="store_true", help="print JSON on stdout, and nothing else there")
    p.add_argument("--out", type=Path, metavar="FILE", help="write the table there, as Markdown")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    command = parser().parse_args(arguments)
    names, repeats = (QUICK, 3) if command.quick else (command.scenarios, command.repeats)
    rows = [row for name in names for row in measure(load(name), repeats)]
    if command.json:
        print(json.dumps({"rows": rows}, indent=2))
    else:
        print(as_table(rows))
    if command.out is not None:
        said = "`python -m benchmarks.speed`: time of one simulated hour as a multiple of bare libsumo.\n\n"
        write_whole(command.out, lambda path: path.write_text(f"# Speed\n\n{said}{as_table(rows)}\n"))
    return 0


def measure(scenario: Scenario, repeats: int) -> list[dict[str, Any]]:
    """The rows of one scenario."""
    with tempfile.TemporaryDirectory(prefix="intergreen-speed-") as folder:
        recorded = Recorded(scenario, Path(folder))
        with EnvOptions(scenario).worker(None) as worker:
            systems: dict[str, Callable[[], float]] = {
                "bare": recorded.run_bare,
                "ours": lambda: drive(worker),
                "sumo": recorded.run_binary,
            }
            for run in systems.values():
                run()  # warms caches; not counted
            times: dict[str, list[float]] = {name: [] for name in systems}
            for turn in range(repeats):
                order = list(systems) if turn % 2 == 0 else list(systems)[::-1]
                for name in order:
                    times[name].append(systems[name]())
    bare = times["bare"]
    return [
        {
            "system": name,
            "scenario": scenario.name,
            "signals": len(recorded.tls_ids),
            "ratio_to_bare": round(statistics.median(t / b for t, b in zip(taken, bare, strict=True)), 3),
            "low": round(min(t / b for t, b in zip(taken, bare, strict=True)), 3),
            "high": round(max(t / b for t, b in zip(taken, bare, strict=True)), 3),
            "seconds": round(statistics.median(taken), 3),
        }
        for name, taken in times.items()
    ]


def drive(worker: RemoteSimulation) -> float:
    """One episode with random phases among those that may be chosen [s]; the start is not counted."""
    worker.begin(SEED)
    random = np.random.default_rng(SEED)
    began = time.perf_counter()
    while not worker.done:
        worker.decide(random_phases(worker.snapshot.mask, random))
    taken = time.perf_counter() - began
    worker.end()
    return taken


def random_phases(mask: npt.NDArray[np.bool_], random: np.random.Generator) -> npt.NDArray[np.int64]:
    """[S] a random phase of each signal among those that may be chosen."""
    chosen: npt.NDArray[np.int64] = np.where(mask, random.random(mask.shape), -1.0).argmax(axis=1)
    return chosen


class Recorded:
    """The same hour once more, as a program that SUMO plays by itself."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.end_s = scenario.end_s
        states, ours, bare = folder / "states.xml", folder / "ours.xml", folder / "bare.xml"
        record = folder / "record.add.xml"
        record.write_text(
            f'<additional><timedEvent type="SaveTLSStates" dest={quoteattr(str(states))}/></additional>'
        )
        setup = make_setup(scenario, extra_additional=[record], outputs=["--tripinfo-output", str(ours)])
        self.tls_ids = setup.layout.tls_ids
        self.begin_s, self.step_s = setup.begin_s, setup.timing.decision_interval_s
        with RemoteSimulation(WorkerSetup(setup)) as worker:
            drive(worker)
        programs = folder / "programs.add.xml"
        programs.write_text(_as_programs(states, set(self.tls_ids), self.begin_s))
        plain = make_setup(scenario, controlled=False, extra_additional=[programs])
        self.args = ["sumo", *plain.sumo_args, "--seed", str(SEED)]
        _in_child(_step_bare, [*self.args, "--tripinfo-output", str(bare)], self.begin_s, self.end_s, self.step_s)
        if _trips(ours) != _trips(bare):
            raise RuntimeError(
                f"{scenario.name}: bare libsumo's traffic differs from ours; the ratio would mean nothing"
            )

    def run_bare(self) -> float:
        """libsumo, stepped from decision to decision [s]."""
        return _in_child(_step_bare, self.args, self.begin_s, self.end_s, self.step_s)

    def run_binary(self) -> float:
        """The stock binary, its start included [s]."""
        import sumo

        binary = Path(sumo.SUMO_HOME) / "bin" / "sumo"
        began = time.perf_counter()
        subprocess.run([str(binary), *self.args[1:]], check=True, capture_output=True)
        return time.perf_counter() - began


def _as_programs(states: Path, tls_ids: set[str], begin_s: float) -> str:
    """A static program per signal that shows what was recorded."""
    shown: dict[str, list[list[Any]]] = {tls_id: [] for tls_id in tls_ids}
    for _, element in ElementTree.iterparse(states):
        if element.tag == "tlsState" and element.get("id") in shown:
            rows, state = shown[str(element.get("id"))], element.get("state")
            if rows and rows[-1][1] == state:
                rows[-1][0] += 1.0
            else:
                rows.append([1.0, state])
            element.clear()
    text = ["<additional>"]
    for tls_id, rows in sorted(shown.items()):
        text.append(f'<tlLogic id={quoteattr(tls_id)} type="static" programID="recorded" offset="{begin_s:g}">')
        text += [f'<phase duration="{duration:g}" state="{state}"/>' for duration, state in rows]
        text.append("</tlLogic>")
    return "\n".join([*text, "</additional>"])


def _trips(path: Path) -> str:
    """A hash of every trip, without the file's heading (it holds the date and the options)."""
    body = re.sub(r"<!--.*?-->", "", path.read_text(), flags=re.S)
    return hashlib.sha256(body.encode()).hexdigest()


def _in_child(run: Callable[..., float], *arguments: Any) -> float:
    """In a process of its own: libsumo holds one simulation each."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=lambda: send.send(run(*arguments)))
    child.start()
    send.close()
    taken: float = receive.recv()
    child.join()
    return taken


def _step_bare(args: list[str], begin_s: float, end_s: float, step_s: float) -> float:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    import libsumo

    libsumo.start(args)
    decisions = round((end_s - begin_s) / step_s)
    began = time.perf_counter()
    for number in range(decisions):
        libsumo.simulation.step(begin_s + (number + 1) * step_s)
    taken = time.perf_counter() - began
    libsumo.close()
    return taken


def as_table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table."""
    lines = ["| scenario | signals | system | × bare libsumo | spread | seconds |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {r['scenario']} | {r['signals']} | {r['system']} | {r['ratio_to_bare']:.2f} "
        f"| {r['low']:.2f}–{r['high']:.2f} | {r['seconds']:.2f} |"
        for r in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
