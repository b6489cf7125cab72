"""What a simulation is made from: a scenario, its compiled signals and SUMO's options, in one picklable piece."""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plumbing.errors import InputError
from plumbing.fielddocs import field_docs
from plumbing.several import several
from signals.intersection import SignalPlan, compile_signals
from signals.layout import Layout, build_layout
from signals.loops import DetectorFaults, LoopPlan, plan_loops
from signals.timing import Timing

if TYPE_CHECKING:  # what a worker is sent holds none: it starts without what reads scenarios
    from scenarios.foresight import Foresight
    from scenarios.scenario import Scenario

MOST_TURNS = 0.4
"""Two factors of 1.4 make less than 2: no trip has to be sent three times."""
PROGRAM_ID = "intergreen"
"""What the installed programs are called, unless the network has one of that name: SUMO would only fill that."""


@dataclass(frozen=True, kw_only=True)
class SimulationOptions:
    """How a scenario is simulated: what environments, trainings and evaluations have in common."""

    timing: Timing = field(default_factory=Timing)
    """clocks and bounds of the signals, see `signals.timing.Timing`; by default its defaults, with the step of the
    scenario's configuration."""
    sensing: str = "full"
    """"full", or "detectors" as in the field."""
    faults: DetectorFaults = field(default_factory=DetectorFaults)
    """how detectors fail, see `signals.loops.DetectorFaults`."""
    warm_up_s: float = 0.0
    """simulated time before the first decision, under the signals' own green times."""
    demand_range: tuple[float, float] = (1.0, 1.0)
    """each episode's traffic is the scenario's times a factor between these, drawn from its seed."""
    vary_turns: float = 0.0
    """in each episode the traffic from each origin, and to each destination, is the scenario's times a factor of its
    own, drawn from the seed between 1 less this and 1 more; at most 0.4."""
    tls_ids: Sequence[str] | None = None
    """the signals to control, by default all that can be; the others keep their programs."""

    def __post_init__(self) -> None:
        if self.tls_ids is not None:
            object.__setattr__(self, "tls_ids", several("tls_ids", self.tls_ids, (str,), "ids"))
            if not self.tls_ids:
                raise InputError("tls_ids is empty; name the signals to control, or leave it out for all")
        if self.sensing not in ("full", "detectors"):
            raise InputError(f"unknown sensing {self.sensing!r}; choose full or detectors")
        if self.timing.spillback_guard and self.sensing == "detectors":
            raise InputError(
                "spillback_guard needs sensing full: detectors do not see how full the exits are; leave it off"
            )
        least, most = self.demand_range
        if not 0 < least <= most < math.inf:
            raise InputError(f"demand_range is {least:g} to {most:g}; give a least and a greatest factor above 0")
        if not 0 <= self.vary_turns <= MOST_TURNS:
            raise InputError(f"vary_turns is {self.vary_turns:g}; give 0 to {MOST_TURNS:g}")
        if self.faults.latency_s > self.timing.decision_interval_s:
            raise InputError(
                f"detectors: latency_s is {self.faults.latency_s:g}; it can be at most the decision interval, "
                f"{self.timing.decision_interval_s:g} s"
            )


def add_tls_argument(parser: argparse.ArgumentParser) -> None:
    """`--tls-ids`, the same in every command."""
    parser.add_argument(
        "--tls-ids", nargs="+", metavar="ID", help=field_docs(SimulationOptions)["tls_ids"].rstrip(".")
    )


@dataclass(frozen=True, kw_only=True)
class SimulationSetup(SimulationOptions):
    """Everything that a run needs, in one picklable piece."""

    sumo_args: tuple[str, ...]
    plan: SignalPlan
    layout: Layout
    begin_s: float
    end_s: float
    loops: LoopPlan | None = None
    outputs: tuple[str, ...] = ()
    """Further SUMO options, such as outputs; `{seed}` in them is replaced. Paths are absolute: a simulation's process
    has the checkout as its current folder."""
    days: tuple[str, ...] = ()
    """Route files of which each run has one, in the place of the only one in `sumo_args`; see `scenarios.days`."""
    apart: tuple[int, int] = (0, 0)
    """Of `days`, how many at the end are for validation and for evaluation alone; see `scenarios.days`."""
    foresight: Foresight | None = None
    """A forecast that is made as the run goes on."""
    scale: float = 1.0
    """The scenario's own factor on its vehicles, to which `demand_range` comes on top."""
    render: str = ""
    """"human" or "rgb_array" to run sumo-gui in place of libsumo."""
    program_id: str = PROGRAM_ID
    """What the installed programs are called."""
    ahead: bool = True
    """Whether vehicles are read that are on their way (`Snapshot.arriving`), which planners need."""

    def args_of(self, seed: int) -> list[str]:
        """SUMO's arguments for a run with this seed, which also draws its day and how heavy its traffic is."""
        args = ["sumo", *self.sumo_args, "--seed", str(seed)]
        args += [option.format(seed=seed) for option in self.outputs]
        if self.days:
            from scenarios.days import with_day  # a worker that needs none starts without it

            args = with_day(args, self.days, seed, self.apart)
        if self.demand_range != (1.0, 1.0):
            factor = np.random.default_rng([seed, 0xDE3A4D]).uniform(*self.demand_range)
            args += ["--scale", f"{self.scale * round(factor, 3):g}"]
        return args


def make_setup(
    scenario: Scenario,
    options: SimulationOptions | None = None,
    *,
    controlled: bool = True,
    programs: str = "",
    extra_additional: Sequence[Path] = (),
    outputs: Sequence[str] = (),
    render: str = "",
    time_to_teleport_s: float = -1.0,
    least_slots: tuple[int, int] = (1, 1),
    most_warnings: int = 2,
) -> SimulationSetup:
    """Compile a scenario's signals and gather what a run needs.

    Args:
        controlled: False leaves every signal to its own program.
        programs: signal programs to load, as the text of an additional file; from anywhere, so it is checked.
        extra_additional: additional files of our own, handed to SUMO as they are.
        outputs: further options of SUMO's, such as outputs; `{seed}` in them is replaced. Give absolute paths.
        time_to_teleport_s: after how long SUMO removes a vehicle that is stuck; negative: never.
        least_slots: phases and movements that every signal gets slots for at least; see `envs.vector_env`.
        most_warnings: how many of each kind SUMO tells.

    Raises:
        InputError: no signal of the network can be controlled, or an id or setting is wrong.
    """
    from scenarios.clock import timing_for  # not in a worker, which has its setup
    from scenarios.config import note_set_aside
    from scenarios.sumo_input import admitted
    from scenarios.turning import demand_in_routes

    options = options or SimulationOptions(timing=timing_for(scenario))
    timing = options.timing
    if not 0 <= options.warm_up_s < scenario.horizon_s:
        raise InputError(
            f"warm_up_s is {options.warm_up_s:g}; it must be at least 0 and less than the horizon, "
            f"{scenario.horizon_s:g} s"
        )
    plan = compile_signals(scenario.network, timing)
    if not controlled:
        plan = SignalPlan((), plan.refusals)
    elif options.tls_ids is not None:
        plan = plan.only(options.tls_ids)
    elif not plan.intersections:
        reasons = "; ".join(f"{r.tls_id}: {r.reason}" for r in plan.refusals[:4])
        raise InputError(f"scenario {scenario.name!r}: none of its signals can be controlled ({reasons})")
    detectors = options.sensing == "detectors" and plan.intersections
    loops = plan_loops(plan.intersections, scenario.network) if detectors else None
    run = demand_in_routes(scenario) if options.vary_turns else scenario
    args = [
        *run.sumo_args(extra_additional, controlled=plan.tls_ids, programs=programs),
        "--step-length", f"{timing.sim_step_s:g}",
        "--time-to-teleport", f"{time_to_teleport_s:g}",
        "--max-depart-delay", "-1",  # else SUMO drops vehicles that wait for longer, and they count
        "--no-step-log", "true", "--duration-log.disable", "true", "--aggregate-warnings", str(most_warnings),
    ]  # fmt: skip
    note_set_aside(scenario.name, scenario.options, (*args, *outputs))
    return SimulationSetup(
        **{of.name: getattr(options, of.name) for of in fields(SimulationOptions)},
        sumo_args=tuple(args),
        plan=plan,
        layout=build_layout(plan.intersections, scenario.network, *least_slots),
        begin_s=scenario.begin_s,
        end_s=scenario.end_s,
        loops=loops,
        outputs=tuple(outputs),
        days=tuple(str(admitted(path, "route file")) for path in scenario.days),
        apart=scenario.days_apart,
        foresight=scenario.foresight,
        scale=scenario.scale,
        render=render,
        program_id=_unused_id(scenario),
    )


def literal(options: Iterable[str]) -> tuple[str, ...]:
    """Words for `SimulationSetup.outputs` in which braces mean themselves."""
    return tuple(word.replace("{", "{{").replace("}", "}}") for word in options)


def _unused_id(scenario: Scenario) -> str:
    taken = {program.program_id for programs in scenario.network.programs.values() for program in programs}
    names = itertools.chain([PROGRAM_ID], (f"{PROGRAM_ID}-{n}" for n in itertools.count(2)))
    return next(name for name in names if name not in taken)
