"""Distilling a policy into a tree (`agents.tree`) by VIPER.

VIPER (Bastani, Pu and Solar-Lezama 2018, Verifiable reinforcement learning via policy extraction): the policy drives
first and the tree from then on, the policy labels what the tree came across (DAgger, Ross et al. 2011), and each
decision weighs as much as the worst choice would have cost, max Q - min Q over what could be chosen (of a policy
without values: the same of its log-probabilities). Of the trees, the one with the least delay is kept, and it is
offered only if its delay on other seeds is close to the policy's: how often both agree says little.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from agents.tree import Node, PhaseRows, Tree, TreeController
from controllers.base import Controller, Phases, choose
from plumbing.errors import InputError
from plumbing.plain import json_bytes
from plumbing.whole import write_whole
from scenarios.seeds import VALIDATION_SEEDS, training_seed
from signals.intersection import Intersection
from signals.layout import Layout
from signals.snapshot import Snapshot

FloatArray = npt.NDArray[np.float64]
Runs = Callable[[Mapping[str, Callable[[], Controller]], Sequence[int]], Mapping[str, Sequence[float]]]
"""Runs each controller on each seed; mean delay of all vehicles per seed [s]."""
MOST_TRUSTED_WEIGHT = 99.0
"""[percentile] Weights above are cut: a few hopeless moments must not decide the tree."""
_WORKER = 200  # training seeds are drawn in the name of this worker


class Teacher(Controller, Protocol):
    """A policy that says what it thinks of each phase."""

    def scores(self, snapshot: Snapshot) -> FloatArray:
        """[S, P], greater is better."""


@dataclass(frozen=True)
class TreeSettings:
    """How a policy is distilled."""

    rounds: int = 4
    """Of DAgger: in the first the policy drives, afterwards the tree."""
    seeds: int = 2
    """Training seeds per round."""
    leaves: int = 40
    """At most."""
    least_decisions: int = 20
    """Phases in a leaf at least."""
    validation_seeds: int = 5
    """For the gate."""
    tolerance: float = 0.1
    """The tree is offered if its mean delay there is at most this share above the policy's."""
    seed: int = 0


@dataclass(frozen=True)
class Distilled:
    """The best tree, whether it may be offered, and how it came about."""

    tree: Tree
    offered: bool
    verdict: str
    """A sentence with the numbers."""
    record: dict[str, Any]


class _Noted:
    """Somebody decides, the policy says what it would have done, and both are kept."""

    def __init__(self, teacher: Teacher, actor: Controller | None) -> None:
        self.sensing = teacher.sensing
        self._teacher, self._actor = teacher, actor
        self.rows: list[FloatArray] = []
        self.chosen: list[FloatArray] = []
        self.weight: list[FloatArray] = []
        self.decisions, self.agreed = 0, 0

    def reset(self, intersections: Sequence[Intersection], layout: Layout, seed: int) -> None:
        self._rows = PhaseRows(self.sensing, layout)
        self._teacher.reset(intersections, layout, seed)
        if self._actor is not None:
            self._actor.reset(intersections, layout, seed)

    def decide(self, snapshot: Snapshot) -> Phases:
        scores = self._teacher.scores(snapshot)
        if not np.isfinite(scores).all():
            raise ArithmeticError("the policy's scores are not finite; its weights are damaged")
        wanted = choose(scores, snapshot)
        acted = wanted if self._actor is None else self._actor.decide(snapshot)
        free = snapshot.mask.sum(1) > 1  # where nothing can be chosen there is nothing to learn
        if free.any():
            allowed = np.where(snapshot.mask, scores, np.nan)[free]
            at_stake = np.nanmax(allowed, axis=1) - np.nanmin(allowed, axis=1)
            signal, phase = np.nonzero(snapshot.mask & free[:, None])
            self.rows.append(self._rows(snapshot)[signal, phase])
            self.chosen.append((wanted[signal] == phase).astype(float))
            self.weight.append(np.repeat(at_stake, snapshot.mask[free].sum(1)))
            self.decisions += int(free.sum())
            self.agreed += int((acted == wanted)[free].sum())
        return acted


def distil(
    teacher: Callable[[], Teacher],
    run: Runs,
    settings: TreeSettings | None = None,
    on_progress: Callable[[str], object] = lambda said: None,
) -> Distilled:
    """Distil a policy.

    Args:
        teacher: makes the policy, anew for each run.
        run: the scenario, as somebody who can simulate it.

    Raises:
        InputError: scikit-learn is missing, or the policy never had a choice.
    """
    settings = settings or TreeSettings()
    sensing = teacher().sensing
    rows: list[FloatArray] = []
    chosen: list[FloatArray] = []
    weight: list[FloatArray] = []
    trees: list[Tree] = []
    told: list[dict[str, Any]] = []
    for number in range(settings.rounds):
        seeds = [training_seed(settings.seed, _WORKER + number, n) for n in range(settings.seeds)]
        noted: list[_Noted] = []
        make = functools.partial(_note, noted, teacher, trees[-1] if trees else None)
        delays = run({"noted": make}, seeds)["noted"]
        for one in noted:
            rows, chosen, weight = rows + one.rows, chosen + one.chosen, weight + one.weight
        if not rows:
            raise InputError("the policy never had a choice in these runs; distil it on a longer window")
        agreed = sum(n.agreed for n in noted) / max(sum(n.decisions for n in noted), 1)
        told.append({"round": number, "seeds": seeds, "delay_s": list(delays), "agreement": round(agreed, 3)})
        on_progress(
            f"round {number + 1} of {settings.rounds}: delay {statistics.fmean(delays):.1f} s, "
            + (f"the tree chose as the policy in {agreed:.0%}" if trees else "by the policy")
        )
        trees.append(fit(sensing, np.concatenate(rows), np.concatenate(chosen), np.concatenate(weight), settings))
    return _gated(teacher, trees, run, settings, told, on_progress)


def _note(noted: list[_Noted], teacher: Callable[[], Teacher], tree: Tree | None) -> Controller:
    noted.append(_Noted(teacher(), None if tree is None else TreeController(tree)))
    return noted[-1]


def _gated(
    teacher: Callable[[], Teacher],
    trees: Sequence[Tree],
    run: Runs,
    settings: TreeSettings,
    told: list[dict[str, Any]],
    on_progress: Callable[[str], object],
) -> Distilled:
    """The best tree on further training seeds, judged on validation seeds."""
    seeds = [training_seed(settings.seed, _WORKER + settings.rounds, n) for n in range(settings.seeds)]
    contest = run({f"tree-{n}": _maker(tree) for n, tree in enumerate(trees)}, seeds)
    means = [statistics.fmean(contest[f"tree-{n}"]) for n in range(len(trees))]
    best = min(range(len(trees)), key=lambda n: means[n])
    on_progress(f"the best of {len(trees)} trees: {means[best]:.1f} s on training seeds; now validation seeds")
    validation = list(VALIDATION_SEEDS[: settings.validation_seeds])
    judged = run({"policy": teacher, "tree": _maker(trees[best])}, validation)
    policy_s, tree_s = statistics.fmean(judged["policy"]), statistics.fmean(judged["tree"])
    worse = tree_s / policy_s - 1 if policy_s > 0 else 0.0
    offered = worse <= settings.tolerance
    verdict = (
        f"the tree's mean delay is {tree_s:.1f} s, the policy's {policy_s:.1f} s ({worse:+.1%}) on "
        f"{len(validation)} validation seeds; {'within' if offered else 'above'} the limit, {settings.tolerance:+.0%}"
    )
    record = {
        "method": "VIPER: DAgger with decisions weighed by max Q - min Q",
        "rounds": told,
        "trees": [
            {"leaves": _leaves(tree), "seeds": seeds, "delay_s": mean}
            for tree, mean in zip(trees, means, strict=True)
        ],
        "chosen": best,
        "validation_seeds": validation,
        "policy_delay_s": list(judged["policy"]),
        "tree_delay_s": list(judged["tree"]),
        "tolerance": settings.tolerance,
        "offered": offered,
        "verdict": verdict,
    }
    return Distilled(trees[best], offered, verdict, record)


def _maker(tree: Tree) -> Callable[[], Controller]:
    return lambda: TreeController(tree)


def _leaves(tree: Tree) -> int:
    return sum(node.feature < 0 for node in tree.nodes)


def fit(sensing: str, rows: FloatArray, chosen: FloatArray, weight: FloatArray, settings: TreeSettings) -> Tree:
    """[n, F] phases' rows, whether the policy chose each, and its weight, to a tree.

    Raises:
        InputError: scikit-learn is missing.
    """
    try:
        from sklearn.tree import DecisionTreeRegressor
    except ImportError as error:
        raise InputError(
            "distilling a tree needs scikit-learn; install it: pip install 'intergreen[tree]'"
        ) from error
    limit = float(np.percentile(weight, MOST_TRUSTED_WEIGHT))
    weights = np.minimum(weight, limit) + 1e-9 * max(limit, 1.0)
    # squared error of a 0/1 target is Gini impurity: this is a classification tree whose leaves hold probabilities
    fitted = DecisionTreeRegressor(
        max_leaf_nodes=max(2, settings.leaves), min_samples_leaf=settings.least_decisions, random_state=settings.seed
    ).fit(rows, chosen, sample_weight=weights)
    of = fitted.tree_
    nodes = [
        Node(
            int(of.feature[n]) if of.children_left[n] >= 0 else -1,
            float(of.threshold[n]),
            int(of.children_left[n]),
            int(of.children_right[n]),
            float(of.value[n].ravel()[0]),
            int(of.n_node_samples[n]),
        )
        for n in range(of.node_count)
    ]
    return Tree(sensing, _ordered(nodes))


def _ordered(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Numbered from the root on, so that each question leads forwards."""
    found: list[Node] = []

    def put(number: int) -> int:
        node, place = nodes[number], len(found)
        found.append(node)
        if node.feature < 0:
            found[place] = Node(-1, 0.0, 0, 0, node.score, node.decisions)
        else:
            low, high = put(node.low), put(node.high)
            found[place] = Node(node.feature, node.threshold, low, high, 0.0, 0)
        return place

    put(0)
    return tuple(found)


def tree_files(out: Path) -> tuple[Path, Path]:
    """Where a tree goes: as JSON, which `TreeController` reads, and beside it as text, which people do.

    Raises:
        InputError: `out` does not end with .json.
    """
    if out.suffix != ".json":
        raise InputError(f"--out is {out}; give a file that ends with .json, such as tree.json")
    return out, out.with_suffix(".txt")


def write_tree(out: Path, found: Distilled, provenance: Mapping[str, Any]) -> list[Path]:
    """Both files of a tree, as `tree_files` names them; where they are.

    Raises:
        InputError: they cannot be written, or the tree is not to be offered.
    """
    stored_at, told_at = tree_files(out)
    if not found.offered:
        raise InputError(f"{found.verdict}; nothing is written")
    stored = {**found.tree.as_json(), "distillation": found.record, "provenance": dict(provenance)}
    intro = "Each phase that may be chosen goes through these questions; the one with the best score is shown."
    texts = {
        stored_at: json_bytes(stored).decode(),
        told_at: f"{intro}\n{found.verdict}.\n\n{found.tree.in_words()}",
    }
    for file, text in texts.items():
        write_whole(file, lambda path, text=text: path.write_text(text, encoding="utf-8"))  # type: ignore[misc]
    return list(texts)
