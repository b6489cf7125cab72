"""The page in a browser: it plays, seeks and answers clicks, and shows what was recorded; it asks for nothing else.

Needs a Chromium beside the Python packages (Debian, Ubuntu: apt-get install chromium).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import replay as command
from playback.page import write_page
from playback.replay_file import Replay
from plumbing.errors import InputError

CONTROLLERS = ("actuated", "max_pressure")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Replay]:
    """Four minutes of `single`, with its pedestrians, under SUMO's actuated program and under max-pressure."""
    folder = tmp_path_factory.mktemp("page")
    replays = []
    for name in CONTROLLERS:
        arguments = ["record", "--scenario", "single", "--end", "240", "--controller", name]
        assert command.main([*arguments, "--out", str(folder / f"{name}.replay")]) == 0
        replays.append(Replay.read(folder / f"{name}.replay"))
    return replays


class Watched:
    """A page that notes what it says and what it asks for."""

    def __init__(self, browser: Any, path: Path, link: str = "", **context: Any) -> None:
        self.page = browser.new_context(viewport={"width": 1280, "height": 800}, **context).new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url + link)
        self.page.wait_for_function("window.intergreen")
        self.page.wait_for_timeout(100)

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def figures(self, side: str) -> dict[str, str]:
        found = self.page.query_selector_all(f".view.{side} [data-figure]")
        return {each.get_attribute("data-figure"): each.inner_text() for each in found}

    def shown(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.page.evaluate("intergreen.shown()")
        return found

    def close(self) -> None:
        """Nothing may have gone wrong, and nothing but the page itself may have been asked for."""
        self.page.context.close()
        assert self.said == []
        assert {url.split("#")[0] for url in self.asked} == {self.url}


def recorded_at(replay: Replay, step: int) -> dict[str, Any]:
    """What the file says of a step, read by Python."""
    tracks, vehicles = replay.vehicle_tracks, replay.content("vehicles")
    who = np.repeat(tracks.thing, tracks.length)
    places = {
        vehicles["ids"][who[n]]: [tracks.x_dm[n] / 10, tracks.y_dm[n] / 10]
        for n in np.flatnonzero(tracks.steps == step).tolist()
    }
    states = {}
    for tls_id, of in replay.content("signals").items():
        states[tls_id] = of["states"][of["state"][np.searchsorted(np.cumsum(of["after"]), step, side="right") - 1]]
    persons = int((replay.person_tracks.steps == step).sum())
    curves = {name: values[step] for name, values in replay.content("curves").items()}
    return {"vehicles": places, "states": states, "persons": persons, "curves": curves}


def agrees(watched: Watched, pair: list[Replay], step: int) -> None:
    """Whether the picture and the figures beside it are what was recorded."""
    for side, shown, replay in zip("ab", watched.shown(), pair, strict=True):
        expected = recorded_at(replay, step)
        assert shown["step"] == step
        assert shown["vehicles"].keys() == expected["vehicles"].keys()
        for name, place in expected["vehicles"].items():
            assert shown["vehicles"][name] == pytest.approx(place, abs=0.01)
        assert shown["states"] == expected["states"]
        assert shown["persons"] == expected["persons"]
        curves, figures = expected["curves"], watched.figures(side)
        assert figures["queue"] == str(curves["queue_veh"])
        assert figures["on the road"] == str(curves["running_veh"]) == str(len(expected["vehicles"]))
        assert figures["arrived"] == str(curves["arrived_veh"])
        assert figures["delay"] == f"{curves['delay_s'] / curves['planned_veh']:.1f} s"
    a, b = (replay.content("curves")["delay_s"][step] / 3600 for replay in pair)
    said = (
        f"{'saves' if b < a else 'costs'} {abs(b - a):.1f} vehicle-hours" if abs(b - a) >= 0.05 else "no difference"
    )
    assert said in watched.text("#verdict")


@pytest.mark.wide
def test_three_moments_are_shown_as_recorded(browser: Any, pair: list[Replay], tmp_path: Path) -> None:
    write_page([replay.path for replay in pair], tmp_path / "page.html")
    watched = Watched(browser, tmp_path / "page.html", "#t=100")
    page = watched.page
    assert watched.text("#time") == "00:01:40"
    agrees(watched, pair, 100)
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowRight", ".", ","):
        page.keyboard.press(key)
    page.wait_for_timeout(100)
    assert watched.text("#time") == "00:03:00"
    agrees(watched, pair, 180)
    # a click into the curves: half way
    box = page.locator("#timeline").bounding_box()
    page.mouse.click(box["x"] + 46 + (box["width"] - 60) / 2, box["y"] + 40)
    page.wait_for_timeout(100)
    step = watched.shown()[0]["step"]
    assert abs(step - 120) <= 1
    agrees(watched, pair, step)
    watched.close()


def test_it_plays_and_stops(browser: Any, pair: list[Replay], tmp_path: Path) -> None:
    write_page([replay.path for replay in pair], tmp_path / "page.html")
    watched = Watched(browser, tmp_path / "page.html", "#t=60&speed=20")
    page = watched.page
    page.keyboard.press("Space")
    page.wait_for_timeout(1500)
    page.click("#play")
    page.wait_for_timeout(100)
    after = watched.shown()
    assert after[0]["time_s"] == after[1]["time_s"], "both sides are in step"
    assert 75 < after[0]["time_s"] < 110, "about 30 simulated seconds"
    assert page.evaluate("intergreen.fps()") > 10
    page.wait_for_timeout(200)
    assert watched.shown()[0]["time_s"] == after[0]["time_s"]
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")  # from the beginning again
    page.wait_for_timeout(300)
    assert watched.shown()[0]["time_s"] < 60
    assert page.eval_on_selector("#speed", "select => select.value") == "30"
    watched.close()


def test_vehicles_and_signals_are_painted_where_they_are(browser: Any, pair: list[Replay], tmp_path: Path) -> None:
    write_page([replay.path for replay in pair], tmp_path / "page.html")
    watched = Watched(browser, tmp_path / "page.html", "#t=150&zoom=4", color_scheme="light")
    found = watched.page.evaluate(
        """() => {
          const { camera, sides } = intergreen, seen = { vehicles: [], heads: [] }, side = sides[1];
          const { width, height } = side.canvas, colours = PALETTES.light;
          const hex = (x, y) => {
            const at = camera.toScreen(x, y, width, height);
            if (at.x < 5 || at.y < 120 || at.x > width - 5 || at.y > height - 60) return null;
            const [r, g, b] = side.context.getImageData(Math.round(at.x), Math.round(at.y), 1, 1).data;
            return "#" + [r, g, b].map(v => v.toString(16).padStart(2, "0")).join("");
          };
          const tracks = side.replay.vehicleTracks, list = side.shown.vehicles;
          for (let n = 0; n < list.length; n += 6) {
            const p = list[n + 4], colour = hex(list[n + 1] - tracks.ux[p] * 2.5, list[n + 2] - tracks.uy[p] * 2.5);
            if (colour) seen.vehicles.push(colours.speed.includes(colour));
          }
          const signal = side.scenery.signals[0], state = side.state(0, intergreen.step);
          const free = at => {
            for (let n = 0; n < list.length; n += 6) {  // who stands before the line does not cover it
              const dx = list[n + 1] - at.x, dy = list[n + 2] - at.y;
              if (Math.hypot(dx, dy) < 8 && dx * at.ux + dy * at.uy > -0.8) return false;
            }
            return true;
          };
          for (const { walk, slots, end } of signal.lanes) {
            const shown = state[slots[0]];
            if (!walk && slots.length === 1 && "rG".includes(shown) && free(end))
              seen.heads.push(hex(end.x - end.ux * 0.5, end.y - end.uy * 0.5) === colours[shown]);
          }
          return seen;
        }"""
    )
    assert len(found["vehicles"]) >= 5
    assert all(found["vehicles"])
    assert len(found["heads"]) >= 2
    assert all(found["heads"])
    watched.page.context.close()  # the browser has remarks on our reading of pixels


@pytest.mark.wide
def test_a_click_tells_of_signals_and_vehicles(browser: Any, pair: list[Replay], tmp_path: Path) -> None:
    write_page([replay.path for replay in pair], tmp_path / "page.html")
    watched = Watched(browser, tmp_path / "page.html", "#t=150")
    page, step, decision = watched.page, 150, 30
    box = page.locator(".view.b canvas").bounding_box()

    def click(expression: str) -> None:
        size = f"{box['width']}, {box['height']}"
        at = page.evaluate(f"(({{x, y}}) => intergreen.camera.toScreen(x, y, {size}))({expression})")
        page.mouse.click(box["x"] + at["x"], box["y"] + at["y"])
        page.wait_for_timeout(200)
        box.update(page.locator(".view.b canvas").bounding_box())

    click("intergreen.scenery.signals[0]")
    assert watched.text("#panel h2").startswith("Signal C")
    assert "It runs a program of SUMO's" in watched.text("#panel section.a")
    told, of = watched.text("#panel section.b"), pair[1].decisions
    assert f"phase {of['shown'][decision, 0]}" in told
    assert "At 00:02:30 it " in told
    rows = page.query_selector_all("#panel section.b .phases tr")[1:]
    assert len(rows) == len(pair[1].content("network")["signals"][0]["phases"]) == 4
    for phase, row in enumerate(rows):
        cells = [cell.inner_text().strip() for cell in row.query_selector_all("td")]
        assert cells[1].split()[0] == str(phase)
        assert cells[2:4] == [f"{of[name][decision, 0, phase]:.0f}" for name in ("seen_veh", "queue_veh")]
        free = of["mask"][decision, 0, phase]
        assert ("locked" in cells[1]) == (not free)
        assert float(cells[4].replace("−", "-")) == pytest.approx(of["scores"][decision, 0, phase], abs=0.06)
        assert ("chosen" in row.get_attribute("class")) == (of["shown"][decision, 0] == phase)
    page.keyboard.press("Escape")
    assert page.locator("#panel").is_hidden()
    page.wait_for_timeout(200)
    box.update(page.locator(".view.b canvas").bounding_box())
    near = """(() => {
      const { sides, scenery } = intergreen, list = sides[1].shown.vehicles, [signal] = scenery.signals, seen = [];
      for (let n = 0; n < list.length; n += 6)
        seen.push({ x: list[n + 1], y: list[n + 2], id: sides[1].replay.vehicles.ids[list[n]] });
      const far = at => Math.hypot(at.x - signal.x, at.y - signal.y);
      return seen.sort((a, b) => far(a) - far(b))[3];
    })()"""
    name = page.evaluate(f"({near}).id")
    click(near)
    told = watched.text("#panel")
    trips = pair[1].content("vehicles")["trips"]
    assert told.startswith(f"Vehicle {name}")
    assert f"{trips['delay_s'][trips['id'].index(name)]:.1f} s" in told
    assert step == watched.shown()[0]["step"]
    watched.close()


@pytest.mark.wide
def test_a_link_leads_back_and_the_phone_has_room(browser: Any, pair: list[Replay], tmp_path: Path) -> None:
    write_page([pair[1].path], tmp_path / "one.html")
    watched = Watched(browser, tmp_path / "one.html", "#t=00:02:05&signal=C")
    page = watched.page
    assert watched.text("#time") == "00:02:05"
    assert watched.text("#verdict") == ""
    page.keyboard.press("t")
    page.keyboard.press("+")
    link = page.evaluate("intergreen.link()")
    camera = "(({x, y, scale}) => [x, y, scale])(intergreen.camera)"
    view = page.evaluate(camera)
    page.keyboard.press("h")
    assert page.locator("#help").is_visible()
    watched.close()
    again = Watched(browser, tmp_path / "one.html", link)
    assert again.text("#time") == "00:02:05"
    assert again.page.evaluate("intergreen.selected.signal") == "C"
    assert again.page.evaluate(camera) == pytest.approx(view, rel=0.01, abs=0.6)
    again.page.set_viewport_size({"width": 360, "height": 640})
    again.page.wait_for_timeout(200)
    assert again.page.evaluate("document.documentElement.scrollWidth") <= 360
    for part in ("#play", "#timeline", "#panel", ".view.a canvas"):
        box = again.page.locator(part).bounding_box()
        assert box["width"] > 30
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
    again.close()


def test_the_page_holds_the_replays_and_refers_to_nothing_else(pair: list[Replay], tmp_path: Path) -> None:
    size = write_page([replay.path for replay in pair], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert size == len(text.encode())
    assert text.count('class="replay"') >= 2
    text = text.replace("http://www.w3.org/2000/svg", "")  # a name, not a place
    for mark in ("{{", "http:", "https:", " src=", "@import"):
        assert mark not in text, mark


def test_two_that_do_not_belong_together_are_refused(pair: list[Replay], tmp_path: Path) -> None:
    arguments = ["record", "--scenario", "single", "--end", "60", "--controller", "greedy"]
    assert command.main([*arguments, "--out", str(tmp_path / "short.replay")]) == 0
    with pytest.raises(InputError, match=r"cannot be shown side by side: their scenarios have different end_s"):
        write_page([pair[0].path, tmp_path / "short.replay"], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
