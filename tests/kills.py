"""Kills a write at every one of its steps: `python -m tests.kills FOLDER` prints what was found.

Each step gets a process of its own, forked, which is killed as it is about to make its n-th call to the system (as
Python's audit events tell of them). What then lies there is looked at before and after the next command's sweep.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from deployment.bundle.read import BUNDLE
from deployment.bundle.sealed import write_sealed
from evaluation.metrics import RunMetrics
from evaluation.store import save_run
from plumbing import whole
from plumbing.held import sweep
from plumbing.whole import write_whole

MOST = 400
EXCHANGE = whole._exchange


def write_file(out: Path, content: str) -> None:
    write_whole(out, lambda path: path.write_text(content))


def write_bundle(out: Path, content: str) -> None:
    files = {name: content.encode() for name in ("policy.onnx", "golden.json")}
    write_sealed(out, BUNDLE, files, content.encode(), content.encode(), overwrite=True)


def write_run(out: Path, content: str) -> None:
    metrics = RunMetrics(**dict.fromkeys(RunMetrics.__dataclass_fields__, 1.0))  # type: ignore[arg-type]
    save_run(out, content, "greedy", 5, metrics, {})  # no tables: polars does not stand a fork


WRITERS: dict[str, Callable[[Path, str], None]] = {"file": write_file, "bundle": write_bundle, "run": write_run}


def look(out: Path) -> dict[str, bytes]:
    """All that lies there, by name."""
    if out.is_file():
        return {out.name: out.read_bytes()}
    return {path.name: path.read_bytes() for path in out.iterdir()} if out.is_dir() else {}


def killed_at(step: int, act: Callable[[], object]) -> bool:
    """Do it in a fork that is killed at that step; false where it ended before."""
    child = os.fork()
    if child == 0:
        calls = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal calls
            del arguments
            if event.split(".")[0] in ("os", "open", "shutil", "tempfile", "fcntl", "ctypes"):
                calls += 1
                if calls == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        act()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "it failed by itself"
    return os.WIFSIGNALED(status)


def outcomes(kind: str, folder: Path, exchange: bool) -> list[dict[str, object]]:
    """Per step: what stood there at once and after the sweep ("old", "new", else names), and what else is left."""
    whole._exchange = EXCHANGE if exchange else lambda *_: False
    write, out = WRITERS[kind], folder / "out"
    contents = {}
    for content in ("old", "new"):
        write(out, content)
        contents[content] = look(out)
    found = []
    for step in range(1, MOST):
        write(out, "old")
        going = killed_at(step, lambda: write(out, "new"))
        at_once = look(out)
        if kind == "run":
            killed_at(1 + step % 17, lambda: sweep(folder))  # the next command may be killed as well
        sweep(folder)
        after = look(out)
        says = [next((n for n, of in contents.items() if of == seen), sorted(seen)) for seen in (at_once, after)]
        left = sorted(path.name for path in folder.iterdir() if path != out)
        found.append({"at_once": says[0], "after": says[1], "left": left})
        if not going:
            break
    return found


def main() -> None:
    found = {}
    for kind in WRITERS:
        for exchange in (True, False):
            folder = Path(sys.argv[1]) / f"{kind}-{exchange}"
            folder.mkdir()
            found[folder.name] = outcomes(kind, folder, exchange)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
