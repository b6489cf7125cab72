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
from pathlib import Path
from typing import Any

from playback.page import write_page
from scenarios.command import run_command
from signals.errors import InputError

VIEWS = {
    "signals": "intergreen.showSignals()",
    "whole network": "intergreen.fit()",
    "one junction": "intergreen.nextSignal(1)",
}
PLAY_S = 4.0


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    of = argparse.ArgumentParser(prog="benchmarks/replay.py", description=__doc__)
    of.add_argument("files", type=Path, nargs="+", metavar="REPLAY", help="one replay, or two")
    of.add_argument("--out", type=Path, default=Path("runs/replay-benchmark.html"), metavar="PAGE")
    of.add_argument("--share", type=float, default=0.7, help="which moment, 0 the begin, 1 the end (default: 0.7)")
    of.add_argument("--json", action="store_true", help="print the figures for machines")
    options = of.parse_args(arguments)
    size = write_page(options.files, options.out)
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


def measure(page_path: Path, share: float) -> dict[str, Any]:
    """Open time [s], vehicles on the road at that moment, and frames a second per view."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        raise InputError("no chromium on the PATH; install it (Debian: apt-get install chromium)")
    size = {"width": 1280, "height": 800}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=size)  # type: ignore[arg-type]
        began = time.monotonic()
        page.goto(page_path.absolute().as_uri())
        page.wait_for_function(
            "window.intergreen && intergreen.shown()[0].step >= 0 && !document.getElementById('loading')"
        )
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
        browser.close()
    return {"open_s": open_s, "vehicles": vehicles, "viewport": f"{size['width']} x {size['height']}", "fps": fps}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    run_command(main)
