"""Calls within libsumo that lead straight to where they lead anyway: exactly those, checked with a disassembler."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from envs.remote import RemoteSimulation
from envs.setup import make_setup
from envs.worker import WorkerSetup
from scenarios.scenario import load
from tests.test_getters import needs_library

pytestmark = [
    needs_library,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="calls are made direct on x86-64 only"),
]

CHANGE = """
import ctypes, re, sys
from envs.getters import native
from libsumo import _libsumo
compiled = native()
print(compiled.call_directly(), compiled.call_directly())
with open("/proc/self/maps") as maps:
    base = min(int(line.split("-")[0], 16) for line in maps if line.rstrip().endswith(_libsumo.__file__))
offset, size = int(sys.argv[1]), int(sys.argv[2])
with open(sys.argv[3], "wb") as file:
    file.write(ctypes.string_at(base + offset, size))
"""


class Code(NamedTuple):
    """The part of a library that holds its instructions: where it is loaded, and where it lies in the file."""

    address: int
    offset: int
    size: int


def code_of(path: Path) -> Code:
    """Read from its program headers (ELF, 64 bits)."""
    data = path.read_bytes()
    (first,), (size, count) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<HH", data, 54)
    for n in range(count):
        kind, flags, offset, address, _, in_file, _, _ = struct.unpack_from("<IIQQQQQQ", data, first + n * size)
        if kind == 1 and flags & 1:
            return Code(address, offset, in_file)
    raise AssertionError(f"{path} holds no code")


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Code, bytes, list[int]]:
    """The file of libsumo, its code, the same in memory after the change, and what the two calls returned."""
    spec = importlib.util.find_spec("libsumo")
    assert spec is not None
    assert spec.origin is not None
    library = Path(spec.origin).with_name("_libsumo.so")
    code, dump = code_of(library), tmp_path_factory.mktemp("direct") / "code"
    done = subprocess.run(
        [sys.executable, "-c", CHANGE, str(code.address), str(code.size), str(dump)],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True,
    )  # fmt: skip
    return library, code, dump.read_bytes(), [int(count) for count in done.stdout.split()]


def test_most_calls_become_direct_and_only_once(changed: tuple[Path, Code, bytes, list[int]]) -> None:
    _, _, _, (first, second) = changed
    assert first > 100_000
    assert second == 0


@pytest.mark.parametrize("window", [1 << 18, pytest.param(1 << 40, marks=pytest.mark.slow)])
def test_nothing_but_calls_through_the_table_has_changed(
    changed: tuple[Path, Code, bytes, list[int]], window: int
) -> None:
    """Each changed byte belongs to a call or jump that the disassembler names so, and leads to the named function."""
    if shutil.which("objdump") is None:
        pytest.skip("needs objdump, of the package binutils")
    library, code, now, _ = changed
    before = library.read_bytes()[code.offset :][: code.size]
    begin = code.address + code.size // 2 if window < code.size else code.address
    end = min(begin + window, code.address + code.size)
    calls = _calls_through_the_table(library, begin, end)
    assert len(calls) > 1000
    own = _functions(library)
    direct = led_wrong = 0
    for address, name in calls.items():
        at = address + 1 - code.address
        if now[at : at + 4] == before[at : at + 4]:
            continue
        direct += 1
        leads_to = address + 5 + struct.unpack_from("<i", now, at)[0]
        led_wrong += name in own and own[name] != leads_to
    assert direct > 0.99 * len(calls)
    assert led_wrong == 0
    allowed = {address + n - code.address for address in calls for n in range(1, 5)}
    differing = {n for n in range(begin - code.address, end - code.address) if now[n] != before[n]}
    # the window may begin or end within an instruction
    assert {n for n in differing - allowed if begin + 16 <= n + code.address < end - 16} == set()


def test_a_worker_runs_so() -> None:
    """Asked of the running process: the library's code is its own where it has been written to."""
    with RemoteSimulation(WorkerSetup(make_setup(load("single")))) as worker:
        worker.begin(1)
        assert worker._process is not None
        smaps = Path(f"/proc/{worker._process.pid}/smaps").read_text()
    found = re.search(r" r-xp .*/_libsumo\S*\.so\n(?:.*\n)*?Anonymous: +(\d+) kB", smaps)
    assert found is not None
    assert int(found[1]) > 1000


def _calls_through_the_table(library: Path, begin: int, end: int) -> dict[int, str]:
    """Where calls and jumps to the table are, and whom they name."""
    command = ["objdump", "-d", "-j", ".text", "--no-show-raw-insn"]
    command += [f"--start-address={begin}", f"--stop-address={end}", str(library)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.finditer(r"^ +([0-9a-f]+):\t(?:call|jmp) +[0-9a-f]+ <(.*)@plt>$", listing, re.MULTILINE)
    return {int(match[1], 16): match[2] for match in found}


def _functions(library: Path) -> dict[str, int]:
    """Those that the library itself defines, and where."""
    command = ["readelf", "-W", "--dyn-syms", str(library)]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = (row.split() for row in table.splitlines() if " FUNC " in row and " UND " not in row)
    return {row[7].split("@")[0]: int(row[1], 16) for row in rows}
