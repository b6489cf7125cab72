"""Code from outside: found by name, sent to other processes, and run only where the user allows it."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbing.errors import InputError
from plumbing.interpreter import ROOT, environment
from plumbing.outside import absolute, check_allowed, is_outside, load_outside, pack, source_of

MINE = """
from dataclasses import dataclass

def double(x):
    return 2 * x

@dataclass
class Gain:
    by: float = 3.0
    class Inner:
        name = "inner"
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "a folder+more" / "mine.py"
    path.parent.mkdir()
    path.write_text(MINE)
    return path


@pytest.mark.parametrize(
    "name", ["os:system", "mine.rewards:comfort", "a/b.py:C", "/a b/c-d.py:C.D", "../x.py:f", "~/x.py:f", "µ:ß"]
)
def test_what_names_code_from_outside(name: str) -> None:
    assert is_outside(name)


@pytest.mark.parametrize(
    "name",
    [
        "time_loss",
        "runs/x",
        "a/b.py",
        "held-out:3",
        "a/b:C",
        "a:",
        ":b",
        "a.py:1b",
        "a:b c",
        "a:b\n",
        "1:b",
        "a..b:c",
    ],
)
def test_what_does_not(name: str) -> None:
    assert not is_outside(name)
    with pytest.raises(InputError, match=r"is no name of code from outside; write package.module:Name or path"):
        load_outside(name, "reward")


@given(st.text(max_size=40))
def test_any_text_is_either_a_name_or_refused(text: str) -> None:
    if not is_outside(text):
        with pytest.raises(InputError):
            absolute(text)
        check_allowed([text], False, "here")


def test_things_are_loaded_from_files_and_modules(mine: Path) -> None:
    assert load_outside(f"{mine}:double", "reward")(4) == 8
    assert load_outside(f"{mine}:Gain", "reward")().by == 3.0
    assert load_outside(f"{mine}:Gain.Inner", "reward").name == "inner"
    assert load_outside("os.path:join", "reward") is os.path.join
    assert load_outside(f"{mine}:Gain", "reward") is load_outside(f"{mine}:Gain", "reward")


def test_a_changed_file_is_run_anew(mine: Path) -> None:
    before = load_outside(f"{mine}:double", "reward")
    mine.write_text(MINE.replace("2 * x", "5 * x"))
    assert (before(1), load_outside(f"{mine}:double", "reward")(1)) == (2, 5)


def test_a_files_folder_is_not_searched(mine: Path) -> None:
    (mine.parent / "neighbour_of_mine.py").write_text("x = 1\n")
    mine.write_text("import neighbour_of_mine\n")
    with pytest.raises(InputError, match=r"mine.py fails when it is imported \(ModuleNotFoundError: No module named"):
        load_outside(f"{mine}:x", "reward")
    assert str(mine.parent) not in sys.path


def test_a_relative_name_is_made_absolute(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mine.parent)
    assert absolute("mine.py:double") == f"{mine}:double"
    assert absolute("os.path:join") == "os.path:join"


def test_the_source_is_the_file_that_defines_the_thing(mine: Path) -> None:
    sha256 = hashlib.sha256(MINE.encode()).hexdigest()
    assert source_of(f"{mine}:double", "reward") == {"name": f"{mine}:double", "file": str(mine), "sha256": sha256}
    # defined in json/decoder.py, whatever module shows it
    assert source_of("json:JSONDecoder", "reward")["file"].endswith(os.path.join("json", "decoder.py"))
    assert source_of("builtins:print", "reward") == {"name": "builtins:print", "file": "", "sha256": ""}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module:f", "Python finds no module 'no_such_module'; install it, put its folder's absolute"),
        ("os.nothing:f", "Python finds no module 'os.nothing'"),
        ("{}/none.py:f", r"none.py cannot be read \(No such file or directory\); give the path of a Python file"),
        ("{}:f", "is no name of code from outside"),
        ("{}/mine.py:doubel", "mine.py has no 'doubel'; name what it defines. Did you mean 'double'?"),
        ("{}/mine.py:Gain.inner", "has no 'inner'"),
        ("{}/broken.py:f", r"broken.py fails when it is imported \(SyntaxError: .* line 1\)\); mend it there"),
        ("{}/fails.py:f", r"fails.py fails when it is imported \(ValueError: two lines\)"),
        ("{}/leaves.py:f", r"leaves.py fails when it is imported \(SystemExit: 3\)"),
    ],
)
def test_what_cannot_be_loaded_says_what_where_and_what_next(name: str, says: str, mine: Path) -> None:
    (mine.parent / "broken.py").write_text("def f(:\n")
    (mine.parent / "fails.py").write_text("raise ValueError('two\\nlines')\n")
    (mine.parent / "leaves.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(InputError, match=says) as refused:
        load_outside(name.format(mine.parent), "reward")
    assert "\n" not in str(refused.value)


def test_the_gate_refuses_code_unless_it_is_allowed_and_runs_none(mine: Path) -> None:
    flag = mine.parent / "ran"
    mine.write_text(f"open({str(flag)!r}, 'w')\n")
    names = ["time_loss", f"{mine}:f", "os:system", "os:system"]
    with pytest.raises(InputError, match=r"settings\.json names code from outside this project") as refused:
        check_allowed(names, False, "runs/x/settings.json")
    said = str(refused.value)
    assert f"'{mine}:f' ({mine})" in said
    assert f"'os:system' (module os, of {os.__file__})" in said or "'os:system' (module os, of frozen)" in said
    assert said.count("os:system") == 1
    assert "--allow-code (in Python: allow_code=True)" in said
    check_allowed(names, True, "runs/x/settings.json")
    check_allowed(["time_loss", "runs/a:b"], False, "runs/x/settings.json")
    assert not flag.exists()


def _in_another_process(packed: bytes, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import pickle, sys; it = pickle.loads(sys.stdin.buffer.read()); {code}"],
        input=packed, capture_output=True, cwd=ROOT, env=environment() | {"PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_objects_travel_by_value_where_they_cannot_be_imported(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    factor = 7
    assert _in_another_process(pack(lambda x: factor * x), "print(it(6))") == "42"
    # a module beside a user's script, and one that it imports
    (mine.parent / "their_base.py").write_text("class Base:\n    def name(self):\n        return 'base'\n")
    (mine.parent / "their_script.py").write_text("import their_base\nclass Mine(their_base.Base):\n    pass\n")
    monkeypatch.syspath_prepend(str(mine.parent))
    import their_script  # type: ignore[import-not-found]

    assert _in_another_process(pack(their_script.Mine), "print(it().name())") == "base"
    gain = load_outside(f"{mine}:Gain", "reward")
    assert _in_another_process(pack(gain(by=4.0)), "print(it.by)") == "4.0"


def test_threads_may_send_at_once(mine: Path) -> None:
    """As those of an evaluation do, each for its own simulation."""
    gain, before = load_outside(f"{mine}:Gain", "reward"), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            packed = list(threads.map(lambda n: pack(gain(by=n)), range(24)))
    finally:
        sys.setswitchinterval(before)
    assert [pickle.loads(one).by for one in packed] == list(range(24))


def test_what_every_process_can_import_travels_by_name() -> None:
    assert pack(np.mean) == pickle.dumps(np.mean, protocol=5) or len(pack(np.mean)) < 100
    assert len(pack(is_outside)) < 100


def test_what_cannot_travel_says_so(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as file, pytest.raises(InputError, match=r"cannot be sent to another process \("):
        pack(lambda: file)


def test_a_module_that_names_no_real_file_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch.ops does once it is loaded."""
    strange = types.ModuleType("strange.ops")
    strange.__file__ = "_ops.py"
    monkeypatch.setitem(sys.modules, "strange.ops", strange)
    assert pickle.loads(pack(lambda: 7))() == 7
