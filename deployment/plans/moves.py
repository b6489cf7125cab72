"""Small changes of a plan, for a search: one at random, and always one that a controller can run."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping

from deployment.nema.pattern import Pattern, check_pattern, group_order, least_split_s, served
from deployment.plans.initial import sequences
from deployment.plans.program import shared, shortest_cycle_s, stretched
from plumbing.errors import InputError
from signals.nema import NemaPlan

TRIES = 50


def change(
    plan: Mapping[str, Pattern], nema: Mapping[str, NemaPlan], draw: random.Random, reach: float, most_cycle_s: int
) -> tuple[str, dict[str, Pattern]]:
    """Change a plan at random; returns what was changed, in words, and the changed plan.

    Args:
        reach: 0 to 1: how far a step may go.
    """
    for _ in range(TRIES):
        kinds = ["cycle", "split", "split", "sequence"]
        if len(plan) > 1:
            kinds += ["offset", "offset", "offset from here on", "split"]
        kind = draw.choice(kinds)
        tls_id = draw.choice(sorted(plan))
        changed = dict(plan)
        if kind == "cycle":
            changed, said = _cycle(plan, nema, draw, reach, most_cycle_s)
        elif kind == "split":
            changed[tls_id], said = _split(plan[tls_id], nema[tls_id], draw, reach)
        elif kind == "sequence":
            changed[tls_id], said = _sequence(plan[tls_id], nema[tls_id], draw)
        else:
            changed, said = _offset(plan, tls_id, draw, reach, kind != "offset")
        if changed == dict(plan):
            continue
        try:
            for name, pattern in changed.items():
                check_pattern(pattern, nema[name])
        except InputError:
            continue  # such as two phases of unlike rings that must not meet
        return (said if len(plan) == 1 or kind == "cycle" else f"{tls_id}: {said}"), changed
    return "nothing", dict(plan)


def _cycle(
    plan: Mapping[str, Pattern], nema: Mapping[str, NemaPlan], draw: random.Random, reach: float, most_cycle_s: int
) -> tuple[dict[str, Pattern], str]:
    old = next(iter(plan.values())).cycle_s
    least = max(shortest_cycle_s(pattern, nema[name]) for name, pattern in plan.items())
    new = round(old * (1 + draw.choice((-1, 1)) * draw.uniform(0.03, 0.05 + 0.3 * reach)))
    new = max(least, min(new, most_cycle_s))
    changed = {}
    for name, pattern in plan.items():
        longer = stretched(pattern, nema[name], new)
        changed[name] = dataclasses.replace(longer, offset_s=round(pattern.offset_s * new / old) % new)
    return changed, f"cycle {old} to {new} s"


def _split(pattern: Pattern, nema: NemaPlan, draw: random.Random, reach: float) -> tuple[Pattern, str]:
    """Seconds from one group to another, or from one phase to its neighbour in the ring."""
    rings, groups = served(pattern), group_order(pattern, nema)
    least = {s.phase: least_split_s(nema.phase(s.phase), s.mode) for s in pattern.splits}
    now = {s.phase: s.split_s for s in pattern.splits}
    seconds = draw.randint(1, max(1, round(12 * reach)))
    parts = [[n for n in ring if n in group] for ring in rings for group in groups]
    crowded = [part for part in parts if len(part) > 1]
    if crowded and draw.random() < 0.4:
        give, take = draw.sample(draw.choice(crowded), 2)
        seconds = min(seconds, now[give] - least[give])
        now[give], now[take] = now[give] - seconds, now[take] + seconds
        said = f"{seconds} s from phase {give} to {take}"
    elif len(groups) > 1:
        giver, taker = draw.sample(groups, 2)
        inside = [[n for n in ring if n in giver] for ring in rings]
        seconds = min(seconds, *(sum(now[n] - least[n] for n in part) for part in inside if part))
        for group, more in ((giver, -seconds), (taker, seconds)):
            for ring in rings:
                members = [n for n in ring if n in group]
                if members:
                    total = sum(now[n] for n in members) + more
                    spare = [now[n] - least[n] for n in members]
                    now.update(zip(members, shared(total, [least[n] for n in members], spare), strict=True))
        said = f"{seconds} s from phases {_names(giver)} to {_names(taker)}"
    else:
        return pattern, ""
    splits = tuple(dataclasses.replace(s, split_s=now[s.phase]) for s in pattern.splits)
    return dataclasses.replace(pattern, splits=splits), said


def _sequence(pattern: Pattern, nema: NemaPlan, draw: random.Random) -> tuple[Pattern, str]:
    others = sequences(nema, pattern)
    if not others:
        return pattern, ""
    chosen = draw.choice(others)
    said = " | ".join(" ".join(map(str, ring)) for ring in chosen)
    return dataclasses.replace(pattern, sequence=chosen), f"sequence {said}"


def _offset(
    plan: Mapping[str, Pattern], tls_id: str, draw: random.Random, reach: float, onwards: bool
) -> tuple[dict[str, Pattern], str]:
    """Shift one signal, or it and all after it, which keeps these in step with each other."""
    cycle_s = plan[tls_id].cycle_s
    shift_s = draw.choice((-1, 1)) * draw.randint(1, max(2, round(cycle_s * reach / 2)))
    shifted = [name for name in sorted(plan) if name == tls_id or (onwards and name > tls_id)]
    changed = dict(plan)
    for name in shifted:
        changed[name] = dataclasses.replace(plan[name], offset_s=(plan[name].offset_s + shift_s) % cycle_s)
    return changed, f"offset {shift_s:+d} s" + (" from here on" if onwards else "")


def _names(group: frozenset[int]) -> str:
    return "+".join(map(str, sorted(group)))
