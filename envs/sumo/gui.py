"""Pictures of a run through sumo-gui: a window, or a virtual display whose screenshots are handed back.

sumo-gui is driven over TraCI. `GuiBackend` offers it under libsumo's names, so that `envs.sumo.simulation` need not
know which of the two it drives; the traffic is the same in both.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from plumbing.errors import InputError
from plumbing.held import HeldFolder, scratch

RENDER_MODES = ("human", "rgb_array")
FRAME_SHAPE = (720, 1280, 3)
"""Height and width [px] and colours of a picture."""
VIEW = "View #0"  # sumo-gui's name for its first window
SCHEMA = "real world"  # the colouring that draws vehicles as such
MARGIN_M = 80.0  # [m] shown around the stop lines: room for ten queued vehicles
WINDOW_FRAME_PX = (5, 97, 5, 89)  # left, top, right, bottom: what sumo-gui 1.28 draws around its view
DELAY_MS = 50  # [ms] per simulation step in a window: twenty times real time at 1 s a step
START_LIMIT_S = 60.0
LIBRARIES = "libgl1 libx11-6 libxext6 libxrender1 libatomic1"
"""Debian's packages that sumo-gui needs beside what its wheel brings."""
Frame = npt.NDArray[np.uint8]


class NoPictures(InputError, TypeError):
    """Pictures cannot be had here. As a TypeError it makes Stable-Baselines3's `make_vec_env`, which asks for
    "rgb_array" unless it is told something else, do without."""


def render_setup(mode: str | None) -> str:
    """The mode, "" for none, once everything that it needs is found.

    Raises:
        InputError: something is missing; the message says how to get it. For "rgb_array" it is `NoPictures`.
    """
    if mode is None:
        return ""
    if mode not in RENDER_MODES:
        raise InputError(f"unknown render_mode {mode!r}; choose one of {', '.join(RENDER_MODES)}")
    if mode == "human" and not os.environ.get("DISPLAY"):
        raise InputError(
            'render_mode "human" opens a window, but DISPLAY is not set; run it on a desktop, '
            'or use render_mode "rgb_array"'
        )
    if mode == "rgb_array":
        missing = [
            package
            for module, package in (("pyvirtualdisplay", "pyvirtualdisplay"), ("PIL", "pillow"))
            if importlib.util.find_spec(module) is None
        ]
        if missing:
            raise NoPictures(
                f'render_mode "rgb_array" needs {" and ".join(missing)}, not installed here; '
                f"pip install -e '.[render]' installs what it takes"
            )
        if shutil.which("Xvfb") is None:
            raise NoPictures(
                'render_mode "rgb_array" needs the virtual display Xvfb, which is not on the PATH; '
                "install it (Debian, Ubuntu: apt-get install xvfb)"
            )
    gui_binary()
    if mode == "rgb_array" and (lacks := _lacks_libraries()):
        raise NoPictures(f'render_mode "rgb_array" needs sumo-gui, and {lacks}')
    return mode


def gui_binary() -> Path:
    """sumo-gui, out of the eclipse-sumo wheel.

    Raises:
        InputError: it is not there.
    """
    import sumo

    binary = Path(sumo.SUMO_HOME) / "bin" / "sumo-gui"
    if not binary.is_file():
        raise InputError(f"sumo-gui is missing at {binary}; pip install --force-reinstall eclipse-sumo")
    return binary


class GuiBackend:
    """A sumo-gui of its own, under libsumo's names: `lane_getLength` is the connection's `lane.getLength`.

    With "rgb_array" it brings its display along and keeps the picture of the moment last stepped to.
    """

    def __init__(self, mode: str, controlled_lanes: Sequence[str]) -> None:
        self.mode = mode
        self._controlled_lanes = controlled_lanes
        self._display: Any = None
        self._connection: Any = None
        self._step_s = 1.0
        self._scratch: HeldFolder | None = None
        self._picture: Path | None = None
        self._stepped = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self._connection is None:
            raise AttributeError(f"sumo-gui has no {name!r} or is not running")
        domain, _, method = name.partition("_")
        found = getattr(self._connection, domain)
        if method:
            found = getattr(found, method)
            self.__dict__[name] = found  # looked up once
        return found

    def start(self, args: Sequence[str]) -> None:
        """Start sumo-gui with SUMO's options; the first of them, the program's name, is replaced.

        Raises:
            InputError: it, or the display, does not start.
        """
        if self.mode == "rgb_array":
            self._display = _virtual_display()
            self._scratch = scratch("frame")
            self._picture = self._scratch.path / "frame.png"
        try:
            self._connection = _connect([str(gui_binary()), *args[1:], *self._window_options()])
        except Exception as error:  # traci raises several types without a common base
            self._close_display()
            raise InputError(f"sumo-gui does not start: {error}; {_missing_libraries()}") from error
        self._step_s = self._connection.simulation.getDeltaT()
        self._connection.gui.setSchema(VIEW, SCHEMA)
        self._zoom_to_fit()

    def simulation_step(self, until_s: float) -> None:
        """Step to a moment; with "rgb_array" the picture of it is taken."""
        if self._picture is None:
            self._connection.simulationStep(until_s)
            return
        # sumo-gui takes a picture at the end of the step that follows the request
        last_s = until_s - self._step_s
        if last_s > self._connection.simulation.getTime() + 1e-9:
            self._connection.simulationStep(last_s)
        self._connection.gui.screenshot(VIEW, str(self._picture), FRAME_SHAPE[1], FRAME_SHAPE[0])
        self._connection.simulationStep(until_s)
        self._stepped = True

    def frame(self) -> Frame:
        """The picture of the moment last stepped to, FRAME_SHAPE."""
        from PIL import Image

        assert self._picture is not None
        if not self._stepped:
            return self._first_frame()
        with Image.open(self._picture) as image:
            return np.asarray(image.convert("RGB"), np.uint8)

    def close(self) -> None:
        """End the simulation, then the display."""
        if self._connection is not None:
            with contextlib.suppress(Exception):  # a window that the user has closed
                self._connection.close()
            self._connection = None
        self._close_display()

    def _window_options(self) -> list[str]:
        options = ["--start", "true", "--quit-on-end", "true"]
        if self.mode == "human":
            return [*options, "--delay", str(DELAY_MS)]
        return [*options, "--window-pos", "0,0", "--window-size", f"{_window_px()[0]},{_window_px()[1]}"]

    def _zoom_to_fit(self) -> None:
        """Show the stop lines of the signals that are controlled or, without any, the whole network."""
        call = self._connection
        stops = [call.lane.getShape(lane)[-1] for lane in self._controlled_lanes]
        points = np.array(stops or call.simulation.getNetBoundary(), float)
        (left, low), (right, high) = points.min(axis=0) - MARGIN_M, points.max(axis=0) + MARGIN_M
        call.gui.setBoundary(VIEW, left, low, right, high)

    def _first_frame(self) -> Frame:
        """What stands on the display before the first step, when sumo-gui does not take pictures yet."""
        from PIL import ImageGrab

        left, top, _, _ = WINDOW_FRAME_PX
        box = (left, top, left + FRAME_SHAPE[1], top + FRAME_SHAPE[0])
        display = self._display.new_display_var
        painted = np.zeros(FRAME_SHAPE, np.uint8)
        for _ in range(20):  # until two pictures in a row are equal: it paints in its own time
            time.sleep(0.1)
            before, painted = painted, np.asarray(ImageGrab.grab(box, xdisplay=display), np.uint8)
            if painted.std() > 0 and np.array_equal(before, painted):
                break
        return painted

    def _close_display(self) -> None:
        if self._display is not None:
            with contextlib.suppress(Exception):
                self._display.stop()
            self._display = None
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = self._picture = None


def _window_px() -> tuple[int, int]:
    left, top, right, bottom = WINDOW_FRAME_PX
    return FRAME_SHAPE[1] + left + right, FRAME_SHAPE[0] + top + bottom


def _virtual_display() -> Any:
    from pyvirtualdisplay.display import Display

    try:
        # -terminate: the display goes with sumo-gui, should this process be killed
        return Display(visible=False, size=_window_px(), extra_args=["-terminate"]).start()
    except Exception as error:
        raise InputError(f"the virtual display Xvfb does not start: {str(error).splitlines()[0]}") from error


def _connect(command: list[str]) -> Any:
    import traci
    from sumolib.miscutils import getFreeSocketPort

    port = getFreeSocketPort()
    process = subprocess.Popen([*command, "--remote-port", str(port)], stdin=subprocess.DEVNULL)
    pause_s = 0.1
    connection = traci.connect(
        port, round(START_LIMIT_S / pause_s), proc=process, waitBetweenRetries=pause_s, label=None
    )
    connection.setOrder(1)
    return connection


def _missing_libraries() -> str:
    """What next, after sumo-gui did not start."""
    return _lacks_libraries() or f"check that the display {os.environ.get('DISPLAY', '')} can be opened"


def _lacks_libraries() -> str:
    """Which of the system's libraries sumo-gui does not find, and how to get them; "" where it finds all."""
    with contextlib.suppress(OSError):
        found = subprocess.run(["ldd", str(gui_binary())], capture_output=True, text=True, check=False)
        missing = [line.split()[0] for line in found.stdout.splitlines() if line.endswith("not found")]
        if missing:
            return f"it misses {', '.join(missing)} (Debian, Ubuntu: apt-get install {LIBRARIES})"
    return ""
