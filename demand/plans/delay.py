"""What a fixed green costs the traffic of its lanes: control delay by the formulas of the Highway Capacity Manual."""

from __future__ import annotations

import numpy as np

from demand.counts.timeline import Numbers

_K, _I = 0.5, 1.0  # incremental delay of a fixed-time signal with random arrivals (HCM 2010, equation 18-45)


def control_delay_s(
    flow_vph: Numbers, green_s: Numbers, cycle_s: float, saturation_vph: float, period_s: float
) -> Numbers:
    """Mean delay of a lane's vehicles that arrive within a period without an initial queue [s].

    The effective green is taken to be as long as the shown one: what is lost at its begin is won in the yellow.
    Source: HCM 2010, equations 18-20 and 18-45, uniform and incremental delay, without progression.

    Args:
        flow_vph: (..., lanes).
        green_s: (lanes,), each above 0 and not above the cycle.

    Returns:
        The shape of `flow_vph`.
    """
    ratio = green_s / cycle_s
    capacity_vph = saturation_vph * ratio
    load = flow_vph / capacity_vph
    uniform = 0.5 * cycle_s * (1.0 - ratio) ** 2 / (1.0 - np.minimum(1.0, load) * ratio).clip(1e-9)
    period_h = period_s / 3600.0
    over = load - 1.0
    incremental = 900.0 * period_h * (over + np.sqrt(over**2 + 8.0 * _K * _I * load / (capacity_vph * period_h)))
    return np.asarray(uniform + incremental)
