"""Whether forecasts and generated days help signals: `python -m benchmarks.use_of_counts --out runs/use`.

Real counts of one intersection (package traffic_anomaly) on oregon85, whose layout is an assumption; or, with
`--place arterial`, counts that SUMO makes up for that network (benchmarks/made_counts.py). Plans, forecast, model of
days and policies are made of the first weeks; the working days of the last week judge them, once each, by the same
seed. Compared are plans (the network's own, one for all flows, by the clock, by forecast, in hindsight), the planner
cop, and PPO trained on the mean day of the first weeks, on their real days, and on days generated from them
(`--demand generated:MODEL`), each without and with the forecast in its observation (`--forecast`).

Every step keeps its result below --out, and a second call goes on with what is missing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.counts_scenario import FIRST, LAST, PLACES, WORKING, real_counts, run_module
from benchmarks.made_counts import made_counts
from demand.counts.store import CountsFolder, write_counts
from demand.episodes.days import TRAINING
from evaluation.statistics import difference, holm, mean_interval, paired_test
from plumbing.command import run_command, say
from plumbing.identity import versions
from plumbing.interpreter import ROOT
from plumbing.plain import json_bytes
from plumbing.whole import write_whole

RESULTS = ROOT / "benchmarks" / "demand"
MODEL = "pca"
"""Of days. The autoencoder is not much harder to tell from real days (generated.md), and takes minutes to judge."""
MEAN, REAL, GENERATED = "mean", "first", "generated"
TRAINED_ON = {MEAN: "the mean day", REAL: "real days", GENERATED: "generated days"}
OWN, FIXED, CLOCK, FORECAST, HINDSIGHT, COP = (
    "own plan", "one plan", "plan by the clock", "plan by forecast", "plan in hindsight", "cop",
)  # fmt: skip
PPO = {on: f"PPO, trained on {words}" for on, words in TRAINED_ON.items()}
FORESEEING = {on: f"PPO with forecast, trained on {words}" for on, words in TRAINED_ON.items()}
PAIRS = (
    (FIXED, OWN), (CLOCK, FIXED), (FORECAST, CLOCK), (HINDSIGHT, CLOCK), (PPO[MEAN], COP),
    (PPO[REAL], PPO[MEAN]), (PPO[GENERATED], PPO[MEAN]), (PPO[GENERATED], PPO[REAL]),
    *((FORESEEING[on], PPO[on]) for on in TRAINED_ON),
)  # fmt: skip
"""What is compared, settled before any run."""


@dataclass(frozen=True)
class Place:
    """Where counts come from, and what is made of which days."""

    scenario: str
    result: str
    """How its tables are called."""
    told: str
    counts: Callable[[Path], Path]
    """Writes the counts into a folder, and returns the file of its detectors' places."""
    first: str
    last: str
    """Days to make plans, models and policies of, and days to judge them by."""
    window: tuple[str, str]
    real: str = "real days"
    """What days are called here that no model has made."""


def _real(folder: Path) -> Path:
    real_counts(folder)
    return PLACES


def _made(folder: Path) -> Path:
    places = folder.with_name("places.csv")
    made_counts(folder, places, 19)
    return places


SITES = {
    "oregon85": Place("oregon85", "use", "Real counts on oregon85", _real, FIRST, LAST, ("07:00", "09:00")),
    "arterial": Place(
        "arterial", "use_arterial", "MADE-UP counts on arterial: days of SUMO, nothing was counted", _made,
        "2024-01-01..2024-01-19", "2024-01-22..2024-01-25", ("06:30", "07:30"), "SUMO's days",
    ),
}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks.use_of_counts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--place", choices=tuple(SITES), default="oregon85", help="default: oregon85")
    p.add_argument("--steps", type=int, default=20_000, help="of each training (default: 20000)")
    p.add_argument(
        "--training-seeds", type=int, nargs="*", default=[0, 1], metavar="S",
        help="a policy each; none: plans alone (default: 0 1)",
    )  # fmt: skip
    p.add_argument("--plans", type=int, default=4, metavar="K", help="to choose from (default: 4)")
    p.add_argument(
        "--trained-on", nargs="+", choices=tuple(TRAINED_ON), default=list(TRAINED_ON),
        help="of what policies are trained on, only these: first is the real days (default: all)",
    )  # fmt: skip
    p.add_argument(
        "--policy-days", type=int, metavar="N",
        help="judge policies on the first N days alone: they take longest (default: on all)",
    )  # fmt: skip
    p.add_argument("--write", action="store_true", help=f"keep the tables in {RESULTS.relative_to(ROOT)}")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="scenarios, runs and results")
    return p


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    options = parser().parse_args(arguments)
    out: Path = options.out.absolute()
    place = SITES[options.place]
    places = _counts(out, place)

    def calibrate(name: str, *words: str) -> None:
        _calibrated(out, place, places, name, *words)

    calibrate(REAL, "--days", place.first, "--weekday", *WORKING)
    calibrate(MEAN, "--days", place.first, "--weekday", "mean")
    calibrate("last", "--days", place.last, "--weekday", *WORKING)
    plans = _plans(out, place, options.plans)
    policies = [(on, foresees, seed) for seed in options.training_seeds for on in options.trained_on
                for foresees in (False, True)]  # fmt: skip
    for policy in policies:
        _trained(out, *policy, options.steps)
    result = {
        "place": options.place,
        "window": list(place.window),
        "days": list(plans["days"]["clock"]),
        "training": {"steps": options.steps, "seeds": options.training_seeds},
        "forecast": plans["forecast"],
        "computed": plans["computed"],
        "plans": plans["plans"],
    }
    days = result["days"][: options.policy_days]
    result |= compared(_judged(out, result["days"], days, policies), place.real)
    result["versions"] = versions()
    text = markdown(result, _called(arguments, place.result))
    say(text)
    for path in (out / "use", *((RESULTS / place.result,) if options.write else ())):
        write_whole(path.with_suffix(".json"), lambda partial: partial.write_bytes(json_bytes(result)))
        write_whole(path.with_suffix(".md"), lambda partial: partial.write_text(text + "\n", encoding="utf-8"))
    return 0


def _counts(out: Path, place: Place) -> Path:
    """All counts, and those of the first weeks alone: a model of days learns from these."""
    out.mkdir(parents=True, exist_ok=True)
    places = place.counts(out / "counts")
    if not (out / "counts-first" / "about.json").is_file():
        folder = CountsFolder(out / "counts")
        date = pl.col("time").dt.convert_time_zone(folder.about.zone).dt.date()
        begins = datetime.date.fromisoformat(place.last.split("..")[0])
        parts = (part.filter(date < begins) for part in folder.parts())
        write_counts(out / "counts-first", folder.about, folder.detectors(), parts)
    return places


def _calibrated(out: Path, place: Place, places: Path, name: str, *words: str) -> None:
    if not (out / name / "calibration.json").is_file():
        where = ("--scenario", place.scenario, "--places", str(places), "--out", str(out / name))
        window = ("--from", place.window[0], "--to", place.window[1])
        run_module("demand", "calibrate", str(out / "counts"), *where, *words, *window)


def _generator(out: Path) -> Path:
    """The model of days."""
    model = out / "model"
    if not (model / "generator.json").is_file():
        kind = ("--model", MODEL, "--seeds", "1", "--out", str(model))
        run_module("demand", "generate", str(out / "counts-first"), *kind)
    return model


def _plans(out: Path, place: Place, number: int) -> dict[str, Any]:
    """The schedules of the last week; the forecast learns from no day of it."""
    counts, forecast, plans = out / "counts", out / "forecast", out / "plans"
    if not (forecast / "results.json").is_file():
        first, last = (datetime.date.fromisoformat(date) for date in place.last.split(".."))
        how = ("--methods", "linear", "boosting", "--seeds", "1", "--minutes", "15", "60")
        kept = ("--test-days", str((last - first).days + 1))
        run_module("demand", "forecast", str(counts), *how, *kept, "--out", str(forecast))
    words = ("--scenario", str(out / "last"), "--forecast", str(forecast), "--plans", str(number))
    run_module("demand", "plans", str(counts), *words, "--out", str(plans))
    found: dict[str, Any] = json.loads((plans / "plans.json").read_text())
    return found


def _policy(out: Path, on: str, foresees: bool, seed: int) -> Path:
    return out / f"ppo-{on}{'-forecast' if foresees else ''}-{seed}"


def _trained(out: Path, on: str, foresees: bool, seed: int, steps: int) -> None:
    run = _policy(out, on, foresees, seed)
    if not (run / "finished").is_file():
        config = sorted((out / (MEAN if on == MEAN else REAL)).glob("day-*.sumocfg"))[0]
        words: tuple[str, ...] = ("--scenario", str(config))
        if on != MEAN:
            words += ("--demand", f"days:{out / REAL}" if on == REAL else f"generated:{_generator(out)}")
        if foresees:
            words += ("--forecast", str(out / "forecast"))
        words += ("--agent", "ppo", "--observation", "planned", "--steps", str(steps), "--seed", str(seed))
        words += ("--workers", "2", "--validate-every", "0")  # the last checkpoint is judged
        run_module("train", *words, "--overwrite", "--out", str(run))
        (run / "finished").touch()


def _judged(
    out: Path, days: Sequence[str], of_policies: Sequence[str], trained: Sequence[tuple[str, bool, int]]
) -> dict[str, list[float]]:
    """Mean delay on each day [s] by what controls the signal; of policies, the mean over training seeds, and perhaps
    on fewer days."""
    found: dict[str, list[float]] = {}
    for day in days:
        plan = {way: str(out / "plans" / f"plans-{day}-{way}.add.xml") for way in ("clock", "forecast", "hindsight")}
        fixed = str(out / "plans" / "plans-fixed.add.xml")
        several = {
            OWN: ["fixed_time"], FIXED: [fixed], CLOCK: [plan["clock"]], FORECAST: [plan["forecast"]],
            HINDSIGHT: [plan["hindsight"]], COP: ["cop"],
        }  # fmt: skip
        policies: dict[str, list[str]] = {}
        for on, foresees, seed in trained if day in of_policies else ():
            label = FORESEEING[on] if foresees else PPO[on]
            policies.setdefault(label, []).append(str(_policy(out, on, foresees, seed)))
        kinds: tuple[tuple[dict[str, list[str]], Path], ...] = (
            (several, out / "judged" / day),
            (policies, out / "judged" / f"{day}-policies"),
        )
        for names, folder in kinds:
            delay_s = _delays_s(out / "last" / f"day-{day}.sumocfg", [n for of in names.values() for n in of], folder)
            for label, of in names.items():
                found.setdefault(label, []).append(sum(delay_s[name] for name in of) / len(of))
    return found


def _delays_s(scenario: Path, controllers: Sequence[str], folder: Path) -> dict[str, float]:
    """Of each controller, in one run."""
    summary = folder / "summary.json"
    found: dict[str, float] = {}
    for again in (False, True):
        if summary.is_file():
            said = json.loads(summary.read_text())
            found = {of["controller"]: float(of["delay_s"]["mean"]) for of in said["controllers"]}
        if again or set(controllers) <= found.keys():
            break
        words = ("--seeds", "1", "--controllers", *controllers, "--out", str(folder))
        run_module("evaluate", "--scenario", str(scenario), *words)
    return found


def compared(delays_s: Mapping[str, Sequence[float]], real: str) -> dict[str, Any]:
    """Intervals over days, and the comparisons of `PAIRS` that were run, with Holm's correction over them.

    Args:
        real: what days are called that no model has made (`Place.real`).
    """
    rows = []
    for label, values in delays_s.items():
        of = mean_interval(values)
        rows.append(
            {
                "what": label.replace(TRAINED_ON[REAL], real),
                "delay_s": [of.mean, of.low, of.high],
                "each_day_s": list(values),
            }
        )
    pairs = [(one, other) for one, other in PAIRS if one in delays_s and other in delays_s]
    both = []
    for one, other in pairs:
        common = min(len(delays_s[one]), len(delays_s[other]))
        both.append((delays_s[one][:common], delays_s[other][:common]))
    p = holm([paired_test(one, other) for one, other in both])
    differences = []
    for (one, other), shared, value in zip(pairs, both, p, strict=True):
        of = difference(*shared)
        differences.append(
            {"what": one.replace(TRAINED_ON[REAL], real), "against": other.replace(TRAINED_ON[REAL], real),
             "days": len(shared[0]),
             "difference_s": [of.mean, of.low, of.high], "p_holm": value}
        )  # fmt: skip
    return {"rows": rows, "differences": differences}


def markdown(result: Mapping[str, Any], called: str) -> str:
    """The tables."""
    training, days, place = result["training"], result["days"], SITES[result["place"]]
    generated = any(row["what"] in (PPO[GENERATED], FORESEEING[GENERATED]) for row in result["rows"])
    made = f"; {TRAINING} generated days to train on" if generated else ""
    lines = [
        f"`{called}`", "",
        f"{place.told}, {' to '.join(result['window'])} on {len(days)} days, {days[0]} to {days[-1]}, each judged "
        "once; "
        "95 % intervals over days. "
        + (
            f"Policies: {training['steps']:,} steps, training seeds {', '.join(map(str, training['seeds']))}, "
            f"of whose delays the mean is taken{made}. "
            if training["seeds"] else ""
        )
        + f"Forecast: {result['forecast']}, 15 minutes ahead; policies are shown that and an hour ahead.",
        "",
        "| what | days | delay [s] | 95 % interval |", "|---|---|---|---|",
    ]  # fmt: skip
    for row in sorted(result["rows"], key=lambda row: row["delay_s"][0]):
        mean, low, high = row["delay_s"]
        lines.append(f"| {row['what']} | {len(row['each_day_s'])} | {mean:.1f} | {low:.1f} to {high:.1f} |")
    lines += [
        "",
        "| what | against | days | difference [s] | 95 % interval | p (Holm) |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["differences"]:
        mean, low, high = row["difference_s"]
        found = f"{mean:+.2f} | {low:+.2f} to {high:+.2f} | {row['p_holm']:.3f}"
        lines.append(f"| {row['what']} | {row['against']} | {row['days']} | {found} |")
    lines += ["", "With n days no p is below 2 / 2ⁿ before the correction.", ""]
    lines += ["| choice of plans | computed delay [s] | as in hindsight |", "|---|---|---|"]
    for way, of in result["computed"].items():
        alike = "" if of["as_in_hindsight"] is None else f"{of['as_in_hindsight']:.0%}"
        lines.append(f"| {way} | {of['delay_s']:.1f} | {alike} |")
    return "\n".join(lines)


def _called(arguments: list[str] | None, result: str) -> str:
    """The command, without the place of its results."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    words[words.index("--out") + 1] = f"runs/{result}"
    return shlex.join(("python", "-m", "benchmarks.use_of_counts", *words))


if __name__ == "__main__":
    run_command(main)
