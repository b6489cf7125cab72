"""Plane geometry of the safety monitor: do two paths through a junction meet, and how far along."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Polyline = NDArray[np.float64]
"""Points (n, 2) of a path in metres, n ≥ 2, consecutive points distinct."""

SAMPLE_M = 0.2  # spacing of the stations along a path: 0.02 s at 36 km/h
TOUCH_M = 0.1  # strips of neighbouring lanes touch; less overlap than this is none
LATERAL = np.array([-1.0, 0.0, 1.0])  # stations across a strip, in half widths


def parse_shape(text: str) -> list[tuple[float, float]]:
    """The points of a SUMO shape `x,y[,z] x,y[,z] …`; the height is left out."""
    points = []
    for word in text.split():
        x, y = word.split(",")[:2]
        points.append((float(x), float(y)))
    return points


def join_shapes(shapes: list[list[tuple[float, float]]]) -> Polyline | None:
    """One polyline through several shapes in a row, or None when it has no extent."""
    points: list[tuple[float, float]] = []
    for shape in shapes:
        for point in shape:
            # SUMO writes 1 cm; nearer points are one point
            if not points or np.hypot(point[0] - points[-1][0], point[1] - points[-1][1]) > 0.005:
                points.append(point)
    return np.array(points) if len(points) > 1 else None


def length_m(path: Polyline) -> float:
    """Length of a polyline [m]."""
    return float(np.hypot(*np.diff(path, axis=0).T).sum())


def centre_lines_cross(a: Polyline, b: Polyline) -> bool:
    """Whether two centre lines cross. Touching ends (a path that continues another) do not count."""
    start_a, step_a = a[:-1, None, :], np.diff(a, axis=0)[:, None, :]
    start_b, step_b = b[None, :-1, :], np.diff(b, axis=0)[None, :, :]
    between = start_b - start_a
    with np.errstate(divide="ignore", invalid="ignore"):
        det = _cross(step_a, step_b)
        along_a = _cross(between, step_b) / det
        along_b = _cross(between, step_a) / det
    first_a = np.arange(len(a) - 1)[:, None] == 0
    first_b = np.arange(len(b) - 1)[None, :] == 0
    last_a = np.arange(len(a) - 1)[:, None] == len(a) - 2
    last_b = np.arange(len(b) - 1)[None, :] == len(b) - 2
    margin = 1e-6
    inside_a = (along_a > np.where(first_a, margin, -margin)) & (along_a < np.where(last_a, 1 - margin, 1 + margin))
    inside_b = (along_b > np.where(first_b, margin, -margin)) & (along_b < np.where(last_b, 1 - margin, 1 + margin))
    return bool(np.any(inside_a & inside_b & (np.abs(det) > 1e-9)))


def far_end_m(path: Polyline, width_m: float, other: Polyline, other_width_m: float) -> float | None:
    """Distance [m] from the start of `path` to the far end of the area it shares with `other`.

    Both paths sweep a strip of their width. None when the strips do not overlap.
    """
    stations, centres, normals = _sample(path)
    # (station, lateral, xy): a vehicle's whole rear, not only its centre, has to leave the shared area
    reach = max(width_m / 2 - TOUCH_M, 0.0)
    points = centres[:, None, :] + normals[:, None, :] * (LATERAL * reach)[None, :, None]
    near = _distance_to(points.reshape(-1, 2), other) <= max(other_width_m / 2 - TOUCH_M, 0.0)
    shared = near.reshape(len(stations), len(LATERAL)).any(axis=1)
    return float(stations[shared][-1]) if shared.any() else None


def _sample(path: Polyline) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Stations along a path: distance from its start, position, unit normal."""
    steps = np.diff(path, axis=0)
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    ends = np.concatenate([[0.0], np.cumsum(lengths)])
    stations = np.linspace(0.0, ends[-1], max(2, int(np.ceil(ends[-1] / SAMPLE_M)) + 1))
    segment = np.clip(np.searchsorted(ends, stations, side="right") - 1, 0, len(steps) - 1)
    unit = steps[segment] / lengths[segment][:, None]
    centres = path[segment] + unit * (stations - ends[segment])[:, None]
    return stations, centres, np.stack([-unit[:, 1], unit[:, 0]], axis=1)


def _distance_to(points: NDArray[np.float64], line: Polyline) -> NDArray[np.float64]:
    """Distance of every point (n, 2) to a polyline."""
    start, step = line[:-1], np.diff(line, axis=0)
    between = points[:, None, :] - start[None, :, :]
    along = np.clip((between * step).sum(axis=2) / (step * step).sum(axis=1), 0.0, 1.0)
    gap = between - along[:, :, None] * step[None, :, :]
    nearest: NDArray[np.float64] = np.hypot(gap[:, :, 0], gap[:, :, 1]).min(axis=1)
    return nearest


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
