"""Where simulations run: in processes on this machine, or on a Ray cluster. What the commands share about it."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from envs.workers.address import split_address
from plumbing.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from envs.workers.cluster import Cluster

ENGINES = ("local", "ray")


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """`--engine` and `--address`, the same in every command."""
    group = parser.add_argument_group("where simulations run")
    group.add_argument(
        "--engine", default="local", help="local: processes on this machine; ray: a Ray cluster (default: local)"
    )
    group.add_argument(
        "--address", metavar="HOST:PORT",
        help="of a running Ray cluster that this machine is part of, see docs/cluster.md "
        "(default: start Ray here, for this command alone)",
    )  # fmt: skip


def check_engine(options: argparse.Namespace) -> None:
    """Say at once what is wrong with `--engine` and `--address`.

    Raises:
        InputError: an unknown engine, an address without Ray, or Ray is not installed.
    """
    engine, address = options.engine, options.address
    if engine not in ENGINES:
        raise InputError(
            f"unknown --engine {engine!r}; choose {' or '.join(ENGINES)}.{did_you_mean(engine, ENGINES)}"
        )
    if address is not None and engine != "ray":
        raise InputError(f"--address {address} is for Ray only; add --engine ray")
    if address is not None:
        split_address(address)
    if engine == "ray" and importlib.util.find_spec("ray") is None:
        raise InputError(
            "--engine ray needs Ray, which is not installed; run: pip install -c constraints.txt '.[ray]'"
        )


@contextlib.contextmanager
def open_engine(options: argparse.Namespace, workers: int | None) -> Iterator[Cluster | None]:
    """The Ray cluster that these options ask for, left or ended afterwards; None for local processes.

    Until a cluster is left, what this process prints goes to stderr.

    Args:
        workers: how many simulations are to run at a time; None: whatever there is room for.

    Raises:
        InputError: it cannot be reached, or is too small.
    """
    check_engine(options)
    if options.engine == "local":
        yield None
        return
    from envs.workers.cluster import Cluster  # takes a second, and Ray may not be installed

    # Ray prints what happens to its machines on stdout, which is for results, and has no setting for it
    with Cluster(options.address, workers) as cluster, contextlib.redirect_stdout(sys.stderr):
        yield cluster
