"""Which bundle may command which controller, and for how long: identity, serials, expiry; pure and with emulators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import control
from deployment.bundle.make.sealing import controllers_of
from deployment.bundle.manifest import Identity
from deployment.emulator.process import EmulatorProcess
from deployment.field import identity
from deployment.field.admission import Admission, token_sha256
from deployment.field.eventlog import read_log
from deployment.field.guard import Mode
from deployment.field.rerun import replay
from deployment.field.snmp.profile import Credentials
from plumbing.errors import InputError
from tests.admission import refused, untouched
from tests.field import CLOSED, OTHER, POLICY, QUICK, Demand, admission_for, drive, make_pilot
from tests.policy_runs import ENGINE_ID, resigned
from tests.udp_proxy import UdpProxy

# 21. A bundle commands the controller that it names, and no other.


@pytest.mark.wide
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
    sealed: Path, other: EmulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("USER", POLICY.user), ("AUTH", POLICY.auth_key), ("PRIV", POLICY.privacy_key)):
        monkeypatch.setenv(f"FIELD_{name}", str(value))
    words = ["--public-key", str(sealed.parent / "key.pub"), "--control", "--log", str(tmp_path / "log")]
    words += ["--state", str(tmp_path / "state"), "--step", other.url, "--target", f"{other.host}:{other.port}"]
    words += ["--duration", "2", "--snmp", "3", "--user", "env:FIELD_USER", "--auth", "env:FIELD_AUTH"]
    words += ["--priv", "env:FIELD_PRIV"]
    nameless = resigned(sealed, tmp_path / "nameless", lambda _, m: m.update(controller=None))
    before = other.status()
    for bundle, said in ((sealed, f"its snmpEngineID is {OTHER}"), (nameless, "names no controller")):
        with pytest.raises(InputError, match=said) as caught:
            control.main([str(bundle), *words])
        assert "\n" not in str(caught.value)
        (tmp_path / "log").unlink(missing_ok=True)
    assert untouched(other, before)
    assert not (tmp_path / "state").exists()


@pytest.mark.wide
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
