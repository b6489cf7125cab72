"""A town whose every file would write what somebody would miss, if SUMO were handed it as it is."""

from __future__ import annotations

import hashlib
from pathlib import Path
from xml.etree import ElementTree

from scenarios.loading import load
from scenarios.scenario import Scenario
from tests import sumo_schema as schema
from tests.scenario_files import sumo

LANE, EDGE, TLS = "W_in_0", "W_in", "C"
OUTPUTS = schema.FILES - {"href", "imgFile", "osgFile"}
SSM = '<param key="has.ssm.device" value="true"/><param key="device.ssm.file" value="{}"/>'


def checksums(*folders: Path) -> dict[Path, str]:
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }


class Town:
    """A user's folder with one small file of each kind, and files beside them that somebody would miss."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cwd = folder / "town", folder / "cwd"
        self.folder.mkdir(parents=True)
        self.cwd.mkdir()
        self.victims = 0
        built = load("tee")
        self.net = built.net_file.read_text()
        rows = "".join(
            f'<phase duration="{r.duration_s}" state="{r.state}"/>' for r in built.network.programs[TLS][0].rows
        )
        self.kinds: dict[str, str] = {
            "net": self.net,
            "routes": '<routes><vType id="car"><param key="has.battery.device" value="true"/></vType>'
            '<vTypeDistribution id="vd"><vType id="d" probability="1"/></vTypeDistribution>'
            '<route id="we" edges="W_in E_out"/><vehicle id="v" type="car" route="we" depart="0">'
            '<stop lane="W_in_0" duration="2" endPos="60"/></vehicle>'
            '<flow id="f" type="car" begin="1" end="9" number="3" route="we"/>'
            '<person id="p" depart="1"><walk from="W_in" to="E_out"/></person></routes>',
            "additional": f'<additional><tlLogic id="{TLS}" type="actuated" programID="a" offset="0">{rows}</tlLogic>'
            '<variableSpeedSign id="s" lanes="W_in_0"><step time="0" speed="13"/></variableSpeedSign>'
            '<rerouter id="r" edges="E_in"><interval begin="0" end="10"><destProbReroute id="S_out"/></interval>'
            '</rerouter><busStop id="b" lane="W_in_0" startPos="50" endPos="70"/>'
            '<e3Detector id="e" period="10" file="NUL"><detEntry lane="W_in_0" pos="20"/>'
            '<detExit lane="E_out_0" pos="20"/></e3Detector></additional>',
            "included": '<additional><poi id="i" x="0" y="0"/><route id="ri" edges="W_in E_out"/></additional>',
            "trigger": '<vss><step time="0" speed="12"/></vss>',
            "programs": f'<additional><tlLogic id="{TLS}" type="delay_based" programID="g">{rows}'
            "</tlLogic></additional>",
            "weights": '<meandata><interval begin="0" end="99" id="w"><edge id="W_in" traveltime="9"/></interval>'
            "</meandata>",
            "state": "",
        }
        state = self.folder / "state.xml"
        self._write(self.folder, {})
        args = ["-n", "net.xml", "-r", "routes.xml", "-e", "3", "--save-state.times", "2"]
        done = sumo([*args, "--save-state.files", str(state)], self.folder)
        assert state.is_file(), done.stderr
        self.kinds["state"] = state.read_text()

    def _write(self, folder: Path, changed: dict[str, str]) -> None:
        for kind, text in (self.kinds | changed).items():
            (folder / f"{kind}.xml").write_text(text)
        additional = (folder / "additional.xml").read_text()
        named = (
            '<include href="included.xml"/><variableSpeedSign id="x" lanes="W_in_0" file="trigger.xml"/></additional>'
        )
        (folder / "additional.xml").write_text(additional.replace("</additional>", named))

    def victim(self) -> str:
        """A new file that somebody would miss."""
        self.victims += 1
        path = self.folder / f"victim-{self.victims}.xml"
        path.write_text("dear to somebody\n")
        return str(path)

    def scenario(self, kind: str = "", text: str = "", options: str = "") -> tuple[Scenario, str]:
        """The scenario with one file changed, and the programs that go with it."""
        self._write(self.folder, {kind: text} if kind else {})
        more = '<weight-files value="weights.xml"/>' + ('<load-state value="state.xml"/>' if kind == "state" else "")
        config = self.folder / "town.sumocfg"
        config.write_text(
            '<configuration><net-file value="net.xml"/><route-files value="routes.xml"/>'
            f'<additional-files value="additional.xml"/><begin value="{2 if kind == "state" else 0}"/>'
            f'<end value="40"/>{more}{options}</configuration>'
        )
        return load(config), (self.folder / "programs.xml").read_text()

    def run(self, args: list[str]) -> tuple[set[Path], str]:
        """Let SUMO run; which files it has changed or made, and what it said."""
        before = checksums(self.folder, self.cwd)
        done = sumo([*args, "--xml-validation", "never", "--ignore-route-errors"], self.cwd)
        after = checksums(self.folder, self.cwd)
        return {path for path in after if before.get(path) != after[path]}, done.stderr


def writing(town: Town) -> list[str]:
    """An element for each way in which SUMO's schemas know to name a file, with all that it needs."""
    found: list[str] = []
    fixed = {"lane": LANE, "edge": EDGE, "lanes": LANE, "edges": EDGE, "source": TLS, "pos": "5", "period": "5"}
    fixed |= {"endPos": "50", "length": "10", "speed": "5", "type": "car", "duration": "5"}
    for name in sorted(schema.writers() - {"include", "poi", "poly", "vType"}):
        attributes = schema.elements()[name]
        for kind in schema.values(name, "type") or [""]:
            of = {a: fixed[a] for a in fixed if attributes.get(a) == "required" or a in ("lane", "pos", "period")}
            of = {a: value for a, value in of.items() if a in attributes}
            of |= {a: town.victim() for a in sorted(OUTPUTS & attributes.keys()) if a != "edgesFile"}
            of |= {"id": f"n{len(found)}"} if "id" in attributes else {}
            of |= {"type": kind} if kind else {}
            inside = f'<detEntry lane="{LANE}" pos="9"/><detExit lane="E_out_0" pos="9"/>' if "ntry" in name else ""
            inside = f'<detEntry lane="{LANE}" pos="9"/><detExit lane="E_out_0" pos="9"/>' if "e3" in name else inside
            if name in ("calibrator", "variableSpeedSign"):
                of.pop("file", None)  # to read; `output` is what is written
            words = "".join(f' {a}="{value}"' for a, value in of.items())
            found.append(f"<{name}{words}>{inside}</{name}>")
    return found


def parameters(town: Town) -> str:
    """Parameters that give a vehicle every device, and a file to each."""
    names = sorted(schema.devices())
    has = "".join(
        f'<param key="has.{name}.device" value="true"/>' for name in names if name not in ("taxi", "fcd-replay")
    )
    files = [name for name in schema.options() if name.startswith("device.") and "file" in name.rpartition(".")[2]]
    files += [f"device.{name}.{last}" for name in names for last in ("file", "output")]
    return has + "".join(f'<param key="{name}" value="{town.victim()}"/>' for name in dict.fromkeys(files))


def places(root: ElementTree.Element) -> list[ElementTree.Element]:
    """One element of every kind of place: by the tags on the way to it."""
    found: dict[tuple[str, ...], ElementTree.Element] = {}

    def walk(element: ElementTree.Element, above: tuple[str, ...]) -> None:
        found.setdefault((*above, element.tag), element)
        for child in element:
            walk(child, (*above, element.tag))

    walk(root, ())
    return list(found.values())


def injected(town: Town, kind: str) -> str:
    """The kind's file with everything that could write in every place, also inside of what SUMO does not know."""
    root = ElementTree.fromstring(town.kinds[kind])
    for place in places(root):
        extra = "".join(writing(town))
        mine = ElementTree.fromstring(
            f"<x>{extra}<metadata>{''.join(writing(town))}</metadata><foo>{extra}</foo></x>"
        )
        params = ElementTree.fromstring(f"<x>{parameters(town)}<param key='file' value='{town.victim()}'/></x>")
        number = 0
        for element in mine.iter():
            if "id" in element.attrib:  # of its own, or SUMO stops at the second
                number += 1
                element.set("id", f"{kind}{place.tag}{town.victims}-{number}")
        place.extend(mine)
        place.extend(params)
        if place.tag == "vType":
            place.set("imgFile", town.victim())
    return ElementTree.tostring(root, encoding="unicode")
