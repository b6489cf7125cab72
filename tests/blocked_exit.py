"""A street W E that crosses a street N S at the signal C, and whose exit is held up by somebody who stands there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import sumo

from scenarios.loading import load
from scenarios.scenario import Scenario

BROKEN_S, END_S = 400.0, 600.0
"""Until when the exit is held up, and the end of the run."""


def blocked_exit(folder: Path) -> Scenario:
    """The scenario: the exit CE holds few vehicles, and all fit through CS."""
    at = {"W": (-250, 0), "C": (0, 0), "E": (60, 0), "F": (300, 0), "N": (0, 250), "S": (0, -250)}
    nodes = "".join(
        f'<node id="{name}" x="{x}" y="{y}" type="{"traffic_light" if name == "C" else "priority"}"/>'
        for name, (x, y) in at.items()
    )
    edges = "".join(
        f'<edge id="{way}" from="{way[0]}" to="{way[1]}" numLanes="1" speed="13.9"/>'
        for way in ("WC", "CE", "EF", "NC", "CS")
    )
    (folder / "n.nod.xml").write_text(f"<nodes>{nodes}</nodes>")
    (folder / "e.edg.xml").write_text(f"<edges>{edges}</edges>")
    (folder / "c.con.xml").write_text(
        '<connections><connection from="WC" to="CE"/><connection from="NC" to="CS"/></connections>'  # nobody turns
    )
    net, routes = folder / "blocked.net.xml", folder / "blocked.rou.xml"
    command = [f"{sumo.SUMO_HOME}/bin/netconvert", "-n", "n.nod.xml", "-e", "e.edg.xml", "-x", "c.con.xml"]
    command += ["-o", net.name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    routes.write_text(
        '<routes><route id="we" edges="WC CE EF"/><route id="ns" edges="NC CS"/>'
        f'<vehicle id="broken" depart="0" route="we"><stop lane="CE_0" endPos="-5" until="{BROKEN_S}"/></vehicle>'
        f'<flow id="w" route="we" begin="1" end="{END_S}" period="6"/>'
        f'<flow id="n" route="ns" begin="1" end="{END_S}" period="10"/></routes>'
    )
    return load(net, routes=[routes], begin_s=0.0, end_s=END_S)
