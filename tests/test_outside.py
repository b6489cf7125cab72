"""What others wrote: read strictly, and told in one line that a terminal can show."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import control
from agents.named import find_controller
from agents.registry import agent_settings
from agents.run import load_tensors
from agents.settings import read_config
from agents.tree import read_tree
from controllers.parameters import read_tuned
from deployment.bundle.make.card import evaluation_of
from deployment.bundle.manifest import new_key, sign
from deployment.field.eventlog import EventLog
from deployment.field.guard import Limits
from deployment.field.snmp.profile import profile_from, secret
from evaluation.results.gridlock import _named
from plumbing.command import say, say_json
from plumbing.errors import InputError, printable, visible
from plumbing.plain import listed, misfit, named, number, one_of, optional, parse, record, row, text, whole
from plumbing.private import private_bytes
from plumbing.yamlfile import MOST_BYTES, parse_yaml
from tests.policy_runs import exported_bundle

ROOT = Path(__file__).resolve().parents[1]
EVIL = "\x1b[2J\x1b]0;title\x07\x9b31m\u202egnp.exe\u2066\ud800\r\n\ttail"


@given(st.text(st.characters(), max_size=300), st.integers(20, 200))
@example(EVIL, 200)
@example("x" * 10**6, 200)
def test_any_text_becomes_one_bounded_line(given_text: str, most: int) -> None:
    line = printable(given_text, most)
    assert line.isprintable()
    assert len(line) <= most
    assert visible(given_text).isprintable()


def test_a_plain_text_stays_and_a_long_one_keeps_its_ends() -> None:
    assert printable("größer als 5 s → ✓") == "größer als 5 s → ✓"
    long = printable("what is wrong " + "x" * 5000 + " what next")
    assert long.startswith("what is wrong xxx")
    assert long.endswith("xxx what next")
    assert printable("\x1b[31mred\nline") == r"\x1b[31mred line"
    assert printable(int("f" * 5000, 16)) == "a int that is too large"


def test_lines_for_people_and_machines(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"  one\x1b[1A\n  two{chr(0x9B)}K")
    assert capsys.readouterr().out == "  one\\x1b[1A\n  two\\x9bK\n"
    say_json({"name": EVIL})
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert json.loads(out) == {"name": EVIL}
    assert _named(EVIL, {}).isprintable()


@pytest.mark.wide
@pytest.mark.parametrize("name", ["\x1b[2J\x9b1A\u202e.replay", "x" * 4000])
def test_a_command_tells_of_any_name_in_one_line(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "replay.py", "verify", name], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith("\n")
    assert done.stderr[:-1].isprintable()
    assert len(done.stderr) < 2100


# --- YAML


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{of}'] * 10)}]\n" for of, name in zip("abcdefg", "bcdefgh", strict=True)
)


def test_an_alias_bomb_is_one_short_line(tmp_path: Path) -> None:
    config = tmp_path / "bomb.yaml"
    config.write_text(BOMB)
    with pytest.raises(InputError, match=r"bomb\.yaml is not YAML of settings: it has an alias") as caught:
        agent_settings("dqn", read_config(config))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("gamma: &x 0.9\nunits: *x\n", r"alias .* \(line 2\)"),
        ("<<: {gamma: 1}\ngamma: 1\ngamma: 2\n", "'gamma' is there twice"),
        ("a: " + "[" * 30 + "]" * 30, "nested more than 20 deep"),
        ("a: " + "{b: " * 3000, "nested more than 20 deep"),
        ("#" * (MOST_BYTES + 1), "larger than 64 KiB"),
        ("gamma: " + "9" * 5000, "digits"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("a: 2020-13-45", "month"),
        ("? [a, b]\n: c", "unhashable"),
        ("a: \x07", "special characters"),
    ],
)
def test_yaml_that_no_settings_need_is_refused(content: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        parse_yaml(content)
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(InputError, match=rf"config .*c\.yaml is not YAML.*{said}"):
        read_config(tmp_path / "c.yaml")


@given(st.text("&*a: []{}-\n<#!|>%@'\"?,0x9.", max_size=60))
def test_any_yaml_is_read_or_refused(content: str) -> None:
    value: Any = None
    with contextlib.suppress(ValueError):
        value = parse_yaml(content)
    if isinstance(value, dict):
        with pytest.raises(InputError):
            agent_settings("dqn", {**value, "no such setting": 1})


def test_a_setting_that_cannot_be_written_down_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("units: 0x" + "f" * 5000)
    with pytest.raises(InputError, match="'units' of dqn is a int that is too large; it must be above 0"):
        agent_settings("dqn", read_config(tmp_path / "c.yaml"))


# --- JSON


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' * 100_000, "nested too deeply"),
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ("[NaN]", "NaN is no finite number"),
        ("[1e999]", "1e999 is no finite number"),
        ("9" * 5000, "no whole number of 64 bits"),
        ("-9223372036854775809", "no whole number of 64 bits"),
        ('"\\ud800"', "surrogates not allowed"),
        (b'"\xed\xa0\x80"', "can't decode"),
        (b"\xff\xfe{\x00}\x00", "can't decode"),
        ("", "Expecting value"),
    ],
)
def test_json_that_means_two_things_is_refused(content: str | bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(content)


def test_plain_json_is_read() -> None:
    content = {"a": [1, -2.5, True, None, "ü", "\U0001f600"], "b": {"c": 2**64 - 1}}
    assert parse(json.dumps(content)) == parse(json.dumps(content, ensure_ascii=False).encode()) == content
    assert parse("[Infinity]", finite=False) == [float("inf")]


SHAPE = record(
    {"n": whole(0, 9), "list": listed(row(text(3), number(0, 1)), most=2)},
    {"of": named(optional(one_of("a", 1))), "like": text(9, "[a-z]+")},
)
FITS: dict[str, Any] = {"n": 3, "list": [["x", 0.5]], "of": {"k": None, "l": 1}, "like": "abc", "more": []}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n": 10}, "n is 10, not a whole number from 0 to 9"),
        ({"n": True}, "n is True, not"),
        ({"n": 1.0}, "n is 1.0, not"),
        ({"list": [["x", 0.5], ["x", float("nan")]]}, r"list\[1\]\[1\] is nan, not a number from 0 to 1"),
        ({"list": [["x"]]}, r"list\[0\] is list of 1, not a list of 2"),
        ({"list": [["long", 0]]}, r"list\[0\]\[0\] is 'long', not a text of at most 3"),
        ({"list": [["\x1b", 0]]}, r"is '\\x1b', not a text"),
        ({"list": [["x", 0]] * 3}, "list is list of 3, not a list of 0 to 2"),
        ({"of": {"k": True}}, "of.k is True, not one of"),
        ({"of": {"\x00": None}}, "of.a name is "),
        ({"like": "aB"}, "like is 'aB', not a text of at most 9 characters like"),
        ({"of": 3}, "of is 3, not an object"),
    ],
)
def test_a_shape_says_where_and_what(change: dict[str, Any], said: str) -> None:
    misfit(SHAPE, FITS)
    with pytest.raises(ValueError, match=said):
        misfit(SHAPE, {**FITS, **change})
    with pytest.raises(ValueError, match="n is missing"):
        misfit(SHAPE, {"list": []})


@pytest.mark.parametrize(
    "content", ["[" * 50_000, "[]", "3", '{"a": {"b": ' + "9" * 30 + "}}", "\\ud800", '{"k": NaN}']
)
def test_no_file_of_ours_ends_in_a_traceback(content: str, tmp_path: Path) -> None:
    for name in (
        "tuned.json",
        "tree.json",
        "profile.json",
        "plans.json",
        "summary.json",
        "settings.json",
        "log.jsonl",
    ):
        (tmp_path / name).write_text(content)
    for read in (
        lambda: read_tuned(tmp_path, "greedy"),
        lambda: read_tree(tmp_path / "tree.json"),
        lambda: profile_from(str(tmp_path / "profile.json")),
        lambda: evaluation_of(tmp_path, tmp_path, "", ""),
    ):
        with pytest.raises(InputError):
            read()


def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("tuned.json", "policy.pt"):
        os.mkfifo(tmp_path / name)
    for read in (lambda: read_tuned(tmp_path, "greedy"), lambda: load_tensors(tmp_path / "policy.pt")):
        with pytest.raises(InputError, match="is no plain file"):
            read()


def test_programs_that_are_no_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "bad.add.xml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"bad\.add\.xml cannot be read"):
        find_controller(str(tmp_path / "bad.add.xml"))


@pytest.mark.parametrize(
    "profile",
    ['{"preempts": "2"}', '{"most_varbinds": 0}', '{"absent": "preemptState"}', '{"scalar_suffixes": {"a": [-1]}}'],
)
def test_a_profile_of_another_kind_is_told(profile: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(profile)
    with pytest.raises(InputError, match="is no profile"):
        profile_from(str(tmp_path / "p.json"))


@pytest.mark.parametrize(
    "more",
    [
        {"k": "poll"},
        {"k": "poll", "t": 1.0, "v": {"a": "b"}, "missing": 3},
        {"k": "beat", "t": 1.0},
        {"k": "answer", "elapsed_s": 1},
        {"k": "decision", "t": "now"},
    ],
)
def test_a_log_that_somebody_changed_is_told(
    more: dict[str, Any], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bundle = exported_bundle(tmp_path_factory)
    manifest = (bundle / "manifest.json").read_bytes()
    start = {
        "k": "start", "wall": json.loads(manifest)["not_before"].replace("Z", "+00:00"), "fast": ["a"], "slow": [],
        "limits": dataclasses.asdict(Limits()), "bundle_sha256": hashlib.sha256(manifest).hexdigest(),
    }  # fmt: skip
    log = tmp_path / "log.jsonl"
    written = EventLog(log, start)  # so that every digest fits
    written.write(more)
    written.close()
    with pytest.raises(InputError, match=r"cannot be replayed; no run writes|is no log of a run"):
        control.main(["--replay", str(log), str(bundle), "--public-key", str(bundle.parent / "key.pub")])


# --- secrets


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601, 0o777])
def test_a_secret_that_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    new_key(tmp_path / "my key")
    linked = tmp_path / "link"
    linked.symlink_to(tmp_path / "my key")
    for file in (tmp_path / "my key", linked):
        (tmp_path / "my key").chmod(mode)
        for read in (lambda: sign(b"", file), lambda: secret(f"file:{file}", "--auth")):  # noqa: B023
            with pytest.raises(InputError, match=r"others can read .*; protect it by chmod 600 "):
                read()
        (tmp_path / "my key").chmod(0o600)
        assert sign(b"", file)
        assert secret(f"file:{file}", "--auth").startswith("-----BEGIN PRIVATE KEY")
    (tmp_path / "my key").chmod(0o400)
    assert sign(b"", linked)


def test_a_secret_of_somebody_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret")
    file.chmod(0o600)
    assert private_bytes(file, "--site") == b"secret"
    if os.geteuid() == 0:
        os.chown(file, 12345, -1)
        with pytest.raises(InputError, match=r"--site: .*token is somebody else's"):
            private_bytes(file, "--site")
    else:  # the system itself lets nobody else read it
        with pytest.raises(InputError, match="--site: cannot read /etc/shadow"):
            private_bytes(Path("/etc/shadow"), "--site")


def test_a_secret_is_small(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(bytes(2**17))
    file.chmod(0o600)
    with pytest.raises(InputError, match="larger than 64 KiB"):
        private_bytes(file, "--auth")
