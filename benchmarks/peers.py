"""sumo-rl, measured in processes of its own, and the little that it needs to run here.

What is done for it: SUMO_HOME is set to the eclipse-sumo wheel before its import, LIBSUMO_AS_TRACI for the runs on
libsumo; each run is a fork of a process that has imported it, so that every run starts alike. `SumoEnvironment` is
used directly: its PettingZoo wrapper calls `pettingzoo.utils.agent_selector`, which is a module nowadays, and would
only add time. A signal that begins in a late row of its own program is set to its first before sumo-rl replaces the
program by a shorter one, which SUMO would refuse.

What counts is the time within its `step`. It gets the scenario's network and routes, its own defaults (yellow 2 s,
min green 5 s) and random actions, so its traffic is its own, too: it is compared with bare libsumo running the signal
states that were recorded of it.

As a program it reads JSON lines, one for each run, and answers with one each.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.children import environment
from benchmarks.clock import quiet
from benchmarks.course import Answers, Recording, as_programs, record_states, trip_output
from plumbing.interpreter import ROOT, command
from scenarios.scenario import Scenario

INTERVAL_S = 5  # [s] sumo-rl's default, and ours


class PeerFailed(RuntimeError):
    """sumo-rl cannot run there; the message says why."""


class SumoRl:
    """sumo-rl on one scenario; its traffic is recorded once.

    Raises:
        PeerFailed: it cannot run there.
    """

    def __init__(self, scenario: Scenario, folder: Path, decisions: int, seed: int) -> None:
        self._processes: dict[bool, subprocess.Popen[str]] = {}
        self._request = {
            "net_file": str(scenario.net_file),
            "route_file": ",".join(str(path) for path in scenario.route_files),
            "begin_time": round(scenario.begin_s),
            "decisions": decisions,
            "seed": seed,
        }
        try:
            self._record(scenario, folder, decisions)
        except PeerFailed:
            self.close()
            raise

    def _record(self, scenario: Scenario, folder: Path, decisions: int) -> None:
        states, trips = folder / "their-states.xml", folder / "their-trips.xml"
        recorder = record_states(states, folder / "their-record.add.xml")
        extra = ["-a", str(recorder), *trip_output(trips)]
        answer = self._ask(True, {"info": False, "extra": " ".join(extra)})
        self._digest: str = answer["digest"]
        programs = folder / "their-programs.add.xml"
        programs.write_text(as_programs(states, set(answer["signals"]), scenario.begin_s))
        own = [part for argument in answer["command"] for part in argument.split()]
        # what recorded is taken out again; the rest is the command line that sumo-rl itself has built
        self.recording = Recording(
            ["sumo", *own[1 : own.index("-a")], "-a", str(programs), "--no-step-log"],
            [scenario.begin_s + INTERVAL_S * (n + 1) for n in range(decisions)],
        )
        self.same_traffic = self.recording.same_traffic(trips, folder)

    def run(self, *, libsumo: bool, info: bool) -> float:
        """One window [s]; `same_traffic` is False afterwards if it saw other traffic than was recorded.

        Raises:
            PeerFailed: it cannot run here.
        """
        answer = self._ask(libsumo, {"info": info, "extra": None})
        if answer["digest"] != self._digest:
            self.same_traffic = False
        return float(answer["seconds"])

    def close(self) -> None:
        """Stop its processes."""
        for process in self._processes.values():
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
        self._processes.clear()

    def _ask(self, libsumo: bool, request: dict[str, Any]) -> dict[str, Any]:
        if libsumo not in self._processes:
            self._processes[libsumo] = _start(libsumo)
        process = self._processes[libsumo]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({**self._request, **request}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "its process ended"}
        if "error" in answer:
            raise PeerFailed(f"sumo-rl failed: {answer['error']}")
        return answer


def sumo_rl_environment(libsumo: bool) -> dict[str, str]:
    """The environment variables that sumo-rl asks for."""
    import sumo

    found = environment(SUMO_HOME=str(sumo.SUMO_HOME), PATH=f"{sumo.SUMO_HOME}/bin{os.pathsep}{os.environ['PATH']}")
    found.pop("LIBSUMO_AS_TRACI", None)
    return {**found, "LIBSUMO_AS_TRACI": "1"} if libsumo else found


def _start(libsumo: bool) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("benchmarks.peers"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=sumo_rl_environment(libsumo),
        cwd=ROOT,
        text=True,
    )


def import_sumo_rl() -> Any:
    """The package, made to run with any program; see `sumo_rl_environment` for what it needs."""
    sumo_rl: Any = importlib.import_module("sumo_rl")
    build = sumo_rl.TrafficSignal._build_phases

    def from_the_first_row(signal: Any) -> None:
        signal.sumo.trafficlight.setPhase(signal.id, 0)  # what is shown until the first step is set afterwards
        build(signal)

    sumo_rl.TrafficSignal._build_phases = from_the_first_row
    return sumo_rl


def main() -> None:
    """Answer every line with a run in a fork of this process."""
    answers = quiet()
    sumo_rl = import_sumo_rl()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                answer = _run(sumo_rl, json.loads(line))
            except BaseException as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            os.write(answers, json.dumps(answer).encode() + b"\n")
            os._exit(0)
        os.waitpid(child, 0)


def _run(sumo_rl: Any, request: dict[str, Any]) -> dict[str, Any]:
    decisions, seed = request["decisions"], request["seed"]
    env = sumo_rl.SumoEnvironment(
        net_file=request["net_file"],
        route_file=request["route_file"],
        begin_time=request["begin_time"],
        num_seconds=decisions * INTERVAL_S,
        sumo_seed=seed,
        add_system_info=request["info"],
        add_per_agent_info=request["info"],
        additional_sumo_cmd=request["extra"],
    )
    traci = sys.modules[type(env).__module__].traci
    start, commands = traci.start, []

    def keeping_the_command(command: list[str], **named: Any) -> Any:
        commands.append(command)
        return start(command, **named)

    traci.start = keeping_the_command
    env.reset()
    random = np.random.default_rng(seed)
    phases = np.array([env.action_spaces(tls_id).n for tls_id in env.ts_ids])
    seen, taken = Answers(), 0.0
    for _ in range(decisions):
        actions = dict(zip(env.ts_ids, (random.random(len(phases)) * phases).astype(int).tolist(), strict=True))
        began = time.perf_counter()
        observations, rewards, _, _ = env.step(actions)
        taken += time.perf_counter() - began
        seen.add(np.concatenate([*observations.values()]), np.array([*rewards.values()]))
    signals = list(env.ts_ids)
    env.close()
    return {"seconds": taken, "digest": seen.digest, "signals": signals, "command": commands[-1]}


if __name__ == "__main__":
    main()
