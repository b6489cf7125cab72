"""Pictures of a run through sumo-gui: a window, or a virtual display whose screenshots are handed back."""

from __future__ import annotations

RENDER_MODES = ("human", "rgb_array")


def render_setup(mode: str | None) -> str:
    """TODO"""
    return mode or ""
