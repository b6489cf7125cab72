"""Which bundle may command which controller, and for how long: identity, serials, expiry; pure and with emulators."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import control
import export
from deployment.bundle.make.sealing import controllers_of
from deployment.bundle.manifest import Identity, new_key, stamp
from deployment.bundle.read import BUNDLE
from deployment.bundle.sealed import read_manifest
from deployment.emulator.process import EmulatorProcess
from deployment.field import identity
from deployment.field.admission import Admission, token_sha256
from deployment.field.eventlog import read_log
from deployment.field.guard import Guard, Limits, Mode
from deployment.field.rerun import replay
from deployment.field.serials import FORMAT, Memory, Serials, recall, remember, state_folder
from deployment.field.snmp.profile import Credentials, Profile
from deployment.field.snmp.read import Reader, Session
from plumbing.errors import InputError
from tests.field import CLOSED, OTHER, POLICY, QUICK, Demand, admission_for, drive, make_pilot, users_file
from tests.policy_runs import ENGINE_ID, exported_bundle, resigned
from tests.udp_proxy import UdpProxy


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return users_file(tmp_path_factory.mktemp("users"))


@pytest.fixture(scope="module")
def emulator(users: Path) -> Iterator[EmulatorProcess]:
    with EmulatorProcess("single", users=users) as emulator:
        emulator.advance(30.0)
        yield emulator


@pytest.fixture(scope="module")
def other(users: Path) -> Iterator[EmulatorProcess]:
    """Another controller with the same timing tables, which has been up for longer."""
    with EmulatorProcess("single", users=users, engine_id=OTHER) as emulator:
        emulator.advance(60.0)
        yield emulator


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_bundle(tmp_path_factory)


def untouched(emulator: EmulatorProcess, before: dict[str, Any]) -> bool:
    now = emulator.status()
    return all(now[name] == before[name] for name in ("commands", "control_status", "pattern"))


def new_log(folder: Path) -> Path:
    """A place for a log, which holds one run."""
    return folder / f"log-{len(list(folder.glob('log*')))}"


def refused(emulator: EmulatorProcess, tmp_path: Path, admission: Callable[[], Admission], said: str) -> None:
    """With one line, before a single SET."""
    before = emulator.status()
    with UdpProxy(emulator.host, emulator.port) as link, pytest.raises(InputError, match=said) as caught:
        drive(emulator, 3.0, new_log(tmp_path), port=link.port, who=CLOSED, admission=admission())
    assert "\n" not in str(caught.value)
    assert link.seen.sets == []
    assert untouched(emulator, before)


# 21. A bundle commands the controller that it names, and no other.


def test_acceptance_21_the_bundle_of_another_controller_is_refused(other: EmulatorProcess, tmp_path: Path) -> None:
    theirs = Identity(ENGINE_ID, None)
    refused(
        other, tmp_path, lambda: admission_for(tmp_path, theirs), f"its snmpEngineID is {OTHER}, the bundle names"
    )
    refused(other, tmp_path, lambda: admission_for(tmp_path, None), "names no controller, so it commands none")
    assert not (tmp_path / "state").exists()


def test_acceptance_21_a_site_token_has_to_be_the_one_that_is_named(
    other: EmulatorProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("here", "there"):
        assert identity.main(["--new-token", str(tmp_path / name)]) == 0
    here, there = capsys.readouterr().out.split()
    assert here != there
    assert (tmp_path / "here").stat().st_mode & 0o077 == 0
    assert (tmp_path / "here").read_text().strip() not in here
    named = controllers_of([here], ["C"])["C"]

    def given(**token: Any) -> Callable[[], Admission]:
        return lambda: admission_for(tmp_path, named, **token)

    refused(other, tmp_path, given(), "give --site-token FILE")
    refused(other, tmp_path, given(site_token=tmp_path / "there"), "is for another site")
    (tmp_path / "here").chmod(0o644)
    refused(other, tmp_path, given(site_token=tmp_path / "here"), "others can read")
    (tmp_path / "here").chmod(0o600)
    found = drive(other, 3.0, tmp_path / "log", who=CLOSED, admission=given(site_token=tmp_path / "here")())
    assert found.tally.writes > 0


def test_acceptance_21_the_command_refuses_with_one_line(
    path: Path, other: EmulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("USER", POLICY.user), ("AUTH", POLICY.auth_key), ("PRIV", POLICY.privacy_key)):
        monkeypatch.setenv(f"FIELD_{name}", str(value))
    words = ["--public-key", str(path.parent / "key.pub"), "--control", "--log", str(tmp_path / "log")]
    words += ["--state", str(tmp_path / "state"), "--step", other.url, "--target", f"{other.host}:{other.port}"]
    words += ["--duration", "2", "--snmp", "3", "--user", "env:FIELD_USER", "--auth", "env:FIELD_AUTH"]
    words += ["--priv", "env:FIELD_PRIV"]
    nameless = resigned(path, tmp_path / "nameless", lambda _, m: m.update(controller=None))
    before = other.status()
    for bundle, said in ((path, f"its snmpEngineID is {OTHER}"), (nameless, "names no controller")):
        with pytest.raises(InputError, match=said) as caught:
            control.main([str(bundle), *words])
        assert "\n" not in str(caught.value)
        (tmp_path / "log").unlink(missing_ok=True)
    assert untouched(other, before)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("who", "by"),
    [(CLOSED, "engine"), (CLOSED, "site"), pytest.param(POLICY, "engine", marks=pytest.mark.slow)],
    ids=["v2c, engine id", "v2c, site token", "v3"],
)
def test_acceptance_21_another_controller_at_the_same_address_gets_no_write(
    who: Credentials, by: str, emulator: EmulatorProcess, other: EmulatorProcess, tmp_path: Path
) -> None:
    """The cable is put into another cabinet, and back: control has ended for good."""
    log, before, token = tmp_path / "log", other.status(), tmp_path / "token"
    token.write_text("a secret of this site")
    token.chmod(0o600)
    named = Identity(ENGINE_ID, None) if by == "engine" else Identity(None, token_sha256(token))
    admission = admission_for(tmp_path, named, site_token=token)
    with UdpProxy(emulator.host, emulator.port) as link:
        sets: dict[str, int] = {}

        def swap() -> None:
            sets["before"] = len(link.seen.sets)
            link.target = (other.host, other.port)

        def back() -> None:
            sets["other"] = len(link.seen.sets)
            link.target = (emulator.host, emulator.port)

        at: dict[float, Callable[[], object]] = {5.4: swap, 9.4: back}
        seconds = 22.0 if who is CLOSED else 10.0
        found = drive(emulator, seconds, log, port=link.port, who=who, at=at, timeout_s=0.15, admission=admission)
    assert untouched(other, before)
    assert [w["t"] for w in found.of("written") if w["t"] < 5.4]
    assert not [w for w in found.of("written") if w["t"] > 5.4]
    if who is CLOSED:  # with SNMPv3 nothing that it answers is taken for an answer at all
        assert sets["before"] == sets["other"] > 0
        what = "the bundle names" if by == "engine" else "it was"
        assert found.reason == f"another controller answers: its snmpEngineID is {OTHER}, {what} {ENGINE_ID}"
        assert found.runtime.guard.mode is Mode.RELEASED
        assert len(link.seen.sets) == sets["other"]
        pilot = make_pilot(QUICK, mode=Mode.SHADOW)
        again = replay(read_log(log), pilot, Demand(pilot.inputs))
        assert (again.different, again.decisions) == (0, len(found.of("decision"))), again.first


def test_a_bundle_that_watches_another_controller_says_so(other: EmulatorProcess, tmp_path: Path) -> None:
    watching = admission_for(tmp_path, Identity(ENGINE_ID, None), commands=False)
    found = drive(other, 2.0, tmp_path / "log", control=False, admission=watching)
    assert any("for another controller than this one" in event["what"] for event in found.of("event"))


def test_a_controller_says_its_name(emulator: EmulatorProcess, capsys: pytest.CaptureFixture[str]) -> None:
    assert identity.main(["--target", f"{emulator.host}:{emulator.port}"]) == 0
    assert capsys.readouterr().out == f"engine:{ENGINE_ID}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["J=engine:80"], "is no engine id"),
        (["serial:80"], "give \\[TLS=\\]engine:HEX"),
        (["engine:xyz"], "give \\[TLS=\\]engine:HEX"),
        (["engine:8000000001"], "say which signal's it is"),
        (["K=engine:8000000001"], "no signal 'K'"),
        (["J=site:" + "a" * 64, "J=site:" + "b" * 64], "has such a name already"),
        (["J=engine:8000000001", "J=2=engine:8000000001"], "would command the controller of 'J=2', too"),
        (["J=site:" + "a" * 64, "J=2=engine:8000000001"], "would command the controller of 'J=2', too"),
    ],
)
def test_a_controller_is_named_without_doubt(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        controllers_of(words, ["J", "J=2"])


def test_each_signal_has_a_controller_of_its_own() -> None:
    words = ["J=engine:8000000001", "J=2=engine:80000000FF", "J=site:" + "a" * 64]
    assert controllers_of(words, ["J", "J=2"]) == {
        "J": Identity("8000000001", "a" * 64), "J=2": Identity("80000000ff", None)
    }  # fmt: skip


# 23. Expiry is judged at every beat, and an older serial does not come back unless somebody says so.


def test_acceptance_23_a_bundle_that_expires_while_it_controls_releases_for_good(
    emulator: EmulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, ahead = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + ahead[0])
    end = stamp(datetime.now(UTC) + timedelta(hours=1))
    admission = admission_for(tmp_path, Identity(emulator.engine_id, None), not_after=end)
    at = {5.4: lambda: ahead.__setitem__(0, 7200.0), 8.4: lambda: ahead.__setitem__(0, 0.0)}
    found = drive(emulator, 18.0, tmp_path / "log", at=at, admission=admission)
    assert found.reason == f"the bundle expired at {end}"
    modes = [d["mode"] for d in found.of("decision")]
    assert modes[5] == "controlling"
    assert set(modes[6:]) == {"released"}
    assert max(w["t"] for w in found.of("written")) < 5.4
    assert len(found.of("released")) == 1
    assert not any(emulator.status()["commands"].values())
    assert [beat["n"] for beat in found.of("beat") if beat.get("over")] == [6, 7, 8]
    pilot = make_pilot(QUICK, mode=Mode.SHADOW)
    again = replay(read_log(tmp_path / "log"), pilot, Demand(pilot.inputs))
    assert (again.different, again.decisions) == (0, len(modes)), again.first


def test_acceptance_23_a_clock_that_is_set_back_lengthens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    end = datetime.now(UTC) + timedelta(seconds=1)
    admission = admission_for(tmp_path, Identity(OTHER, None), not_after=stamp(end))
    monkeypatch.setattr(time, "time", lambda: real() - 86_400.0)
    while datetime.fromtimestamp(real(), UTC) < end:
        time.sleep(0.05)
    assert "the bundle expired at" in admission.over()
    assert not admission_for(tmp_path, Identity(OTHER, None)).over()


def test_acceptance_23_what_has_expired_never_verifies_again() -> None:
    guard = Guard(Limits(hold_off_s=1, released_s=1))
    guard.begin(0.0)
    guard.retire(0.5, "the bundle expired")
    assert (guard.mode, guard.reason) == (Mode.RELEASED, "the bundle expired")
    guard.verified()
    assert not guard.wants_verification
    assert guard.step(7200.0, "") is Mode.RELEASED


def test_acceptance_23_an_older_serial_is_refused_unless_somebody_says_otherwise(
    path: Path, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    here = Identity(emulator.engine_id, None)

    def admission(serial: int, **more: Any) -> Admission:
        return admission_for(tmp_path, here, serial=serial, **more)

    def run(serial: int, **more: Any) -> list[str]:
        found = drive(emulator, 1.0, new_log(tmp_path), admission=admission(serial, **more))
        return [event["what"] for event in found.of("event")]

    for serial in (4, 5):
        run(serial)
    refused(emulator, tmp_path, lambda: admission(4), "has serial 4, and 5 has run on this controller")
    # by whatever it is named
    token = tmp_path / "token"
    assert identity.main(["--new-token", str(token)]) == 0
    site = Identity(None, token_sha256(token))
    refused(emulator, tmp_path, lambda: admission_for(tmp_path, site, serial=3, site_token=token), "5 has run")
    # an operator's act, for this once
    assert "serial 4 was accepted although 5 has run: the left turn jams" in run(4, accept_older="the left turn jams")
    refused(emulator, tmp_path, lambda: admission(4), "5 has run")
    with pytest.raises(InputError, match="needs a reason"):
        admission(4, accept_older=" ")
    # a revocation, signed by the same key: the one before may run, none that is older, and never the withdrawn one
    newest = resigned(path, tmp_path / "newest", lambda _, m: m.update(serial=5))
    key, gone = path.parent / "key", tmp_path / "gone"
    assert export.main(["revoke", str(newest), "--key", str(key), "--out", str(gone)]) == 0
    with pytest.raises(InputError, match="signed with another key"):
        admission(4, revocation=gone)
    (tmp_path / "signing.pub").write_bytes((path.parent / "key.pub").read_bytes())
    for serial in (4, 5):
        run(serial)
    run(4, revocation=gone)
    run(4)
    refused(emulator, tmp_path, lambda: admission(3), "4 has run")
    refused(emulator, tmp_path, lambda: admission(5), "was withdrawn: a signed revocation names serial 5")
    refused(emulator, tmp_path, lambda: admission(5, accept_older="but why"), "was withdrawn")


def test_acceptance_23_only_control_raises_the_serial(emulator: EmulatorProcess, tmp_path: Path) -> None:
    watching = admission_for(tmp_path, Identity(emulator.engine_id, None), serial=9, commands=False)
    drive(emulator, 1.0, new_log(tmp_path), control=False, admission=watching)
    assert not (tmp_path / "state").exists()
    drive(
        emulator,
        1.0,
        new_log(tmp_path),
        admission=admission_for(tmp_path, Identity(emulator.engine_id, None), serial=8),
    )
    (kept,) = (tmp_path / "state").iterdir()
    assert json.loads(kept.read_text())["ran"] == [8]
    assert ((tmp_path / "state").stat().st_mode & 0o077, kept.stat().st_mode & 0o077) == (0, 0)


def test_acceptance_23_a_memory_that_cannot_be_trusted_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    kept = Serials(FORMAT, "bundles", "key", "engine:80").with_run(5)
    remember(state, kept)
    assert recall(state, "bundles", "key", "engine:80") == kept
    assert recall(state, "bundles", "key", "engine:81").least == 0
    (file,) = state.iterdir()
    whole = file.read_bytes()
    for content in (b"", whole[:-9], b"[]", whole.replace(b"engine:80", b"engine:81"), whole.replace(b"5", b'"5"')):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"is damaged .* restore it, or remove it by hand"):
            recall(state, "bundles", "key", "engine:80")
    file.write_bytes(whole)
    file.chmod(0o620)
    with pytest.raises(InputError, match=r"others can write to .* chmod go-w"):
        recall(state, "bundles", "key", "engine:80")
    file.chmod(0o600)
    state.chmod(0o777)
    for act in (lambda: recall(state, "bundles", "key", "engine:80"), lambda: remember(state, kept)):
        with pytest.raises(InputError, match="others can write to"):
            act()
    state.chmod(0o700)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a link"):
        recall(state, "bundles", "key", "engine:80")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another --state"):
        remember(tmp_path / "file" / "state", kept)


def test_acceptance_23_a_controller_is_known_by_each_of_its_names(tmp_path: Path) -> None:
    """A profile may hide its engine id, and a new one may come to the same site."""

    def memory(*names: str) -> Memory:
        return Memory(tmp_path / "state", "bundles", "key", names)

    memory("engine:80", "site:aa").change(lambda known: None, lambda known: known.with_run(200))
    assert [memory(*names).recall().least for names in (("site:aa",), ("engine:80",), ("engine:81", "site:aa"))] == (
        [200] * 3
    )
    assert memory("engine:81", "site:bb").recall().least == 0
    memory("site:aa").change(lambda known: None, lambda known: known.with_withdrawn(200))
    assert memory("engine:81", "site:aa").recall().withdrawn == (200,)


def test_acceptance_23_a_revocation_counts_although_the_run_is_refused(
    path: Path, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    here = Identity(emulator.engine_id, None)
    mine = resigned(path, tmp_path / "mine", lambda _, m: m.update(serial=5))
    assert export.main(["revoke", str(mine), "--key", str(path.parent / "key"), "--out", str(tmp_path / "gone")]) == 0
    (tmp_path / "signing.pub").write_bytes((path.parent / "key.pub").read_bytes())
    for more in ({"revocation": tmp_path / "gone"}, {}):
        refused(
            emulator, tmp_path, lambda more=more: admission_for(tmp_path, here, serial=5, **more), "was withdrawn"
        )
    with pytest.raises(InputError, match="are for control"):
        admission_for(tmp_path, here, commands=False, revocation=tmp_path / "gone")


def test_acceptance_23_what_runs_meanwhile_counts(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """Two start at once: the newer one has run before the older one, which was admitted earlier, is kept."""
    older, newer = (admission_for(tmp_path, Identity(emulator.engine_id, None), serial=n) for n in (4, 5))

    async def admit() -> None:
        session = Session(emulator.host, emulator.port, CLOSED)
        await session.open()
        for each in (older, newer):
            await each.admit(Reader(session, Profile(), 1, 1))
        session.close()

    asyncio.run(admit())
    newer.remember()
    with pytest.raises(InputError, match="has serial 4, and 5 has run"):
        older.remember()
    assert json.loads(next((tmp_path / "state").iterdir()).read_text())["ran"] == [5]


def test_acceptance_23_nobody_else_can_exchange_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "open" / "inner" / "state"
    kept = Serials(FORMAT, "bundles", "key", "engine:80").with_run(5)
    remember(state, kept)
    assert [part.stat().st_mode & 0o777 for part in (state, *state.parents[:2])] == [0o700] * 3
    (tmp_path / "open").chmod(0o777)
    for act in (lambda: recall(state, "bundles", "key", "engine:80"), lambda: remember(state, kept)):
        with pytest.raises(InputError, match=r"others can change .*open, and so which serials have run"):
            act()
    (tmp_path / "open").chmod(0o1777)  # as /tmp is: nobody else can rename what is ours
    assert recall(state, "bundles", "key", "engine:80") == kept
    for given in ("", "."):
        with pytest.raises(InputError, match="names no folder"):
            state_folder(Path(given))
    monkeypatch.setenv("XDG_STATE_HOME", "here")
    assert state_folder(None) == Path.home() / ".local" / "state" / "intergreen"
    (tmp_path / "token").write_text("short")
    (tmp_path / "token").chmod(0o600)
    with pytest.raises(InputError, match="fewer than 16 characters"):
        token_sha256(tmp_path / "token")


def test_what_is_withdrawn_does_not_count(tmp_path: Path) -> None:
    kept = Serials(FORMAT, "bundles", "key", "engine:80").with_run(20).with_run(10).with_run(30)
    assert kept.least == 30
    assert kept.with_withdrawn(30).least == 20
    assert kept.with_withdrawn(20).least == 30
    assert kept.with_withdrawn(30).with_withdrawn(20).with_withdrawn(10).least == 0


def test_only_its_own_key_withdraws_a_bundle(path: Path, tmp_path: Path) -> None:
    new_key(tmp_path / "stranger")
    out = tmp_path / "out"
    for words, said in (
        (["revoke", str(path), "--key", str(tmp_path / "stranger"), "--out", str(out)], "was not signed with"),
        (["revoke", str(tmp_path), "--key", str(path.parent / "key"), "--out", str(out)], "give a signed bundle"),
    ):
        with pytest.raises(InputError, match=said):
            export.main(words)
    assert not out.exists()
    assert export.main(["revoke", str(path), "--key", str(path.parent / "key"), "--out", str(out)]) == 0
    assert read_manifest(out, BUNDLE.withdrawn, path.parent / "key.pub", None).controller == Identity(ENGINE_ID, None)
    with pytest.raises(InputError, match="is of something else"):  # a revocation is no bundle
        read_manifest(out, BUNDLE, path.parent / "key.pub", None)


def test_the_reason_for_an_older_bundle_has_to_be_kept(path: Path) -> None:
    words = [str(path), "--public-key", str(path.parent / "key.pub"), "--target", "127.0.0.1:9"]
    with pytest.raises(InputError, match="--accept-older needs --log"):
        control.main([*words, "--accept-older", "the newer one jams the left turn"])
