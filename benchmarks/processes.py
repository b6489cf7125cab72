"""What the processes of an environment hold: memory, open files, children, shared memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

MB = 1e6  # [bytes]
SHARED_MEMORY = Path("/dev/shm")


def workers() -> tuple[list[psutil.Process], list[psutil.Process]]:
    """Of this process's environments: the templates, and the episodes that they have forked."""
    templates = [child for child in psutil.Process().children() if _is_worker(child)]
    return templates, [episode for template in templates for episode in _children(template)]


def memory(processes: Iterable[psutil.Process]) -> tuple[float, float]:
    """RSS and PSS of several processes together [MB]; PSS counts a shared page once, divided among its users."""
    rss = pss = 0
    for process in processes:
        try:
            full = process.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        rss, pss = rss + full.rss, pss + full.pss
    return rss / MB, pss / MB


def worker_memory() -> dict[str, float]:
    """RSS and PSS of the templates and the episodes of this process [MB]."""
    templates, episodes = workers()
    found: dict[str, float] = {}
    for name, processes in (("template", templates), ("episode", episodes)):
        rss, pss = memory(processes)
        found |= {f"{name}_rss_mb": round(rss, 1), f"{name}_pss_mb": round(pss, 1)}
    return found


def private(processes: Iterable[psutil.Process]) -> float:
    """What several processes have written and share with nobody [MB]. Unlike PSS it stays where it is when some other
    process that used the same libraries ends."""
    dirty = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            dirty += sum(part.private_dirty for part in process.memory_maps())
    return dirty / MB


def holdings() -> dict[str, float]:
    """All that one looks at over time to see whether something is left behind."""
    own = psutil.Process()
    templates, episodes = workers()
    everyone = [own, *templates]
    found: dict[str, float] = {}
    for name, processes in (("env", [own]), ("template", templates), ("episode", episodes)):
        found[f"{name}_rss_mb"] = round(memory(processes)[0], 2)
        found[f"{name}_private_mb"] = round(private(processes), 2)
    return {
        **found,
        "open_files": sum(_descriptors(process) for process in everyone),
        "processes": 1 + len(templates) + len(episodes),
        "threads": own.num_threads(),
        "shared_memory_files": _entries(SHARED_MEMORY),
        "semaphores": _semaphores(),
    }


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "envs.worker" in process.cmdline()
    except psutil.Error:
        return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[Any] = process.children()
    except psutil.Error:
        return []
    return found


def _descriptors(process: psutil.Process) -> int:
    try:
        return int(process.num_fds())
    except psutil.Error:
        return 0


def _entries(folder: Path) -> int:
    """Files of this user there; other people's come and go."""
    if not folder.is_dir():
        return 0
    return sum(entry.stat(follow_symlinks=False).st_uid == os.getuid() for entry in os.scandir(folder))


def _semaphores() -> int:
    """System V semaphores of this user; named POSIX ones are files of the shared memory folder."""
    table = Path("/proc/sysvipc/sem")
    if not table.is_file():
        return 0
    rows = [line.split() for line in table.read_text().splitlines()[1:]]
    return sum(len(row) > 4 and int(row[4]) == os.getuid() for row in rows)
