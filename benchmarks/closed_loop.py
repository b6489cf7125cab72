"""The whole way once: an exported policy commands an emulated controller over SNMP for a simulated hour.

    python benchmarks/closed_loop.py [--run RUN_DIR] [--seeds N] [--tolerance PERCENT] [--end S] [--json] [--out DIR]

The emulator drives SUMO's `single`; control.py polls it five times a second, decides, and commands it by SNMPv3.
Beside it the same policy in direct simulation with the same detectors and seeds, the emulator running free on its own
detectors, and SUMO's own actuated control. Exit status: 0 the delay over NTCIP is within the tolerance of direct
simulation and no monitor found anything, 1 otherwise, 2 bad input.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deployment.emulator.process import EmulatorProcess
from deployment.emulator.setup import engine_id_for
from plumbing.command import run_command
from plumbing.errors import InputError
from plumbing.interpreter import ROOT, environment
from scenarios.loading import load
from scenarios.seeds import EVALUATION_SEEDS

SCENARIO = "single"
WHO = {"FIELD_USER": "policy", "FIELD_AUTH": "policy-auth-key", "FIELD_PRIV": "policy-priv-key"}
"""The emulator's own user with keys that everyone knows: it listens on loopback only."""


@dataclass
class Row:
    """One way to control the intersection, mean over the seeds."""

    name: str
    delay_s: float
    arrived_veh: float
    findings: int | None = None
    """Of conflict monitor and independent monitor, and vehicles that collided or teleported; None: not judged."""
    note: str = ""


def over_ntcip(bundle: Path, key: Path, seed: int, out: Path, end_s: float | None) -> tuple[dict[str, Any], float]:
    """The policy commands the emulator. Returns the emulator's outcome and how many times real time it ran.

    Raises:
        InputError: control.py failed or ended out of control.
    """
    log = out / "control.jsonl"
    for old in out.glob("control.jsonl*"):
        old.unlink()
    with EmulatorProcess(SCENARIO, seed=seed, end_s=end_s, out=out) as emulator:
        began = time.monotonic()
        command = [
            sys.executable, "control.py", str(bundle), "--public-key", str(key), "--control",
            "--target", f"{emulator.host}:{emulator.port}", "--step", emulator.url, "--log", str(log),
            "--state", str(out / "state"), "--snmp", "3",
            "--user", "env:FIELD_USER", "--auth", "env:FIELD_AUTH", "--priv", "env:FIELD_PRIV",
        ]  # fmt: skip
        with (out / "control.txt").open("w") as told:
            status = subprocess.run(
                command, cwd=ROOT, env=environment(**WHO), stdout=told, stderr=subprocess.STDOUT, check=False
            ).returncode
        took_s = time.monotonic() - began
        outcome = emulator.stop()
    if status:
        last = (out / "control.txt").read_text().strip().splitlines()[-3:]
        raise InputError(f"control.py left with status {status}: {' / '.join(last)}")
    return outcome, outcome["end_s"] / took_s


def free(seed: int, end_s: float | None) -> dict[str, Any]:
    """The emulator on its own: actuated by its detectors, nobody commands it."""
    with EmulatorProcess(SCENARIO, seed=seed, end_s=end_s) as emulator:
        while not emulator.advance(60.0):
            pass
        return emulator.stop()


def directly(run: Path, seeds: int, end_s: float | None) -> dict[str, dict[str, Any]]:
    """The run directory's policy and SUMO's actuated control, as evaluate.py has them.

    Raises:
        InputError: evaluate.py failed.
    """
    command = [sys.executable, "evaluate.py", "--scenario", SCENARIO, "--controllers", str(run), "actuated", "--json"]
    command += ["--seeds", str(seeds)]
    command += ["--end", f"{end_s:g}"] if end_s is not None else []
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"evaluate.py failed: {done.stderr.strip()[-300:]}")
    rows = json.loads(done.stdout)["controllers"]
    return {row["controller"]: row for row in rows}


def judge(outcome: dict[str, Any]) -> int:
    """Everything that anybody found."""
    found = len(outcome["mmu_faults"]) + len(outcome["monitor_findings"])
    return found + int(outcome["collisions"]) + int(outcome["teleported"])


def mean(values: list[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


def _export(run: Path, out: Path) -> tuple[Path, Path]:
    bundle, key = out / "bundle", out / "key"
    if not key.exists():
        _call([sys.executable, "export.py", "key", str(key)])
    named = engine_id_for(SCENARIO, *load(SCENARIO).network.programs).hex()  # of its one signal
    command = [sys.executable, "export.py", "bundle", str(run), "--out", str(bundle), "--overwrite"]
    _call([*command, "--key", str(key), "--controller", f"engine:{named}"])
    return bundle, key.with_name("key.pub")


def _call(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{command[1]} failed: {(done.stderr or done.stdout).strip()[-300:]}")


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--run", type=Path, default=ROOT / "examples" / "single-detectors", help="run directory to export")
    p.add_argument("--seeds", type=int, default=1, help="how many simulated hours (default: 1)")
    p.add_argument(
        "--tolerance",
        type=float,
        default=8.0,
        metavar="PERCENT",
        help="an hour is one draw: single seeds lie up to 6.5 %% off (default: 8)",
    )
    p.add_argument("--end", type=float, metavar="S", help="end of the window [s] (default: the scenario's)")
    p.add_argument("--out", type=Path, default=ROOT / "runs" / "demo-controller", help="bundle, logs, SUMO's outputs")
    p.add_argument("--json", action="store_true", help="print JSON on stdout, and nothing else there")
    arguments = p.parse_args(argv)
    out, seeds = arguments.out.resolve(), list(EVALUATION_SEEDS[: max(arguments.seeds, 1)])
    out.mkdir(parents=True, exist_ok=True)

    def tell(text: str) -> None:
        print(text, file=sys.stderr if arguments.json else sys.stdout, flush=True)

    horizon_s = load(SCENARIO, end_s=arguments.end).horizon_s
    tell(f"exporting {arguments.run} as a signed bundle")
    bundle, key = _export(arguments.run.resolve(), out)
    tell(f"in direct simulation, {len(seeds)} x {horizon_s:g} s")
    direct = directly(arguments.run.resolve(), len(seeds), arguments.end)
    policy = next(row for name, row in direct.items() if name != "actuated")
    fields, frees, speeds = [], [], []
    for seed in seeds:
        tell(f"over NTCIP, seed {seed}: the emulator is commanded by SNMPv3")
        folder = out / f"seed-{seed}"
        folder.mkdir(exist_ok=True)
        outcome, speed = over_ntcip(bundle, key, seed, folder, arguments.end)
        fields.append(outcome)
        speeds.append(speed)
        tell(f"  {outcome['delay_s']:.2f} s mean delay, {speed:.1f} times real time")
        frees.append(free(seed, arguments.end))
    rows = [
        Row("policy, direct simulation", policy["delay_s"]["mean"], policy["arrived_veh"]["mean"]),
        Row(
            "policy, over NTCIP", mean([o["delay_s"] for o in fields]), mean([o["arrived"] for o in fields]),
            sum(map(judge, fields)), f"{mean(speeds):.1f} times real time",
        ),
        Row(
            "emulator, free (actuated)", mean([o["delay_s"] for o in frees]), mean([o["arrived"] for o in frees]),
            sum(map(judge, frees)),
        ),
        Row("actuated (SUMO's)", direct["actuated"]["delay_s"]["mean"], direct["actuated"]["arrived_veh"]["mean"]),
    ]  # fmt: skip
    difference = 100 * (rows[1].delay_s / rows[0].delay_s - 1)
    findings = sum(row.findings or 0 for row in rows)
    well = abs(difference) <= arguments.tolerance and not findings
    if arguments.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], "difference_percent": difference, "ok": well}))
        return int(not well)
    print(f"\n{SCENARIO}, {len(seeds)} x {horizon_s:g} s of simulation\n")
    print(f"{'':28}{'delay [s]':>10}{'against direct':>16}{'arrived':>9}{'findings':>10}")
    for row in rows:
        against = "" if row is rows[0] else f"{100 * (row.delay_s / rows[0].delay_s - 1):+.1f} %"
        found = "" if row.findings is None else str(row.findings)
        print(f"{row.name:28}{row.delay_s:10.2f}{against:>16}{row.arrived_veh:9.0f}{found:>10}  {row.note}")
    for outcome in (*fields, *frees):
        for text in (*outcome["mmu_faults"], *outcome["monitor_findings"])[:10]:
            print(f"  {text}")
    verdict = "within" if abs(difference) <= arguments.tolerance else "NOT within"
    print(f"\nover NTCIP {difference:+.1f} %: {verdict} {arguments.tolerance:g} % of direct simulation", end="")
    print(f"; {findings} findings" if findings else "; no finding of any monitor")
    return int(not well)


if __name__ == "__main__":
    run_command(main)
