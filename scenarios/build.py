"""Our own scenarios: built with netconvert from plain files, with demand drawn from a profile.

Each folder holds nodes, edges, connections and signal plans in SUMO's plain XML (`grid` computes its own, for
any size) and a scenario.yaml with the flows. What is built goes to the cache, under a key of all its inputs
and SUMO's version, so that the same checkout always yields the same files.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from plumbing.cache import cached_folder
from plumbing.errors import InputError
from plumbing.yamlfile import parse_yaml
from scenarios.blockers import with_blocker
from scenarios.lattice import plain
from scenarios.sumo_tools import run_binary, without_comments

EMBEDDED = ("single", "tee", "arterial", "grid")
LAYOUTS = ("oregon85",)
"""Networks without demand, which counts bring."""
_RECIPE = "1"  # raise it when this file builds something else out of the same inputs
_GRID_LIMIT = 30
_PLAIN = {"nod": "--node-files", "edg": "--edge-files", "con": "--connection-files", "tll": "--tllogic-files"}

# Length and acceleration are SUMO's defaults of these classes; the heavy ones make discharge uneven.
_TYPES = '    <vType id="car" vClass="passenger"/>\n    <vType id="truck" vClass="truck" length="9.0"/>\n'


@dataclass(frozen=True)
class Built:
    net_file: Path
    route_file: Path
    description: str
    begin_s: float
    end_s: float
    options: tuple[tuple[str, str], ...]
    """SUMO's, as `Scenario.options`."""


def embedded(name: str) -> Built:
    """Builds one of `EMBEDDED` or `LAYOUTS`, or `grid:ROWSxCOLUMNS`, or finds it in the cache."""
    family = name.partition(":")[0]
    folder = Path(__file__).parent / family
    texts = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(folder.iterdir())
        if path.suffix in (".xml", ".yaml")
    }
    recipe: dict[str, Any] = parse_yaml(texts["scenario.yaml"])
    if family == "grid":
        rows, columns = _size(name, recipe)
        files, flows = plain(rows, columns, recipe["grid"])
        texts.update(files)
        recipe["vehicles"] = flows
        recipe["title"] = f"{recipe['title']}, {rows} x {columns}"
    elif name != family:
        raise InputError(f"scenario {family!r} comes in one size; only grid takes one, such as grid:2x5")
    version = importlib.metadata.version("eclipse-sumo")
    key = hashlib.sha256(repr((_RECIPE, version, name, sorted(texts.items()))).encode()).hexdigest()[:16]
    plain_name = name.replace(":", "-")

    def fill(target: Path) -> None:
        _netconvert(family, texts, recipe.get("netconvert", ()), target, f"{plain_name}.net.xml")
        (target / f"{plain_name}.rou.xml").write_text(demand_text(recipe), encoding="utf-8")

    built = cached_folder(f"scenarios/{plain_name}-{key}", fill)
    return Built(
        built / f"{plain_name}.net.xml",
        built / f"{plain_name}.rou.xml",
        str(recipe["title"]),
        float(recipe["begin_s"]),
        float(recipe["end_s"]),
        with_blocker((), float(recipe.get("ignore_junction_blocker_s", -1.0))),
    )


def _size(name: str, recipe: Mapping[str, Any]) -> tuple[int, int]:
    if name == "grid":
        return int(recipe["grid"]["rows"]), int(recipe["grid"]["columns"])
    match = re.fullmatch(r"grid:(\d+)x(\d+)", name)
    rows, columns = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (1 <= rows <= _GRID_LIMIT and 1 <= columns <= _GRID_LIMIT):
        raise InputError(
            f"scenario {name!r}: the size is grid:ROWSxCOLUMNS with 1 to {_GRID_LIMIT} each, such as grid:3x4"
        )
    return rows, columns


def _netconvert(family: str, texts: Mapping[str, str], options: list[str], target: Path, net_name: str) -> None:
    words = []
    inputs = []
    for kind, option in _PLAIN.items():
        name = f"{family}.{kind}.xml"
        if name in texts:
            (target / name).write_text(texts[name], encoding="utf-8")
            inputs.append(target / name)
            words += [option, name]
    words += ["--output-file", net_name, "--no-turnarounds", "--no-warnings", *options]
    said = run_binary("netconvert", words, target)
    net = target / net_name
    if said.status != 0 or not net.is_file():
        raise InputError(
            f"scenario {family!r} cannot be built: netconvert says {said.reason!r}; check the plain XML files in its "
            "folder"
        )
    for path in inputs:
        path.unlink()
    without_comments(net)


def demand_text(recipe: Mapping[str, Any]) -> str:
    """A route file with every vehicle and person of the recipe, drawn as Poisson arrivals from its seed."""
    begin_s, end_s, seed = float(recipe["begin_s"]), float(recipe["end_s"]), recipe["seed"]
    profiles, truck_share = recipe["profiles"], float(recipe.get("truck_share", 0.0))
    entries: list[tuple[float, str]] = []
    for number, (route, flow) in enumerate(recipe["vehicles"].items()):
        draw = random.Random(f"vehicles {seed} {route}")
        for count, time_s in enumerate(_arrivals(draw, flow["per_h"], profiles[flow["profile"]], begin_s, end_s)):
            kind = "truck" if draw.random() < truck_share else "car"
            entries.append(
                (
                    time_s,
                    (
                        f'    <vehicle id="v{number}.{count}" type="{kind}" depart="{time_s:.2f}" '
                        'departLane="best" departSpeed="max">\n'
                        f"        <route edges={quoteattr(route)}/>\n    </vehicle>\n"
                    ),
                )
            )
    for number, (route, flow) in enumerate(recipe.get("persons", {}).items()):
        draw = random.Random(f"persons {seed} {route}")
        start, end = route.split()
        for count, time_s in enumerate(_arrivals(draw, flow["per_h"], profiles[flow["profile"]], begin_s, end_s)):
            entries.append(
                (
                    time_s,
                    (
                        f'    <person id="p{number}.{count}" depart="{time_s:.2f}" departPos="random">\n'
                        f"        <walk from={quoteattr(start)} to={quoteattr(end)}/>\n"
                        "    </person>\n"
                    ),
                )
            )
    entries.sort()
    body = "".join(text for _, text in entries)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<routes>\n{_TYPES}{body}</routes>\n'


def _arrivals(
    draw: random.Random, per_h: float, profile: list[list[float]], begin_s: float, end_s: float
) -> list[float]:
    """Poisson arrivals whose rate follows the profile ([time, factor] points, straight lines between them).

    By thinning (Lewis and Shedler 1979): candidates at the highest rate, each kept with its share.
    """
    highest = max(factor for _, factor in profile)
    rate_per_s = per_h / 3600.0 * highest
    times: list[float] = []
    time_s = begin_s
    while rate_per_s > 0:
        time_s += draw.expovariate(rate_per_s)
        if time_s >= end_s - 0.01:
            break
        if draw.random() * highest < _factor(profile, time_s - begin_s):
            times.append(round(time_s, 2))
    return times


def _factor(profile: list[list[float]], since_s: float) -> float:
    for (t0, f0), (t1, f1) in itertools.pairwise(profile):
        if t0 <= since_s <= t1:
            return f0 + (f1 - f0) * (since_s - t0) / (t1 - t0)
    return profile[-1][1] if since_s > profile[-1][0] else profile[0][1]
