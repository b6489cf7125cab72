"""How big a replay page is, how long it takes to open, and how many frames a second it paints.

Needs playwright and a Chromium (Debian: apt-get install chromium). Without a GPU Chromium paints in software, so
these are lower bounds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playback.page import write_page
from plumbing.command import run_command
from plumbing.errors import InputError

VIEWS = {
    "signals": "intergreen.showSignals()",
    "whole network": "intergreen.fit()",
    "one junction": "intergreen.nextSignal(1)",
}
PLAY_S = 4.0
WIDTH_PX, HEIGHT_PX = 1280, 800


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    of = argparse.ArgumentParser(prog="benchmarks/replay_page.py", description=__doc__)
    of.add_argument("files", type=Path, nargs="+", metavar="REPLAY", help="one replay, or two")
    of.add_argument("--out", type=Path, default=Path("runs/replay-benchmark.html"), metavar="PAGE")
    of.add_argument("--share", type=float, default=0.7, help="which moment, 0 the begin, 1 the end (default: 0.7)")
    of.add_argument("--picture", type=Path, metavar="PNG", help="only take a picture of the page at --link")
    of.add_argument("--link", default="", help="a moment and view, such as '#t=700&signal=C&theme=dark'")
    of.add_argument("--json", action="store_true", help="print the figures for machines")
    options = of.parse_args(arguments)
    size = write_page(options.files, options.out)
    if options.picture is not None:
        take_picture(options.out, options.link, options.picture)
        return 0
    rows = measure(options.out, options.share)
    rows = {"files_mb": [f.stat().st_size / 1e6 for f in options.files], "page_mb": size / 1e6, **rows}
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    print(f"replays {', '.join(f'{mb:.2f}' for mb in rows['files_mb'])} MB, page {size / 1e6:.2f} MB")
    print(f"opens in {rows['open_s']:.2f} s; painting {rows['vehicles']} vehicles in {rows['viewport']} pixels:")
    for name, fps in rows["fps"].items():
        print(f"  {name:14} {fps:5.1f} frames a second")
    return 0


@contextmanager
def opened(page_path: Path, link: str = "") -> Iterator[Any]:
    """The page in a Chromium, once it can be seen."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        raise InputError("no chromium on the PATH; install it (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH_PX, "height": HEIGHT_PX})
        page.goto(page_path.absolute().as_uri() + link)
        page.wait_for_function("window.intergreen && !document.getElementById('loading')")
        yield page
        browser.close()


def measure(page_path: Path, share: float) -> dict[str, Any]:
    """Open time [s], vehicles on the road at that moment, and frames a second per view."""
    with opened(page_path) as page:  # once, so that the browser itself is started and cached
        began = time.monotonic()
        page.reload()
        page.wait_for_function("window.intergreen && !document.getElementById('loading')")
        open_s = time.monotonic() - began
        page.evaluate(f"intergreen.seek(intergreen.head.steps * {share}); intergreen.setSpeed(10)")
        page.wait_for_timeout(500)
        vehicles = page.evaluate("intergreen.shown().map(side => Object.keys(side.vehicles).length)")
        fps = {}
        for name, view in VIEWS.items():
            page.evaluate(f"{view}; intergreen.seek(intergreen.head.steps * {share}); intergreen.play(true)")
            page.wait_for_timeout(PLAY_S * 1000)
            fps[name] = float(page.evaluate("intergreen.fps()"))
            page.evaluate("intergreen.play(false)")
    return {"open_s": open_s, "vehicles": vehicles, "viewport": f"{WIDTH_PX} x {HEIGHT_PX}", "fps": fps}


def take_picture(page_path: Path, link: str, out: Path) -> None:
    """A picture of the page at a link."""
    with opened(page_path, link) as page:
        page.wait_for_timeout(500)
        page.screenshot(path=str(out))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    run_command(main)
