"""Plans reach a controller whole or not at all, and read back as they were written."""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployment.bundle.make.sealing import Seal
from deployment.bundle.manifest import Identity, new_key
from deployment.bundle.sealed_plans import NTCIP, PLAN, TIMING, plan_files
from deployment.emulator.process import EmulatorProcess
from deployment.field.download import main
from deployment.field.snmp.transaction import PlanWriter
from deployment.nema import oids
from deployment.nema.objects import objects_from_json, plan_objects
from deployment.nema.pattern import Event, SignalPlans, least_split_s
from plumbing.errors import InputError
from scenarios.loading import load
from tests.field import CLOSED, OTHER, POLICY, users_file
from tests.plan_writing import held, plans, through
from tests.udp_proxy import UdpProxy, pdu_tag

V3 = ("--snmp", "3", "--user", "env:PLAN_USER", "--auth", "env:PLAN_AUTH", "--priv", "env:PLAN_PRIV")


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with EmulatorProcess("single") as emulator:
        yield emulator


# --- the command: what is sealed


class Sealer:
    """Seals plans for the emulator, and downloads them by the command."""

    def __init__(self, folder: Path, emulator: EmulatorProcess) -> None:
        self.folder, self.emulator = folder, emulator
        self.public = new_key(folder / "lab")
        self.count = 0

    def seal(
        self, made: tuple[SignalPlans, tuple[Event, ...]], change: Callable[[dict[str, bytes]], object] = id,
        **settings: Any,
    ) -> Path:  # fmt: skip
        """A sealed folder, its files changed before they were signed."""
        files = plan_files(*made)
        change(files)
        self.count += 1
        out = self.folder / f"plan-{self.count}"
        given = {
            "key": self.folder / "lab", "serial": 1, "not_before": "2020-01-01T00:00:00Z",
            "not_after": "2099-01-01T00:00:00Z", "controllers": {"C": Identity(self.emulator.engine_id, None)},
            "scenario": load("single"), "network_sha256": "0" * 64, **settings,
        }  # fmt: skip
        Seal(**given).write(out, PLAN, "C", None, files, overwrite=False)
        return out

    def download(self, plan: Path, *more: str, port: int | None = None, who: tuple[str, ...] = V3) -> int:
        """The command's exit status."""
        words = [str(plan), "--public-key", str(self.public), "--state", str(self.folder / "state"), *who]
        return main([*words, "--target", f"{self.emulator.host}:{port or self.emulator.port}", *more])


@pytest.fixture
def sealer(emulator: EmulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sealer:
    for name, value in (("USER", POLICY.user), ("AUTH", POLICY.auth_key), ("PRIV", POLICY.privacy_key)):
        monkeypatch.setenv(f"PLAN_{name}", str(value))
    return Sealer(tmp_path, emulator)


@pytest.mark.wide
def test_the_command_downloads_sealed_plans_and_lets_one_run(
    sealer: Sealer, emulator: EmulatorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sealer.download(sealer.seal(plans(96)), "--select", "1") == 0
    assert "read back" in capsys.readouterr().out
    assert held(emulator, plan_objects(*plans(96))) == plan_objects(*plans(96))
    with pytest.raises(InputError, match="there is no pattern 7"):  # of which nobody knows what the controller holds
        sealer.download(sealer.seal(plans(120)), "--select", "7")
    assert held(emulator, plan_objects(*plans(96))) == plan_objects(*plans(96))
    assert sealer.download(sealer.seal(plans(96)), "--select", "0") == 0


def shorter(field: str, value: float) -> tuple[SignalPlans, tuple[Event, ...]]:
    """Plans that would be in order at a controller with less of something."""
    made, day = plans(96)
    phases = tuple(dataclasses.replace(p, **{field: min(value, getattr(p, field))}) for p in made.nema.phases)
    return dataclasses.replace(made, nema=dataclasses.replace(made.nema, phases=phases)), day


def without_recall(made: tuple[SignalPlans, tuple[Event, ...]]) -> tuple[SignalPlans, tuple[Event, ...]]:
    """The split of phase 2 has room for its green, and not for the walk that a button may call."""
    (signal, day), number = made, 2
    (pattern,) = signal.patterns
    least, ring = least_split_s(signal.nema.phase(number), "max_recall"), (1, 2, 5, 6)
    total = pattern.split(1).split_s + pattern.split(2).split_s
    size = {1: total - least, 2: least, 5: total - least, 6: least}
    splits = tuple(
        dataclasses.replace(s, split_s=size[s.phase], mode="max_recall") if s.phase in ring else s
        for s in pattern.splits
    )
    return dataclasses.replace(signal, patterns=(dataclasses.replace(pattern, splits=splits),)), day


def edited(name: str, change: Callable[[Any], object]) -> Callable[[dict[str, bytes]], None]:
    def changed(files: dict[str, bytes]) -> None:
        content = json.loads(files[name])
        change(content)
        files[name] = json.dumps(content).encode()

    return changed


def without_crossings(content: Any) -> None:
    for phase in content["plan"]["phases"]:
        phase["crossings"] = []


LONE = {"object": "splitTime", "index": [30, 2], "value": 5}  # of a pattern that is in the controller, perhaps


NOT_HERE: dict[str, tuple[Callable[[Sealer], Path], str]] = {
    "expired": (lambda s: s.seal(plans(96), not_after="2020-01-02T00:00:00Z"), "expired at 2020-01-02"),
    "not yet valid": (lambda s: s.seal(plans(96), not_before="2098-01-01T00:00:00Z"), "is not valid before 2098"),
    "unsigned": (lambda s: s.seal(plans(96), key=None), "is not signed"),
    "for another controller": (
        lambda s: s.seal(plans(96), controllers={"C": Identity("8000000001", None)}), "is not for the controller at"
    ),
    "for nobody": (lambda s: s.seal(plans(96), controllers={}), "names no controller"),
    "for another site": (
        lambda s: s.seal(plans(96), controllers={"C": Identity(None, "0" * 64)}), "for a site with a token"
    ),
    "a shorter walk": (lambda s: s.seal(shorter("walk_s", 4.0)), r"phaseWalk.2 is 7, the plan has 4"),
    "a shorter clearance": (
        lambda s: s.seal(shorter("pedestrian_clearance_s", 3.0)), r"phasePedestrianClear.4 is \d+, the plan has 3"
    ),
    "a shorter min green": (lambda s: s.seal(shorter("min_green_s", 2.0)), "phaseMinimumGreen.1 is"),
    "a shorter yellow": (lambda s: s.seal(shorter("yellow_change_s", 3.0)), "phaseYellowChange.1 is"),
    "a split below its own timing": (
        lambda s: s.seal(plans(96), edited(NTCIP, lambda c: _first(c, "splitTime").update(value=6))), "it needs"
    ),
    "a split without room for a walk": (lambda s: s.seal(without_recall(plans(96))), "the split of phase 2 is"),
    "a walk without a crossing": (
        lambda s: s.seal(without_recall(plans(96)), edited(TIMING, without_crossings)), "the split of phase 2 is"
    ),
    "a split that is no plan's": (
        lambda s: s.seal(plans(96), edited(NTCIP, lambda c: c["objects"].append(LONE))), "do not need"
    ),
    "other kinds of objects": (
        lambda s: s.seal(plans(96), edited(NTCIP, lambda c: _first(c, "splitTime").update(object="phaseWalk"))),
        "no part of a plan",
    ),
    "timing of another signal": (
        lambda s: s.seal(plans(96), edited(TIMING, lambda c: c["plan"].update(tls_id="D"))), "different signals"
    ),
    "no plan": (lambda s: s.seal(plans(96), edited(NTCIP, dict.clear)), "is inconsistent"),
    "no JSON": (lambda s: s.seal(plans(96), lambda files: files.update({NTCIP: b"{"})), "is inconsistent"),
}  # fmt: skip


def _first(content: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in content["objects"] if entry["object"] == name)
    return found


@pytest.mark.wide
@pytest.mark.parametrize("case", NOT_HERE)
def test_acceptance_22_a_plan_that_may_not_run_here_is_refused_before_anything_is_written(
    case: str, sealer: Sealer, emulator: EmulatorProcess
) -> None:
    make, said = NOT_HERE[case]
    with UdpProxy(emulator.host, emulator.port) as link, pytest.raises(InputError, match=said) as caught:
        sealer.download(make(sealer), port=link.port, who=("--closed-network",))  # by SNMPv2c, whose SETs can be seen
    assert link.seen.sets == []
    assert "\n" not in str(caught.value)
    assert not (sealer.folder / "state").exists()


class SwapAfter(UdpProxy):
    """The cable is put into another cabinet after so many SETs."""

    left, then = 0, ("", 0)

    def _pass(self, sock: socket.socket, message: bytes, to: tuple[str, int]) -> None:
        super()._pass(sock, message, to)
        if sock is not self._front and pdu_tag(message) == 0xA3:
            self.left -= 1
            self.target = self.target if self.left else self.then


def test_acceptance_22_another_controller_midway_gets_no_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After whichever SET: what was begun is left to the controller that is named, and status and line say so."""
    monkeypatch.setenv("COMMUNITY", CLOSED.community)
    who, users, said = ("--closed-network", "--community", "env:COMMUNITY"), users_file(tmp_path), []

    async def give_up(writer: PlanWriter) -> None:
        await writer._go_to(oids.DB_NORMAL)

    with EmulatorProcess("single", users=users) as named, EmulatorProcess(users=users, engine_id=OTHER) as other:
        sealer = Sealer(tmp_path, named)
        plan = sealer.seal(plans(96))
        for sets in range(1, 20):
            with SwapAfter(named.host, named.port) as link:
                link.left, link.then = sets, (other.host, other.port)
                try:
                    sealer.download(plan, "--select", "1", port=link.port, who=who)
                except InputError as error:
                    said.append(str(error))
                else:
                    break
            assert len(link.seen.sets) == sets
            through(named, give_up)
    assert len(said) >= 5
    assert all(f"its snmpEngineID is {OTHER}" in line and "\n" not in line for line in said)
    for words in ("keeps its own plans", "whether the controller took the plans is not known", "not read back"):
        assert any(words in line for line in said), words
    assert capsys.readouterr().err == ""


def test_acceptance_22_a_plan_written_or_changed_by_hand_is_refused(sealer: Sealer, tmp_path: Path) -> None:
    plain = tmp_path / "plans_ntcip.json"
    plain.write_bytes(plan_files(*plans(96))[NTCIP])
    with pytest.raises(InputError, match="is no directory"):
        sealer.download(plain)
    for name in (NTCIP, TIMING):
        sealed = sealer.seal(plans(96))
        content = (sealed / name).read_bytes()
        (sealed / name).write_bytes(content.replace(b"7", b"8", 1))
        with pytest.raises(InputError, match="was changed"):
            sealer.download(sealed)
    (sealed / "manifest.sig").write_bytes(bytes(64))
    with pytest.raises(InputError, match="signed with another key"):
        sealer.download(sealed)


@pytest.mark.wide
def test_acceptance_22_an_older_plan_is_refused_and_a_bundles_serial_is_another(
    sealer: Sealer, emulator: EmulatorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sealer.download(sealer.seal(plans(100), serial=5)) == 0
    older = sealer.seal(plans(110), serial=4)
    with pytest.raises(InputError, match="has serial 4, and 5 has run on this controller"):
        sealer.download(older)
    assert held(emulator, plan_objects(*plans(100))) == plan_objects(*plans(100))
    assert sealer.download(older, "--accept-older", "the newer one jams the left turn") == 0
    assert "accepted although 5 has run: the newer one jams" in capsys.readouterr().out
    assert held(emulator, plan_objects(*plans(110))) == plan_objects(*plans(110))
    (kept,) = (sealer.folder / "state").iterdir()
    assert json.loads(kept.read_text())["accepted"][0]["reason"] == "the newer one jams the left turn"


SPLIT: dict[str, Any] = {"object": "splitTime", "index": [1, 2], "value": 35}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"index": "12"}, "no row '12'"),
        ({"index": 5}, "no row 5"),
        ({"index": [1]}, r"no row \[1\]"),
        ({"index": [1, -2]}, "no row"),
        ({"index": [1, 10**14]}, "no row"),
        ({"index": [1.9, 2]}, "no row"),
        ({"value": 256}, "holds 256"),
        ({"value": -1}, "holds -1"),
        ({"value": True}, "holds True"),
        ({"value": 35.5}, "holds 35.5"),
        ({"object": "sequenceData", "value": [1, 300]}, "holds"),
        ({"object": "sequenceData", "value": ["a"]}, "holds"),
        ({"object": "dayPlanActionNumberOID", "value": "1.x"}, "holds '1.x'"),
        ({"oid": oids.dotted(oids.SPLIT_TIME.at(1, 3))}, "is not '1.3"),
    ],
)
def test_a_file_that_no_controller_could_hold_is_refused_in_one_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        objects_from_json([SPLIT | change])


def test_a_file_that_says_two_things_is_refused(sealer: Sealer) -> None:
    with pytest.raises(InputError, match="there twice"):
        objects_from_json([SPLIT, SPLIT | {"value": 20}])
    twice = b'{"objects": [{"object": "splitTime", "index": [1, 2], "value": 35, "value": 20}]}'
    for content, said in ((twice, "'value' is there twice"), (b"[" * 100_000, "nested too deeply")):
        sealed = sealer.seal(plans(96), lambda files, content=content: files.update({NTCIP: content}))  # type: ignore[misc]
        with pytest.raises(InputError, match=said):
            sealer.download(sealed)
