"""The folder that an import leaves: network, routes, configuration, picture, two JSON files and a README."""

from __future__ import annotations

import dataclasses
import glob
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plumbing.plain import json_bytes, listed, misfit, parse, record, text
from plumbing.whole import check_replaceable
from scenarios.config import config_text
from scenarios.maps.guesses import Guess
from scenarios.provenance import FILE, Provenance, write_provenance

DETAILS = "import.json"
"""All that an import found out, for programs."""

LICENCE = "ODbL-1.0 (https://opendatacommons.org/licenses/odbl/1-0/), © OpenStreetMap contributors"
"""Of every extract of OpenStreetMap, and of the networks made of it: they have to name it wherever they are shown."""


@dataclass(frozen=True)
class Signal:
    """One signal of the imported network."""

    number: int
    """In the picture."""
    tls_id: str
    streets: str
    phases: int
    """0 where it is left to its own program."""
    left_alone: str
    """Why it cannot be controlled; "" where it can."""


@dataclass(frozen=True)
class Imported:
    """All that an import has to say."""

    map_file: str
    map_sha256: str
    licence: str
    command: tuple[str, ...]
    signals: tuple[Signal, ...]
    guesses: tuple[Guess, ...]
    warnings: dict[str, int]
    """netconvert's, by kind."""
    route_files: tuple[str, ...]
    made_up: str
    """What of the demand is made up; "" where the routes are the user's."""
    departures: dict[str, int]
    """Made-up departures by kind."""
    trials: tuple[str, ...]

    @property
    def controlled(self) -> int:
        return sum(not signal.left_alone for signal in self.signals)

    @property
    def description(self) -> str:
        return f"imported from {self.map_file}: {len(self.signals)} signals, {self.controlled} of them controllable"

    def provenance(self, name: str) -> Provenance:
        """What is told of it wherever its results are shown."""
        return Provenance(
            f"{name}.net.xml",
            self.description,
            self.licence,
            f"{self.map_file} (sha256 {self.map_sha256[:16]}…), by python -m scenarios import",
            self.made_up,
            self.route_files if self.made_up else (),
        )

    def plain(self, name: str) -> dict[str, Any]:
        """The content of `import.json`."""
        return {
            "network": f"{name}.net.xml",
            "demand": {
                "files": list(self.route_files), "made_up": self.made_up or None, "departures": self.departures,
                "trials": list(self.trials),
            },
            "map": {"file": self.map_file, "sha256": self.map_sha256},
            "command": ["python", "-m", "scenarios", *self.command],
            "signals": [dataclasses.asdict(signal) for signal in self.signals],
            "guesses": [dataclasses.asdict(guess) for guess in self.guesses],
            "netconvert_warnings": self.warnings,
        }  # fmt: skip


def check_out(out: Path) -> None:
    """Raises InputError for a folder that holds something else than an earlier import."""
    network, *routes = _written(out)
    stem = network.removesuffix(".net.xml")
    own = ["README.md", FILE, *(glob.escape(name) for name in (network, *routes, f"{stem}.sumocfg", f"{stem}.svg"))]
    check_replaceable(out, "an imported map", DETAILS, own)


def _written(out: Path) -> list[str]:
    """The network and the route files that an earlier import has written, by its own word."""
    shape = record({"network": text(255), "demand": record({"files": listed(text(255), most=1000)})})
    try:
        found = parse((out / DETAILS).read_bytes())
        misfit(shape, found)
    except (OSError, ValueError):
        return [""]
    return [found["network"], *found["demand"]["files"]]


def next_commands(out: Path) -> tuple[str, str]:
    """What to run next: train on the scenario, and compare the result with fixed time."""
    config = shlex.quote(str(out / f"{out.resolve().name}.sumocfg"))
    run, judged = (shlex.quote(f"runs/{out.resolve().name}-{word}") for word in ("dqn", "judged"))
    train = f"python train.py --scenario {config} --agent dqn --observation planned --steps 20000 --out {run}"
    evaluate = (
        f"python evaluate.py --scenario {config} --controllers fixed_time actuated max_pressure {run} --seeds 5 "
        f"--out {judged}"
    )
    return train, evaluate


def write_texts(folder: Path, name: str, imported: Imported, options: Sequence[tuple[str, str]], out: Path) -> None:
    """Write configuration, `scenario.json`, `import.json` and README beside the network, the routes and the picture.

    Args:
        options: of the configuration, in order.
        out: where the folder will stand.
    """
    (folder / f"{name}.sumocfg").write_text(config_text(options), encoding="utf-8")
    write_provenance(folder, imported.provenance(name))
    (folder / DETAILS).write_bytes(json_bytes(imported.plain(name)))
    (folder / "README.md").write_text(_readme(name, imported, out), encoding="utf-8")


def _readme(name: str, imported: Imported, out: Path) -> str:
    numbers = [f"| {s.number} | `{s.tls_id}` | {_cell(s.streets)} | {_state(s)} |" for s in imported.signals]
    guesses = [f"- {guess.what}: {guess.text}" for guess in imported.guesses]
    demand = (
        f"**MADE UP**: {imported.made_up}."
        if imported.made_up
        else f"From {', '.join(imported.route_files)}, as they were given."
    )
    trials = [f"- {trial}" for trial in imported.trials]
    lines = [
        f"# {name}", "", f"Network and demand for SUMO, made of {_cell(imported.map_file)} by", "", "```sh",
        shlex.join(["python", "-m", "scenarios", *imported.command]), "```", "", "## Demand", "", demand, *trials, "",
        "## Signals", "", f"![the network with its signals numbered]({name}.svg)", "",
        "| number | id | streets | control |", "|---|---|---|---|", *numbers, "", "## Guesses", "",
        "What the map does not say:", "", *guesses, "", "## Next", "", "```sh", *next_commands(out), "```", "",
        "## Source and licence", "",
        f"{_cell(imported.map_file)}, SHA-256 `{imported.map_sha256}`: {imported.licence}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _state(signal: Signal) -> str:
    return f"left to its program: {_cell(signal.left_alone)}" if signal.left_alone else f"{signal.phases} phases"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'").replace("<", "&lt;")
