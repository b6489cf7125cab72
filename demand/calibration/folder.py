"""The folder that a calibration leaves: a network with the routes of one or several days, ready for train.py and
evaluate.py, and where all of it comes from."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from demand.calibration.counted import clock, time_of_day_s
from plumbing.digest import plain_bytes
from plumbing.errors import InputError
from plumbing.plain import listed, misfit, parse, record, text
from plumbing.whole import check_replaceable
from scenarios.additional import is_demand
from scenarios.config import FILE_OPTIONS
from scenarios.loading import load
from scenarios.provenance import FILE, Provenance, write_provenance
from scenarios.scenario import Scenario
from scenarios.sumo_input import admitted

RESULT, PLACES, COUNTS = "calibration.json", "places.csv", "counts"
_NOT_KEPT = frozenset({*FILE_OPTIONS, "scale", "route-steps"})
"""Options of the scenario's that belong to its own demand."""


_DAY = record({"day": text(20, "mean|[0-9-]+")}, {"date": text(10, r"\d{4}-\d{2}-\d{2}")})


@dataclass(frozen=True)
class Window:
    """What a calibration was made for."""

    begin_s: int
    end_s: int
    """[s since midnight]"""
    days: Mapping[str, str]
    """Per day's name, in order, the date on which it stands; "" where an earlier version wrote none."""


def read_window(folder: Path) -> Window:
    """What a folder was made for.

    Raises:
        OSError: it holds no calibration.
        InputError: something in its result is not what it has to be.
    """
    file = folder / RESULT
    try:
        found = parse(plain_bytes(file))
        misfit(record({"window": listed(text(5, r"\d\d:\d\d"), 2, 2), "days": listed(_DAY, 1)}), found)
    except ValueError as error:
        raise InputError(f"{file}: {error}; calibrate again") from error
    begin_s, end_s = map(time_of_day_s, found["window"])
    if begin_s >= end_s:
        raise InputError(f"{file}: its window ends before it begins; calibrate again")
    return Window(begin_s, end_s, {row["day"]: row.get("date", "") for row in found["days"]})


@dataclass(frozen=True)
class Base:
    """A scenario's network, copied into a folder, to which days are added."""

    folder: Path
    network: str
    additional: tuple[str, ...]
    options: tuple[tuple[str, str], ...]


def check_place(out: Path) -> None:
    """Raises InputError where a folder holds something else than an earlier calibration."""
    own = ("README.md", "report.html", "network.*", "additional-*.add.xml", "day-*", FILE, PLACES, COUNTS)
    check_replaceable(out, "a calibration", RESULT, own)


def lay_base(scenario: Scenario, folder: Path, about: Provenance) -> Base:
    """Copy network and programs of a scenario; its demand stays behind."""
    source = scenario.sumo_files.net_file
    network = f"network.net.xml{'.gz' if source.name.endswith('.gz') else ''}"
    shutil.copyfile(source, folder / network)
    additional = []
    for number, path in enumerate(scenario.additional_files):
        name = f"additional-{number}.add.xml"
        kept = admitted(path, "additional file", is_demand)
        if not kept.name.endswith(".gz"):
            shutil.copyfile(kept, folder / name)
            additional.append(name)
    write_provenance(folder, dataclasses.replace(about, network=network))
    options = tuple((name, value) for name, value in scenario.options if name not in _NOT_KEPT)
    return Base(folder, network, tuple(additional), options)


def stem_of(day: str) -> str:
    """How the files of a day are called."""
    return f"day-{day}"


def add_day(base: Base, name: str, routes: str, begin_s: int, end_s: int) -> Scenario:
    """Write a day's routes and configuration, and load them as anybody would."""
    stem = stem_of(name)
    (base.folder / f"{stem}.rou.xml").write_text(routes, encoding="utf-8")
    more = f'        <additional-files value="{",".join(base.additional)}"/>\n' if base.additional else ""
    options = "".join(f"    <{option} value={quoteattr(value)}/>\n" for option, value in base.options)
    config = base.folder / f"{stem}.sumocfg"
    config.write_text(
        f'<configuration>\n    <input>\n        <net-file value="{base.network}"/>\n'
        f'        <route-files value="{stem}.rou.xml"/>\n{more}    </input>\n'
        f'    <time>\n        <begin value="{begin_s}"/>\n        <end value="{end_s}"/>\n    </time>\n'
        f"{options}</configuration>\n",
        encoding="utf-8",
    )
    return load(config)


def readme(
    about: Provenance, days: Sequence[str], begin_s: int, end_s: int, notes: Sequence[str], summary: str
) -> str:
    """What the folder holds, for people."""
    first = f"day-{days[0]}.sumocfg"
    many = (
        f"\nAll days: `--scenario {first} --demand days:.` gives each run one of them, by its seed.\n"
        if len(days) > 1
        else ""
    )
    return f"""# {about.description}

{summary}

Window: {clock(begin_s)} to {clock(end_s)}; SUMO's time is seconds since midnight at the place.
Days: {", ".join(days)}.

`report.html` shows how well a simulation repeats the counts, `{RESULT}` has all of it for machines, `places.csv`
where each detector is (edit it and give it back with `--places`), and `network.svg` draws them. `{COUNTS}` holds the
counts of these days and of the weeks before, from which forecasts start.

```
python evaluate.py --scenario {first} --controllers fixed_time actuated greedy
python train.py --scenario {first} --agent ppo --observation planned --steps 20000 --out runs/first
```
{many}
Assumed:

{"".join(f"- {note}{chr(10)}" for note in notes)}
Source: {about.source}.

Licence: {about.licence} (network); that of the counts is their owner's. `{FILE}` says this to the commands.
"""
