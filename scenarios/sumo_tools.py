"""SUMO's own programs, from the wheel that brings them: netconvert, its tools, the simulation, each as a process."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from plumbing.errors import InputError
from plumbing.interpreter import environment, last_line


@dataclass(frozen=True)
class Said:
    """What a program left."""

    status: int
    out: str
    errors: str

    @property
    def reason(self) -> str:
        """The error that a program of SUMO's ended with, without the word; "no reason given" where it said none."""
        found = next((line for line in self.errors.splitlines() if line.startswith("Error: ")), "")
        return found.removeprefix("Error: ") or last_line(self.errors) or "no reason given"


def home() -> Path:
    """SUMO_HOME: the folder with `bin`, `data` and `tools`."""
    import sumo  # the wheel knows where it is

    return Path(str(sumo.SUMO_HOME))


def run_binary(name: str, words: Sequence[str], folder: Path) -> Said:
    """Run one of SUMO's programs in a folder, with the data of its wheel."""
    return _run([str(home() / "bin" / name), *words], folder)


def check_said(said: Said, name: str, advice: str) -> None:
    """Whether a program did what it was asked for.

    Raises:
        InputError: it failed; `advice` says what the user can do.
    """
    if said.status:
        raise InputError(f"SUMO's {name} fails: {said.reason}; {advice}")


def listed(files: Sequence[Path]) -> str:
    """Files as SUMO's options take them."""
    return ",".join(map(str, files))


def follow_binary(name: str, words: Sequence[str], folder: Path, on_line: Callable[[str], bool]) -> Said:
    """Run one of SUMO's programs and read along what it prints.

    Args:
        on_line: called with each line; where it returns False, the program is ended, and its status is negative.
    """
    with (folder / "errors.txt").open("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            [str(home() / "bin" / name), *words],
            cwd=folder, env=_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
            text=True, errors="replace",
        )  # fmt: skip
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if not on_line(line):
                    break
            else:
                process.wait()
        finally:
            process.kill()  # nothing where it has ended
            process.stdout.close()  # type: ignore[union-attr]
            process.wait()
        errors.seek(0)
        return Said(process.returncode, "", errors.read())


def run_script(name: str, words: Sequence[str], folder: Path) -> Said:
    """Run one of SUMO's Python tools in a folder, such as `randomTrips.py`. Paths have to be absolute."""
    return _run([sys.executable, "-P", str(home() / "tools" / name), *words], folder)


def without_comments(net: Path) -> None:
    """Take the comments out of what netconvert wrote: its first one holds the time and the place, and without it
    equal inputs give equal bytes."""
    text = net.read_text(encoding="utf-8")
    net.write_text(re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL), encoding="utf-8")


def _run(command: list[str], folder: Path) -> Said:
    done = subprocess.run(
        command,
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def _environment() -> dict[str, str]:
    return environment(SUMO_HOME=str(home()), PROJ_DATA=str(home() / "data" / "proj"))
