"""What a controller's phases, walks and overlaps show to traffic: one character per link of the signal."""

from __future__ import annotations

from deployment.emulator.controller import Controller
from deployment.emulator.rings import GREEN, YELLOW
from deployment.nema import oids
from signals.nema import NemaPlan


class Lamps:
    """The load switches: which phase and overlap lights which link. A pure function of the controller's state."""

    def __init__(self, plan: NemaPlan) -> None:
        self.plan = plan
        size = len(plan.green)
        self.by_phase = {p.number: [i for i in p.links if i < size] for p in plan.phases}
        self.by_walk = {p.number: list(p.crossings) for p in plan.phases}
        self.by_overlap = {o.number: list(o.links) for o in plan.overlaps}

    def state(self, controller: Controller) -> str:
        """The state string."""
        if controller.flashing != oids.NOT_FLASHING:
            return "o" * len(self.plan.green)
        shown = ["r"] * len(self.plan.green)
        rings = controller.rings
        walking = rings.walking()
        for ring in rings.rings:
            if ring.shown == GREEN:
                self._light(shown, self.by_phase[ring.phase])
            elif ring.shown == YELLOW:
                for link in self.by_phase[ring.phase]:
                    shown[link] = "y"
            if ring.phase and walking >> ring.phase - 1 & 1:
                self._light(shown, self.by_walk[ring.phase])
        for number, lamp in rings.overlaps.items():
            if lamp.shown == GREEN:
                self._light(shown, self.by_overlap[number])
            elif lamp.shown == YELLOW:
                for link in self.by_overlap[number]:
                    shown[link] = "y"
        return "".join(shown)

    def _light(self, shown: list[str], links: list[int]) -> None:
        for link in links:
            shown[link] = self.plan.green[link]
