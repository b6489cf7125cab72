"""Puts induction loops (SUMO's E1) where they have to count: with one endless interval, so that counts and occupancy
over any span are differences."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import quoteattr

from plumbing.held import scratch


def loops_xml(places: Mapping[str, tuple[str, float]]) -> str:
    """The additional file that places loops.

    Args:
        places: of each id its lane, and the distance from the lane's beginning or, negative, from its end [m].
    """
    rows = [
        f'  <inductionLoop id={quoteattr(name)} lane={quoteattr(lane)} pos="{at}" period="1000000" '
        f'friendlyPos="true" file="NUL"/>'
        for name, (lane, at) in places.items()
    ]
    return "<additional>\n" + "\n".join(rows) + "\n</additional>\n"


@contextlib.contextmanager
def with_loops(args: Sequence[str], places: Mapping[str, tuple[str, float]]) -> Iterator[list[str]]:
    """SUMO's options with one more additional file, which is there until SUMO has started; places as of
    `loops_xml`."""
    with scratch("loops") as folder:
        path = folder / "loops.add.xml"
        path.write_text(loops_xml(places))
        found = list(args)
        if "-a" in found:
            place = found.index("-a") + 1
            found[place] = f"{found[place]},{path}"
        else:
            found += ["-a", str(path)]
        yield found
