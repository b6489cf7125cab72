"""The tables of `benchmarks.networks`, and the page that holds them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.made_traffic import MOST_TIMES_LIGHT, MOST_UNFINISHED, WALKERS_PH
from evaluation.monitor.waiting import CHANGE_S, CYCLES, LEAST_BOUND_S

MOST_TIMES_FIXED = 1.5
_OURS = ("max_pressure", "greedy", "sotl", "cop", "mcts", "random")

Row = Mapping[str, Any]

INTRODUCTION = f"""# Networks that nothing was tuned on

Networks with signals that the packages eclipse-sumo and sumo-rl bring, read in place (RESCO's eight apart); two
towns once more with signals guessed by netconvert, and two networks that netgenerate draws
([network_list.py](network_list.py) says which, and where netconvert made the programs). Traffic is made by SUMO's
randomTrips.py, with {WALKERS_PH:g} walkers an hour where there are crossings, at the highest level that fixed time
carries: no gridlock, at most {MOST_TIMES_LIGHT:g} times the delay of light traffic, and at most
{100 * MOST_UNFINISHED:g} % more of the vehicles not arrived at the end than in light traffic
([made_traffic.py](made_traffic.py)). Fixed time is the network's own program: it was made for this network, though
not for this traffic."""

COLUMNS = f"""\
- **Delay** of every vehicle that was to depart; behind it the ratio to fixed time. **G** with a number: so many
  runs gridlocked. `*`: a town. `+`, `−`: fixed time carries even the highest level that was
  tried, or not even the lowest.
- A gridlock **elsewhere** is one whose queue begins at a junction that no signal controls; the last table names them.
- **Starving links**: red for longer than {LEAST_BOUND_S:g} s, or {CYCLES:g} times the program's cycle where that is
  more, and a change of the signal ({CHANGE_S:g} s), while a vehicle waited at the stop line.
- **Never green**: links that the program serves and that were not green once.
- **Findings** of the independent monitor, over all runs.

The last three are numbers under each controller of ours, read from SUMO's recordings and the net file alone."""

WAITING = """## Waiting at red

The longest red of a link in which a vehicle waited at its stop line, and the share of the vehicles that had not
arrived at the end."""


def table(rows: Sequence[Row], controllers: Sequence[str], *, head: bool = True) -> str:
    """A line per network: its signals, the level, delays, and what is wrong with our signals."""
    titles = ["network", "signals", "controlled", "left alone", "veh/h"]
    titles += [f"{name} [s]" for name in controllers]
    titles += ["starving links", "never green", "findings"]
    lines = [_line(titles), "|---" * len(titles) + "|"] if head else []
    for row in rows:
        cells = [row["network"] + (" *" if row["town"] else ""), row["signals"], row["controlled"]]
        cells += [len(row["left_alone"]), f"{row['level_vph']:,} {row['mark']}".rstrip()]
        cells += [_delay(row, name) for name in controllers]
        cells += [_counts(row, "starving"), _counts(row, "never_green"), _findings(row)]
        lines.append(_line(cells))
    return "\n".join(lines)


def waits_table(rows: Sequence[Row], controllers: Sequence[str]) -> str:
    """A line per network: per controller the longest red in which a vehicle waited, and who had not arrived."""
    lines = [_line(["network", *controllers]), "|---" * (len(controllers) + 1) + "|"]
    for row in rows:
        cells = [row["network"]]
        for name in controllers:
            of = row["controllers"].get(name)
            if of is None:
                cells.append("–")
                continue
            red = "–" if of["longest_red_s"] is None else f"{of['longest_red_s']:.0f} s"
            cells.append(f"{red}, {100 * of['unfinished_share']:.0f} %")
        lines.append(_line(cells))
    return "\n".join(lines)


def gridlocks_table(rows: Sequence[Row]) -> str:
    """A line per junction at which runs gridlocked: whether a signal controls it, and the runs of each controller."""
    lines = [_line(["network", "junction", "signal", "runs"]), "|---" * 4 + "|"]
    for row in rows:
        places: dict[tuple[str, bool], dict[str, int]] = {}
        for name, of in row["controllers"].items():
            for junction, signalled in filter(None, of["gridlocks"]):
                runs = places.setdefault((junction, signalled), {})
                runs[name] = runs.get(name, 0) + 1
        for (junction, signalled), runs in places.items():
            told = ", ".join(f"{name} {count}" for name, count in runs.items())
            lines.append(_line([row["network"], junction, "yes" if signalled else "none", told]))
    return "\n".join(lines) if len(lines) > 2 else ""


def _spared(row: Row, name: str) -> tuple[float, float, int] | None:
    """The delay of a controller and of fixed time [s] over the seeds on which neither gridlocked elsewhere, and how
    many these are; None where that changes nothing or leaves none."""
    one, other = row["controllers"][name], row["controllers"]["fixed_time"]
    kept = [
        (mine, fixed)
        for mine, fixed, at, fixed_at in zip(
            one["delays_s"], other["delays_s"], one["gridlocks"], other["gridlocks"], strict=True
        )
        if not any(place and not place[1] for place in (at, fixed_at))
    ]
    if not kept or len(kept) == len(one["delays_s"]):
        return None
    mine_s, fixed_s = (sum(column) / len(kept) for column in zip(*kept, strict=True))
    return mine_s, fixed_s, len(kept)


def _spared_lines(rows: Sequence[Row]) -> list[str]:
    """A line per network on which a gridlock elsewhere decides whether the best of ours is below fixed time."""
    lines = []
    for row in rows:
        told = {name: of for name in ours(row) if (of := _spared(row, name)) is not None}
        if not told:
            continue
        name = min(told, key=lambda key: told[key][0] / told[key][1])
        mine_s, fixed_s, seeds = told[name]
        lines.append(
            f"{row['network']}, over the {seeds} seed{'s' if seeds > 1 else ''} without a gridlock elsewhere: "
            f"{name} {mine_s:.1f} s, fixed_time {fixed_s:.1f} s."
        )
    return lines


def verdicts(rows: Sequence[Row]) -> list[str]:
    """What the figures say about the goals, a line each."""
    compared = [row for row in rows if "fixed_time" in row["controllers"] and ours(row)]
    ahead, beyond = [], []
    for row in compared:
        fixed_s = row["controllers"]["fixed_time"]["delay_s"]
        best = min(ours(row), key=lambda name: row["controllers"][name]["delay_s"])
        if row["controllers"][best]["delay_s"] < fixed_s:
            ahead.append(row["network"])
        beyond += [
            f"{name} on {row['network']} ({row['controllers'][name]['delay_s'] / fixed_s:.1f} ×)"
            for name in ours(row)
            if row["controllers"][name]["delay_s"] > MOST_TIMES_FIXED * fixed_s
        ]
    behind = [row["network"] for row in compared if row["network"] not in ahead]
    starving = [row["network"] for row in compared if any(row["controllers"][name]["starving"] for name in ours(row))]
    unserved = [
        row["network"] for row in compared if any(row["controllers"][name]["never_green"] for name in ours(row))
    ]
    found = [row["network"] for row in compared if any(row["controllers"][name]["findings"] for name in ours(row))]
    return [
        f"The best of ours is below fixed time on {len(ahead)} of {len(compared)} networks{_but(behind)}.",
        f"Beyond {MOST_TIMES_FIXED:g} × fixed time: {', '.join(beyond) or 'none'}.",
        f"A controller of ours starves a link on: {', '.join(starving) or 'none'}.",
        f"A link that the program serves is never green on: {', '.join(unserved) or 'none'}.",
        f"The monitor finds something on: {', '.join(found) or 'none'}.",
        *_spared_lines(compared),
    ]


def ours(row: Row) -> list[str]:
    """The controllers of a row that command our signals."""
    return [name for name in row["controllers"] if name in _OURS]


def page(rows: Sequence[Row], controllers: Sequence[str], seeds: int, horizon_s: float, words: Sequence[str]) -> str:
    """The page, with the command that made it."""
    command = shlex.join(["python", "benchmarks/networks.py", *words])
    left = [
        f"- {row['network']}: " + "; ".join(f"{reason} ({_some(ids)})" for reason, ids in _reasons(row).items())
        for row in rows
        if row["left_alone"]
    ]
    failed = [f"- {row['network']}, {name}: {why}" for row in rows for name, why in row["failed"].items()]
    parts = [
        INTRODUCTION,
        f"```sh\n{command}\n```",
        f"Means over {seeds} seed{'s' if seeds > 1 else ''} of {horizon_s:g} s.\n\n{COLUMNS}",
        table(rows, controllers),
        "\n".join(f"- {line}" for line in verdicts(rows)),
        WAITING,
        waits_table(rows, controllers),
    ]
    stuck = gridlocks_table(rows)
    parts += [f"## Gridlocks\n\nWhere the queue of those who stood longest began.\n\n{stuck}"] if stuck else []
    parts += ["## Signals left alone\n\nThey run the network's own program.\n\n" + "\n".join(left)] if left else []
    parts += ["## Runs that failed\n\n" + "\n".join(failed)] if failed else []
    return "\n\n".join(parts) + "\n"


def _reasons(row: Row) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for tls_id, reason in row["left_alone"].items():
        found.setdefault(reason, []).append(tls_id)
    return found


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")


def _but(names: Sequence[str]) -> str:
    return f", not on {', '.join(names)}" if names else ""


def _delay(row: Row, name: str) -> str:
    of = row["controllers"].get(name)
    if of is None:
        return "failed" if name in row["failed"] else "–"
    text = f"{of['delay_s']:.1f}"
    if name != "fixed_time" and of["ratio_to_fixed_time"] is not None:
        text += f" ({of['ratio_to_fixed_time']:.2f})"
    return text + (f" **G{of['gridlocked_runs']}**" if of["gridlocked_runs"] else "")


def _counts(row: Row, what: str) -> str:
    names = ours(row)
    if not names:
        return "–"
    some = [f"{name} {len(row['controllers'][name][what])}" for name in names if row["controllers"][name][what]]
    return ", ".join(some) or "0"


def _findings(row: Row) -> str:
    names = ours(row)
    if not names:
        return "–"
    some = [f"{name} {sum(of.values())}" for name in names if (of := row["controllers"][name]["findings"])]
    return ", ".join(some) or "0"


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
