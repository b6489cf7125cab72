"""What stands in for PyTorch's compiler until somebody compiles."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from agents import compiler
from agents.compiler import leave_compiler_out


@pytest.fixture
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package in the compiler's place."""
    (tmp_path / "heavy").mkdir()
    (tmp_path / "heavy" / "__init__.py").write_text("compiled = 42\n")
    (tmp_path / "heavy" / "part.py").write_text("import heavy\n\ncompiled = heavy.compiled\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(compiler, "NAME", "heavy")
    for name in ("heavy", "heavy.part"):
        monkeypatch.setitem(sys.modules, name, sys)  # so that what is imported here goes again
        del sys.modules[name]
    leave_compiler_out()
    return "heavy"


def test_who_asks_not_to_be_compiled_is_not(heavy: str) -> None:
    stands_in = importlib.import_module(heavy)
    assert stands_in.disable(len, False, wrapping=False) is len
    stands_in.graph_break()
    assert not hasattr(stands_in, "__file__"), "what looks through all modules does not load it"
    assert sys.modules[heavy] is stands_in


def test_who_asks_for_more_gets_the_real_one(heavy: str) -> None:
    stands_in = importlib.import_module(heavy)
    assert stands_in.compiled == 42
    real = sys.modules[heavy]
    assert real is not stands_in
    leave_compiler_out()
    assert sys.modules[heavy] is real


def test_who_imports_a_part_gets_the_real_one(heavy: str) -> None:
    assert importlib.import_module(f"{heavy}.part").compiled == 42
    assert sys.modules[heavy].__file__


def test_what_there_is_not_is_an_attribute_error(heavy: str) -> None:
    with pytest.raises(AttributeError, match="optimise"):
        _ = importlib.import_module(heavy).optimise
