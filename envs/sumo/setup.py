"""What a simulation is made from: a scenario, its compiled signals and SUMO's options, in one picklable piece."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from envs.sumo.sumo_rl import WAITING_MEMORY_S
from plumbing.errors import InputError
from signals.intersection import SignalPlan, compile_signals
from signals.layout import Layout, build_layout
from signals.loops import DetectorFaults, LoopPlan, plan_loops
from signals.timing import Timing

if TYPE_CHECKING:  # what a worker is sent holds none: it starts without what reads scenarios
    from scenarios.scenario import Scenario

PROGRAM_ID = "intergreen"
"""What the installed programs are called, unless the network has one of that name: SUMO would only fill that."""


@dataclass(frozen=True)
class SimulationSetup:
    """Everything that a run needs, in one picklable piece."""

    sumo_args: tuple[str, ...]
    plan: SignalPlan
    layout: Layout
    timing: Timing
    begin_s: float
    end_s: float
    sensing: str = "full"
    faults: DetectorFaults = field(default_factory=DetectorFaults)
    loops: LoopPlan | None = None
    warm_up_s: float = 0.0
    demand_range: tuple[float, float] = (1.0, 1.0)
    """Each episode's traffic is the scenario's times a factor drawn between these, from the episode's seed."""
    outputs: tuple[str, ...] = ()
    """Further SUMO options, such as outputs; `{seed}` in them is replaced. Paths are absolute: a simulation's process
    has the checkout as its current folder."""
    reference: str = ""
    """"sumo-rl" to compute that package's observation and reward, too."""
    reference_reward: str = ""
    render: str = ""
    """"human" or "rgb_array" to run sumo-gui in place of libsumo."""
    program_id: str = PROGRAM_ID
    """What the installed programs are called."""


def make_setup(
    scenario: Scenario,
    timing: Timing | None = None,
    *,
    tls_ids: Sequence[str] | None = None,
    controlled: bool = True,
    sensing: str = "full",
    faults: DetectorFaults | None = None,
    warm_up_s: float = 0.0,
    demand_range: tuple[float, float] = (1.0, 1.0),
    programs: str = "",
    extra_additional: Sequence[Path] = (),
    outputs: Sequence[str] = (),
    reference: str = "",
    reference_reward: str = "",
    render: str = "",
    time_to_teleport_s: float = -1.0,
    least_slots: tuple[int, int] = (1, 1),
) -> SimulationSetup:
    """Compile a scenario's signals and gather what a run needs.

    Args:
        tls_ids: the signals to control; by default all that can be. The others keep their program.
        controlled: False leaves every signal to its own program.
        sensing: "full" or "detectors".
        warm_up_s: simulated time before the first decision, under the signals' own green times.
        demand_range: by how much each episode's traffic is multiplied, least and most.
        programs: signal programs to load, as the text of an additional file; from anywhere, so it is checked.
        extra_additional: additional files of our own, handed to SUMO as they are.
        outputs: further options of SUMO's, such as outputs; `{seed}` in them is replaced. Give absolute paths.
        time_to_teleport_s: after how long SUMO removes a vehicle that is stuck; negative: never.
        least_slots: phases and movements that every signal gets slots for at least; see `envs.vector_env`.

    Raises:
        InputError: no signal of the network can be controlled, or an id or setting is wrong.
    """
    timing = timing or Timing()
    if sensing not in ("full", "detectors"):
        raise InputError(f"unknown sensing {sensing!r}; choose full or detectors")
    if not 0 <= warm_up_s < scenario.horizon_s:
        raise InputError(
            f"warm_up_s is {warm_up_s:g}; it must be at least 0 and less than the horizon, {scenario.horizon_s:g} s"
        )
    if not 0 < demand_range[0] <= demand_range[1] < math.inf:
        raise InputError(
            f"demand_range is {demand_range[0]:g} to {demand_range[1]:g}; give a least and a greatest factor above 0"
        )
    if faults is not None and faults.latency_s > timing.decision_interval_s:
        raise InputError(
            f"detectors: latency_s is {faults.latency_s:g}; it can be at most the decision interval, "
            f"{timing.decision_interval_s:g} s"
        )
    plan = compile_signals(scenario.network, timing)
    if not controlled:
        plan = SignalPlan((), plan.refusals)
    elif tls_ids is not None:
        plan = plan.only(tls_ids)
    elif not plan.intersections:
        reasons = "; ".join(f"{r.tls_id}: {r.reason}" for r in plan.refusals[:4])
        raise InputError(f"scenario {scenario.name!r}: none of its signals can be controlled ({reasons})")
    detectors = sensing == "detectors" and plan.intersections
    loops = plan_loops(plan.intersections, scenario.network) if detectors else None
    args = [
        *scenario.sumo_args(extra_additional, controlled=plan.tls_ids, programs=programs),
        "--step-length", f"{timing.sim_step_s:g}",
        "--time-to-teleport", f"{time_to_teleport_s:g}",
        "--no-step-log", "true", "--duration-log.disable", "true", "--aggregate-warnings", "2",
    ]  # fmt: skip
    if reference:
        args += ["--waiting-time-memory", f"{WAITING_MEMORY_S:g}"]
    return SimulationSetup(
        tuple(args),
        plan,
        build_layout(plan.intersections, scenario.network, *least_slots),
        timing,
        scenario.begin_s,
        scenario.end_s,
        sensing=sensing,
        faults=faults or DetectorFaults(),
        loops=loops,
        warm_up_s=warm_up_s,
        demand_range=demand_range,
        outputs=tuple(outputs),
        reference=reference,
        reference_reward=reference_reward,
        render=render,
        program_id=_unused_id(scenario),
    )


def _unused_id(scenario: Scenario) -> str:
    taken = {program.program_id for programs in scenario.network.programs.values() for program in programs}
    names = itertools.chain([PROGRAM_ID], (f"{PROGRAM_ID}-{n}" for n in itertools.count(2)))
    return next(name for name in names if name not in taken)
