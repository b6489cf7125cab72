"""Controllers from outside, wherever controllers are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import evaluate
import replay
from agents.named import find_controller
from controllers.heuristics import Greedy
from plumbing.errors import InputError

MINE = """
import numpy as np
from controllers.heuristics import Greedy
from controllers.programs import Actuated

class Mine(Greedy):
    pass

class Short(Greedy):
    def decide(self, snapshot):
        return super().decide(snapshot)[:-1]

class Float(Greedy):
    def decide(self, snapshot):
        return super().decide(snapshot) * 1.0

class Far(Greedy):
    def decide(self, snapshot):
        return super().decide(snapshot) + 99

class Fails(Greedy):
    def decide(self, snapshot):
        raise KeyError("queue")

class Blind(Greedy):
    sensing = "sonar"

class Picky(Greedy):
    def __init__(self, weight):
        self.weight = weight

class Nothing:
    sensing = "full"

def patient():
    return Actuated(min_green_s=8.0)
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return str(path)


def judged(*controllers: str, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    words = ["--scenario", "cologne1", "--end", "25500", "--seeds", "1", "--json", "--controllers", *controllers]
    assert evaluate.main(words) == 0
    told = json.loads(capsys.readouterr().out)
    return {entry["controller"]: entry["delay_s"]["mean"] for entry in told["controllers"]}


def test_one_of_a_users_own_is_judged_as_ours_are(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    delay_s = judged("greedy", f"{mine}:Mine", f"{mine}:patient", "actuated", capsys=capsys)
    assert delay_s[f"{mine}:Mine"] == delay_s["greedy"]
    assert len({delay_s["actuated"], delay_s[f"{mine}:patient"]}) == 2


@pytest.mark.wide
def test_its_episode_is_recorded(mine: str, tmp_path: Path) -> None:
    words = ["record", "--scenario", "cologne1", "--end", "25300", "--controller", f"{mine}:Mine"]
    assert replay.main([*words, "--out", str(tmp_path / "mine.replay")]) == 0
    assert replay.main(["verify", str(tmp_path / "mine.replay")]) == 0


def test_a_changed_file_is_another_controller(mine: str) -> None:
    before = find_controller(f"{mine}:Mine").identity
    Path(mine).write_text(MINE + "# changed\n")
    assert find_controller(f"{mine}:Mine").identity != before
    assert find_controller("controllers.heuristics:Greedy").make().inner.__class__ is Greedy  # type: ignore[union-attr]


@pytest.mark.wide
@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "Short",
            r"mine.py:Short': decide\(\) gives int64 of shape \(0,\); give the number of a phase for each",
        ),
        ("Float", r"mine.py:Float': decide\(\) gives float64 of shape \(1,\)"),
        ("Far", r"mine.py:Far' asks signal 0 for phase (99|10\d); it has 0 to 3"),
        ("Fails", r"mine.py:Fails' fails in decide\(\) \(KeyError: 'queue'\)"),
        ("Blind", r"mine.py:Blind': sensing is 'sonar'; set it to full or detectors"),
        (
            "Picky",
            r"mine.py:Picky' cannot be made \(TypeError: .*; name a class or a function that takes",
        ),
        ("Nothing", r"mine.py:Nothing' has no reset\(\); see controllers/base.py"),
        ("Mein", r"mine.py has no 'Mein'; name what it defines. Did you mean 'Mine'"),
    ],
)
def test_what_is_wrong_with_it_is_told(mine: str, name: str, says: str) -> None:
    words = ["--scenario", "cologne1", "--end", "25260", "--seeds", "1", "--controllers", f"{mine}:{name}"]
    with pytest.raises(InputError, match=says):
        evaluate.main(words)
