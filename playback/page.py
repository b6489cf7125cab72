"""One HTML file that plays one replay, or two side by side: the viewer's parts and the replays, inlined."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

from playback import container
from playback.replay_file import Replay
from plumbing.command import check_text
from plumbing.errors import InputError, printable
from plumbing.whole import write_whole

VIEWER = Path(__file__).parent / "viewer"
SCRIPTS = ("decode.js", "geometry.js", "scenery.js", "traffic.js", "panels.js", "timeline.js", "main.js")
"""In this order; they share one scope."""


def write_page(replays: Sequence[Path], out: Path) -> int:
    """Write the page; returns its size in bytes.

    Raises:
        InputError: a replay cannot be read, two do not belong together, or the page cannot be written.
    """
    data = [container.read_bytes(path) for path in replays]
    heads = [Replay.of(each, path).head for each, path in zip(data, replays, strict=True)]
    if len(heads) == 2:
        _check_pair(heads[0], heads[1], replays)
    of = heads[0]["scenario"]["name"]
    title = f"{of}: " + " and ".join(head["controller"]["name"] for head in heads)
    title += ", made-up demand" if heads[0]["scenario"].get("made_up") else ""
    check_text(title)
    text = (VIEWER / "page.html").read_text(encoding="utf-8")
    parts = {
        "title": html.escape(printable(title)),
        "style": (VIEWER / "style.css").read_text(encoding="utf-8"),
        "script": "\n".join((VIEWER / name).read_text(encoding="utf-8") for name in SCRIPTS),
        "replays": "\n".join(
            f'<script type="text/base64" class="replay">{base64.b64encode(each).decode()}</script>' for each in data
        ),
    }
    content = re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], text).encode()
    write_whole(out, lambda partial: partial.write_bytes(content))
    return len(content)


def _check_pair(one: dict[str, object], other: dict[str, object], paths: Sequence[Path]) -> None:
    """Raises InputError where two replays cannot be shown in step."""
    for what, of in (("scenario", "scenario"), ("timing", "timing")):
        first, second = one[of], other[of]
        assert isinstance(first, dict)
        assert isinstance(second, dict)
        names = ("files_sha256", "begin_s", "end_s") if what == "scenario" else ("sim_step_s",)
        for name in names:
            if first[name] != second[name]:
                said = "files" if name == "files_sha256" else f"{name} ({first[name]:g} and {second[name]:g})"
                raise InputError(
                    f"{paths[0]} and {paths[1]} cannot be shown side by side: their {what}s have different {said}; "
                    f"give two replays of one scenario, window and step"
                )
