"""How delay and queue build up over a run, from its trajectories and trips."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from playback.outputs import FloatArray, Motion, Trips

HALTING_MPS = 0.1  # [m/s] slower counts as standing, as everywhere in SUMO


def curves(
    vehicles: Motion, trips: Trips, lane_speed_mps: Mapping[str, float], begin_s: float, steps: int, step_s: float
) -> dict[str, FloatArray]:
    """Per step [steps], at its end:

    | name | meaning |
    |---|---|
    | running_veh | on the road |
    | queue_veh | of these, slower than 0.1 m/s |
    | waiting_veh | were to depart and have found no room yet |
    | planned_veh | were to depart up to now |
    | arrived_veh | have arrived up to now |
    | delay_s | departure delay and time loss up to now, summed over all |

    Departure delay grows by one second a second from the planned departure on. Time loss: each vehicle's whole
    (SUMO's) is spread over its trip in proportion to 1 − v / v_max at each step, v_max the lane's limit times the
    vehicle's own factor, which is how SUMO sums it up; so the last value is the sum of all delays.
    """
    now_s: FloatArray = begin_s + step_s * np.arange(1, steps + 1, dtype=np.float64)
    of = trips.vehicles
    planned = np.array(of["planned_s"], float)
    waited = np.array(of["depart_delay_s"], float)
    departed = np.array([np.inf if t is None else t for t in of["depart_s"]], float)
    arrived = np.sort([t for t in of["arrival_s"] if t is not None])
    on_road = np.bincount(vehicles.step, minlength=steps)[:steps].astype(float)
    halting = np.bincount(vehicles.step[vehicles.speed_mps < HALTING_MPS], minlength=steps)[:steps].astype(float)
    planned_veh = np.searchsorted(np.sort(planned), now_s - 1e-6).astype(float)
    left_veh = np.searchsorted(np.sort(departed), now_s - 1e-6).astype(float)
    delay = _time_loss(vehicles, trips, lane_speed_mps, steps) + _depart_delay(planned, waited, now_s)
    return {
        "running_veh": on_road,
        "queue_veh": halting,
        "waiting_veh": planned_veh - left_veh,
        "planned_veh": planned_veh,
        "arrived_veh": np.searchsorted(arrived, now_s - 1e-6).astype(float),
        "delay_s": delay,
    }


def _depart_delay(planned: FloatArray, waited: FloatArray, now_s: FloatArray) -> FloatArray:
    """At each moment the sum over all vehicles of min(time since the planned departure, whole departure delay)."""
    begins, ends = np.sort(planned), np.sort(planned + waited)
    begun, ended = np.searchsorted(begins, now_s), np.searchsorted(ends, now_s)
    sum_begins, sum_ends = (np.concatenate(([0.0], np.cumsum(t))) for t in (begins, ends))
    result: FloatArray = (begun * now_s - sum_begins[begun]) - (ended * now_s - sum_ends[ended])
    return result


def _time_loss(vehicles: Motion, trips: Trips, lane_speed_mps: Mapping[str, float], steps: int) -> FloatArray:
    place = {name: n for n, name in enumerate(vehicles.ids)}
    loss, factor, alone = np.zeros(len(place)), np.ones(len(place)), np.zeros(steps)
    for name, time_loss, speed_factor in zip(
        trips.vehicles["id"], trips.vehicles["time_loss_s"], trips.vehicles["speed_factor"], strict=True
    ):
        if name in place:
            loss[place[name]], factor[place[name]] = time_loss, speed_factor
        else:
            alone[-1] += time_loss  # never on the road at a step's end
    limits = np.array([lane_speed_mps.get(lane, np.inf) for lane in vehicles.lanes] or [np.inf])
    desired = np.where(vehicles.lane >= 0, limits[vehicles.lane], np.inf) * factor[vehicles.owner]
    rate = np.maximum(1.0 - vehicles.speed_mps / np.maximum(desired, 0.1), 0.0)
    rate += 1e-9  # for a vehicle that lost time and was never slow at a sample
    whole = np.bincount(vehicles.owner, rate, len(place))
    share = rate * np.divide(loss, whole, out=np.zeros_like(loss), where=whole > 0)[vehicles.owner]
    per_step = np.bincount(vehicles.step, share, steps)[:steps] + alone
    result: FloatArray = np.cumsum(per_step)
    return result
