"""The tree search: that it finds the better plan, keeps to the mask and its budget, and repeats itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import evaluate
from controllers.base import Controller, Phases
from controllers.mcts import TOGETHER, TreeSearch
from envs.workers.forks import Outcome
from evaluation.runs import Contestant, Evaluation, run_all
from plumbing.errors import InputError
from scenarios.loading import load
from signals.intersection import SignalPlan, compile_signals
from signals.layout import Layout, build_layout
from signals.snapshot import Snapshot
from tests.branching import forked


@cache
def compiled(name: str) -> tuple[SignalPlan, Layout]:
    network = load(name).network
    plan = compile_signals(network)
    return plan, build_layout(plan.intersections, network)


class Game:
    """Stands in for the simulation: what a plan costs is looked up, and every plan that is tried is noted."""

    def __init__(self, costs: dict[tuple[int, ...], float], signals: int = 1) -> None:
        self.costs, self.signals = costs, signals
        self.tried: list[tuple[tuple[int, ...], ...]] = []

    def __call__(self, plans: Sequence[Sequence[Phases]], steps: int, policy: Controller) -> list[Outcome]:
        del policy
        found = []
        for plan in plans:
            shown = [tuple(action.tolist()) for action in plan]
            self.tried.append(tuple(shown))
            shown += [shown[-1]] * (steps - len(shown))  # then it stays
            first = tuple(action[0] for action in shown)
            loss_s = next((cost for begin, cost in self.costs.items() if first[: len(begin)] == begin), 100.0)
            found.append(Outcome(loss_s, np.array(shown)))
        return found


def search(name: str, game: Game, branches: int = 20) -> tuple[TreeSearch, Snapshot]:
    plan, layout = compiled(name)
    controller, snapshot = TreeSearch(branches=branches), Snapshot.empty(layout)
    controller.try_plans = game
    controller.reset(plan.intersections, layout, 0)
    snapshot.mask[:] = layout.phase_exists
    return controller, snapshot


def test_the_first_decision_of_the_best_plan_is_taken() -> None:
    controller, snapshot = search("cologne1", game := Game({(3,): 50.0}))
    assert controller.decide(snapshot).tolist() == [3]
    assert len(game.tried) == 20, "the whole budget is used"
    assert game.tried[:4] == [((0,),), ((1,),), ((2,),), ((3,),)]
    assert len(set(game.tried)) == 20, "nothing is tried twice"


def test_it_finds_what_only_pays_after_two_decisions() -> None:
    controller, snapshot = search("cologne1", Game({(2, 1): 10.0, (2,): 90.0, (3,): 80.0}))
    assert controller.decide(snapshot).tolist() == [2]
    greedy, snapshot = search("cologne1", Game({(2, 1): 10.0, (2,): 90.0, (3,): 80.0}), branches=4)
    assert greedy.decide(snapshot).tolist() == [3], "with the first decisions alone it cannot know"


def test_the_policy_wins_ties_and_where_there_is_no_choice_nothing_is_tried() -> None:
    controller, snapshot = search("cologne1", game := Game({}))
    assert controller.decide(snapshot).tolist() == [0]
    game.tried.clear()
    snapshot.mask[0, 1:] = False
    assert controller.decide(snapshot).tolist() == [0]
    assert not game.tried


def test_several_signals_are_changed_one_at_a_time_within_the_mask() -> None:
    controller, snapshot = search("cologne3", game := Game({}, 3))
    snapshot.mask[1, 2] = False
    controller.decide(snapshot)
    roots = [plan[0] for plan in game.tried if len(plan) == 1]
    phases = [len(item.phases) for item in compiled("cologne3")[0].intersections]
    assert len(roots) == 1 + sum(count - 1 for count in phases) - 1
    assert all(sum(a != b for a, b in zip(action, roots[0], strict=True)) == 1 for action in roots[1:])
    assert not any(action[1] == 2 for action in roots)
    assert len(game.tried) == 20
    assert TOGETHER < 20


def test_too_many_signals_are_refused_before_anything_runs() -> None:
    with pytest.raises(InputError, match=r"mcts: 8 signals to control; the search takes up to 3.*leave mcts out"):
        evaluate.main(["--scenario", "cologne8", "--controllers", "fixed_time", "mcts", "--seeds", "1"])


@pytest.mark.wide
@forked
def test_runs_repeat_themselves() -> None:
    scenario = load("cologne1", end_s=25_260)
    several = [Contestant(f"mcts {n}", lambda: TreeSearch(branches=6, horizon_s=20.0)) for n in range(2)]
    first, second = run_all(Evaluation(scenario, several, [3]), workers=2)
    assert first.metrics == second.metrics
    assert first.vehicles.equals(second.vehicles)


@pytest.mark.wide
@forked
def test_who_knows_the_future_is_nobodys_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--scenario",
        "cologne1",
        "--end",
        "25215",
        "--controllers",
        "mcts",
        "fixed_time",
        "random",
        "--seeds",
        "1",
    ]
    assert evaluate.main([*words, "--out", str(tmp_path)]) == 0
    assert "reference: mcts" not in capsys.readouterr().out
    assert "mcts tries its plans in forks of the very simulation" in (tmp_path / "report.html").read_text()
