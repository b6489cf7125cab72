"""The command export.py: what it takes, what it refuses, and what an evaluation adds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import agents.export
import deployment.bundle.make.assembly
import deployment.bundle.make.bundle
import export
from agents.run import run_sha256
from deployment.bundle.make.assembly import NotThePolicy
from deployment.bundle.manifest import Identity, new_key
from deployment.bundle.read import read_bundle, read_unsigned_bundle
from plumbing.errors import InputError
from scenarios.loading import load
from tests.policy_runs import write_run

SHORT = (0.0, 1000.0)


@pytest.fixture(autouse=True)
def _without_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The PDF takes most of an export's time; it is drawn for the tests of tests/test_bundle.py."""
    monkeypatch.setattr("deployment.bundle.make.sheet_pdf.pdf", lambda sheet: b"%PDF-")


def evaluation(folder: Path, run: Path, **changes: Any) -> Path:
    """What evaluate.py leaves, in the parts that an export reads."""
    folder.mkdir()
    delays = {"actuated": 30.0, "runs/mine": 25.5}
    rows = [
        {"controller": n, "delay_s": {"mean": d, "low": d - 1, "high": d + 1}, "runs": 5, "gridlocked_runs": 0}
        for n, d in delays.items()
    ]
    (folder / "summary.json").write_text(json.dumps({"scenario": "tee", "seeds": [1, 2], "controllers": rows}))
    settings = {"identity": {"runs/mine": run_sha256(run)}, "files_sha256": load("tee").hashes(), **changes}
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.wide
def test_a_full_policy_is_refused_but_for_simulation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", "tee", "full", window=SHORT)
    key = tmp_path / "key"
    new_key(key)
    words = ["bundle", str(run), "--out", str(tmp_path / "out"), "--key", str(key)]
    with pytest.raises(InputError, match="it sees every vehicle, which no controller does"):
        export.main(words)
    assert not (tmp_path / "out").exists()
    assert export.main([*words, "--simulation-only"]) == 0
    with pytest.raises(InputError, match="for simulation only"):
        read_bundle(tmp_path / "out", public_key=tmp_path / "key.pub")
    assert "Simulation only" in (tmp_path / "out" / "model_card.md").read_text()
    assert export.main(["verify", str(tmp_path / "out"), "--public-key", f"{key}.pub"]) == 0
    assert "no controller gets it" in capsys.readouterr().out


def test_several_signals_give_a_bundle_each_without_c_where_none_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, recorded = agents.export.record, []

    def record_once(*arguments: Any) -> Any:  # both exports see the same run
        recorded.extend([] if recorded else [record(*arguments)])
        return recorded[0]

    monkeypatch.setattr("agents.export.record", record_once)
    run = write_run(tmp_path / "run", "cologne3", window=(25200.0, 26210.0))
    out = tmp_path / "out"
    before_s = int(datetime.now(UTC).strftime("%Y%m%d%H%M%S"))
    named = ["--controller", "360086=engine:80000000AA", "--controller", "360086=site:" + "5" * 64]
    assert export.main(["bundle", str(run), "--out", str(out), *named]) == 0
    ids = ["360082", "360086", "GS_cluster_2415878664_254486231_359566_359576"]
    assert sorted(folder.name for folder in out.iterdir()) == ids
    for folder in out.iterdir():
        manifest = read_unsigned_bundle(folder).manifest
        assert manifest.tls_id == folder.name
        assert manifest.controller == (Identity("80000000aa", "5" * 64) if folder.name == "360086" else None)
        assert before_s <= manifest.serial <= int(datetime.now(UTC).strftime("%Y%m%d%H%M%S"))
        assert not (folder / "policy.c").exists()
    one = ["bundle", str(run), "--out", str(out / ids[1]), "--tls", ids[1]]
    with pytest.raises(InputError, match="holds a bundle already"):
        export.main(one)
    before = (out / ids[1] / "golden.json").read_bytes()
    assert export.main([*one, "--overwrite"]) == 0
    assert (out / ids[1] / "golden.json").read_bytes() == before
    with pytest.raises(InputError, match="not in the network"):
        export.main(["bundle", str(run), "--out", str(tmp_path / "two"), "--tls", "360087"])


@pytest.mark.wide
def test_nothing_is_written_where_one_signal_of_several_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check_forms, asked = deployment.bundle.make.bundle.check_forms, []

    def second_fails(*arguments: Any) -> Any:
        asked.append(arguments)
        if len(asked) == 2:
            raise NotThePolicy("ONNX differs")
        return check_forms(*arguments)

    monkeypatch.setattr(deployment.bundle.make.bundle, "check_forms", second_fails)
    run = write_run(tmp_path / "run", "cologne3", window=(25200.0, 26210.0))
    assert export.main(["bundle", str(run), "--out", str(tmp_path / "out")]) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed", "-1"], "--seed is -1"),
        (["--windows", "0"], "--windows is 0"),
        (["--out", "run/settings.json"], "is a file"),
    ],
)
def test_a_search_does_not_begin_with_what_it_cannot_end_with(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", "tee", window=SHORT)
    with pytest.raises(InputError, match=said):
        export.main(["plan", "run", "--out", "out", *words])


@pytest.mark.wide
def test_the_card_tells_of_the_evaluation_and_that_c_was_not_checked_without_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deployment.bundle.make.assembly, "compiler", lambda: None)
    run = write_run(tmp_path / "run", "tee", window=SHORT)
    judged = evaluation(tmp_path / "judged", run)
    out = tmp_path / "out"
    assert export.main(["bundle", str(run), "--out", str(out), "--with", "c", "--evaluation", str(judged)]) == 0
    card = (out / "model_card.md").read_text()
    assert "| runs/mine (this policy) | 25.5 (24.5 to 26.5) | 0 of 5 |" in card
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["evaluation"]["policy"] == "runs/mine"
    assert provenance["run_sha256"] == run_sha256(run)
    assert "not checked: the exporting machine has no C compiler" in capsys.readouterr().out
    assert "no C compiler" in card
    assert (out / "policy.c").exists()


@pytest.mark.wide
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"identity": {"runs/mine": "0" * 64}}, "it is now"),
        ({"identity": {}}, "it is now"),
        ({"files_sha256": {"tee.net.xml": "0" * 64}}, "of another network"),
    ],
)
def test_an_evaluation_of_something_else_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "tee", window=SHORT)
    judged = evaluation(tmp_path / "judged", run, **changes)
    with pytest.raises(InputError, match=said):
        export.main(["bundle", str(run), "--out", str(tmp_path / "out"), "--evaluation", str(judged)])
    with pytest.raises(InputError, match=r"evaluate\.py --out wrote"):
        export.main(["bundle", str(run), "--out", str(tmp_path / "out"), "--evaluation", str(tmp_path)])


def test_a_network_that_has_changed_since_the_training_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "tee", window=SHORT)
    settings = json.loads((run / "settings.json").read_text())
    settings["scenario"]["files"]["tee.net.xml"] = "0" * 64
    (run / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=r"another tee\.net\.xml than there is now"):
        export.main(["bundle", str(run), "--out", str(tmp_path / "out")])


@pytest.mark.wide
def test_an_episode_that_is_too_short_is_repeated_and_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", "tee", window=(0.0, 600.0))  # 120 decisions
    words = ["bundle", str(run), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(export, "MOST_EPISODES", 1)
    with pytest.raises(InputError, match="1 episodes have 120 decisions together, 200 are needed"):
        export.main(words)
    monkeypatch.setattr(export, "MOST_EPISODES", 4)
    assert export.main(words) == 0
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["golden_seeds"] == [20001, 20002]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bundle", "nowhere", "--out", "out"], "does not exist"),
        (["verify", "nowhere", "--public-key", "key.pub"], "is no directory"),
        (["tree", "greedy", "--scenario", "single", "--out", "tree"], "ends with .json"),
        (
            ["tree", "greedy", "--scenario", "single", "--out", "tree.json", "--tolerance", "nan"],
            "--tolerance is nan",
        ),
    ],
)
def test_bad_input(words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        export.main(words)
    assert list(tmp_path.iterdir()) == []


def test_settings_that_no_export_takes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "tee", window=SHORT)
    for words, said in (
        (["--valid-days", "0"], "give 1 to 3660"),
        (["--serial", "0"], "--serial is 0"),
        (["--controller", "D=engine:8000000001"], "no signal 'D' is exported"),
        (["--key", str(run / "policy.pt")], "no private key"),
    ):
        with pytest.raises(InputError, match=said):
            export.main(["bundle", str(run), "--out", str(tmp_path / "out"), *words])
    settings = json.loads((run / "settings.json").read_text())
    del settings["job"]["timing"]
    (run / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="does not say how the run was made"):
        export.main(["bundle", str(run), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
