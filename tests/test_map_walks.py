"""People who walk about on an imported map: each of their walks can be simulated."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.maps.assumption import Assumption
from scenarios.maps.convert import convert
from scenarios.maps.extract import read_extract
from scenarios.maps.made_up import made_up, write_routes
from scenarios.netfile import read_network
from scenarios.streets import read_streets
from scenarios.sumo_tools import run_binary

TWO = Path(__file__).parent / "data" / "osm" / "two-signals.osm"


@pytest.mark.wide
def test_walks_that_are_made_up_can_be_simulated_wherever_they_begin(tmp_path: Path) -> None:
    """Between edges that meet at two junctions, and are connected on foot at one of them alone, SUMO's router turns
    round and its simulation ends with an error, by its seed."""
    net = tmp_path / "a.net.xml"
    extract = read_extract(TWO)
    convert(extract, net, tmp_path, lefthand=False)
    found = made_up(net, read_network(net), read_streets(net), Assumption("medium", None, 1), tmp_path)
    walkers = [of for of in found if of.kind == "person"]
    assert len(walkers) > 250
    write_routes(walkers, tmp_path / "a.rou.xml", "walkers alone")
    for seed in "123":
        words = ["-n", str(net), "-r", str(tmp_path / "a.rou.xml"), "--no-step-log", "--no-warnings", "--seed", seed]
        said = run_binary("sumo", words, tmp_path)
        assert (said.status, said.errors) == (0, "")
