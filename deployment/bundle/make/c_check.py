"""Compiles an exported policy.c and asks it: the C that goes out must be the policy that was trained."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from plumbing.held import scratch

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
TIME_LIMIT_S = 120.0
Row = npt.NDArray[np.float32]


class CompileError(RuntimeError):
    """The compiler refused policy.c; the message is its first line."""


@dataclass(frozen=True)
class Measured:
    """Size and time of the compiled policy."""

    compiler: str
    code_bytes: int
    """Code and constants, compiled with -Os."""
    mean_us: float
    worst_us: float
    """Mean of the slowest hundred calls in a row."""


def compiler() -> str | None:
    """The C compiler of this machine, or None: $CC, cc, gcc or clang."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and (found := shutil.which(name)):
            return found
    return None


class CPolicy:
    """policy.c, loaded: [N] inputs to [P] scores and the phase, -1 where it refuses."""

    def __init__(self, library: Path, phases: int) -> None:
        self._decide = ctypes.CDLL(str(library)).policy_decide
        self._decide.restype = ctypes.c_int
        self._decide.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self._phases = phases

    def __call__(self, values: Row) -> tuple[Row, int]:
        given = np.ascontiguousarray(values, np.float32)
        scores = np.zeros(self._phases, np.float32)
        phase = self._decide(given.ctypes.data, scores.ctypes.data)
        return scores, int(phase)


@contextmanager
def compiled(files: Mapping[str, bytes], phases: int, cc: str) -> Iterator[CPolicy]:
    """The policy of policy.c and policy.h, compiled with every warning an error.

    Raises:
        CompileError: the compiler complained.
    """
    with _folder(files) as folder:
        _run([cc, *WARNINGS, "-O2", "-shared", "-fPIC", "policy.c", "-o", "policy.so"], folder)
        yield CPolicy(folder / "policy.so", phases)


def measure(files: Mapping[str, bytes], cc: str) -> Measured:
    """Size and time on this machine, by the self-test that policy.c brings.

    Raises:
        CompileError: it does not compile, or its self-test fails.
    """
    with _folder(files) as folder:
        _run([cc, *WARNINGS, "-Os", "-c", "policy.c", "-o", "policy.o"], folder)
        _run([cc, *WARNINGS, "-O2", "-DPOLICY_SELF_TEST", "policy.c", "-o", "policy"], folder)
        said = _run([str(folder / "policy")], folder)
        version = _run([cc, "--version"], folder).splitlines()[0]
        times = re.search(r"microseconds ([\d.]+) mean, ([\d.]+) in", said)
        if times is None:
            raise CompileError(f"its self-test said {said!r}")
        return Measured(version, _sections(folder / "policy.o"), float(times[1]), float(times[2]))


def _sections(file: Path) -> int:
    """Code and constants of an object file; the whole file's size where no tool tells them apart."""
    tool = shutil.which("size")
    if tool is not None:
        found = subprocess.run([tool, str(file)], capture_output=True, text=True, check=False, timeout=TIME_LIMIT_S)
        numbers = re.findall(r"\d+", found.stdout.splitlines()[-1]) if found.returncode == 0 else []
        if len(numbers) >= 2:
            return int(numbers[0]) + int(numbers[1])
    return file.stat().st_size


@contextmanager
def _folder(files: Mapping[str, bytes]) -> Iterator[Path]:
    with scratch("c") as folder:
        for file in ("policy.c", "policy.h"):
            (folder / file).write_bytes(files[file])
        yield folder


def _run(words: list[str], folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=TIME_LIMIT_S)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise CompileError(f"{Path(words[0]).name}: {said[0] if said else 'exit status ' + str(done.returncode)}")
    return done.stdout
