"""Bundles: what is written is what is read, the forms of a policy agree, and nothing is imported in vain."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evaluate
from deployment.bundle.contents import Subject, documents, feature_meanings
from deployment.bundle.golden import Golden, compare
from deployment.bundle.manifest import Identity, new_key, public_key, sign
from deployment.bundle.policy import OnnxPolicy, opsets
from deployment.bundle.read import BUNDLE, Bundle, read_bundle, read_unsigned_bundle
from deployment.bundle.sealed import check_room, write_sealed
from deployment.bundle.simulated import BundleController, bundle_folders
from deployment.nema.codec import decode, encode
from deployment.nema.fallback import fallback_plan
from deployment.nema.pattern import least_split_s, mode_for
from plumbing.errors import InputError
from scenarios.scenario import load
from signals.inputs import InputTable
from signals.intersection import Intersection, compile_signals
from signals.layout import Layout, build_layout
from signals.loops import LoopPlan, plan_loops
from signals.nema import nema_plan
from signals.observations import CONSTANT, observation_for
from signals.snapshot import Snapshot
from signals.timing import Timing
from tests.policy_runs import ENGINE_ID, SERIAL, exported_bundle

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("single", "tee", "arterial", "cologne1", "cologne3", "ingolstadt7")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_bundle(tmp_path_factory)


@pytest.fixture(scope="module")
def bundle(path: Path) -> Bundle:
    return read_bundle(path, public_key=path.parent / "key.pub")


def test_a_bundle_holds_what_the_issue_lists(path: Path, bundle: Bundle) -> None:
    assert {p.name for p in path.iterdir()} == {
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


@pytest.mark.parametrize("name", NAMES)
def test_records_survive_json(name: str) -> None:
    network = load(name).network
    for item in compile_signals(network).intersections[:3]:
        for kind, record in (
            (Intersection, item),
            (Layout, build_layout((item,), network)),
            (LoopPlan, plan_loops((item,), network)),
        ):
            text = json.dumps(encode(record), allow_nan=False)
            assert encode(decode(kind, json.loads(text))) == encode(record)
        assert nema_plan(decode(Intersection, json.loads(json.dumps(encode(item))))) == nema_plan(item)


@pytest.mark.parametrize(
    ("kind", "content"),
    [(int, True), (int, "1"), (float, None), (str, 1), (tuple[int, ...], {}), (tuple[int, str], [1]),
     (dict[str, int], []), (LoopPlan, {"stop_bar": []}), (LoopPlan, [])],
)  # fmt: skip
def test_what_does_not_fit_its_type_is_refused(kind: type, content: object) -> None:
    with pytest.raises(ValueError, match="is no"):
        decode(kind, content)


def test_every_input_has_meaning_unit_range_and_source(path: Path, bundle: Bundle) -> None:
    document = json.loads((path / "observation.json").read_text())
    rows = document["inputs"]
    assert [row["index"] for row in rows] == list(range(bundle.policy.inputs))
    assert [row["name"] for row in rows] == [i.name for i in bundle.inputs.inputs]
    numbers = {d["number"] for d in document["detectors"]}
    assert numbers == set(range(1, len(numbers) + 1))
    assert {d["kind"] for d in document["detectors"]} == {"stop bar", "advance"}
    for row in rows:
        assert row["meaning"]
        assert row["unit"]
        assert row["low"] == 0 < row["high"]
        assert set(row["detectors"]) <= numbers
        assert row["nema_phases"]
        feature = row["name"].split(".")[1]
        sensed = feature not in ("selectable", "current", "changing", "green_age", "since_served", "change", "call")
        assert bool(row["detectors"]) == sensed, row
    seen = np.abs(bundle.golden.inputs).max(axis=0)
    assert (seen <= np.array(bundle.input_high) + 1e-6).all()


def test_inputs_are_the_networks_row() -> None:
    """Padded, scaled and with constants, the inputs are what the policy was trained on."""
    network = load("cologne3").network
    items = compile_signals(network).intersections
    whole = build_layout(items, network, 9, 20)
    random = np.random.default_rng(0)
    snapshot = Snapshot.empty(whole)
    for name in ("occupied", "occupancy", "gap_s", "arrivals_veh", "flow_veh", "backed_up", "healthy"):
        getattr(snapshot, name)[:] = random.random(len(whole.controlled)) * 30
    snapshot.since_served_s[:] = random.random(snapshot.since_served_s.shape) * 2000
    observe = observation_for("detectors", whole)
    scaled, raw = observe(snapshot), observe.raw(snapshot)
    for s, item in enumerate(items):
        alone = build_layout((item,), network)
        table = InputTable(alone, "detectors")
        rebuilt = table.row(raw[s, table.elements_in(observe.shape)])
        inside = np.zeros(observe.shape.size, bool)
        inside[table.elements_in(observe.shape)] = True
        np.testing.assert_array_equal(rebuilt[table.elements], scaled[s, inside])
        own = observation_for("detectors", alone)
        assert own.shape.size == len(rebuilt)
        zero = own(Snapshot.empty(alone))[0]
        zero[table.elements] = 0
        np.testing.assert_array_equal(table.constant, zero)


@pytest.mark.parametrize("sensing", ["detectors", "full"])
def test_every_feature_that_changes_is_an_input(sensing: str) -> None:
    network = load("single").network
    table = InputTable(build_layout(compile_signals(network).intersections, network), sensing)
    features = {i.feature for i in table.inputs}
    observe = observation_for(sensing, table.layout)
    assert features == {*observe.PHASE_FEATURES, *observe.MOVEMENT_FEATURES} - {*CONSTANT}
    meanings = feature_meanings(sensing)
    assert {(i.block, i.feature) for i in table.inputs} <= set(meanings)


@pytest.mark.parametrize("name", NAMES)
def test_the_fallback_plan_is_the_programs_and_holds_every_interval(name: str) -> None:
    for item in compile_signals(load(name).network).intersections[:8]:
        plan = nema_plan(item)
        fixed = fallback_plan(item, plan)
        own = sum(row.duration_s for row in item.program.rows)
        assert fixed.cycle_s >= own - 0.5
        for phase in plan.phases:
            assert fixed.split_s(phase.number) >= least_split_s(phase, mode_for(phase))
        assert sorted(n for ring in fixed.sequence for n in ring) == sorted(p.number for p in plan.phases)
        groups = [
            sum(max(_splits(fixed, ring, g) for ring in fixed.sequence) for g in [group]) for group in fixed.groups
        ]
        assert sum(groups) == fixed.cycle_s
        for group in fixed.groups:  # rings cross a barrier together
            spans = {_splits(fixed, ring, group) for ring in fixed.sequence if set(ring) & set(group)}
            assert len(spans) == 1


def _splits(fixed: object, ring: tuple[int, ...], group: tuple[int, ...]) -> float:
    return sum(fixed.split_s(n) for n in ring if n in group)  # type: ignore[attr-defined]


def test_the_timing_sheet_is_whole(path: Path, bundle: Bundle) -> None:
    html = (path / "timing_sheet.html").read_text()
    for title in ("Min green", "Max green", "Vehicle extension", "Yellow", "All-red", "Walk", "Recall", "Offset"):
        assert title in html
    assert "Reference phase" in html
    assert "<svg" in html
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", html)
    assert "<script" not in html
    for phase in bundle.plan.phases:
        assert f"Φ{phase.number}" in html
    assert (path / "timing_sheet.pdf").read_bytes().startswith(b"%PDF-")
    assert (path / "timing_sheet.pdf").read_bytes().rstrip().endswith(b"%%EOF")


def test_names_cannot_leave_their_place_in_the_sheet() -> None:
    from deployment.bundle.make.sheet import timing_sheet
    from deployment.bundle.make.sheet_page import page
    from deployment.bundle.make.sheet_pdf import pdf

    network = load("cologne1").network
    (item,) = compile_signals(network).intersections
    subject = Subject.alone(item, network, "detectors")
    sheet = timing_sheet(subject, "<script>alert(1)</script> $x_", "$ to $")
    assert b"<script>" not in page(sheet)
    assert [phases for _, phases, _ in sheet.overlaps] == ["3 + 4", "1 + 2"]
    assert b"23429231#1 to -28198821#4" in page(sheet)
    assert pdf(sheet) == pdf(sheet)


def test_a_phone_shows_the_sheet_of_a_signal_with_a_long_name(browser: Any, tmp_path: Path) -> None:
    from deployment.bundle.make.sheet import timing_sheet
    from deployment.bundle.make.sheet_page import page

    network = load("cologne3").network
    item = max(compile_signals(network).intersections, key=lambda item: len(item.tls_id))
    subject = Subject.alone(item, network, "detectors")
    (tmp_path / "sheet.html").write_bytes(page(timing_sheet(subject, "cologne3", "2026 to 2027")))
    shown = browser.new_page(viewport={"width": 390, "height": 844})
    shown.goto((tmp_path / "sheet.html").as_uri())
    assert item.tls_id in shown.locator("h1").inner_text()
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_policy_answers_within_a_millisecond(bundle: Bundle) -> None:
    import time

    taken = []
    for values in bundle.golden.inputs[:200]:
        begun = time.thread_time()
        bundle.policy(values)
        taken.append(time.thread_time() - begun)
    assert np.percentile(taken, 99) < 1e-3


def test_running_a_bundle_needs_neither_learning_nor_simulation_nor_pickle(path: Path) -> None:
    """The module named pickle is imported by numpy itself; the hook sees to it that nothing is unpickled."""
    program = f"""
import sys
def hook(event, arguments):
    if event.startswith("pickle."):
        raise SystemExit(f"unpickled {{arguments}}")
sys.addaudithook(hook)
from pathlib import Path
from deployment.bundle.read import read_bundle
bundle = read_bundle(Path({str(path)!r}), public_key=Path({str(path.parent / "key.pub")!r}))
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


def test_written_whole_or_not_at_all(path: Path, tmp_path: Path) -> None:
    files = {p.name: p.read_bytes() for p in path.iterdir()}
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


def test_anybody_can_check_the_signature(path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    words = ["pkeyutl", "-verify", "-pubin", "-inkey", str(path.parent / "key.pub"), "-rawin"]
    words += ["-in", str(path / "manifest.json"), "-sigfile", str(path / "manifest.sig")]
    done = subprocess.run([openssl, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Verified Successfully" in done.stdout


def test_the_tables_follow_from_the_intersection(bundle: Bundle, path: Path) -> None:
    subject = Subject.of(bundle.intersection, bundle.layout, bundle.loops, "detectors")
    for name, content in documents(subject).items():
        assert json.loads((path / name).read_text()) == json.loads(json.dumps(content))
    conflicts = json.loads((path / "conflicts.json").read_text())
    assert conflicts["nema_pairs_allowed"] == [[1, 5], [2, 6], [3, 7], [4, 8]]
    assert len(conflicts["conflicts"]) == len(bundle.intersection.table.links)


def test_an_unsigned_reading_ignores_dates(path: Path) -> None:
    assert not read_unsigned_bundle(path).signed
    with pytest.raises(InputError, match="expired"):
        read_bundle(path, public_key=path.parent / "key.pub", now=datetime.now(UTC) + timedelta(days=400))


def test_a_bundle_is_judged_as_the_run_that_it_comes_from(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scenario", "single", "--end", "300", "--seeds", "1", "--workers", "1", "--json"]
    assert evaluate.main([*words, "--controllers", str(path), str(path.parent / "run")]) == 0
    rows = json.loads(capsys.readouterr().out)["controllers"]
    assert rows[0]["controller"] == str(path)
    assert rows[0]["delay_s"]["mean"] == rows[1]["delay_s"]["mean"] > 0


def test_a_bundle_is_not_judged_on_another_signal(path: Path) -> None:
    controller = BundleController(bundle_folders(path))
    for name, timing, said in (
        ("cologne1", Timing(), "no bundle for signal"),
        ("tee", Timing(), "is for another signal 'C'"),
        ("single", Timing(min_green_s=9.0), "network or timing differ"),
    ):
        network = load(name).network
        items = compile_signals(network, timing).intersections
        with pytest.raises(InputError, match=said):
            controller.reset(items, build_layout(items, network), 0)
