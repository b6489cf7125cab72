"""The tables and papers of a bundle: inputs, fixed-time plan, timing sheet, and the records that hold them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployment.bundle.contents import Subject, documents, feature_meanings
from deployment.bundle.read import Bundle
from deployment.nema.codec import decode, encode
from deployment.nema.fallback import fallback_plan
from deployment.nema.pattern import least_split_s, mode_for
from scenarios.loading import load
from signals.inputs import EXPORTED, InputTable
from signals.intersection import Intersection, compile_signals
from signals.layout import Layout, build_layout
from signals.loops import LoopPlan, plan_loops
from signals.nema import nema_plan
from signals.observations import CONSTANT, observation_for
from signals.snapshot import Snapshot

NAMES = ("single", "tee", "arterial", "cologne1", "cologne3", "ingolstadt7")


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


def test_every_input_has_meaning_unit_range_and_source(sealed: Path, bundle: Bundle) -> None:
    document = json.loads((sealed / "observation.json").read_text())
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
        values = getattr(snapshot, name)
        values[:] = random.random(len(values)) * 30
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


@pytest.mark.parametrize(("sensing", "observation"), list(EXPORTED))
def test_every_feature_that_changes_is_an_input(sensing: str, observation: str) -> None:
    network = load("single").network
    table = InputTable(build_layout(compile_signals(network).intersections, network), sensing, observation)
    features = {i.feature for i in table.inputs}
    observe = EXPORTED[sensing, observation]
    assert features == {*observe.PHASE_FEATURES, *observe.MOVEMENT_FEATURES} - {*CONSTANT}
    meanings = feature_meanings(table.kind)
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


def test_the_timing_sheet_is_whole(sealed: Path, bundle: Bundle) -> None:
    html = (sealed / "timing_sheet.html").read_text()
    for title in ("Min green", "Max green", "Vehicle extension", "Yellow", "All-red", "Walk", "Recall", "Offset"):
        assert title in html
    assert "Reference phase" in html
    assert "<svg" in html
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", html)
    assert "<script" not in html
    for phase in bundle.plan.phases:
        assert f"Φ{phase.number}" in html
    assert (sealed / "timing_sheet.pdf").read_bytes().startswith(b"%PDF-")
    assert (sealed / "timing_sheet.pdf").read_bytes().rstrip().endswith(b"%%EOF")


@pytest.mark.wide
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


@pytest.mark.wide
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


def test_the_tables_follow_from_the_intersection(bundle: Bundle, sealed: Path) -> None:
    subject = Subject.of(bundle.intersection, bundle.layout, bundle.loops, "detectors")
    for name, content in documents(subject).items():
        assert json.loads((sealed / name).read_text()) == json.loads(json.dumps(content))
    conflicts = json.loads((sealed / "conflicts.json").read_text())
    assert conflicts["nema_pairs_allowed"] == [[1, 5], [2, 6], [3, 7], [4, 8]]
    assert len(conflicts["conflicts"]) == len(bundle.intersection.table.links)
