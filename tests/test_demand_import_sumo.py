"""`demand import` on what SUMO itself writes: induction loops and lane area detectors."""

from __future__ import annotations

import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import sumo

from demand.__main__ import main
from plumbing.errors import InputError
from tests.count_files import imported, written

SECONDS, VEHICLES_PER_HOUR = 1800, 720


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with e1.xml and e2.xml of one road with a car every five seconds."""
    folder = tmp_path_factory.mktemp("sumo")
    binaries = Path(sumo.SUMO_HOME) / "bin"
    written(folder / "road.nod.xml", '<nodes><node id="w" x="0" y="0"/><node id="e" x="900" y="0"/></nodes>')
    written(folder / "road.edg.xml", '<edges><edge id="road" from="w" to="e" numLanes="1" speed="13.9"/></edges>')
    written(
        folder / "road.rou.xml",
        '<routes><route id="r" edges="road"/>'
        f'<flow id="f" route="r" begin="0" end="{SECONDS}" period="{3600 / VEHICLES_PER_HOUR:g}"/></routes>',
    )
    written(
        folder / "detectors.add.xml",
        '<additional><inductionLoop id="loop" lane="road_0" pos="300" period="300" file="e1.xml"/>'
        '<laneAreaDetector id="area" lane="road_0" pos="500" endPos="560" period="300" file="e2.xml"/></additional>',
    )
    subprocess.run(
        [binaries / "netconvert", "-n", "road.nod.xml", "-e", "road.edg.xml", "-o", "road.net.xml"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(
        [
            binaries / "sumo", "-n", "road.net.xml", "-r", "road.rou.xml", "-a", "detectors.add.xml",
            "--end", str(SECONDS), "--no-step-log",
        ],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.mark.parametrize(("file", "name"), [("e1.xml", "loop"), ("e2.xml", "area")])
def test_the_counts_are_those_of_the_simulation(outputs: Path, tmp_path: Path, file: str, name: str) -> None:
    folder = imported(tmp_path / "out", outputs / file, "--date", "2024-05-14")
    assert (folder.about.interval_s, folder.about.zone) == (300, "UTC")
    table = folder.frame()
    assert table["detector"].unique().to_list() == [name]
    assert [f"{time:%d %H:%M}" for time in table["time"]] == [f"14 00:{m:02}" for m in range(0, 30, 5)]
    elements = list(ElementTree.parse(outputs / file).getroot())
    assert table["count"].to_list() == [float(e.get("nVehEntered", "")) for e in elements]
    assert table["count"][3] == pytest.approx(VEHICLES_PER_HOUR / 12, abs=1)
    assert 0 < table["occupancy"][3] < 1
    assert table["speed_mps"][3] == pytest.approx(13.9, rel=0.2)


def test_both_together_and_half_of_one(outputs: Path, tmp_path: Path) -> None:
    folder = imported(tmp_path / "out", outputs / "e1.xml", outputs / "e2.xml", "--interval", 900)
    assert folder.detectors()["detector"].to_list() == ["area", "loop"]
    assert folder.frame()["time"].n_unique() == 2
    text = (outputs / "e1.xml").read_text()
    written(tmp_path / "half.xml", text[: len(text) * 2 // 3])
    with pytest.raises(InputError, match="whole, well-formed XML"):
        main(["import", str(tmp_path / "half.xml"), "--out", str(tmp_path / "half")])
    assert not (tmp_path / "half").exists()
