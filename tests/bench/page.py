"""Measure what the viewer page costs a browser, beside a page that has the stream as an `<img>` and nothing else.

Both are shown in turn, in one Chromium, at 25 pictures a second of 1280x720.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.bench import meter
from tests.bench.figures import Figure
from tests.browser import engines
from tests.browser.seen import Seen
from tests.kit.daemon import RUN, Daemon, running
from tests.kit.wait import until

_ROUNDS = 6
_SECONDS = 10.0
_SETTLE_SECONDS = 2.0
_LOADS = 10
_VIDEO = {"video.width": 1280, "video.height": 720, "video.framerate": 25.0}
_WINDOW = {"width": 1280, "height": 800}
_IMAGE = """<!doctype html><title>image</title>
<style>body { margin: 0 } img { width: 100vw; height: 100vh; object-fit: contain }</style><img src="/stream">"""
# `firstPicture` is in ms since the page was asked for
_KEEP_FIRST_PICTURE = """(() => {
    const look = () => {
        if (document.getElementById("app")?.dataset.key === "live") window.firstPicture = performance.now();
        else requestAnimationFrame(look);
    };
    look();
})()"""


def run(say: Callable[[str], None]) -> list[Figure]:
    """Return the figures of the page; raise AssertionError if it shows no live picture."""
    with tempfile.TemporaryDirectory(prefix="pi-cam-bench-") as name, sync_playwright() as playwright:
        folder = Path(name)
        with running(folder / "daemon", _VIDEO, argv=RUN) as daemon, engines.chromium(playwright, folder) as browser:
            daemon.wait_for_state("streaming")
            page = browser.page
            page.set_viewport_size(_WINDOW)  # type: ignore[arg-type]
            costs: dict[str, list[float]] = {"image": [], "page": []}
            for number in range(_ROUNDS):
                for kind, show in (("image", _show_image), ("page", _show_page)):
                    show(page, daemon)
                    page.wait_for_timeout(1000 * _SETTLE_SECONDS)
                    costs[kind].append(_cpu_percent(browser.process.pid, page))
                say(f"round {number + 1}: " + ", ".join(f"{kind} {cost[-1]:.1f} %" for kind, cost in costs.items()))
            page.add_init_script(_KEEP_FIRST_PICTURE)
            first = []
            for _ in range(_LOADS):
                page.goto(daemon.address)
                first.append(until("the first picture", lambda: page.evaluate("window.firstPicture")))
    image, own = (statistics.median(cost) for cost in costs.values())
    return [
        Figure("`<img>`: processor of renderers and GPU process", image, "%"),
        Figure("page: processor of renderers and GPU process", own, "%"),
        Figure("page: the same, of the `<img>`'s", own / image, "times", 1.3),
        Figure("page: first picture after the load begins, median", statistics.median(first), "ms", 300),
    ]


def _show_image(page: Page, daemon: Daemon) -> None:
    page.goto(f"{daemon.address}livez")
    page.set_content(_IMAGE, wait_until="commit")
    page.wait_for_function("document.images[0].naturalWidth === 1280")


def _show_page(page: Page, daemon: Daemon) -> None:
    page.goto(daemon.address)
    Seen(page.evaluate).wait_until_it_moves()


def _cpu_percent(browser: int, page: Page) -> float:
    """Return the processor time of Chromium's renderers and GPU process in the next seconds, 100 for one processor."""
    before = meter.read(browser)
    page.wait_for_timeout(1000 * _SECONDS)
    after = meter.read(browser)
    pids = [pid for kind in ("renderer", "gpu-process") for pid in engines.processes(browser, kind)]
    return 100 * sum(meter.cpu_between(before, after, pid) for pid in pids) / (after.at - before.at)
