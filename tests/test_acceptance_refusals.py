"""Acceptance 17: which bundles are refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import onnx
import pytest

import export
from deployment.bundle.contents import Subject, documents
from deployment.bundle.manifest import FORMAT, new_key
from deployment.bundle.read import read_bundle, read_unsigned_bundle
from deployment.nema.codec import encode
from plumbing.errors import InputError
from scenarios.loading import load
from signals.intersection import compile_signals
from signals.timing import Timing
from tests.policy_runs import resigned, status_of

ROOT = Path(__file__).resolve().parents[1]


# 17. A tampered, unsigned or expired bundle is refused; no pickle is imported at run time (tests/test_bundle.py).


def verify(sealed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> str:
    """What export.py says to a bundle that it refuses; one line, exit status 2."""
    key = words or ("--public-key", ORIGINAL["key"])
    status, said = status_of(capsys, monkeypatch, "verify", sealed, *key)
    assert status == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


ORIGINAL: dict[str, Path] = {}


@pytest.fixture
def copy(sealed: Path, tmp_path: Path) -> Path:
    ORIGINAL["key"] = sealed.parent / "key.pub"
    return Path(shutil.copytree(sealed, tmp_path / "copy"))


def test_acceptance_17_an_untouched_bundle_passes(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["verify", str(copy), "--public-key", str(ORIGINAL["key"]), "--scenario", "single"]
    assert export.main(words) == 0
    assert "network: the same" in capsys.readouterr().out


def test_acceptance_17_any_changed_file_is_refused(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in sorted(copy.iterdir()):
        whole = file.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert "chang" in verify(copy, capsys, monkeypatch), file.name
        file.write_bytes(whole[:-1])
        said = verify(copy, capsys, monkeypatch)
        assert "cut off" in said or "signed" in said, file.name
        file.write_bytes(whole)
    read_bundle(copy, public_key=ORIGINAL["key"])


def test_acceptance_17_missing_foreign_and_linked_files_are_refused(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in sorted(copy.iterdir()):
        whole = file.read_bytes()
        file.unlink()
        said = verify(copy, capsys, monkeypatch)
        assert "is not signed" in said if file.name == "manifest.sig" else f"has no {file.name}" in said
        (tmp_path / "elsewhere").write_bytes(whole)
        file.symlink_to(tmp_path / "elsewhere")
        assert file.name in verify(copy, capsys, monkeypatch)
        file.unlink()
        file.write_bytes(whole)
    (copy / "extra.so").write_bytes(b"")
    assert "'extra.so', which its manifest does not list" in verify(copy, capsys, monkeypatch)


def test_acceptance_17_an_unsigned_bundle_and_another_key_are_refused(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = new_key(tmp_path / "other")
    assert "signed with another key" in verify(copy, capsys, monkeypatch, "--public-key", other)
    status, said = status_of(capsys, monkeypatch, "verify", copy, "--scenario", "single")
    assert (status, "the following arguments are required: --public-key" in said) == (2, True)
    assert "no public key" in verify(copy, capsys, monkeypatch, "--public-key", tmp_path / "other")
    (copy / "manifest.sig").unlink()
    assert "is not signed" in verify(copy, capsys, monkeypatch)


@pytest.mark.parametrize(
    ("begin_days", "end_days", "said"),
    [(-400, -1, "expired at"), (1, 30, "is not valid before"), (3, -3, "not_after is not later")],
)
def test_acceptance_17_a_bundle_out_of_its_time_is_refused(
    begin_days: int, end_days: int, said: str, sealed: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ORIGINAL["key"] = sealed.parent / "key.pub"

    def moved(_: object, manifest: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        for name, days in (("not_before", begin_days), ("not_after", end_days)):
            manifest[name] = (now + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")

    assert said in verify(resigned(sealed, tmp_path / "moved", moved), capsys, monkeypatch)


def _document(name: str, change: Callable[[Any], object]) -> Callable[[dict[str, bytes], Any], object]:
    """A change of one JSON file."""

    def changed(files: dict[str, bytes], _: object) -> None:
        content = json.loads(files[name])
        change(content)
        files[name] = json.dumps(content).encode()

    return changed


def _opset(version: int, domain: str = "") -> Callable[[dict[str, bytes], Any], object]:
    def changed(files: dict[str, bytes], _: object) -> None:
        model = onnx.load_from_string(files["policy.onnx"])
        del model.opset_import[:]
        model.opset_import.append(onnx.helper.make_opsetid(domain, version))
        files["policy.onnx"] = model.SerializeToString()

    return changed


SIGNED_YET_WRONG: dict[str, tuple[Callable[[dict[str, bytes], Any], object], str]] = {
    "newer format": (lambda _, m: m.update(format=FORMAT + 1), f"is of format {FORMAT + 1}"),
    "older format": (lambda _, m: m.update(format=FORMAT - 1), f"is of format {FORMAT - 1}"),
    "something else": (lambda _, m: m.update(kind="cookbook"), "cookbook"),
    "no format": (lambda _, m: m.pop("format"), "is no manifest of a bundle"),
    "unknown field": (lambda _, m: m.update(color="red"), "is damaged"),
    "opset in the manifest": (lambda _, m: m["policy"].update(opset=99), "asks for opset 99"),
    "newer opset": (_opset(99), "asks for opset ai.onnx 99"),
    "foreign operators": (_opset(1, "com.example"), "asks for opset com.example 1"),
    "no graph": (lambda f, _: f.update({"policy.onnx": b""}), "asks for opset none"),
    "half a graph": (lambda f, _: f.update({"policy.onnx": f["policy.onnx"][:3000]}), "cut off"),
    "no policy": (lambda _, m: m.update(policy=None), "says nothing of its policy"),
    "no serial": (lambda _, m: m.update(serial=0), "serial 0 is not within"),
    "nobody for a controller": (
        lambda _, m: m.update(controller={"engine_id": None, "site_token_sha256": None}), "neither an engine id nor"
    ),
    "half a controller": (lambda _, m: m["controller"].update(engine_id="80"), "'80' is no engine id"),
    "other signal": (lambda _, m: m.update(tls_id="D"), "different signals"),
    "full sensing": (lambda _, m: m["policy"].update(sensing="full"), "sensing"),
    "no golden input": (_document("golden.json", lambda g: g["phases"].clear()), "golden inputs"),
    "not a number": (_document("golden.json", lambda g: g["inputs"][3].__setitem__(5, float("nan"))), "no finite"),
    "infinite": (_document("golden.json", lambda g: g["scores"][3].__setitem__(0, float("inf"))), "no finite"),
    "another policy": (
        _document("golden.json", lambda g: g.update(phases=[(p + 1) % 4 for p in g["phases"]])),
        "does not answer its golden inputs",
    ),
    "shorter yellow": (
        _document("timing.json", lambda t: t["plan"]["phases"][0].update(yellow_change_s=2.0)),
        "timing.json is not what follows",
    ),
    "no backup": (_document("timing.json", lambda t: t.update(backup_time_s=0.0)), "timing.json is not what follows"),
    "swapped inputs": (
        _document("observation.json", lambda o: o["inputs"].reverse()), "observation.json is not what follows"
    ),
    "no crossing conflicts": (
        _document("conflicts.json", lambda c: c.update(conflicts=["0" * 20] * 20)), "conflicts.json is not"
    ),
    "too great a number": (
        lambda f, _: f.update({"provenance.json": b'{"seeds": [1e999]}'}), "1e999 is no finite number"
    ),
    "a name twice": (
        lambda f, _: f.update({"timing.json": b'{"backup_time_s": 0.0,' + f["timing.json"].lstrip()[1:]}),
        "'backup_time_s' is there twice",
    ),
    "nested without end": (lambda f, _: f.update({"provenance.json": b"[" * 200_000}), "nested too deeply"),
    "text for JSON": (lambda f, _: f.update({"actions.json": b"{"}), "is inconsistent"),
    "strange file": (lambda f, _: f.update({"run.sh": b"true"}), "'run.sh', which is no part"),
    "a file less": (lambda f, _: f.pop("conflicts.json"), "lacks conflicts.json"),
}  # fmt: skip


@pytest.mark.parametrize("case", SIGNED_YET_WRONG)
def test_acceptance_17_what_is_wrong_is_refused_even_if_signed(
    case: str, sealed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ORIGINAL["key"] = sealed.parent / "key.pub"
    change, said = SIGNED_YET_WRONG[case]
    assert said in verify(resigned(sealed, tmp_path / "wrong", change), capsys, monkeypatch)


def test_acceptance_17_a_bundle_that_would_not_be_exported_is_refused_though_all_in_it_fits(
    sealed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By somebody who has the key, and a version that checks less."""
    network = load("single").network
    (item,) = compile_signals(network, Timing(walk_s=4.0)).intersections
    subject = Subject.alone(item, network, "detectors")

    def changed(files: dict[str, bytes], _: object) -> None:
        files.update({name: json.dumps(content).encode() for name, content in documents(subject).items()})

    ORIGINAL["key"] = sealed.parent / "key.pub"
    assert "is unsafe: NEMA phase 2: walk 4 s" in verify(
        resigned(sealed, tmp_path / "x", changed), capsys, monkeypatch
    )


def test_acceptance_17_a_manifest_that_is_nested_without_end_is_refused(copy: Path) -> None:
    (copy / "manifest.json").write_bytes(b"[" * 200_000)
    with pytest.raises(InputError, match="is no manifest"):
        read_unsigned_bundle(copy)


def test_acceptance_17_a_bundle_for_another_network_is_refused(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ("--public-key", ORIGINAL["key"])
    tee = load("tee").net_file
    for words in ((*key, "--network", tee), (*key, "--scenario", "tee")):
        assert "is for another network than" in verify(copy, capsys, monkeypatch, *words)
    assert "cannot read" in verify(copy, capsys, monkeypatch, *key, "--network", "nowhere.net.xml")


def test_acceptance_17_a_bundle_for_simulation_reaches_no_controller(sealed: Path, tmp_path: Path) -> None:
    marked = resigned(sealed, tmp_path / "marked", lambda _, m: m["policy"].update(simulation_only=True))
    with pytest.raises(InputError, match="for simulation only"):
        read_bundle(marked, public_key=sealed.parent / "key.pub")
    assert read_bundle(marked, public_key=sealed.parent / "key.pub", simulation=True).needs.simulation_only


def test_acceptance_17_the_command_itself_leaves_with_status_2(copy: Path) -> None:
    (copy / "timing.json").write_bytes(b"{}")
    words = [sys.executable, str(ROOT / "export.py"), "verify", str(copy), "--public-key", str(ORIGINAL["key"])]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_signed_bundle_that_says_what_it_is_passes(sealed: Path, tmp_path: Path) -> None:
    """The helper that makes the wrong ones makes a right one where it changes nothing."""
    same = resigned(sealed, tmp_path / "same", lambda *_: None)
    assert encode(read_bundle(same, public_key=sealed.parent / "key.pub").plan)
