"""Bundles: what is written is what is read, the forms of a policy agree, and nothing is imported in vain."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import evaluate
from deployment.bundle.golden import Golden, compare
from deployment.bundle.manifest import Identity, new_key, public_key, sign
from deployment.bundle.policy import OnnxPolicy, opsets
from deployment.bundle.read import BUNDLE, Bundle, read_bundle, read_unsigned_bundle
from deployment.bundle.sealed import check_room, write_sealed
from deployment.bundle.simulated import BundleController, bundle_folders
from deployment.nema.codec import encode
from plumbing.errors import InputError
from scenarios.loading import load
from signals.intersection import compile_signals
from signals.layout import build_layout
from signals.loops import plan_loops
from signals.nema import nema_plan
from signals.timing import Timing
from tests.policy_runs import ENGINE_ID, SERIAL

ROOT = Path(__file__).resolve().parents[1]


def test_a_bundle_holds_what_the_issue_lists(sealed: Path, bundle: Bundle) -> None:
    assert {p.name for p in sealed.iterdir()} == {
        "policy.onnx", "policy.c", "policy.h", "observation.json", "actions.json", "timing.json", "conflicts.json",
        "fallback_plan.json", "golden.json", "provenance.json", "model_card.md", "timing_sheet.html",
        "timing_sheet.pdf", "manifest.json", "manifest.sig",
    }  # fmt: skip
    assert bundle.signed
    assert len(bundle.golden.phases) >= 200
    assert len(set(bundle.golden.phases.tolist())) > 1
    assert bundle.manifest.valid_until - bundle.manifest.valid_from == timedelta(days=365)
    assert (bundle.manifest.controller, bundle.manifest.serial) == (Identity(ENGINE_ID, None), SERIAL)
    assert bundle.provenance["training"]["job"]["sensing"] == "detectors"
    assert bundle.provenance["checks"]["onnx"]["same_phase"] == bundle.provenance["checks"]["onnx"]["count"]


def test_what_is_read_is_the_signal_of_the_network(bundle: Bundle) -> None:
    network = load("single").network
    (item,) = compile_signals(network).intersections
    assert encode(bundle.intersection) == encode(item)
    assert encode(bundle.layout) == encode(build_layout((item,), network))
    assert bundle.loops == plan_loops((item,), network)
    assert bundle.plan == nema_plan(item)
    assert bundle.timing == item.times.timing
    machine = bundle.machine()
    machine.reset(0.0)
    assert machine.mask(np.ones((1, len(item.phases)), bool)).shape == (1, len(item.phases))


def test_the_policy_answers_within_a_millisecond(bundle: Bundle) -> None:
    import time

    taken = []
    for values in bundle.golden.inputs[:200]:
        begun = time.thread_time()
        bundle.policy(values)
        taken.append(time.thread_time() - begun)
    assert np.percentile(taken, 99) < 1e-3


def test_running_a_bundle_needs_neither_learning_nor_simulation_nor_pickle(sealed: Path) -> None:
    """The module named pickle is imported by numpy itself; the hook sees to it that nothing is unpickled."""
    program = f"""
import sys
def hook(event, arguments):
    if event.startswith("pickle."):
        raise SystemExit(f"unpickled {{arguments}}")
sys.addaudithook(hook)
from pathlib import Path
from deployment.bundle.read import read_bundle
bundle = read_bundle(Path({str(sealed)!r}), public_key=Path({str(sealed.parent / "key.pub")!r}))
scores, phase = bundle.policy(bundle.golden.inputs[0])
assert phase == bundle.golden.phases[0]
bundle.machine().reset(0.0)
banned = "torch stable_baselines3 sb3_contrib gymnasium pettingzoo libsumo traci sumolib onnx scipy matplotlib jinja2"
print(*[name for name in banned.split() if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_no_file_of_deployment_imports_pickle() -> None:
    for file in (ROOT / "deployment").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"pickle", "shelve", "marshal", "dill"} & {n.split(".")[0] for n in names}, file


def test_golden_inputs_tell_a_wrong_policy(bundle: Bundle) -> None:
    assert compare(bundle.policy.raw, bundle.golden).holds
    stays = compare(lambda values: (bundle.policy.raw(values)[0], 0), bundle.golden)
    assert not stays.holds
    off = compare(lambda values: (bundle.policy.raw(values)[0] * np.float32(1.01), 0), bundle.golden)
    assert off.worst_difference > 1e-3
    again = Golden.read(json.loads(json.dumps(bundle.golden.document())))
    assert np.array_equal(again.inputs, bundle.golden.inputs)
    assert np.array_equal(again.scores, bundle.golden.scores)


def test_the_current_phase_wins_ties_as_in_training(bundle: Bundle) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string((bundle.path / "policy.onnx").read_bytes())
    for tensor in model.graph.initializer:
        if tensor.name in ("score_weight", "score_bias"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(0), tensor.name))
    equal = OnnxPolicy(model.SerializeToString())
    values = bundle.golden.inputs[0].copy()
    values[bundle.inputs.selectable] = 1.0
    for phase in range(len(bundle.intersection.phases)):
        values[bundle.inputs.current] = 0.0
        values[bundle.inputs.current[phase]] = 1.0
        assert equal(values)[1] == phase


def test_no_phase_may_be_chosen(bundle: Bundle) -> None:
    values = bundle.golden.inputs[0].copy()
    values[bundle.inputs.selectable] = 0.0
    assert bundle.policy.raw(values)[1] == -1
    with pytest.raises(ArithmeticError, match="no phase may be chosen"):
        bundle.policy(values)
    with pytest.raises(ArithmeticError, match="inputs"):
        bundle.policy(values[:-1])


def test_files_that_are_no_onnx() -> None:
    for content in (b"", b"\xff" * 40, b"GIF89a" + bytes(200)):
        with pytest.raises(InputError, match=r"policy\.onnx"):
            OnnxPolicy(content)
    assert opsets(b"", "empty") == {}


def test_written_whole_or_not_at_all(sealed: Path, tmp_path: Path) -> None:
    files = {p.name: p.read_bytes() for p in sealed.iterdir()}
    manifest, signature = files.pop("manifest.json"), files.pop("manifest.sig")
    out = tmp_path / "out"

    def fails(partial: Path) -> None:
        assert (partial / "manifest.json").exists()
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        write_sealed(out, BUNDLE, files, manifest, signature, check=fails)
    assert list(tmp_path.iterdir()) == []
    write_sealed(out, BUNDLE, files, manifest, signature, check=read_unsigned_bundle)
    with pytest.raises(InputError, match="--overwrite"):
        write_sealed(out, BUNDLE, files, manifest, signature)
    with pytest.raises(InputError, match="no"):
        write_sealed(out, BUNDLE, files, manifest, None, overwrite=True, check=fails)
    assert (out / "manifest.sig").exists()
    write_sealed(out, BUNDLE, files, manifest, None, overwrite=True)
    assert not (out / "manifest.sig").exists()
    assert list(tmp_path.iterdir()) == [out]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="no bundle"):
        check_room(tmp_path / "other", BUNDLE, overwrite=True)
    with pytest.raises(InputError, match="is a file"):
        check_room(tmp_path / "other" / "thesis.txt", BUNDLE, overwrite=True)


def test_keys(tmp_path: Path) -> None:
    public = new_key(tmp_path / "keys" / "lab")
    assert (tmp_path / "keys" / "lab").stat().st_mode & 0o777 == 0o600
    public_key(public).verify(sign(b"content", tmp_path / "keys" / "lab"), b"content")
    with pytest.raises(InputError, match="exists already"):
        new_key(tmp_path / "keys" / "lab")
    with pytest.raises(InputError, match="no private key"):
        sign(b"", public)
    with pytest.raises(InputError, match="no public key"):
        public_key(tmp_path / "keys" / "lab")
    with pytest.raises(InputError, match="cannot read key"):
        public_key(tmp_path / "nowhere")


def test_anybody_can_check_the_signature(sealed: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    words = ["pkeyutl", "-verify", "-pubin", "-inkey", str(sealed.parent / "key.pub"), "-rawin"]
    words += ["-in", str(sealed / "manifest.json"), "-sigfile", str(sealed / "manifest.sig")]
    done = subprocess.run([openssl, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Verified Successfully" in done.stdout


def test_an_unsigned_reading_ignores_dates(sealed: Path) -> None:
    assert not read_unsigned_bundle(sealed).signed
    with pytest.raises(InputError, match="expired"):
        read_bundle(sealed, public_key=sealed.parent / "key.pub", now=datetime.now(UTC) + timedelta(days=400))


@pytest.mark.wide
def test_a_bundle_is_judged_as_the_run_that_it_comes_from(sealed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scenario", "single", "--end", "300", "--seeds", "1", "--workers", "1", "--json"]
    assert evaluate.main([*words, "--controllers", str(sealed), str(sealed.parent / "run")]) == 0
    rows = json.loads(capsys.readouterr().out)["controllers"]
    assert rows[0]["controller"] == str(sealed)
    assert rows[0]["delay_s"]["mean"] == rows[1]["delay_s"]["mean"] > 0


def test_a_bundle_is_not_judged_on_another_signal(sealed: Path) -> None:
    controller = BundleController(bundle_folders(sealed))
    for name, timing, said in (
        ("cologne1", Timing(), "no bundle for signal"),
        ("tee", Timing(), "is for another signal 'C'"),
        ("single", Timing(min_green_s=9.0), "network or timing differ"),
    ):
        network = load(name).network
        items = compile_signals(network, timing).intersections
        with pytest.raises(InputError, match=said):
            controller.reset(items, build_layout(items, network), 0)
