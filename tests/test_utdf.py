"""Plans as UTDF and as JSON: nothing is lost on the way."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from deployment.nema.pattern import (
    Event,
    PlanSet,
    SignalPlans,
    plan_set_from_json,
    plan_set_json,
)
from deployment.plans.utdf import read_tables, read_utdf, utdf_text, write_tables
from plumbing.errors import InputError
from scenarios.loading import load
from tests.plans import NETWORKS, changed, own_pattern, plan_set, signals


@pytest.mark.parametrize("name", NETWORKS)
def test_acceptance_18_utdf_round_trips(name: str) -> None:
    items, nema = {i.tls_id: i for i, _ in signals(name)}, [n for _, n in signals(name)]
    plans, network = plan_set(name), load(name).network
    for number in (1, 2):
        text = utdf_text(plans, number, items, network)
        expected = {signal.nema.tls_id: signal.pattern(number) for signal in plans.signals}
        assert read_utdf(text, nema, number) == expected
        assert write_tables(read_tables(text)) == text
        again = [SignalPlans(s.nema, (read_utdf(text, nema, number)[s.nema.tls_id],)) for s in plans.signals]
        assert utdf_text(PlanSet(tuple(again), plans.day), number, items, network) == text


def test_utdf_keeps_every_mode() -> None:
    ((item, nema),) = signals("single")
    pattern = own_pattern(item, nema)
    for phase, mode in ((2, "ped_recall"), (6, "none"), (3, "min_recall"), (8, "max_recall")):
        pattern = changed(pattern, phase, mode=mode)
    lost = pattern.split(1).split_s
    for phase in (1, 5):
        pattern = changed(pattern, phase, mode="omitted", split_s=0)
    pattern = dataclasses.replace(pattern, cycle_s=pattern.cycle_s - lost)
    plans = PlanSet((SignalPlans(nema, (pattern,)),), (Event(0, 1),))
    text = utdf_text(plans, 1, {item.tls_id: item}, load("single").network)
    assert read_utdf(text, [nema], 1) == {item.tls_id: pattern}
    with pytest.raises(InputError, match="no node for tls 'J'"):
        read_utdf(text, [dataclasses.replace(nema, tls_id="J")], 1)
    with pytest.raises(InputError, match=r"no section \[Lanes\]"):
        read_utdf(text.split("[Lanes]")[0] + text[text.index("[Timeplans]") :], [nema], 1)
    with pytest.raises(InputError, match="node 1 is not whole"):
        read_utdf(text.replace("Cycle Length,1,", "Cycle Length,1,1e999,"), [nema], 1)
    with pytest.raises(InputError, match=r"section \[Nodes\] is empty"):
        read_utdf(text[: text.index("INTID,TYPE")] + text[text.index("[Links]") :], [nema], 1)
    with pytest.raises(InputError, match="node 1 is not whole"):
        read_utdf(text.replace("Cycle Length,1,", "Cycle,1,"), [nema], 1)


@pytest.mark.parametrize("name", ["single", "cologne3"])
def test_acceptance_18_another_package_reads_the_utdf(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("utdf2gmns", reason="utdf2gmns is not installed: pip install 'intergreen[oracles]'")
    from utdf2gmns.func_lib.sumo.signal_intersections import parse_signal_control
    from utdf2gmns.func_lib.utdf.read_utdf import read_UTDF

    items, plans, file = {i.tls_id: i for i, _ in signals(name)}, plan_set(name), tmp_path / "plan.csv"
    file.write_text(utdf_text(plans, 1, items, load(name).network))
    tables = read_UTDF(str(file))
    cycles = tables["Timeplans"].query("RECORDNAME == 'Cycle Length'")["DATA"].tolist()
    assert [int(c) for c in cycles] == [signal.pattern(1).cycle_s for signal in plans.signals]
    for node, signal in enumerate(plans.signals, start=1):
        control = parse_signal_control(tables["Phases"], tables["Lanes"], node)
        for phase in signal.nema.phases:
            read = control[f"D{phase.number}"]
            total = sum(float(read[column]) for column in ("MaxGreen", "Yellow", "AllRed"))
            assert total == signal.pattern(1).split(phase.number).split_s
            assert read.get("protected") or read.get("permitted")
    if name == "single":
        control = parse_signal_control(tables["Phases"], tables["Lanes"], 1)
        assert control["D2"]["protected"] == ["SBT"]
        assert control["D5"]["protected"] == ["SBL"]
        assert control["D4"]["permitted"] == ["WBR"]
    assert "Error" not in capsys.readouterr().out


def test_plans_are_the_same_after_json() -> None:
    plans = plan_set("cologne3")
    stored = json.loads(json.dumps(plan_set_json(plans)))
    assert plan_set_from_json(stored) == plans
    stored["signals"][0]["patterns"][0]["splits"][0]["split_s"] = 1
    with pytest.raises(InputError, match="lengthen it"):
        plan_set_from_json(stored)
    for wrong in ({}, [], {"format": 99}, {"format": 1, "signals": 3, "day": []}):
        with pytest.raises(InputError, match="these are no plans"):
            plan_set_from_json(wrong)
