"""An open page and a hidden tab survive crashes of the camera for a minute, with --soak for half an hour."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, CDPSession, Page

from tests.browser.looking import assert_moves, wait_until_live
from tests.harness import until

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
        wait_until_live(page)
    session = shown.context.new_cdp_session(shown)
    figures: list[dict[str, int]] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(figures) < 3:
        # the hidden one looks once in between, as a person does who comes back to it
        hidden.bring_to_front()
        wait_until_live(hidden)
        shown.bring_to_front()
        until("one viewer", lambda: daemon.state()["viewers"] == 1)
        camera = daemon.state()["camera_process"]
        os.kill(camera["pid"], signal.SIGKILL)
        until("another start", lambda old=camera["starts"]: daemon.state()["camera_process"]["starts"] > old, 30)  # type: ignore[misc]
        until("it streams", lambda: daemon.state()["state"] == "streaming", 60)
        wait_until_live(shown)
        assert_moves(shown)
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
