"""Distilling a policy into a tree: the tree itself, what it is told, and the gate."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.run import load_controller
from agents.tree import PhaseRows, Tree, TreeController, features, read_tree
from agents.viper import Distilled, TreeSettings, distil, fit, write_tree
from controllers.base import Controller
from evaluation.delays import delays
from plumbing.errors import InputError
from scenarios.loading import load
from scenarios.seeds import TRAINING_SEEDS, VALIDATION_SEEDS
from signals.intersection import compile_signals
from signals.layout import Layout, build_layout
from signals.observations import OBSERVATIONS, SENSED, observation_for
from signals.snapshot import Snapshot

POLICY = Path(__file__).parents[1] / "examples" / "single-detectors"


def layout_of(name: str) -> Layout:
    network = load(name).network
    return build_layout(compile_signals(network).intersections, network)


def filled(layout: Layout, seed: int = 0) -> Snapshot:
    """Random numbers in every array that are possible there."""
    draw, snapshot = np.random.default_rng(seed), Snapshot.empty(layout)
    for name in ("lanes", "occupied", "occupancy", "gap_s", "arrivals_veh", "flow_veh", "since_served_s"):
        array = getattr(snapshot, name)
        array[:] = draw.integers(0, 4, array.shape)
    snapshot.healthy[:] = 1.0
    snapshot.mask[:] = layout.phase_exists & draw.integers(0, 2, snapshot.mask.shape).astype(bool)
    snapshot.mask[np.arange(len(snapshot.phase)), snapshot.phase] = True
    return snapshot


def small_tree(sensing: str = "detectors") -> Tree:
    """Chooses the phase with most occupied stop bars."""
    names = [f.name for f in features(sensing)]
    content = {
        **Tree(sensing, ()).as_json(),
        "nodes": [
            {"feature": names.index("occupied - others"), "at_most": 0.5, "then": 1, "else": 2},
            {"score": 0.1, "decisions": 7},
            {"score": 0.9, "decisions": 3},
        ],
    }
    return Tree.from_json(json.loads(json.dumps(content)))


@pytest.mark.parametrize("sensing", list(OBSERVATIONS))
@pytest.mark.parametrize("name", ["single", "cologne3"])
def test_rows_hold_what_the_observation_holds(sensing: str, name: str) -> None:
    layout = layout_of(name)
    snapshot, names = filled(layout), [f.name for f in features(sensing)]
    rows = PhaseRows(sensing, layout)(snapshot)
    kind = observation_for(sensing, layout)
    shape = kind.shape
    assert rows.shape == (*layout.shape[:2], len(names))
    seen = kind(snapshot)[:, : shape.phases * shape.phase_features].reshape(-1, shape.phases, shape.phase_features)
    for name_of in kind.PHASE_FEATURES[SENSED:]:
        index = kind.PHASE_FEATURES.index(name_of)
        plain = seen[:, :, index] * kind.PHASE_SCALE[index]
        assert np.allclose(rows[:, :, names.index(name_of)], plain, atol=1e-4)
        for s in range(shape.phases and len(plain)):
            for p in np.flatnonzero(layout.phase_exists[s]):
                others = [plain[s, q] for q in np.flatnonzero(snapshot.mask[s]) if q != p]
                expected = plain[s, p] - max(others, default=0.0)
                assert rows[s, p, names.index(f"{name_of} - others")] == pytest.approx(expected, abs=1e-4)
            current = plain[s, snapshot.phase[s]]
            assert np.allclose(rows[s, :, names.index(f"{name_of} of current")], current, atol=1e-4)


def test_a_tree_decides_among_what_may_be_chosen() -> None:
    layout = layout_of("single")
    controller = TreeController(small_tree())
    controller.reset((), layout, 0)
    snapshot = Snapshot.empty(layout)
    snapshot.mask[:] = True
    served = layout.stream_served
    stream = int(np.flatnonzero(served[:, 2] & ~served[:, [0, 1, 3]].any(1))[0])
    snapshot.occupied[layout.stream_lane[stream]] = 1.0
    assert controller.decide(snapshot).tolist() == [2]
    snapshot.mask[0, 2] = False
    assert controller.decide(snapshot).tolist() == [0]  # all equal now: the current one stays
    snapshot.mask[0, 0] = False
    snapshot.since_served_s[0] = [0, 30, 50, 40]
    assert controller.decide(snapshot).tolist() == [3]  # the one that has waited longest


def test_a_tree_is_the_same_after_json_and_reads_as_words() -> None:
    tree = small_tree()
    assert Tree.from_json(json.loads(json.dumps(tree.as_json()))) == tree
    assert tree.in_words() == (
        "if stop bars occupied, more than for any other phase by at most 0.5 lanes:\n"
        "    score 0.10  (7 phases in training)\n"
        "else:\n"
        "    score 0.90  (3 phases in training)\n"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(kind="forest"), "is no phase score tree"),
        (lambda c: c.update(format=2), "is no phase score tree of format 1"),
        (lambda c: c.update(sensing="radar"), "is no phase score tree"),
        (lambda c: c["features"].pop(), "other features"),
        (lambda c: c["nodes"][0].update({"then": 0}), "node 0 of the tree leads nowhere"),
        (lambda c: c["nodes"][0].update({"else": 3}), "node 0 of the tree leads nowhere"),
        (lambda c: c["nodes"][0].update({"feature": 99}), "leads nowhere"),
        (lambda c: c["nodes"][0].update({"at_most": float("nan")}), "leads nowhere"),
        (lambda c: c["nodes"][1].update({"score": float("inf")}), "no finite score"),
        (lambda c: c["nodes"][1].update({"decisions": float("inf")}), "is no phase score tree"),
        (lambda c: c.update(nodes=[]), "no nodes"),
        (lambda c: c["nodes"][0].pop("at_most"), "is no phase score tree"),
    ],
)
def test_a_damaged_tree_is_refused(change: Callable[[dict[str, Any]], object], message: str) -> None:
    content = small_tree().as_json()
    change(content)
    with pytest.raises(InputError, match=message):
        Tree.from_json(content)


def test_a_file_that_is_nested_without_end_holds_no_tree(tmp_path: Path) -> None:
    (tmp_path / "tree.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="holds no tree"):
        read_tree(tmp_path / "tree.json")


def test_a_fitted_tree_finds_the_rule_that_made_the_data() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'intergreen[tree]'")
    draw = np.random.default_rng(0)
    rows = draw.uniform(0, 10, (4000, len(features("detectors"))))
    chosen = ((rows[:, 4] > 6) & (rows[:, 1] > 3)).astype(float)
    tree = fit("detectors", rows, chosen, np.ones(len(rows)), TreeSettings(leaves=8))
    assert np.mean((tree.scores(rows) > 0.5) == chosen) > 0.995
    costly = np.where(rows[:, 4] > 6, 1.0, 0.0)  # the rest does not matter, so it may be wrong
    shallow = fit("detectors", rows, chosen, costly, TreeSettings(leaves=2))
    assert shallow.nodes[0].feature == 1
    assert shallow.nodes[0].threshold == pytest.approx(3, abs=0.1)


def test_the_controller_needs_no_scikit_learn() -> None:
    code = "import sys, agents.tree; sys.exit('sklearn' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Teacher:
    """A policy without a network: it likes the phase with most occupied stop bars."""

    sensing = "detectors"

    def reset(self, intersections: Any, layout: Layout, seed: int) -> None:
        self._layout = layout

    def scores(self, snapshot: Snapshot) -> Any:
        return self._layout.phase_streams.sum(snapshot.occupied[self._layout.stream_lane])

    def decide(self, snapshot: Snapshot) -> Any:
        return np.argmax(np.where(snapshot.mask, self.scores(snapshot), -1.0), axis=1)


def judged(tree_s: float, policy_s: float = 40.0) -> Distilled:
    """A distillation in which nothing is simulated: decisions are asked for on random snapshots."""
    layout, seen = layout_of("single"), set()

    def run(makers: Mapping[str, Callable[[], Controller]], seeds: Sequence[int]) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for name, maker in makers.items():
            found[name] = []
            for seed in seeds:
                controller = maker()
                controller.reset((), layout, seed)
                for n in range(60):
                    controller.decide(filled(layout, n))
                seen.add(seed)
                found[name].append(tree_s if isinstance(controller, TreeController) else policy_s)
        return found

    distilled = distil(Teacher, run, TreeSettings(rounds=2, validation_seeds=3))
    assert all(seed in TRAINING_SEEDS or seed in VALIDATION_SEEDS[:3] for seed in seen)
    return distilled


def test_the_gate_offers_a_tree_that_is_nearly_as_good_and_refuses_another(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'intergreen[tree]'")
    good, bad = judged(43.92), judged(44.12)
    assert good.offered
    assert "43.9 s, the policy's 40.0 s (+9.8%) on 3 validation seeds; within the limit" in good.verdict
    assert not bad.offered
    assert "(+10.3%)" in bad.verdict
    assert "above the limit, +10%" in bad.verdict
    files = write_tree(tmp_path / "tree.json", good, {"policy": "p"})
    assert read_tree(files[0]) == good.tree
    assert good.verdict in files[1].read_text()
    with pytest.raises(InputError, match=r"above the limit.*nothing is written"):
        write_tree(tmp_path / "bad.json", bad, {})
    assert not (tmp_path / "bad.json").exists()
    with pytest.raises(InputError, match=r"ends with \.json"):
        write_tree(tmp_path / "tree", good, {})
    agreed = [one["agreement"] for one in good.record["rounds"]]
    assert agreed[0] == 1.0  # the policy drives itself
    assert agreed[1] > 0.8


def test_a_trained_policy_becomes_a_tree_that_drives(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'intergreen[tree]'")
    run = partial(delays, load("single", end_s=400.0), workers=2)
    settings = TreeSettings(rounds=1, seeds=1, validation_seeds=1, leaves=12)
    distilled = distil(lambda: load_controller(POLICY), run, settings)
    assert sum(node.feature < 0 for node in distilled.tree.nodes) <= 12
    assert distilled.record["tree_delay_s"][0] < 200
    assert distilled.tree.sensing == "detectors"
