"""The emulator's SNMP agent on the wire, as net-snmp's commands see it: every object, in order, and who may write."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployment.emulator.access import AUTH_ONLY, AUTH_PRIV, DEFAULT, NO_AUTH, V1, V2C, V3, Access, Grant, read_access
from deployment.emulator.mib import Mib
from deployment.emulator.process import EmulatorProcess
from deployment.nema import oids
from plumbing.errors import InputError
from tests.emulated import cabinet

pytestmark = pytest.mark.skipif(
    shutil.which("snmpget") is None, reason="needs net-snmp's commands: apt-get install snmp"
)
POLICY = ["-v3", "-l", "authPriv", "-u", "policy", "-a", "SHA-256", "-A", "policy-auth-key", "-x", "AES"]
POLICY += ["-X", "policy-priv-key"]
ENGINEER = [word.replace("policy", "engineer") for word in POLICY]
PUBLIC, PUBLIC_V1 = ["-v2c", "-c", "public"], ["-v1", "-c", "public"]
USERS = {
    "communities": [{"name": "public"}, {"name": "replay", "write": ["control"]}],
    "users": [
        {"name": name, "auth_key": f"{name}-auth-key", "priv_key": f"{name}-priv-key", "write": write}
        for name, write in (
            ("policy", ["control", "plan", "database"]),
            ("engineer", ["control", "plan", "database", "timing"]),
            ("reader", []),
        )
    ],
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    users = tmp_path_factory.mktemp("users") / "users.json"
    users.write_text(json.dumps(USERS))
    with EmulatorProcess("single", end_s=900, users=users, backup_s=30) as emulator:
        yield emulator


def snmp(emulator: EmulatorProcess, command: str, who: list[str], *words: str) -> subprocess.CompletedProcess[str]:
    """One of net-snmp's commands, numbers for names."""
    return subprocess.run(
        [command, "-t", "3", "-r", "1", *who, "-On", "-Oe", f"{emulator.host}:{emulator.port}", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def get(emulator: EmulatorProcess, oid: oids.Oid, who: list[str] = PUBLIC) -> str:
    done = snmp(emulator, "snmpget", who, oids.dotted(oid))
    assert done.returncode == 0, done.stderr
    return done.stdout.split(" = ")[1].split(": ", 1)[-1].strip()


def put(emulator: EmulatorProcess, who: list[str], *varbinds: tuple[oids.Oid, str, object]) -> str:
    """Returns what net-snmp complains of; "" for nothing."""
    words = [str(word) for oid, kind, value in varbinds for word in (oids.dotted(oid), kind, value)]
    done = snmp(emulator, "snmpset", who, *words)
    return "" if done.returncode == 0 else done.stderr + done.stdout


@pytest.mark.parametrize("who", [PUBLIC, PUBLIC_V1, POLICY], ids=["v2c", "v1", "v3"])
def test_acceptance_01_a_walk_shows_every_object_in_order(running: EmulatorProcess, who: list[str]) -> None:
    command = "snmpwalk" if who is PUBLIC_V1 else "snmpbulkwalk"
    start = oids.dotted((*oids.ASC, 1)) if who is PUBLIC_V1 else "1.3.6"  # one by one takes its time
    done = snmp(running, command, who, start)
    assert done.returncode == 0, done.stderr
    seen = [oids.parse(line.split(" = ")[0]) for line in done.stdout.splitlines() if " = " in line]
    expected = [oid for oid in Mib(cabinet()).instances() if oid[: len(oids.parse(start))] == oids.parse(start)]
    assert seen[: len(expected)] == expected
    assert seen == sorted(seen)


def test_acceptance_01_every_object_type_is_served() -> None:
    mib = Mib(cabinet("tee"))  # which has an overlap, too
    served = {item for oid in mib.instances() if (item := mib.object_at(oid))}
    assert {item.name for item in oids.OBJECTS.values()} == {item.name for item in served}


def test_acceptance_01_one_get_per_object_type(running: EmulatorProcess) -> None:
    first: dict[str, oids.Oid] = {}
    mib = Mib(cabinet())
    for oid in mib.instances():
        item = mib.object_at(oid)
        assert item is not None
        first.setdefault(item.name, oid)
    words = [oids.dotted(oid) for oid in first.values()]
    for begin in range(0, len(words), 20):
        done = snmp(running, "snmpget", PUBLIC, *words[begin : begin + 20])
        assert done.returncode == 0, done.stderr
        answers = [line for line in done.stdout.splitlines() if line.startswith(".1.")]  # a long string goes on below
        assert len(answers) == len(words[begin : begin + 20])
        assert "No Such" not in done.stdout


def test_acceptance_01_what_does_not_exist_is_said_not_to(running: EmulatorProcess) -> None:
    wrong = (*oids.ASC, 1, 3, 1, 4, 1)  # where some public simulators have their status
    assert "No Such" in snmp(running, "snmpget", PUBLIC, oids.dotted(wrong)).stdout
    assert "No Such Instance" in snmp(running, "snmpget", PUBLIC, oids.dotted(oids.PHASE_WALK.at(9))).stdout
    assert "noSuchName" in snmp(running, "snmpget", PUBLIC_V1, oids.dotted(wrong)).stderr


def test_acceptance_01_the_commands_of_a_policy_turn_the_lamps(running: EmulatorProcess) -> None:
    running.advance(60)
    for action in ((4, 8), (1, 5)):
        wanted = oids.pack(action)
        complaint = put(
            running, POLICY,
            (oids.CONTROL_PHASE_OMIT.at(1), "i", 0xFF & ~wanted),
            (oids.CONTROL_HOLD.at(1), "i", wanted),
            (oids.CONTROL_FORCE_OFF.at(1), "i", 0xFF & ~wanted),
            (oids.CONTROL_VEH_CALL.at(1), "i", wanted),
            (oids.CONTROL_PED_CALL.at(1), "i", wanted),
        )  # fmt: skip
        assert complaint == ""
        running.advance(28)
        assert running.status()["greens"] == list(action)
        assert get(running, oids.STATUS_GREENS.at(1)) == str(wanted)
        assert get(running, oids.UNIT_CONTROL_STATUS.at()) == "2"
    running.advance(31)
    assert get(running, oids.UNIT_CONTROL_STATUS.at()) == "4"
    assert get(running, oids.CONTROL_HOLD.at(1)) == "0"


@pytest.mark.wide
@pytest.mark.parametrize(
    "who",
    [
        PUBLIC,
        PUBLIC_V1,
        ["-v2c", "-c", "private"],
        ["-v3", "-l", "noAuthNoPriv", "-u", "policy"],
        ["-v3", "-l", "authNoPriv", "-u", "policy", "-a", "SHA-256", "-A", "policy-auth-key"],
        ["-v3", "-l", "noAuthNoPriv", "-u", "nobody"],
        [*POLICY[:-1], "another-priv-key"],
        [word.replace("policy-auth-key", "another-auth-key") for word in POLICY],
        [word.replace("policy", "reader") for word in POLICY],
        [*POLICY, "-n", "elsewhere"],
    ],
    ids=[
        "public", "public v1", "unknown community", "v3 unauthenticated", "v3 unencrypted", "unknown user",
        "wrong privacy key", "wrong authentication key", "a user without rights", "another context",
    ],
)  # fmt: skip
def test_acceptance_16_who_may_not_write_does_not(running: EmulatorProcess, who: list[str]) -> None:
    before = running.status()["commands"]
    for oid, value in (
        (oids.CONTROL_HOLD.at(1), 255),
        (oids.DB_CREATE_TRANSACTION.at(), 2),
    ):
        assert put(running, [*who, "-t", "1", "-r", "0"], (oid, "i", value)) != ""
    assert running.status()["commands"] == before
    assert get(running, oids.CONTROL_HOLD.at(1)) == "0"
    assert get(running, oids.DB_CREATE_TRANSACTION.at()) == "1"


def test_acceptance_16_an_unprivileged_message_reads_nothing_either(running: EmulatorProcess) -> None:
    for who in (["-v2c", "-c", "private"], ["-v3", "-l", "noAuthNoPriv", "-u", "policy"]):
        impatient = [*who, "-t", "1", "-r", "0"]
        assert snmp(running, "snmpget", impatient, oids.dotted(oids.STATUS_GREENS.at(1))).returncode != 0


def test_acceptance_16_timing_is_read_only_for_a_policy_and_outside_a_transaction(running: EmulatorProcess) -> None:
    yellow, transaction = oids.PHASE_YELLOW_CHANGE.at(2), oids.DB_CREATE_TRANSACTION.at()
    assert "noAccess" in put(running, POLICY, (transaction, "i", 2), (yellow, "i", 20))
    assert get(running, transaction) == "1"  # the SET as a whole was refused
    assert "inconsistentValue" in put(running, ENGINEER, (yellow, "i", 45))
    assert "noAccess" in put(running, POLICY, (oids.UNIT_BACKUP_TIME.at(), "i", 0))
    assert get(running, yellow) == "40"


def test_acceptance_16_access_denies_by_default() -> None:
    """The two ways in which a `public` SET went through: an empty view, and a check whose answer nobody reads."""
    hold = oids.CONTROL_HOLD
    assert not Grant().writes(hold)
    assert not Access({"public": Grant()}).communities["public"].writes(hold)
    for model, name, level in (
        (V1, "private", NO_AUTH), (V2C, "policy", NO_AUTH), (V3, "policy", NO_AUTH), (V3, "policy", AUTH_ONLY),
        (V3, "public", AUTH_PRIV), (4, "policy", AUTH_PRIV),
    ):  # fmt: skip
        assert DEFAULT.grant(model, name, level) is None
    allowed = DEFAULT.grant(V3, "policy", AUTH_PRIV)
    assert allowed is not None
    assert allowed.writes(hold)
    assert not any(allowed.writes(item) for item in oids.OBJECTS.values() if item.area in ("timing", "status"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"users": [], "communities": [{"name": "a"}], "communities": []}', "there twice"),
        ("{}", "neither communities nor users"),
        ('{"users": [{"name": "a"}]}', "auth_key"),
        ('{"users": [{"name": "a", "auth_key": "short", "priv_key": "long enough"}]}', "shorter than 8"),
        ('{"communities": [{"name": "a", "write": ["contrl"]}]}', "did you mean"),
        ('{"communities": [{"name": "a", "write": ["status"]}]}', "choose of"),
        ("[]", "out of place"),
    ],
)
def test_a_bad_file_of_users_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "users.json").write_text(text)
    with pytest.raises(InputError, match=f"(?i){complaint}"):
        read_access(tmp_path / "users.json")
    with pytest.raises(InputError):
        read_access(tmp_path / "none.json")


def test_acceptance_18_a_plan_is_downloaded_in_one_transaction(running: EmulatorProcess) -> None:
    transaction = oids.DB_CREATE_TRANSACTION.at()
    times = {2: 35, 6: 35, 1: 15, 5: 15, 3: 15, 7: 15, 4: 25, 8: 25}
    rows: list[tuple[oids.Oid, str, object]] = [(oids.SPLIT_TIME.at(3, n), "i", s) for n, s in times.items()]
    rows += [(oids.SPLIT_COORD_PHASE.at(3, n), "i", 1) for n in (2, 6)]
    rows += [
        (oids.PATTERN_CYCLE_TIME.at(5), "i", 91), (oids.PATTERN_SPLIT_NUMBER.at(5), "i", 3),
        (oids.SEQUENCE_DATA.at(2, 1), "x", "01020304"), (oids.TIMEBASE_PATTERN.at(1), "i", 5),
        (oids.DAY_PLAN_ACTION.at(1, 1), "o", oids.dotted((*oids.TIMEBASE_ACTION_ROW, 1))),
    ]  # fmt: skip
    assert "inconsistentValue" in put(running, POLICY, rows[0])
    for attempt, cycle in enumerate((91, 90)):
        assert put(running, POLICY, (transaction, "i", 2)) == ""
        assert put(running, POLICY, *rows) == ""
        assert put(running, POLICY, (oids.PATTERN_CYCLE_TIME.at(5), "i", cycle)) == ""
        assert put(running, POLICY, (transaction, "i", 3)) == ""
        assert get(running, transaction) == "6"
        error = get(running, oids.DB_VERIFY_ERROR.at())
        assert get(running, oids.DB_VERIFY_STATUS.at()) == ("2", "3")[attempt], error
        assert put(running, POLICY, (transaction, "i", 1)) == ""
        assert get(running, oids.PATTERN_CYCLE_TIME.at(5)) == ("0", "90")[attempt]
        assert get(running, oids.SPLIT_TIME.at(3, 2)) == ("0", "35")[attempt]
    assert get(running, oids.DAY_PLAN_ACTION.at(1, 1)).endswith("5.3.1.1.1")


def test_a_reboot_shows_in_the_time_since_power_up_and_peers_synchronise(running: EmulatorProcess) -> None:
    running.advance(10)
    before = int(get(running, oids.SYS_UP_TIME.at(), [*PUBLIC, "-Ot"]))
    assert put(running, POLICY, (oids.CONTROL_HOLD.at(1), "i", 34)) == ""
    running.reboot()
    assert int(get(running, oids.SYS_UP_TIME.at(), [*PUBLIC, "-Ot"])) < before
    assert get(running, oids.CONTROL_HOLD.at(1), POLICY) == "0"
    assert get(running, oids.UNIT_FLASH_STATUS.at()) == "7"
    running.advance(30)
    assert get(running, oids.UNIT_FLASH_STATUS.at()) == "2"
    assert put(running, POLICY, (oids.CONTROL_HOLD.at(1), "i", 0)) == ""
