"""What a kept run has to agree with: all code that it depends on, and the versions of what that rests on."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import onnxruntime
import pytest

from controllers.registry import make
from deployment.bundle.simulated import identity_of
from envs.workers.shipping import fingerprint
from evaluation.runs import Contestant, Evaluation
from plumbing import identity
from plumbing.identity import CODE, DETERMINING, SHOWING, code_sha256
from plumbing.interpreter import ROOT
from scenarios.loading import load

DEPENDS = ("signals/x.py", "native/x.cpp", "native/x.h", "agents/native/x.h", "scenarios/y/scenario.yaml")
DEPENDS += ("evaluation/measure.py", "hatch_build.py")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another one, with little in it."""
    monkeypatch.setattr(identity, "ROOT", tmp_path)
    for name in (*DEPENDS, "evaluation/report/page.py", "deployment/bundle/policy.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    code_sha256.cache_clear()
    yield tmp_path
    code_sha256.cache_clear()


def digests() -> tuple[str, str, str]:
    """Of a run, of a bundle's run, and what machines have to agree in."""
    code_sha256.cache_clear()
    return code_sha256(), code_sha256("deployment"), fingerprint()["intergreen's code"]


@pytest.mark.parametrize("name", DEPENDS)
def test_a_change_of_code_is_another_identity(checkout: Path, name: str) -> None:
    before = digests()
    (checkout / name).write_text("2")
    assert all(old != new for old, new in zip(before, digests(), strict=True))


def test_what_only_shows_is_no_part_of_it_and_bundles_code_of_bundles_alone(checkout: Path) -> None:
    before = digests()
    (checkout / "evaluation/report/page.py").write_text("2")
    assert digests() == before
    (checkout / "deployment/bundle/policy.py").write_text("2")
    run, of_bundle, machine = digests()
    assert run == before[0]
    assert of_bundle != before[1]
    assert machine != before[2]


def test_no_code_that_decides_a_run_uses_what_only_shows() -> None:
    shown = [name.removesuffix(".py") for name in SHOWING]
    assert all((ROOT / "evaluation" / name).exists() for name in SHOWING)
    for path in (ROOT / "evaluation").rglob("*.py"):
        if path.relative_to(ROOT / "evaluation").parts[0] not in SHOWING:
            used = re.findall(r"^\s*from evaluation\.(\w+)", path.read_text(), re.M)
            assert not set(used) & set(shown), path


def test_there_is_no_code_of_another_kind() -> None:
    """Whatever lies in these packages is covered, or says nothing about how a run goes."""
    folders = [ROOT / part for part in (*DETERMINING, "deployment") if (ROOT / part).is_dir()]
    kinds = {path.suffix for folder in folders for path in folder.rglob("*") if path.is_file()}
    assert kinds - {*CODE, ".md", ".txt", ".html", ".so", ".pyc"} == set(), "add them to CODE"


def test_a_bundles_identity_has_what_computes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    before = identity_of([tmp_path])
    assert onnxruntime.__version__ in before
    assert code_sha256("deployment") in before
    (tmp_path / "manifest.json").write_text('{"files": {}}')
    assert identity_of([tmp_path]) != before


@pytest.mark.parametrize("package", ["eclipse-sumo", "libsumo", "numpy"])
def test_another_version_is_another_run_whoever_asks(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def digest() -> str:
        contestant = Contestant("greedy", lambda: make("greedy"))
        return Evaluation(load("single"), [contestant], [5]).digest(contestant, 5)

    before, plain = digest(), importlib.metadata.version
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.1" if name == package else plain(name))
    assert digest() != before
