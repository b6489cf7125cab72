"""Nothing that is commanded makes the emulated controller unsafe; both monitors find what is put into its lamps."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from deployment.emulator.mib import Mib, SetError
from deployment.emulator.mmu import Monitor
from deployment.nema import oids
from evaluation.monitor.rules import Interval, Judge, Rules
from tests.emulated import Recorder, cabinet, intersections, links

SIGNALS = [
    ("single", "C"),
    ("tee", "C"),
    ("cologne1", "GS_cluster_357187_359543"),
    ("ingolstadt1", "gneJ207"),
    ("ingolstadt7", "32564122"),
    ("ingolstadt7", "gneJ143"),
    ("arterial", "J1"),
]
"""Dual rings with and without overlaps, uneven rings, with and without crossings."""
CONTROLS = [item for item in oids.OBJECTS.values() if item.name.startswith("phaseControlGroup")]


def fuzz(recorder: Recorder, steps: int, seed: int) -> None:
    """Commands, inputs and traffic at random, at most one of each kind a tick."""
    draw = random.Random(seed)
    made = recorder.cabinet
    mib = Mib(made)
    detectors, rate = 0, 0.02
    for _ in range(steps):
        inputs = made.controller.inputs
        if draw.random() < 0.001:
            rate = draw.choice((0.005, 0.05, 0.5))
        if draw.random() < rate:
            some = draw.sample(CONTROLS, draw.randint(1, len(CONTROLS)))
            few = draw.getrandbits(8) & draw.getrandbits(8) & draw.getrandbits(8)
            mib.write([(item.at(1), draw.choice((0, 0, few, few, draw.getrandbits(8), 0xFF))) for item in some])
        if draw.random() < 0.005:  # a ring that stands still tells little
            mib.write([(oids.RING_STOP_TIME.at(1), draw.choice((0,) * 20 + (1, 2, 3)))])
        if draw.random() < 0.002:
            pattern = draw.choice((0, 1, 2, oids.FREE, oids.FREE, oids.FLASH))
            mib.write([(oids.SYSTEM_PATTERN_CONTROL.at(), pattern)])
        if draw.random() < 0.002:
            number = draw.randint(1, len(made.installation.preempts))
            mib.write([(oids.PREEMPT_CONTROL_STATE.at(number), draw.choice((0, 0, 1)))])
        if draw.random() < 0.001:
            inputs.flash = draw.random() < 0.1
            inputs.manual = draw.random() < 0.1
        inputs.advance = draw.random() < 0.05
        if draw.random() < 0.03:
            detectors = draw.getrandbits(40) & draw.getrandbits(40)
        recorder.tick(detectors, draw.getrandbits(8) if draw.random() < 0.01 else 0)


def two_plans(recorder: Recorder) -> None:
    """Patterns 1 and 2, whatever the intersection."""
    made = recorder.cabinet
    made.begin_transaction()
    assert made.draft is not None
    longest = [
        max(-(-made.settings.phases[n].least_service // 10) for n in made.settings.phases if group >> n - 1 & 1)
        for group in made.settings.components()
    ]
    for number in (1, 2):
        cycle = 0
        for group, seconds in zip(made.settings.components(), longest, strict=True):
            rings = [[p for p in order if group >> p - 1 & 1] for order in made.settings.sequences[1]]
            most = max(len(own) for own in rings) * (seconds + 5 * number)
            cycle += most
            for own in rings:
                for place, p in enumerate(own):
                    share = most // len(own) + (most % len(own) if place == 0 else 0)
                    made.draft[oids.SPLIT_TIME.at(number, p)] = share
        first = next(iter(made.settings.phases))
        made.draft[oids.SPLIT_COORD_PHASE.at(number, first)] = 1
        made.draft[oids.PATTERN_CYCLE_TIME.at(number)] = cycle
        made.draft[oids.PATTERN_OFFSET_TIME.at(number)] = 7 * number
    made.verify()
    made.end_transaction()
    assert made.verify_error == ""


@pytest.mark.parametrize(("scenario", "tls_id"), SIGNALS)
def test_acceptance_02_random_commands_cause_no_violation(scenario: str, tls_id: str) -> None:
    recorder = Recorder(cabinet(scenario, tls_id), scenario)
    two_plans(recorder)
    fuzz(recorder, 3_000, seed=1)
    assert recorder.findings() == []
    assert recorder.cabinet.faults == []
    assert len(recorder.shown) > 10


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "tls_id"), SIGNALS)
def test_acceptance_02_a_million_random_commands_cause_no_violation(scenario: str, tls_id: str) -> None:
    for seed in range(10 if scenario == "single" else 2):
        recorder = Recorder(cabinet(scenario, tls_id), scenario)
        two_plans(recorder)
        fuzz(recorder, 100_000, seed)
        assert recorder.findings() == [], (scenario, seed)
        assert recorder.cabinet.faults == []


def test_acceptance_02_after_any_commands_every_phase_is_served_again() -> None:
    recorder = Recorder(cabinet(backup_s=10))
    fuzz(recorder, 6_000, seed=3)
    inputs = recorder.cabinet.controller.inputs
    inputs.flash = inputs.manual = False
    Mib(recorder.cabinet).write([(oids.PREEMPT_CONTROL_STATE.at(n), 0) for n in (1, 2, 3, 4)])
    begun = recorder.cabinet.now
    recorder.run(400, (1 << 20) - 1, 0xFF)
    served = {n for tick, code, n in recorder.cabinet.log.rows if code == 1 and tick > begun + 120}
    assert served == set(range(1, 9))


# what the monitors find


def conflict(shown: str) -> str | None:
    """Phases 2 and 4 at once."""
    return "gGrgGGrrrrrrrrrrrr" if shown[0] in "Gg" else None


def crossing(shown: str) -> str | None:
    """Walk across running traffic."""
    return shown[:17] + "G" if shown[3] in "Gg" else None


Fault = Callable[[list[str]], list[str]]


def replaced(change: Callable[[str], str | None]) -> Fault:
    return lambda states: [change(state) or state for state in states]


def cut(character: str, keep: int) -> Fault:
    """Keep only so many ticks of every spell of yellow (or of all red)."""

    def change(states: list[str]) -> list[str]:
        found, lasted = [], 0
        for n, state in enumerate(states):
            inside = "y" in state if character == "y" else set(state) == {"r"} and n > 100
            lasted = lasted + 1 if inside else 0
            if lasted <= keep:
                found.append(state)
        return found

    return change


def without_yellow(states: list[str]) -> list[str]:
    return [state.replace("y", "r") for state in states]


def dark(states: list[str]) -> list[str]:
    """A lamp that burnt out: the channel shows nothing where it should be red."""
    return ["O" + state[1:] if state[0] == "r" else state for state in states]


def walk_until_a_second_before(states: list[str]) -> list[str]:
    """Walk goes on through its clearance, until a second before a conflicting green."""
    card = cabinet().monitor.card
    found = [list(state) for state in states]
    for channel in card.walks:
        for n in range(1, len(states)):
            if states[n - 1][channel] == "G" and states[n][channel] == "r":
                foes = [i for i in range(len(states[0])) if i not in card.permitted[channel]]
                begins = (m for m in range(n, len(states)) if any(states[m][i] in "Gg" for i in foes))
                for m in range(n, next(begins, n) - 10):
                    found[m][channel] = "G"
    return ["".join(state) for state in found]


CHANGES: dict[str, tuple[Fault, set[str], set[str]]] = {
    "conflict": (replaced(conflict), {"conflict"}, {"conflicting_greens"}),
    "walk into traffic": (replaced(crossing), {"conflict"}, {"conflicting_greens"}),
    "no yellow": (without_yellow, {"no_yellow"}, {"missing_yellow"}),
    "yellow of 2 s": (cut("y", 20), {"short_yellow"}, {"short_yellow"}),
    "a dark lamp": (dark, {"red_fail"}, set()),
    "walk to the last": (walk_until_a_second_before, {"short_clearance"}, {"short_pedestrian_clearance"}),
    "no red clearance": (cut("r", 0), set(), {"short_red_clearance"}),
}
"""Per class of fault, what the conflict monitor calls it, and what the independent monitor does. Neither sees all:
a conflict monitor knows no red clearance beyond 2.7 s of change, and no lamp fails in a recording."""


@pytest.fixture(scope="module")
def sound() -> list[str]:
    """What `single` shows tick by tick, with every phase called once, and walkers."""
    recorder = Recorder(cabinet())
    recorder.run(110, 0, 0xFF)
    recorder.run(40, 1)
    return [shown.state for shown in recorder.shown for _ in range((shown.end_ms - shown.start_ms) // 100)]


@pytest.mark.parametrize("name", CHANGES)
def test_acceptance_02_each_class_of_fault_is_caught(name: str, sound: list[str]) -> None:
    change, by_mmu, by_judge = CHANGES[name]
    assert found_by_mmu(sound) == set()
    assert found_by_judge(sound) == set()
    broken = change(sound)
    assert broken != sound
    assert found_by_mmu(broken) == by_mmu
    assert found_by_judge(broken) >= by_judge
    assert by_mmu | by_judge


def found_by_mmu(states: list[str]) -> set[str]:
    monitor = Monitor(cabinet().monitor.card)
    for tick, state in enumerate(states):
        monitor.watch(tick, state)
    return {fault.kind for fault in monitor.found}


def found_by_judge(states: list[str]) -> set[str]:
    shown: list[Interval] = []
    for n, state in enumerate(states):
        if shown and shown[-1].state == state:
            shown[-1] = Interval(shown[-1].start_ms, n * 100 + 100, state)
        else:
            shown.append(Interval(n * 100, n * 100 + 100, state))
    return {f.kind for f in Judge(links("single")["C"], shown, Rules()).findings()}


def test_a_fault_latches_into_flash_until_someone_resets_it() -> None:
    made = cabinet()
    recorder = Recorder(made)
    recorder.until(lambda: recorder.greens() == {2, 6})
    lamps, made.lamps.state = made.lamps.state, lambda controller: "G" * 18  # type: ignore[method-assign]
    recorder.run(0.4)
    made.lamps.state = lamps  # type: ignore[method-assign]
    assert [fault.kind for fault in made.faults] == ["conflict"]
    recorder.run(300)
    assert set(made.state) == {"o"}
    assert Mib(made).read(oids.UNIT_FLASH_STATUS.at()) == oids.MMU_FLASH
    made.reboot()  # the monitor is a device of its own
    recorder.run(300)
    assert set(made.state) == {"o"}
    assert Mib(made).read(oids.UNIT_FLASH_STATUS.at()) == oids.MMU_FLASH
    made.reset_monitor()
    recorder.run(60, 0xFF)
    assert made.controller.flashing == oids.NOT_FLASHING
    assert recorder.greens()


def test_a_program_card_permits_what_the_signal_shows_and_nothing_that_meets() -> None:
    ((item, installation),) = intersections("single").values()
    card = cabinet().monitor.card
    by_phase = {p.number: p.links for p in installation.plan.phases}
    for action in installation.plan.actions:
        lit = [i for n in action for i in by_phase[n]]
        assert all(j in card.permitted[i] for i in lit for j in lit)
    straight = [by_phase[2][1], by_phase[4][1]]
    assert item.table.conflicts[straight[0], straight[1]]
    assert straight[1] not in card.permitted[straight[0]]


# who may write what, and when


def test_a_set_is_done_as_a_whole_or_not_at_all() -> None:
    made = cabinet()
    mib = Mib(made)
    good, bad = (oids.CONTROL_HOLD.at(1), 7), (oids.CONTROL_FORCE_OFF.at(1), 256)
    for varbinds, status, index in (
        ([good, bad], "wrongValue", 1),
        ([good, (oids.CONTROL_PHASE_OMIT.at(1), b"\x01")], "wrongType", 1),
        ([good, (oids.STATUS_GREENS.at(1), 1)], "notWritable", 1),
        ([good, (oids.CONTROL_HOLD.at(2), 1)], "noCreation", 1),
        ([(oids.SPLIT_TIME.at(1, 1), 20), good], "inconsistentValue", 0),
        ([(oids.PHASE_RING.at(1), 2), good], "notWritable", 0),
    ):
        with pytest.raises(SetError) as refused:
            mib.write(varbinds)
        assert (refused.value.status, refused.value.index) == (status, index)
        assert made.controller.commands.hold == 0
        assert made.controller.last_write is None
    mib.write([good, (oids.CONTROL_FORCE_OFF.at(1), 255)])
    assert made.controller.commands.hold == 7


@pytest.mark.parametrize(
    ("oid", "value", "complaint"),
    [
        (oids.SPLIT_TIME.at(1, 2), 36, "barrier"),
        (oids.SPLIT_TIME.at(1, 3), 8, "least service"),
        (oids.PATTERN_CYCLE_TIME.at(1), 91, "sum up to 90"),
        (oids.PATTERN_OFFSET_TIME.at(1), 90, "less than the cycle"),
        (oids.PATTERN_SPLIT_NUMBER.at(1), 99, "no split 99"),
        (oids.PATTERN_SEQUENCE_NUMBER.at(1), 99, "no sequence 99"),
        (oids.SPLIT_MODE.at(1, 3), 12, "no mode"),
        (oids.SPLIT_COORD_PHASE.at(1, 4), 1, "cannot be on together"),
        (oids.SEQUENCE_DATA.at(1, 1), bytes([1, 2, 3]), "each once"),
        (oids.SEQUENCE_DATA.at(1, 1), bytes([3, 2, 1, 4]), "different orders"),
        (oids.SEQUENCE_DATA.at(1, 1), bytes([0, 2, 3, 4]), "each once"),
        (oids.SEQUENCE_DATA.at(1, 2), bytes([5, 6, 7, 9]), "each once"),
        (oids.DETECTOR_CALL_PHASE.at(1), 255, "no phase 255"),
        (oids.TIMEBASE_PATTERN.at(1), 5, "no pattern 5"),
        (oids.SCHEDULE_DAY_PLAN.at(1), 2, "no event"),
        (oids.PHASE_YELLOW_CHANGE.at(2), 20, "3 to 6 s"),
        (oids.PHASE_WALK.at(2), 2, "at least 4"),
        (oids.PHASE_MAXIMUM_1.at(2), 3, "less than the minimum"),
    ],
)
def test_acceptance_18_a_half_bad_plan_changes_nothing(oid: oids.Oid, value: int | bytes, complaint: str) -> None:
    made = cabinet()
    mib = Mib(made)
    times = {2: 35, 6: 35, 1: 15, 5: 15, 3: 15, 7: 15, 4: 25, 8: 25}
    good = [(oids.PATTERN_CYCLE_TIME.at(1), 90), (oids.PATTERN_OFFSET_TIME.at(1), 5)]
    good += [(oids.SPLIT_TIME.at(1, n), seconds) for n, seconds in times.items()]
    good += [(oids.SPLIT_COORD_PHASE.at(1, 2), 1), (oids.SPLIT_COORD_PHASE.at(1, 6), 1)]
    transaction = oids.DB_CREATE_TRANSACTION.at()
    before, settings = dict(made.values), made.settings
    mib.write([(transaction, oids.DB_TRANSACTION)])
    mib.write(good)
    mib.write([(oid, value)])
    mib.write([(transaction, oids.DB_VERIFY)])
    assert mib.read(oids.DB_VERIFY_STATUS.at()) == oids.VERIFY_ERROR
    error = mib.read(oids.DB_VERIFY_ERROR.at())
    assert isinstance(error, bytes)
    assert complaint in error.decode()
    mib.write([(transaction, oids.DB_NORMAL)])
    assert made.values == before
    assert made.settings is settings
    mib.write([(transaction, oids.DB_TRANSACTION)])
    mib.write(good)
    mib.write([(transaction, oids.DB_VERIFY)])
    assert mib.read(oids.DB_VERIFY_STATUS.at()) == oids.VERIFY_NO_ERROR
    assert made.values == before  # not yet
    mib.write([(transaction, oids.DB_NORMAL)])
    assert {read: mib.read(read) for read, _ in good} == dict(good)


def test_acceptance_18_a_transaction_that_is_given_up_changes_nothing() -> None:
    made = cabinet()
    mib = Mib(made)
    before = dict(made.values)
    mib.write([(oids.DB_CREATE_TRANSACTION.at(), oids.DB_TRANSACTION), (oids.PATTERN_CYCLE_TIME.at(1), 77)])
    assert mib.read(oids.PATTERN_CYCLE_TIME.at(1)) == 77  # the draft is read back
    mib.write([(oids.DB_CREATE_TRANSACTION.at(), oids.DB_NORMAL)])
    assert made.values == before
    with pytest.raises(SetError):
        mib.write([(oids.DB_CREATE_TRANSACTION.at(), oids.DB_VERIFY)])
