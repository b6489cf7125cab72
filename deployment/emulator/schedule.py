"""Time of day: which action the schedule and its day plans ask for at a moment."""

from __future__ import annotations

import datetime

from deployment.emulator.settings import Settings


def action_at(settings: Settings, moment: datetime.datetime) -> tuple[int, int]:
    """(day plan, action), 0 for none. The most specific schedule entry wins: the one with the fewest dates, then with
    the fewest weekdays, then with the fewest months; of a day plan its latest event so far."""
    matching = [
        entry
        for entry in settings.schedule
        if entry.day_plan
        and entry.months >> moment.month & 1
        and entry.weekdays >> (moment.isoweekday() % 7 + 1) & 1
        and entry.dates >> moment.day & 1
    ]
    if not matching:
        return 0, 0
    chosen = min(matching, key=lambda e: (e.dates.bit_count(), e.weekdays.bit_count(), e.months.bit_count()))
    minute = moment.hour * 60 + moment.minute
    begun = [action for at, action in settings.day_plans.get(chosen.day_plan, ()) if at <= minute]
    return chosen.day_plan, begun[-1] if begun else 0
