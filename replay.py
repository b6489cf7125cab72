"""Record a run, prove it by running it again, branch off from it, and look at it; `--help` says how."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.named import find_controller
from controllers.base import Controller
from controllers.mcts import TreeSearch
from controllers.programs import ProgramControl
from controllers.registry import CONTROLLERS
from envs.sumo.setup import add_tls_argument
from envs.sumo.simulation import SimulationError
from playback.page import write_page
from playback.play import ControllerDecider, Episode, ProgramDecider, play
from playback.replay_file import Replay, Source, save
from playback.rerun import Verdict, counterfactual, show, verify
from plumbing.command import run_command, say, say_json
from plumbing.errors import InputError
from plumbing.occupied import occupied_file
from plumbing.outside import add_code_argument, is_outside
from plumbing.plain import finite_or_none
from scenarios.arguments import (
    add_file_arguments,
    add_scenario_arguments,
    add_timing_arguments,
    demand_from,
    timing_from,
)
from scenarios.blockers import blocker_line
from scenarios.from_counts import as_wanted
from scenarios.provenance import made_up_line
from scenarios.seeds import EVALUATION_SEEDS
from signals.intersection import compile_signals
from signals.timing import Timing

EPILOG = """examples:
  python replay.py record --scenario cologne1 --controller max_pressure --out mp.replay
  python replay.py record --scenario cologne1 --controller runs/cologne1-dqn --out dqn.replay
  python replay.py verify dqn.replay
  python replay.py view mp.replay dqn.replay --out compare.html
  python replay.py counterfactual dqn.replay --controller greedy --from 27000 --out what-if.replay
  python replay.py gui dqn.replay

A replay holds one episode: the scenario's hashes, the settings, the seed, every decision with what the controller
saw, what each signal showed, and where all vehicles and persons were. docs/replay.md describes the file and the page.
exit status: 0 ok (verify: identical), 1 a run failed or deviates, 2 bad input, 130 stopped by Ctrl-C."""
SPEAK_EVERY_S = 5.0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    of = argparse.ArgumentParser(
        prog="replay.py", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = of.add_subparsers(dest="command", required=True, metavar="record|verify|counterfactual|view|gui")

    def command(name: str, what: str, more: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}. {more}".strip())

    new = command("record", "run a controller and write the episode down")
    add_scenario_arguments(new)
    add_tls_argument(new)
    _add_controller(new)
    new.add_argument(
        "--seed", type=int, default=EVALUATION_SEEDS.start, metavar="N",
        help=f"of the traffic (default: {EVALUATION_SEEDS.start}, the first that evaluate.py takes)",
    )  # fmt: skip
    new.add_argument("--out", required=True, type=Path, metavar="FILE", help="where to write it, such as run.replay")
    new.add_argument("--json", action="store_true", help="print the result for machines")
    add_timing_arguments(new)

    check = command(
        "verify", "run the decisions again, without the controller, and prove the run identical",
        "Compares what SUMO prints of every position, signal state and trip.",
    )  # fmt: skip
    check.add_argument("file", type=Path, metavar="FILE")
    _add_place(check)
    check.add_argument("--json", action="store_true", help="print the verdict for machines")

    other = command(
        "counterfactual", "run the decisions up to a moment, then let another controller decide",
        "Writes a replay of its own and prints how much more or less delay that made.",
    )  # fmt: skip
    other.add_argument("file", type=Path, metavar="FILE")
    _add_controller(other)
    other.add_argument("--from", dest="from_s", required=True, type=float, metavar="T", help="simulation time [s]")
    other.add_argument("--out", type=Path, metavar="FILE", help="default: FILE-CONTROLLER-from-T.replay")
    _add_place(other)
    other.add_argument("--json", action="store_true", help="print the result for machines")

    page = command(
        "view", "write one page that plays a replay, or two side by side, in any browser",
        "It needs no network and no other file.",
    )  # fmt: skip
    page.add_argument("files", type=Path, nargs="+", metavar="FILE", help="one replay, or two to compare")
    page.add_argument("--out", required=True, type=Path, metavar="PAGE", help="such as page.html")

    window = command("gui", "play the decisions in sumo-gui")
    window.add_argument("file", type=Path, metavar="FILE")
    _add_place(window)
    return of


def _add_controller(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--controller", required=True, metavar="NAME[@TUNED]|RUN_DIR",
        help=f"one of {', '.join(CONTROLLERS)}; with @ and what python -m evaluation.tune wrote, tuned; "
        "package.module:CLASS or path/to/file.py:CLASS; or a run directory of train.py, several joined by + as an "
        "ensemble",
    )  # fmt: skip
    add_code_argument(to)


def _add_place(to: argparse.ArgumentParser) -> None:
    to.add_argument("--scenario", help="where the scenario lies now (default: where it was recorded)")
    add_file_arguments(to)


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    options = parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = {
        "record": _record, "verify": _verify, "counterfactual": _counterfactual, "view": _view, "gui": _gui,
    }[options.command]  # fmt: skip
    try:
        return run(options)
    except (SimulationError, ArithmeticError) as error:
        say(f"error: {error}", error=True)
        return 1


def _controller(name: str, allow_code: bool) -> Controller | ProgramControl:
    made = find_controller(name, allow_code=allow_code).make()
    if isinstance(made, TreeSearch):
        raise InputError(f"{name} needs forks of a simulation, which a recording does not offer; choose another")
    return made


def _record(options: argparse.Namespace) -> int:
    timing = timing_from(options)
    if not 0 <= options.seed < 2**31:
        raise InputError(f"--seed is {options.seed}; give a number from 0 to {2**31 - 1}")
    with _reserved(options.out):
        return _record_there(options, timing)


def _record_there(options: argparse.Namespace, timing: Timing) -> int:
    controller = _controller(options.controller, options.allow_code)
    source = Source(options.scenario, tuple(map(str, options.routes)), tuple(map(str, options.additional)))
    scenario = source.load(options.begin, options.end, demand_from(options), options.ignore_junction_blocker)
    tls_ids = tuple(options.tls_ids) if options.tls_ids else None
    if tls_ids is not None:
        compile_signals(scenario.network, timing).only(tls_ids)
    if isinstance(controller, ProgramControl):
        programs = controller.programs_for(scenario, tls_ids)
        episode = Episode(scenario, options.seed, timing, programs=programs)
        played = play(episode, ProgramDecider(), _Progress())
    else:
        scenario = as_wanted(scenario, controller)
        episode = Episode(scenario, options.seed, timing, controller.sensing, tls_ids=tls_ids)
        played = play(episode, ControllerDecider(controller), _Progress())
    size = save(options.out, played, episode, source, {"name": _short(options.controller)})
    replay = Replay.read(options.out)
    _print(options, _about(replay, size), f"{_line(replay)}\nwritten to {options.out} ({size / 1e6:.2f} MB)")
    return 0


def _verify(options: argparse.Namespace) -> int:
    replay = Replay.read(options.file)
    verdict = verify(replay, _place(options), _Progress())
    text = f"{replay.title}: {_in_words(verdict)}"
    if verdict.sumo != verdict.recorded_sumo:
        text = f"note: recorded with SUMO {verdict.recorded_sumo}, run with {verdict.sumo}\n{text}"
    _print(options, {"file": str(options.file), **asdict(verdict)}, text)
    return 0 if verdict.identical else 1


def _in_words(verdict: Verdict) -> str:
    if verdict.identical:
        return f"identical in all {verdict.positions:,} positions, every signal state and every trip"
    if verdict.shown_otherwise:
        return (
            f"the same run, but the file shows it otherwise in {', '.join(verdict.shown_otherwise)}: "
            f"it was changed after it was recorded, or written by another version; record it anew"
        )
    where = "" if verdict.first_difference_s is None else f" from {verdict.first_difference_s:g} s on"
    return (
        f"deviates in {', '.join(verdict.differing)}{where}: positions by up to {verdict.max_position_m:.1f} m, "
        f"{verdict.only_in_one:,} in one run alone, delay {verdict.recorded_delay_s:.2f} s recorded, "
        f"{verdict.delay_s:.2f} s now"
    )


def _counterfactual(options: argparse.Namespace) -> int:
    replay = Replay.read(options.file)
    short = _short(options.controller)
    out = options.out or options.file.with_name(f"{options.file.stem}-{short}-from-{options.from_s:g}.replay")
    with _reserved(out):
        return _branch_off(options, replay, short, out)


def _branch_off(options: argparse.Namespace, replay: Replay, short: str, out: Path) -> int:
    controller = _controller(options.controller, options.allow_code)
    if isinstance(controller, ProgramControl):
        raise InputError(
            f"--controller {options.controller} is a program of SUMO's, which cannot take over in mid-run; "
            f"choose one that decides, or record {options.controller} as a whole and view both"
        )
    place = _place(options)
    episode, played, began_s = counterfactual(replay, controller, options.from_s, place, _Progress())
    of = replay.head["scenario"]
    source = place or Source(of["given"], tuple(of["routes"]), tuple(of["additional"]))
    before = replay.head["controller"]["name"]
    name = {"name": f"{before}, from {began_s:g} s {short}"}
    branch = {"at_s": began_s, "before": before, "then": short, "of_sha256": replay.digests}
    size = save(out, played, episode, source, name, branch)
    new = Replay.read(out)
    change_s = new.delay_s - replay.delay_s
    vehicles = new.head["result"]["vehicles"]
    about = {
        **_about(new, size),
        "recorded_delay_s": finite_or_none(replay.delay_s),
        "change_s": finite_or_none(change_s),
    }
    _print(
        options,
        about,
        f"{replay.title}: {replay.delay_s:.2f} s of delay\n"
        f"with {short} from {began_s:g} s on: {new.delay_s:.2f} s, {change_s:+.2f} s a vehicle, "
        f"{change_s * vehicles / 3600:+.1f} vehicle-hours in all\n"
        f"written to {out} ({size / 1e6:.2f} MB); replay.py view {options.file} {out} shows both",
    )
    return 0


def _view(options: argparse.Namespace) -> int:
    if len(options.files) > 2:
        raise InputError(f"view shows one replay or two, not {len(options.files)}; choose two")
    with _reserved(options.out):
        size = write_page(options.files, options.out)
    say(f"written to {options.out} ({size / 1e6:.2f} MB); open it in a browser")
    return 0


def _gui(options: argparse.Namespace) -> int:
    show(Replay.read(options.file), _place(options))
    return 0


def _place(options: argparse.Namespace) -> Source | None:
    if options.scenario is None:
        if options.routes or options.additional:
            raise InputError("--routes and --additional say where the scenario's files lie now: add --scenario")
        return None
    return Source(options.scenario, tuple(map(str, options.routes)), tuple(map(str, options.additional)))


@contextlib.contextmanager
def _reserved(out: Path) -> Iterator[None]:
    """Keep the file to this command. Raises InputError now where it could not be written in the end."""
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; give a file, such as {out / 'run.replay'}")
    with occupied_file(out):
        try:
            with tempfile.TemporaryFile(dir=out.parent, buffering=0) as file:
                file.write(bytes(4096))
        except OSError as error:
            raise InputError(f"cannot write into {out.parent}: {error.strerror}; choose another --out") from error
        yield


def _short(controller: str) -> str:
    """A run directory's last part, of an ensemble each one's; a tuned controller with its file's."""
    name, at, _ = controller.partition("@")
    if name in CONTROLLERS and at:
        return find_controller(controller).name
    if Path(controller).exists() or is_outside(controller):
        return Path(controller).resolve().name
    return "+".join(Path(part).resolve().name if os.sep in part else part for part in controller.split("+"))


def _line(replay: Replay) -> str:
    result = replay.head["result"]
    stuck = f", {result['stuck_veh']} stuck at the end" if result["stuck_veh"] else ""
    line = (
        f"{replay.title}: {result['vehicles']:,} vehicles, delay {replay.delay_s:.2f} s, "
        f"{result['arrived_veh']:,} arrived{stuck}"
    )
    return "\n".join(
        filter(None, (line, made_up_line(replay.made_up), blocker_line(replay.ignore_junction_blocker_s)))
    )


def _about(replay: Replay, size: int) -> dict[str, Any]:
    head = replay.head
    about = {
        "scenario": head["scenario"]["name"],
        "made_up": replay.made_up,
        "ignore_junction_blocker_s": replay.ignore_junction_blocker_s,
        "controller": head["controller"]["name"],
        "seed": head["seed"],
    }
    return {"file": str(replay.path), "bytes": size, **about, **head["result"], "sha256": replay.digests}


def _print(options: argparse.Namespace, about: dict[str, Any], text: str) -> None:
    if options.json:
        say_json(about)
    else:
        say(text)


class _Progress:
    """How far a run is, on stderr: on one line in a terminal, else now and then."""

    def __init__(self) -> None:
        self._began = self._spoke = time.monotonic()

    def __call__(self, share: float) -> None:
        now = time.monotonic()
        if sys.stderr.isatty():
            if now - self._spoke > 0.2 or share >= 1:
                self._spoke = now
                print(f"\r{share:4.0%} simulated" if share < 1 else "\r\033[K", end="", file=sys.stderr, flush=True)
        elif now - self._spoke >= SPEAK_EVERY_S and 0 < share < 1:
            self._spoke = now
            left_s = (now - self._began) / share * (1 - share)
            print(f"{share:.0%} simulated, about {left_s:.0f} s left", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(main)
