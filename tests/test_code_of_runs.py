"""What a run directory remembers of code from outside, and that none of it runs unless the user allows it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import evaluate
import export
import replay
import train
from agents.code import changed, code_of
from agents.job import command_of
from agents.named import find_controller
from agents.run import SETTINGS, load_controller, read_settings
from plumbing.errors import InputError
from tests.policy_runs import write_run

MINE = """
import numpy as np
from signals.observations import PhaseObservation

class WithClock(PhaseObservation):
    PHASE_FEATURES = (*PhaseObservation.PHASE_FEATURES, "minute")
    PHASE_SCALE = np.append(PhaseObservation.PHASE_SCALE, 60.0)

    def fill(self, snapshot):
        super().fill(snapshot)
        self.phase[:, :, -1] = snapshot.time_s[0] % 3600 / 60

def comfort(layout, before, after):
    return -np.arange(len(layout.tls_ids)).astype(float)
"""
FEW = ("--scenario", "single", "--end", "30", "--steps", "2", "--validate-every", "0")
REFUSED = "names code from outside this project: .* read it, then allow it with --allow-code"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training of a few steps with a reward and an observation of a user's own, given relative to their folder."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    words = ["--scenario", "single", "--end", "100", "--steps", "20", "--validate-every", "0"]
    words += ["--reward", "time_loss + 0.5*mine.py:comfort", "--observation", "mine.py:WithClock"]
    assert train.main([*words, "--out", "run"]) == 0
    return tmp_path / "run"


def evaluated(run: Path, *words: str) -> int:
    return evaluate.main(["--scenario", "single", "--end", "60", "--controllers", str(run), "--seeds", "1", *words])


@pytest.mark.wide
def test_a_run_remembers_its_code_and_goes_on_with_it_where_allowed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.py"
    settings = read_settings(run)
    about = {"file": str(mine), "sha256": hashlib.sha256(MINE.encode()).hexdigest()}
    assert settings["code"] == [
        {"what": "observation", "name": f"{mine}:WithClock", **about},
        {"what": "reward", "name": f"{mine}:comfort", **about},
    ]
    assert settings["job"]["reward"] == f"time_loss + 0.5*'{mine}:comfort'"
    assert settings["sensing"] == "full"
    monkeypatch.chdir("/")
    with pytest.raises(InputError, match=REFUSED):
        train.main(["--out", str(run), "--resume"])
    assert train.main(["--out", str(run), "--resume", "--allow-code"]) == 0
    with pytest.raises(InputError, match=REFUSED):
        evaluated(run)
    assert evaluated(run, "--allow-code") == 0
    assert load_controller(run, allow_code=True).observation.__name__ == "WithClock"
    capsys.readouterr()

    mine.write_text(MINE + "\n# changed\n")
    says = rf"the observation {mine}:WithClock \({mine}\), .* has changed since this run began; put it back as it was"
    with pytest.raises(InputError, match=says):
        train.main(["--out", str(run), "--resume", "--allow-code"])
    assert evaluated(run, "--allow-code") == 0
    assert f"was trained with another version of the observation {mine}:WithClock" in capsys.readouterr().err
    mine.unlink()
    with pytest.raises(InputError, match=r"mine\.py cannot be read"):
        evaluated(run, "--allow-code")


@pytest.mark.wide
def test_a_bundle_says_that_it_cannot_hold_it_and_a_replay_can(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trained on an observation from outside, WithClock, whose inputs no bundle"):
        export.main(["bundle", str(run), "--out", str(tmp_path / "b"), "--simulation-only", "--allow-code"])
    record = ["record", "--scenario", "single", "--end", "60", "--controller", str(run), "--out", str(tmp_path / "r")]
    with pytest.raises(InputError, match=REFUSED):
        replay.main(record)
    assert replay.main([*record, "--allow-code"]) == 0


@pytest.mark.parametrize("option", ["--reward", "--observation"])
def test_a_reward_and_an_observation_are_checked_before_a_run_begins(option: str, tmp_path: Path) -> None:
    for wrong, says in (("nothing_here:x", "Python finds no module"), ("nothing", "unknown (reward|observation)")):
        with pytest.raises(InputError, match=says):
            train.main(["--scenario", "single", "--end", "60", option, wrong, "--out", str(tmp_path / "run")])
    with pytest.raises(InputError, match="the observation has no plan that the agents' networks read"):
        train.main(["--scenario", "single", "--observation", "sumo-rl", "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


# --- somebody else's run directory


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A file that leaves a mark when it is run."""
    path = tmp_path / "theirs" / "trap.py"
    path.parent.mkdir()
    path.write_text(
        f"open({str(tmp_path / 'sprung')!r}, 'w')\nfrom signals.observations import PhaseObservation as x\n"
    )
    return path


@pytest.mark.wide
@pytest.mark.parametrize("place", ["settings", "job"])
@pytest.mark.parametrize("what", ["reward", "observation", "network", "agent"])
def test_nothing_that_a_run_directory_names_is_run(
    what: str, place: str, trap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run")
    settings = json.loads((run / SETTINGS).read_text())
    (settings if place == "settings" else settings["job"])[what] = f"{trap}:x" if what != "agent" else "trap.py:x"
    (run / SETTINGS).write_text(json.dumps(settings))
    (run / "checkpoint.pt").touch()
    (run / "trap.py").write_text(trap.read_text())
    monkeypatch.chdir(run)
    attempts: list[Any] = [
        lambda: train.main(["--out", str(run), "--resume"]),
        lambda: find_controller(str(run)),
        lambda: find_controller(f"{run}+{run}"),
        lambda: export.main(["bundle", str(run), "--out", str(tmp_path / "bundle")]),
        lambda: export.main(["tree", str(run), "--out", str(tmp_path / "tree")]),
        lambda: train.main(
            ["--scenario", "single", "--from", str(run), "--steps", "2", "--out", str(tmp_path / "x")]
        ),
    ]
    refused = 0
    for attempt in attempts:
        try:
            attempt()
        except InputError as error:
            refused += "names code from outside this project" in str(error)
    assert refused >= 1 or (what == "reward" and place == "settings"), "that is a name which nobody reads"
    assert not (tmp_path / "sprung").exists()
    if place == "job":
        assert command_of(settings, "r").startswith("# r/settings.json does not say")


def test_what_a_policy_needs_is_less_than_what_its_training_does() -> None:
    settings = {
        "agent": "dqn", "observation": "phases", "network": "a:b", "job": {"reward": "queue + 2*c:d", "agent": "dqn"},
    }  # fmt: skip
    assert code_of(settings, policy=True) == {"a:b": "network"}
    assert code_of(settings, policy=False) == {"a:b": "network", "c:d": "reward"}


def test_a_run_that_remembers_nothing_counts_as_changed() -> None:
    found = changed({"job": {}}, {"json:JSONDecoder": "reward"})
    assert len(found) == 1
    assert found[0].startswith("the reward json:JSONDecoder (")
