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


def written(processes: Iterable[psutil.Process]) -> tuple[float, float]:
    """RSS of several processes together, and their private written pages [MB]. Unlike PSS that stays
    where it is when some other process that used the same libraries ends."""
    rss = private = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            rss += process.memory_info().rss
            private += sum(part.private_dirty for part in process.memory_maps())
    return rss / MB, private / MB


def holdings() -> dict[str, float]:
    """Everything that would grow if something were left behind."""
    own = psutil.Process()
    templates, episodes = workers()
    everyone = [own, *templates]
    found: dict[str, float] = {}
    for name, processes in (("env", [own]), ("template", templates), ("episode", episodes)):
        rss, private = written(processes)
        found |= {f"{name}_rss_mb": round(rss, 2), f"{name}_private_mb": round(private, 2)}
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
        return "envs.workers.server" in process.cmdline()
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
