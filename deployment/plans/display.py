"""What a pattern shows: a cycle of signal states, as a controller's lamps would go through it in fixed time.

An overlap is green as long as one of its NEMA phases is on or the next to come, and ends with the last of them. Walk
runs from the beginning of the green until the flashing don't walk, which ends where yellow begins.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deployment.nema.pattern import PEDESTRIAN_MODES, On, Pattern, timeline
from plumbing.errors import InputError
from signals.intersection import Intersection
from signals.nema import NemaPlan
from signals.phases import unsafe_pairs
from signals.safe_states import why_apart


@dataclass(frozen=True, slots=True)
class Shown:
    """An unchanging display."""

    duration_s: float
    state: str


@dataclass(frozen=True, slots=True)
class _Lit:
    """A link's green and yellow within a cycle; times beyond its end go on at its beginning."""

    link: int
    start_s: float
    green_end_s: float
    yellow_end_s: float


def cycle(pattern: Pattern, nema: NemaPlan, *, last: bool = False) -> tuple[Shown, ...]:
    """The states of one cycle, from the barrier at which it begins.

    Args:
        last: another pattern follows, which may begin with other phases: everything ends with the cycle.
    """
    length_s, lit = float(pattern.cycle_s), list(_lit(pattern, nema, last))
    edges = {0.0, *(t % length_s for of in lit for t in (of.start_s, of.green_end_s, of.yellow_end_s))}
    shown: list[Shown] = []
    for begin_s, end_s in itertools.pairwise([*sorted(edges), length_s]):
        if end_s - begin_s < 1e-6:
            continue
        state = ["r"] * len(nema.green)
        for of in lit:
            since_s = ((begin_s + end_s) / 2 - of.start_s) % length_s
            if since_s < of.green_end_s - of.start_s:
                state[of.link] = nema.green[of.link]
            elif since_s < of.yellow_end_s - of.start_s and state[of.link] == "r":
                state[of.link] = "y"
        text = "".join(state)
        if shown and shown[-1].state == text:
            shown[-1] = Shown(shown[-1].duration_s + end_s - begin_s, text)
        else:
            shown.append(Shown(end_s - begin_s, text))
    return tuple(shown)


def check_display(shown: Sequence[Shown], item: Intersection) -> None:
    """Whether a cycle lets go only what may go together.

    Raises:
        InputError: two links that conflict are green, and neither gives way.
    """
    for row in shown:
        if pairs := unsafe_pairs(row.state.replace("y", "r"), item.table):
            raise InputError(
                f"tls {item.tls_id!r}: the plan would show {row.state}, in which {why_apart(item.table, *pairs[0])}; "
                f"derive the plan anew for this network"
            )


def _lit(pattern: Pattern, nema: NemaPlan, last: bool) -> Iterable[_Lit]:
    on = timeline(pattern, nema)
    for of in on:
        phase = nema.phase(of.phase)
        for link in phase.links:
            yield _Lit(link, of.start_s, of.green_end_s, of.yellow_end_s)
        if pattern.split(of.phase).mode in PEDESTRIAN_MODES:
            walk_end_s = of.green_end_s - phase.pedestrian_clearance_s
            for link in phase.crossings:
                yield _Lit(link, of.start_s, walk_end_s, walk_end_s)
    for overlap in nema.overlaps:
        for start_s, green_end_s, yellow_end_s in _joined(
            [of for of in on if of.phase in overlap.phases], float(pattern.cycle_s), last
        ):
            for link in overlap.links:
                yield _Lit(link, start_s, green_end_s, yellow_end_s)


def _joined(on: Sequence[On], cycle_s: float, last: bool) -> list[tuple[float, float, float]]:
    """An overlap's greens and yellows: NEMA phases that follow each other without a gap are one green."""
    spans: list[list[On]] = []
    for of in sorted(on, key=lambda o: o.start_s):
        if spans and of.start_s <= max(o.end_s for o in spans[-1]) + 1e-6:
            spans[-1].append(of)
        else:
            spans.append([of])
    if not spans:
        return []
    starts = [span[0].start_s for span in spans]
    around = not last and max(o.end_s for o in spans[-1]) >= cycle_s - 1e-6 and starts[0] < 1e-6
    if around and len(spans) == 1:
        return [(0.0, cycle_s, cycle_s)]
    found = []
    for number, span in enumerate(spans):
        if around and number == len(spans) - 1:
            continue  # goes on at the cycle's beginning
        end_s = max(o.end_s for o in span)
        ending = [o for o in span if o.end_s > end_s - 1e-6]
        yellow_s = max(o.yellow_end_s - o.green_end_s for o in ending)
        red_s = max(o.end_s - o.yellow_end_s for o in ending)
        start_s = starts[-1] - cycle_s if around and number == 0 else starts[number]
        found.append((start_s, end_s - red_s - yellow_s, end_s - red_s))
    return found
