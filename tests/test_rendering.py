"""Pictures through sumo-gui, and what is said where they cannot be had."""

from __future__ import annotations

import importlib.util
import os
import shutil
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sumo

from envs import NetworkEnv, SignalEnv
from envs.sumo import gui as rendering
from envs.sumo.gui import FRAME_SHAPE, GuiBackend, gui_binary, render_setup
from plumbing.errors import InputError
from scenarios.scenario import Scenario
from tests.windows import window

MISSING = [name for name in ("pyvirtualdisplay", "PIL") if importlib.util.find_spec(name) is None]
CAN_DRAW = not MISSING and shutil.which("Xvfb") is not None
"""Where this is False, the tests of pictures check instead that the error says what to install."""


def drawn(env_class: Any, scenario: Scenario) -> Any:
    """The environment with pictures or, where there can be none, None once the error is found to be clear."""
    if CAN_DRAW:
        return env_class(scenario, render_mode="rgb_array")
    with pytest.raises(InputError, match=r"pip install|apt-get install xvfb"):
        env_class(scenario, render_mode="rgb_array")
    return None


def test_a_picture_shows_the_last_decision_and_the_traffic_is_that_of_an_undrawn_run() -> None:
    env = drawn(SignalEnv, window("cologne1", 150))
    if env is None:
        return
    plain = SignalEnv(window("cologne1", 150))
    first, _ = env.reset(seed=3)
    assert np.array_equal(first, plain.reset(seed=3)[0])
    pictures = [env.render()]
    for step in range(30):
        action = step // 8 % 4
        seen, expected = env.step(action), plain.step(action)
        assert np.array_equal(seen[0], expected[0])
        assert seen[1:4] == expected[1:4]
        if step % 10 == 9:
            pictures.append(env.render())
    for picture in pictures:
        assert picture.shape == FRAME_SHAPE
        assert picture.dtype == np.uint8
    # the roads' black and the grass's green are in all, the vehicles' yellow comes with the vehicles
    yellow = [int((np.abs(p.astype(int) - (255, 255, 0)).sum(axis=2) < 60).sum()) for p in pictures]
    assert all((p.sum(axis=2) == 0).mean() > 0.05 for p in pictures)
    assert yellow[0] < 50
    assert yellow[-1] > 500
    assert seen[3], "the last picture can be had when the episode is over"
    env.close()
    plain.close()


def test_a_network_is_drawn_and_nothing_is_said_in_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    env = drawn(NetworkEnv, window("cologne3", 60))
    if env is None:
        return
    env.reset(seed=0)
    env.step({})
    first = env.render()
    env.reset(seed=0)
    env.step({})
    assert np.array_equal(env.render(), first)
    env.close()
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """A display to open a window on, if there can be one."""
    if CAN_DRAW:
        from pyvirtualdisplay.display import Display

        with Display(visible=False, size=(1280, 900)):
            yield True
    else:
        monkeypatch.delenv("DISPLAY", raising=False)
        yield False


def test_a_window_opens_and_goes_with_the_env(display: bool) -> None:
    if not display:
        with pytest.raises(InputError, match="DISPLAY"):
            SignalEnv("cologne1", render_mode="human")
        return
    env = SignalEnv(window("cologne1", 60), render_mode="human")
    env.reset(seed=0)
    assert not env.step(0)[3]
    assert env.render() is None
    env.close()


def test_without_a_display_a_window_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(InputError, match=r'DISPLAY is not set.*use render_mode "rgb_array"'):
        SignalEnv("cologne1", render_mode="human")


def test_a_display_that_cannot_be_opened_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":9876")
    env = SignalEnv("cologne1", render_mode="human")
    with pytest.raises(InputError, match="sumo-gui does not start") as caught:
        env.reset(seed=0)
    assert "\n" not in str(caught.value)
    env.close()


def test_missing_libraries_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "\tlibGL.so.1 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x7f00)\n"
    monkeypatch.setattr(rendering.subprocess, "run", lambda *_, **__: types.SimpleNamespace(stdout=said))
    assert rendering._missing_libraries().startswith("it misses libGL.so.1 (Debian, Ubuntu: apt-get install libgl1")


def test_without_xvfb_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rendering.importlib.util, "find_spec", lambda name: types.SimpleNamespace(name=name))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"Xvfb, which is not on the PATH.*apt-get install xvfb"):
        render_setup("rgb_array")


def test_without_the_packages_the_error_says_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs pyvirtualdisplay and pillow.*pip install -e '\.\[render\]'"):
        render_setup("rgb_array")


def test_without_sumo_gui_the_error_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert os.access(gui_binary(), os.X_OK)
    monkeypatch.setattr(sumo, "SUMO_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"sumo-gui is missing at .*eclipse-sumo"):
        gui_binary()


def test_the_backend_speaks_libsumos_names() -> None:
    lane = types.SimpleNamespace(getLength=lambda name: {"a_0": 12.5}[name])
    traffic_light = types.SimpleNamespace(Phase=tuple)
    backend = GuiBackend("human", ())
    with pytest.raises(AttributeError, match="not running"):
        backend.lane_getLength("a_0")
    backend._connection = types.SimpleNamespace(lane=lane, trafficlight=traffic_light)
    assert backend.lane_getLength("a_0") == 12.5
    assert backend.trafficlight.Phase is tuple
