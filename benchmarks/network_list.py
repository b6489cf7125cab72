"""The networks that come with the installed packages eclipse-sumo and sumo-rl, read in place; RESCO's eight apart.

Beside them, so that there are more towns and more kinds of junction: OpenStreetMap imports among them with signals
guessed by netconvert, as SUMO's OSM wizard does it, and networks that netgenerate draws at random. Some of SUMO's
games have signals that the player switches, with greens of ten thousand seconds: netconvert makes them programs.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sumo

from plumbing.cache import cached_folder
from plumbing.digest import file_sha256
from plumbing.errors import InputError
from plumbing.interpreter import environment, last_line

TOOL_LIMIT_S = 600.0
REBUILD = ("--tls.rebuild",)
"""netconvert's options for programs of its own in the place of a player's."""
GUESS = (
    *REBUILD, "--tls.guess", "--tls.guess.threshold", "40", "--tls.guess.joining", "--tls.join", "--no-turnarounds",
)  # fmt: skip
"""netconvert's options for signals where there are none: where the speed limits of all approaches come to 40 m/s."""
DRAW = (
    "--rand", "--rand.iterations", "60", "--rand.min-distance", "80", "--rand.max-distance", "220",
    "--rand.min-angle", "40", "-L", "2", "--random-lanenumber", "--sidewalks.guess", "--crossings.guess",
    "--tls.guess", "--tls.guess.threshold", "40", "--no-turnarounds",
)  # fmt: skip
"""netgenerate's options for a random network."""


@dataclass(frozen=True)
class Network:
    """A network by name, and how its files are had."""

    name: str
    net: str = ""
    """The net file: `sumo/…` below the folder of eclipse-sumo, `sumo_rl/…` below that of sumo-rl; "" if drawn."""
    additional: tuple[str, ...] = ()
    """Additional files with its signals' programs, likewise."""
    town: bool = False
    """A town's streets, from OpenStreetMap."""
    convert: tuple[str, ...] = ()
    """netconvert's options to build it anew with: `REBUILD`, `GUESS`; empty: as it is."""
    seed: int | None = None
    """Drawn by netgenerate with this seed."""


_GAME, _PARTS, _RL = "sumo/tools/game", "sumo/tools/sumolib/scenario/scenarios", "sumo_rl/nets"
_REAL = f"{_PARTS}/RealWorld/RiLSA_example"

NETWORKS = {
    network.name: network
    for network in (
        Network("DRT", f"{_GAME}/DRT/osm.net.xml", town=True),
        Network("A10KW", f"{_GAME}/A10KW/osm.net.xml", town=True, convert=REBUILD),
        Network("A10KW-guessed", f"{_GAME}/A10KW/osm.net.xml", town=True, convert=GUESS),
        Network("bs3d", f"{_GAME}/bs3d/bs.net.xml", town=True, convert=REBUILD),
        Network("bs3d-guessed", f"{_GAME}/bs3d/bs.net.xml", town=True, convert=GUESS),
        Network("fkk_in", f"{_GAME}/fkk_in/ingolstadt.net.xml.gz"),
        Network("fokr_bs", f"{_GAME}/fokr_bs_demo/fokr_bs.net.xml.gz", (f"{_GAME}/fokr_bs_demo/signalPlan.add.xml",)),
        *(
            Network(f"RiLSA-{n}", f"{_REAL}{n}/rilsa{n}.net.xml", (f"{_REAL}{n}/rilsa{n}_tls.add.xml",))
            for n in (1, 2, 3, 4)
        ),
        Network("RiLSA1", f"{_PARTS}/RiLSA1/rilsa1.net.xml", (f"{_PARTS}/RiLSA1/tls.add.xml",)),
        Network(
            "RiLSA1BothTLS", f"{_PARTS}/RiLSA1BothTLS/rilsa1both.net.xml", (f"{_PARTS}/RiLSA1BothTLS/tls.add.xml",)
        ),
        Network("RiLSA1OutTLS", f"{_PARTS}/RiLSA1OutTLS/rilsa1.net.xml", (f"{_PARTS}/RiLSA1OutTLS/tls.add.xml",)),
        Network("basic-cross", f"{_PARTS}/net.net.xml"),
        Network("corridor", f"{_GAME}/corridor/corridor.net.xml", convert=REBUILD),
        Network("cross", f"{_GAME}/cross/cross.net.xml"),
        Network("grid6", f"{_GAME}/grid6/grid6.net.xml"),
        Network("hiking", f"{_GAME}/hiking/hiking.net.xml"),
        Network("kuehne", f"{_GAME}/kuehne/kuehne.net.xml"),
        Network("square", f"{_GAME}/square/square.net.xml"),
        Network("single-intersection", f"{_RL}/single-intersection/single-intersection.net.xml"),
        Network("2way-single-intersection", f"{_RL}/2way-single-intersection/single-intersection.net.xml"),
        Network("double", f"{_RL}/double/network.net.xml"),
        Network("2x2grid", f"{_RL}/2x2grid/2x2.net.xml"),
        Network("3x3grid", f"{_RL}/3x3grid/3x3Grid2lanes.net.xml"),
        Network("4x4-Lucas", f"{_RL}/4x4-Lucas/4x4.net.xml"),
        Network("4x4loop", f"{_RL}/4x4loop/4x4loop.net.xml"),
        Network("Nguyen", f"{_RL}/Nguyen/nguyentl.net.xml"),
        Network("random-3", seed=3),
        Network("random-8", seed=8),
    )
}
"""All of them by name."""


def files_of(network: Network) -> tuple[Path, tuple[Path, ...]]:
    """The net file and the additional files.

    Raises:
        InputError: a package is not installed, or lacks the file.
    """
    additional = tuple(map(_installed, network.additional))
    if network.seed is not None:
        return _built(network.name, ["netgenerate", *DRAW, "--seed", str(network.seed)], ""), additional
    net = _installed(network.net)
    if network.convert:
        net = _built(network.name, ["netconvert", "-s", str(net), *network.convert], file_sha256(net))
    return net, additional


def run_tool(command: Sequence[str], folder: Path) -> None:
    """A program of SUMO's, by its name, or a Python tool, by its file's name, in that folder.

    Raises:
        InputError: it fails.
    """
    home = Path(sumo.SUMO_HOME)
    name, *words = command
    start = [os.fspath(home / "bin" / name)]
    if name.endswith(".py"):
        start = [sys.executable, os.fspath(home / "tools" / name)]
    settings = environment(SUMO_HOME=os.fspath(home))
    try:
        done = subprocess.run(
            [*start, *words], cwd=folder, env=settings, capture_output=True, text=True, timeout=TOOL_LIMIT_S,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{name} fails: {error}") from error
    if done.returncode:
        raise InputError(f"{name} fails: {last_line(done.stderr) or f'exit status {done.returncode}'}")


def without_comments(path: Path) -> None:
    """Take the comments out of a tool's output: they hold time and place; equal inputs should give equal bytes."""
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL), encoding="utf-8")


def sumo_version() -> str:
    """Of the installed package."""
    return importlib.metadata.version("eclipse-sumo")


def _installed(name: str) -> Path:
    package, _, rest = name.partition("/")
    if package == "sumo":
        folders = [os.fspath(sumo.SUMO_HOME)]
    else:  # found but not imported: its import fails without SUMO_HOME
        spec = importlib.util.find_spec(package)
        folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        path = Path(folder) / rest
        if path.is_file():
            return path
    raise InputError(f"{name} is not installed; install the project with its dependencies (make .venv)")


def _built(name: str, command: Sequence[str], digest: str) -> Path:
    key = hashlib.sha256(repr((sumo_version(), tuple(command), digest)).encode()).hexdigest()[:16]

    def fill(folder: Path) -> None:
        run_tool([*command, "--no-warnings", "-o", f"{name}.net.xml"], folder)
        without_comments(folder / f"{name}.net.xml")

    return cached_folder(f"networks/{name}-{key}", fill) / f"{name}.net.xml"
