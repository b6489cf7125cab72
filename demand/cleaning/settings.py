"""What cleaning takes for granted, each with its source or reason, and the words by which it says what is wrong."""

from __future__ import annotations

from dataclasses import dataclass

GAP = "gap"
NO_COUNT = "no count"
TWO_COUNTS = "two counts for this time"
NEGATIVE = "negative"
CAPACITY = "above what lanes can carry"
OCCUPANCY = "occupancy out of range"
SPEED = "speed out of range"
STANDING = "occupied for long without a count"
UNOCCUPIED = "counts without occupancy"
STUCK = "stuck at one value"
ZEROS = "zeros where traffic is usual"
BURST = "burst"
CLOCK = "clock off"
WHYS = {
    GAP: "no row for this time",
    NO_COUNT: "a row without a count",
    TWO_COUNTS: "the files hold different counts for this time",
    NEGATIVE: "a count below zero",
    CAPACITY: "more vehicles than the lanes can carry",
    OCCUPANCY: "an occupancy below 0 or above 1",
    SPEED: "a speed below 0 or beyond any car's",
    STANDING: "occupied, but nothing was counted, for longer than a queue stands",
    UNOCCUPIED: "vehicles, but never occupied",
    STUCK: "the same count for longer than chance allows",
    ZEROS: "zeros while its usual profile expects traffic",
    BURST: "far more than it ever counts: a detector that chatters",
    CLOCK: "the day's pattern lies earlier or later than usual",
}
"""What each word means."""


@dataclass(frozen=True)
class CleaningSettings:
    """Thresholds of cleaning."""

    longest_fill_s: int = 7200
    """Longest stretch of unknown counts that is imputed [s]; what is longer stays missing."""
    lane_capacity_vph: float = 3000.0
    """Vehicles per hour and lane that no lane carries: one each 1.2 s. Saturation flow is 1,900 (HCM, base value)."""
    chance: float = 1e-3
    """How many false alarms of a kind one detector may give in all of its rows, were its counts random (Poisson)."""
    least_stuck_s: int = 3600
    """Shortest stretch of one value that counts as stuck [s]."""
    burst_sigmas: float = 8.0
    """Standard deviations above usual from which a count is a burst …"""
    burst_ratio: float = 2.5
    """… if it is also so many times the highest usual count of any hour."""
    longest_queue_s: int = 3600
    """Longest time for which a queue stands on a detector [s]."""
    fastest_mps: float = 70.0
    """No car on a road is faster [m/s]."""
    farthest_clock_s: int = 10_800
    """Largest shift of a clock that is looked for [s]."""
    clock_gain: float = 0.9
    """A shifted day must miss the usual profile by less than this share of what it misses unshifted. Of the sound
    days of real detectors none is below 0.93, whatever the shift; an hour off gives 0.7 to 0.86."""
    clock_most: float = 0.2
    """Share of days off from which it is unknown which days are right: nothing is put back then, only told."""
    change_gain: float = 0.5
    """The same for the mean of three weeks before and after a change of the clocks, which scatters less."""
    clock_days: int = 3
    """Days in a row for which a clock must be off."""
    least_day_veh: float = 200.0
    """Vehicles a day below which a day's pattern tells nothing of the clock."""
    conservation: float = 0.15
    """Share by which the counts of two places may differ on a day."""
