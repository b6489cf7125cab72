"""Where a policy comes from: provenance as JSON for machines, the model card for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deployment.bundle.contents import Subject
from deployment.bundle.golden import Agreement
from deployment.bundle.make.c_check import Measured
from plumbing.errors import InputError, printable
from plumbing.plain import listed, misfit, named, number, optional, parse, record, text, whole


@dataclass(frozen=True)
class Checks:
    """What was held against the trained policy at export."""

    recorded: int
    drawn: int
    onnx: Agreement
    c: Agreement | None
    """None where C was not asked for, or no compiler was there."""
    measured: Measured | None
    c_note: str
    """Why C was not checked; empty where it was."""


_MEAN = record({}, {name: optional(number()) for name in ("mean", "low", "high")})
_COUNT = whole(0, 10**6)
_ROW = record({"controller": text(), "delay_s": _MEAN, "runs": _COUNT, "gridlocked_runs": _COUNT})
_SUMMARY = record(
    {"controllers": listed(_ROW), "scenario": text(), "seeds": listed(whole(0, 2**31))}, {"demand": text(60)}
)
_SETTINGS = record({"files_sha256": named(text(64))}, {"identity": named(text())})
"""The parts of evaluate.py's output that the card shows."""


def evaluation_of(folder: Path, run: Path, run_sha256: str, network_sha256: str) -> dict[str, Any]:
    """The results of this policy, and of the others in the same evaluation.

    Raises:
        InputError: the folder holds no evaluation, or one of other weights or another network.
    """
    try:
        summary = parse((folder / "summary.json").read_bytes())
        settings = parse((folder / "settings.json").read_bytes(), finite=False)
        misfit(_SUMMARY, summary)
        misfit(_SETTINGS, settings)
        names = [entry["controller"] for entry in summary["controllers"]]
        rows = [
            {
                "controller": entry["controller"],
                "delay_s": entry["delay_s"],
                "runs": entry["runs"],
                "gridlocked_runs": entry["gridlocked_runs"],
            }
            for entry in summary["controllers"]
        ]
        identities = settings.get("identity", {})
        files = settings["files_sha256"]
    except OSError as error:
        raise InputError(f"--evaluation {folder}: {error.strerror}; give what evaluate.py --out wrote") from error
    except ValueError as error:
        raise InputError(f"--evaluation {folder} holds no evaluation; give what evaluate.py --out wrote") from error
    own = [name for name in names if identities.get(name) == run_sha256]
    if not own:
        named = [name for name in names if Path(name).name == run.name]
        why = "with other weights" if named else f"of {', '.join(names)}"
        raise InputError(f"--evaluation {folder} is {why}, not of {run} as it is now; evaluate it and export again")
    if network_sha256 not in files.values():
        raise InputError(f"--evaluation {folder} is of another network than {run}; evaluate it on its own")
    return {
        "scenario": summary["scenario"],
        "demand": summary.get("demand", "recorded"),
        "seeds": summary["seeds"],
        "policy": own[0],
        "controllers": rows,
    }


def provenance(
    settings: Mapping[str, Any], run_sha256: str, golden_seeds: tuple[int, ...], checks: Checks,
    versions: Mapping[str, str], evaluation: Mapping[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    """What is needed to train the policy again, and what was checked."""
    return {
        "run_sha256": run_sha256,
        "training": {name: settings.get(name) for name in ("agent", "agent_settings", "sensing", "scenario", "job")},
        "versions_of_training": settings.get("versions", {}),
        "versions_of_export": dict(versions),
        "golden_seeds": list(golden_seeds),
        "checks": asdict(checks),
        "evaluation": evaluation,
    }


def model_card(subject: Subject, about: Mapping[str, Any], simulation_only: bool, validity: str) -> str:
    """The card, in Markdown.

    Args:
        about: what `provenance` made.
    """
    job, scenario = about["training"]["job"], about["training"]["scenario"]
    checks = about["checks"]
    phases = "\n".join(
        f"| {p.index} | {_cell(p.name)} | {' + '.join(map(str, subject.plan.actions[p.index]))} |"
        for p in subject.intersection.phases
    )
    faults = job.get("faults", {})
    use = (
        "**Simulation only.** It sees every vehicle, which no controller does: no controller gets it."
        if simulation_only
        else "Chooses which phase of this one signal is green next, from stop-bar and advance detectors, through a "
        "NEMA/NTCIP 1202 controller that times every interval itself. Begin in shadow mode (control.py's default)."
    )
    return f"""# Policy for signal {_cell(subject.intersection.tls_id)}

{use}

Valid {validity}. The strongest claim made for it: emulator-verified. No real cabinet has run it.

## What it decides

Every {subject.timing.decision_interval_s:g} s, one of:

| action | movements | NEMA phases |
|---|---|---|
{phases}

It is given {len(subject.inputs)} numbers (observation.json). Whatever it asks for passes the guard and the
controller's own minimum green, pedestrian and change intervals.

## Training

- Agent {about["training"]["agent"]}, {job.get("steps", 0):,} decisions, seed {job.get("seed")}, reward \
{job.get("reward")}, on scenario {_cell(str(scenario.get("name")))} ({_cell(str(scenario.get("licence", "?")))}).
- Sensing {about["training"]["sensing"]}; detectors failed with probability {faults.get("dropout", 0):g} (dead) and \
{faults.get("stuck_on", 0):g} (stuck on) an episode, their readings {faults.get("latency_s", 0):g} s old.
- Run {about["run_sha256"][:16]}…; settings, versions and every file's SHA-256 are in provenance.json.

## How well it does

{_evaluation_table(about["evaluation"])}

## Is it what was trained?

- ONNX: {_agreement(checks["onnx"])}.
- C: {_agreement(checks["c"]) if checks["c"] else checks["c_note"]}.
{_measured(checks["measured"])}
## What it does not promise

- It knows the network, the demand and the detector faults that it was trained on; elsewhere nothing was measured.
- It does not coordinate with other signals unless they were trained together.
- Its reward counts vehicles: how long pedestrians wait was no part of it. Walk and clearance are the controller's.
- A timing sheet that nobody has checked and signed is a draft.
"""


def _cell(text: str) -> str:
    return printable(text).replace("|", "/")


def _evaluation_table(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "Not stated: the bundle was exported without --evaluation."
    rows = "\n".join(
        f"| {_cell(row['controller'])}{' (this policy)' if row['controller'] == found['policy'] else ''} "
        f"| {_range(row['delay_s'])} | {row['gridlocked_runs']} of {row['runs']} |"
        for row in found["controllers"]
    )
    return (
        f"Scenario {_cell(found['scenario'])}, {found['demand']} demand, {len(found['seeds'])} seeds; mean delay per "
        f"vehicle (time loss + departure delay) in direct simulation, with 95 % interval:\n\n"
        f"| controller | delay [s] | gridlocked runs |\n|---|---|---|\n{rows}"
    )


def _range(value: Mapping[str, float | None]) -> str:
    if value.get("mean") is None:
        return "–"
    if value.get("low") is None or value.get("high") is None:
        return f"{value['mean']:.1f}"
    return f"{value['mean']:.1f} ({value['low']:.1f} to {value['high']:.1f})"


def _agreement(found: Mapping[str, Any]) -> str:
    ties = f", {found['ties']} ties" if found["ties"] else ""
    return (
        f"the same phase in {found['same_phase']:,} of {found['count']:,} situations{ties}; scores differ by at most "
        f"{found['worst_difference']:.1e} of the greatest"
    )


def _measured(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    return (
        f"- C on the exporting machine ({_cell(found['compiler'])}): {found['code_bytes']:,} bytes of code and "
        f"constants, {found['mean_us']:.0f} µs a decision, {found['worst_us']:.0f} µs in the slowest hundred; "
        f"policy.c states its operations and stack.\n"
    )
