"""What may run after what: expiry, serials, revocations, and the memory that keeps them."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import control
import export
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
from deployment.field.snmp.profile import Profile
from deployment.field.snmp.read import Reader, Session
from plumbing.errors import InputError
from tests.admission import new_log, refused
from tests.field import CLOSED, OTHER, QUICK, Demand, admission_for, drive, make_pilot
from tests.policy_runs import ENGINE_ID, resigned

# 23. Expiry is judged at every beat, and an older serial does not come back unless somebody says so.


@pytest.mark.wide
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
    sealed: Path, emulator: EmulatorProcess, tmp_path: Path
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
    newest = resigned(sealed, tmp_path / "newest", lambda _, m: m.update(serial=5))
    key, gone = sealed.parent / "key", tmp_path / "gone"
    assert export.main(["revoke", str(newest), "--key", str(key), "--out", str(gone)]) == 0
    with pytest.raises(InputError, match="signed with another key"):
        admission(4, revocation=gone)
    (tmp_path / "signing.pub").write_bytes((sealed.parent / "key.pub").read_bytes())
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
    sealed: Path, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    here = Identity(emulator.engine_id, None)
    mine = resigned(sealed, tmp_path / "mine", lambda _, m: m.update(serial=5))
    assert (
        export.main(["revoke", str(mine), "--key", str(sealed.parent / "key"), "--out", str(tmp_path / "gone")]) == 0
    )
    (tmp_path / "signing.pub").write_bytes((sealed.parent / "key.pub").read_bytes())
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


def test_only_its_own_key_withdraws_a_bundle(sealed: Path, tmp_path: Path) -> None:
    new_key(tmp_path / "stranger")
    out = tmp_path / "out"
    for words, said in (
        (["revoke", str(sealed), "--key", str(tmp_path / "stranger"), "--out", str(out)], "was not signed with"),
        (["revoke", str(tmp_path), "--key", str(sealed.parent / "key"), "--out", str(out)], "give a signed bundle"),
    ):
        with pytest.raises(InputError, match=said):
            export.main(words)
    assert not out.exists()
    assert export.main(["revoke", str(sealed), "--key", str(sealed.parent / "key"), "--out", str(out)]) == 0
    assert read_manifest(out, BUNDLE.withdrawn, sealed.parent / "key.pub", None).controller == Identity(
        ENGINE_ID, None
    )
    with pytest.raises(InputError, match="is of something else"):  # a revocation is no bundle
        read_manifest(out, BUNDLE, sealed.parent / "key.pub", None)


def test_the_reason_for_an_older_bundle_has_to_be_kept(sealed: Path) -> None:
    words = [str(sealed), "--public-key", str(sealed.parent / "key.pub"), "--target", "127.0.0.1:9"]
    with pytest.raises(InputError, match="--accept-older needs --log"):
        control.main([*words, "--accept-older", "the newer one jams the left turn"])
