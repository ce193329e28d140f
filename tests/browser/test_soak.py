"""Pages stay open for long, and hidden ones, too: they are live again after all that happens, and hold no more memory.

With --soak it takes hours.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, CDPSession, Page

from tests.browser import engines
from tests.browser.engines import Chromium, Engine
from tests.browser.seen import Seen
from tests.kit.daemon import Daemon
from tests.kit.wait import until

MEBIBYTE = 2**20


def resident(pid: int) -> int:
    """Return the resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def heap(session: CDPSession) -> int:
    """Return the bytes that the page's scripts hold."""
    session.send("HeapProfiler.collectGarbage")
    return int(session.send("Runtime.getHeapUsage")["usedSize"])


def elements(page: Page) -> int:
    return int(page.evaluate("document.querySelectorAll('*').length"))


def test_crashes_and_hidden_tabs_leave_nothing_behind(
    daemon: Any, tabs: BrowserContext, soak: bool, record_property: Any
) -> None:
    seconds = 1800 if soak else 45
    hidden, shown = tabs.new_page(), tabs.new_page()
    for page in (hidden, shown):
        page.bring_to_front()
        page.goto(daemon.address)
        Seen(page.evaluate).wait_until_it_moves()
    session = shown.context.new_cdp_session(shown)
    figures: list[dict[str, int]] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(figures) < 3:
        # the hidden one looks once in between, as a person does who comes back to it
        hidden.bring_to_front()
        Seen(hidden.evaluate).wait_until_it_moves()
        shown.bring_to_front()
        until("one viewer", lambda: daemon.state()["viewers"] == 1)
        camera = daemon.state()["camera_process"]
        os.kill(camera["pid"], signal.SIGKILL)
        until("another start", lambda old=camera["starts"]: daemon.state()["camera_process"]["starts"] > old, 30)  # type: ignore[misc]
        until("it streams", lambda: daemon.state()["state"] == "streaming", 60)
        Seen(shown.evaluate).wait_until_it_moves()
        until("one viewer", lambda: daemon.state()["viewers"] == 1)
        figures.append(
            {
                "descriptors": descriptors(daemon.process.pid),
                "daemon": resident(daemon.process.pid),
                "scripts": heap(session),
                "elements": elements(shown),
            }
        )
        # a camera that lives for less than the supervisor's 5 s waits longer and longer for its next start
        shown.wait_for_timeout(10_000 if soak else 6_000)
    # what is needed is there after the first rounds
    early, late = figures[len(figures) // 3], figures[-1]
    print(f"{len(figures)} rounds: {early} -> {late}")
    record_property("soak", f"{len(figures)} rounds: {early} -> {late}")
    assert late["elements"] == early["elements"]
    assert late["descriptors"] <= early["descriptors"] + 6  # kept connections of two tabs come and go
    assert late["daemon"] < early["daemon"] + 4 * MEBIBYTE
    assert late["scripts"] < early["scripts"] + MEBIBYTE


class Open:
    """A page that is open in a browser while its camera is killed and restarted, and the browser sleeps."""

    def __init__(self, engine: Engine, start_daemon: Callable[..., Daemon]) -> None:
        self.engine, self._start_daemon = engine, start_daemon
        self.daemon = start_daemon()
        engine.go(self.daemon.address)
        engine.seen.wait_until_it_moves(20)
        engine.run("document.body.dataset.loaded = 'once'")

    def kill(self) -> None:
        camera = self.daemon.state()["camera_process"]
        os.kill(camera["pid"], signal.SIGKILL)
        until("another start", lambda: self.daemon.state()["camera_process"]["starts"] > camera["starts"], 60)

    def restart(self) -> None:
        self.daemon.stop()
        self.daemon = self._start_daemon(http__port=self.daemon.port)

    def sleep(self) -> None:
        self.engine.sleep(40)  # the daemon lets go of a viewer after 30

    def assert_live(self) -> None:
        self.daemon.wait_for_state("streaming", 60)
        until("one viewer", lambda: self.daemon.state()["viewers"] == 1, 60)
        self.engine.seen.wait_until_it_moves(20)
        assert self.engine.run("document.body.dataset.loaded") == "once"


def test_an_open_page_is_live_again_whatever_happens(
    engine: Engine, start_daemon: Callable[..., Daemon], soak: bool
) -> None:
    happens = [Open.kill] * 20 + [Open.restart] * 5 + [Open.sleep] * 3 if soak else [Open.kill]
    page = Open(engine, start_daemon)
    for one in random.sample(happens, len(happens)):
        one(page)
        page.assert_live()
        if soak:
            time.sleep(6)  # a camera that lives for less than 5 s waits longer and longer for its next start


@pytest.mark.parametrize("started_engine", ["chromium"], indirect=True)
def test_an_open_page_holds_no_more_memory_and_listeners_after_an_hour(
    engine: Chromium, daemon: Daemon, soak: bool, record_property: Any
) -> None:
    seconds = 3600 if soak else 10
    engine.go(daemon.address)
    engine.seen.wait_until_it_moves()
    session = engine.context.new_cdp_session(engine.page)
    session.send("Performance.enable")

    def listeners() -> float:
        session.send("HeapProfiler.collectGarbage")
        metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        return float(metrics["JSEventListeners"])

    memory: dict[str, list[float]] = {"renderer": [], "gpu-process": []}
    # the first quarter is for what a browser loads once
    for quarter in range(4):
        if quarter == 1:
            listening = listeners()
        end = time.monotonic() + seconds / 4
        while time.monotonic() < end:
            engine.page.wait_for_timeout(1000 * seconds / 100)
            for kind, values in memory.items():
                values.append(sum(map(resident, engines.processes(engine.process.pid, kind))) / MEBIBYTE)
    assert listeners() <= listening + 3  # of a poll that is under way
    few = len(memory["renderer"]) // 4
    early = {kind: statistics.median(values[few : 2 * few]) for kind, values in memory.items()}
    late = {kind: statistics.median(values[-few:]) for kind, values in memory.items()}
    record_property("figure", f"in {seconds} s, MiB: {early} -> {late}")
    for kind in memory:
        assert late[kind] < early[kind] + 16, kind
