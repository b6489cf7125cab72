"""Machines of a Ray cluster, played by processes here, that can be made to die as a machine does."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


class Nodes:
    """A head and further nodes, each with some cores, behind one token."""

    def __init__(self, folder: Path) -> None:
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(16),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self._folder = folder
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._session = Path(tempfile.gettempdir()) / f"ig-{port}"  # sockets need a short path
        self._head = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self._session}"]

    def start(self, cores: int) -> int:
        """One more node; the first is the head. Its number."""
        where = [f"--address={self.address}"] if self._nodes else self._head
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        with (self._folder / f"node-{len(self._nodes)}.log").open("wb") as said:
            node = subprocess.Popen(
                [*ray, *where, f"--num-cpus={cores}", f"--object-store-memory={100 << 20}"],
                env=self.environment, cwd=ROOT, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
        self._nodes.append(node)
        return len(self._nodes) - 1

    def wait_for(self, cores: int, seconds: float = 200.0) -> None:
        """Until the cluster has so many cores. Ray starts in a few seconds, on a machine with nothing else to do."""
        script = (
            "import ray, sys, time, logging\n"
            f"ray.init(address={self.address!r}, log_to_driver=False, logging_level=logging.CRITICAL)\n"
            f"while ray.cluster_resources().get('CPU', 0) < {cores}: time.sleep(0.2)\n"
        )
        until = time.monotonic() + seconds
        host, port = self.address.split(":")
        while True:
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1.0):
                break
            assert time.monotonic() < until, f"the head does not start: {self.told()}"
            time.sleep(0.2)
        joined = subprocess.Popen([sys.executable, "-c", script], env=self.environment, stderr=subprocess.PIPE)
        while joined.poll() is None and time.monotonic() < until and all(node.poll() is None for node in self._nodes):
            time.sleep(0.1)
        joined.kill()
        _, said = joined.communicate()
        assert joined.returncode == 0, f"the cluster does not get {cores} cores: {said.decode()}\n{self.told()}"

    def told(self) -> str:
        """The last that each node has said."""
        logs = {path.name: path.read_text(errors="replace")[-3000:] for path in self._folder.glob("node-*.log")}
        return "\n".join(f"{name}:\n{text}" for name, text in sorted(logs.items()))

    def halt_within(self, node: int, function: str) -> bool:
        """Halt a worker of a node's in the midst of a task, which then cannot end any more. Whether there was one."""
        title = f"ray::{function}"
        for worker in self.processes(node):
            with contextlib.suppress(psutil.NoSuchProcess):
                if not worker.cmdline()[:1] or not worker.cmdline()[0].startswith(title):
                    continue
                worker.suspend()
                if worker.cmdline()[0].startswith(title):  # it did not end just before it was halted
                    return True
                worker.resume()
        return False

    def processes(self, node: int) -> list[psutil.Process]:
        """All of a node: its daemons, Ray's workers and the simulations in them."""
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._nodes[node].pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def kill(self, node: int) -> int:
        """SIGKILL to all that runs there; how many processes that were."""
        killed = self.processes(node)
        for process in killed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._nodes[node].wait()
        return len(killed)

    def close(self) -> None:
        """End all nodes, the head last."""
        for node in reversed(range(len(self._nodes))):
            self.kill(node)
        shutil.rmtree(self._session, ignore_errors=True)


@contextlib.contextmanager
def two_nodes(folder: Path, cores: int = 1) -> Iterator[Nodes]:
    """A head and one more, with so many cores each."""
    nodes = Nodes(folder)
    try:
        nodes.start(cores)
        nodes.wait_for(cores)
        nodes.start(cores)
        nodes.wait_for(2 * cores)
        yield nodes
    finally:
        nodes.close()
