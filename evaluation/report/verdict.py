"""The verdict in a sentence, and the cautions that a reader must know to weigh it."""

from __future__ import annotations

import math

from envs.sumo.simulation import STUCK_S
from evaluation.report.content import ReportContent
from evaluation.results.findings import chosen_line, unserved_by, unserved_lines, warning_lines
from evaluation.results.gridlock import gridlock_lines
from evaluation.results.summary import SIGNIFICANT, Comparison
from evaluation.statistics import Interval
from scenarios.blockers import blocker_line
from scenarios.provenance import made_up_line


def verdict(content: ReportContent) -> str:
    """One sentence: the two controllers, the difference, how sure it is, and who gridlocked or left somebody out."""
    subject, rival = content.subject, content.rival
    name = content.labels[subject]
    seeds = len(content.settings["seeds"])
    delay = content.entry(subject).metrics["delay_s"]
    where = f"On {content.scenario.name} ({content.scenario.demand_shown} demand, {_count(seeds, 'seed')})"
    if rival is None:
        sentence = f"{where}, {name} loses {delay.mean:.1f} s per vehicle{_interval(delay)}; nothing was compared"
        return f"{sentence}{_jams(content)}{_unserved(content)}."
    other = content.labels[rival]
    versus = content.entry(subject if subject != content.reference else rival).versus
    assert versus is not None
    best = content.rival_is
    wins, sign = _wins(content), 1.0 if subject != content.reference else -1.0
    gap_s = sign * versus.difference_s.mean
    p = _p_words(versus)
    if versus.verdict == "no clear difference":
        sentence = (
            f"{where}, no clear difference was found between {name} ({delay.mean:.1f} s of delay per vehicle"
            f"{_interval(delay)}) and {other}, {best} "
            f"({content.entry(rival).metrics['delay_s'].mean:.1f} s; less delay on {wins} of {seeds} seeds, {p})"
        )
        return f"{sentence}{_jams(content)}{_unserved(content)}."
    share = abs(gap_s) / content.entry(rival).metrics["delay_s"].mean
    word = "less" if gap_s < 0 else "more"
    sentence = (
        f"{where}, {name} loses {delay.mean:.1f} s per vehicle{_interval(delay)}, {100 * share:.0f} % {word} than "
        f"{other}, {best} ({content.entry(rival).metrics['delay_s'].mean:.1f} s; less delay on {wins} of {seeds} "
        f"seeds, {p})"
    )
    return f"{sentence}{_jams(content)}{_unserved(content)}."


PROGRAMS = ("fixed_time", "webster", "actuated", "delay_based")
"""Controllers that SUMO runs, past the state machine."""


def cautions(content: ReportContent) -> list[str]:
    """What weakens the verdict, a sentence each."""
    found = []
    seeds = len(content.settings["seeds"])
    comparisons = sum(entry.versus is not None for entry in content.summary.controllers)
    if comparisons and comparisons * 2 / 2**seeds > SIGNIFICANT:
        needed = math.ceil(math.log2(2 * comparisons / SIGNIFICANT))
        found.append(
            f"{_count(seeds, 'seed')} can show no difference at the {100 * SIGNIFICANT:g} % level, however great it "
            f"is: with {_count(comparisons, 'comparison')} the exact paired test needs at least {needed}."
        )
    if line := chosen_line(content.scenario, content.settings.get("tls_ids")):
        found.append(f"{line}.")
    if line := made_up_line(content.scenario.made_up):
        found.append(f"{line}.")
    if line := blocker_line(content.scenario.ignore_junction_blocker_s):
        found.append(f"SUMO's {line}.")
    for name in content.agents:
        trained = content.trained_on.get(name)
        if trained and trained != content.scenario.name:
            found.append(f"{content.labels[name]} was trained on {trained}; this is another network.")
    found += [f"{line[0].upper()}{line[1:]}." for line in unserved_lines(content.results, content.labels)]
    jammed = [e for e in content.summary.controllers if e.gridlocked_runs]
    if jammed:
        counts = (f"{content.labels[e.controller]} in {e.gridlocked_runs} of {e.runs} runs" for e in jammed)
        found.append(f"Gridlock: {', '.join(counts)}. These runs are in the means and make their intervals wide.")
        lines = gridlock_lines(content.results, content.scenario.network, content.labels)
        found += [f"{line[0].upper()}{line[1:]}." for line in lines]
    if content.scenario.horizon_s <= STUCK_S:
        found.append(
            f"A run of {content.scenario.horizon_s:g} s is too short to tell gridlock: that takes {STUCK_S:g} s."
        )
    found += _stressed(content)
    known = [entry.controller for entry in content.summary.controllers]
    own = [name for name in known if name.partition("@")[0] in PROGRAMS or name.endswith(".add.xml")]
    others = len(known) - len(own)
    if own and others and content.settings["timing"]["change_interval"] == "calculated":
        labels = [content.labels[name] for name in own]
        names = " and ".join(part for part in (", ".join(labels[:-1]), labels[-1]) if part)
        found.append(
            f"{names} {'run' if len(own) > 1 else 'runs'} in SUMO, with the programs' own change intervals; the "
            "others show calculated yellow and red clearance, which are often longer: a handicap to them."
        )
    if others:
        found += _left_alone(content)
    if "mcts" in known:
        found.append(
            "mcts tries its plans in forks of the very simulation, so it knows the future: an upper reference that "
            "no controller in the field can reach."
        )
    found += [f"{line}." for line in warning_lines(content.results, content.labels)]
    found.append(
        "Intervals and tests speak of other seeds (driver behaviour, arrival details), not of other demand or "
        "another town, and the whole is a simulation: nothing here has been measured on a street."
    )
    return found


def _left_alone(content: ReportContent) -> list[str]:
    """Which signals keep their own program under every controller, a sentence per reason."""
    alike: dict[str, list[str]] = {}
    for refusal in content.settings.get("left_alone", ()):
        alike.setdefault(refusal["reason"], []).append(refusal["tls_id"])
    return [
        f"{_count(len(signals), 'signal')} left to the network's own program by every controller "
        f"({', '.join(signals)}): {reason}."
        for reason, signals in alike.items()
    ]


def _stressed(content: ReportContent) -> list[str]:
    """The levels of stress at which the subject gridlocks or has more delay than its rival."""
    found = []
    name = content.labels[content.subject]
    for curve in content.stress:
        if content.subject not in curve.delay_s:
            continue
        own, levels = curve.delay_s[content.subject], curve.levels
        jammed = [f"{level:g}" for level, n in zip(levels, curve.gridlocked_runs[content.subject], strict=True) if n]
        behind: list[str] = []
        if content.rival is not None and content.rival in curve.delay_s:
            other = curve.delay_s[content.rival]
            behind = [f"{x:g}" for x, a, b in zip(levels, own, other, strict=True) if a.mean > b.mean]
        said = [f"{name} ended runs in gridlock at {', '.join(jammed)}"] if jammed else []
        if behind and content.rival is not None:
            said.append(f"{name} has more delay than {content.labels[content.rival]} at {', '.join(behind)}")
        if said:
            found.append(f"Under stress ({curve.unit}): {'; '.join(said)}.")
    return found


def _wins(content: ReportContent) -> int:
    """On how many seeds the subject has less delay than its rival."""
    assert content.rival is not None
    mine, theirs = content.runs(content.subject), content.runs(content.rival)
    return sum(a.metrics.delay_s < b.metrics.delay_s for a, b in zip(mine, theirs, strict=True))


def _jams(content: ReportContent) -> str:
    jammed = [content.labels[n] for n in content.shown if content.entry(n).gridlocked_runs]
    if not jammed:
        return "; neither gridlocked" if len(content.shown) > 1 else "; no run gridlocked"
    return f"; some runs of {' and '.join(jammed)} ended in gridlock"


def _unserved(content: ReportContent) -> str:
    found = unserved_by(content.results)
    words = [f"{content.labels[n]} never served {_count(len(found[n]), 'link')}" for n in content.shown if n in found]
    return f"; {' and '.join(words)}" if words else ""


def _p_words(versus: Comparison) -> str:
    p = versus.p_value_holm
    # with spaces at which no line breaks
    return "p unknown" if math.isnan(p) else "p\u00a0<\u00a00.001" if p < 0.001 else f"p\u00a0=\u00a0{p:.3f}"


def _interval(of: Interval) -> str:
    return "" if of.low == of.high else f" [{of.low:.1f}, {of.high:.1f}]"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
