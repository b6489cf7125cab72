"""What the tests of scenarios share: SUMO's own binary, and a user's folder of files."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from scenarios.loading import load


def sumo(arguments: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    import sumo as wheel

    return subprocess.run(
        [f"{wheel.SUMO_HOME}/bin/sumo", *arguments, "--no-step-log", "--duration-log.statistics"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SUMO_HOME": str(wheel.SUMO_HOME)},
    )


def user_folder(tmp_path: Path) -> Path:
    """A user's folder: the net of `tee`, gzipped, beside a file of routes."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "my.net.xml.gz").write_bytes(gzip.compress(load("tee").net_file.read_bytes()))
    (folder / "my.rou.xml").write_text(
        '<routes><vType id="tram" vClass="bus"/><route id="we" edges="W_in E_out"/>'
        '<flow id="f" route="we" begin="100" end="400" number="30"/>'
        '<flow id="p" from="E_in" to="S_out" begin="100" end="400" probability="0.1"/>'
        '<trip id="t0" depart="100" from="E_in" to="W_out"/>'
        '<vehicle id="b0" type="tram" depart="150" line="7"><route edges="E_in W_out"/></vehicle>'
        '<vehicle id="v0" depart="0:02:40"><route edges="S_in E_out"/></vehicle></routes>'
    )
    return folder
