"""The pages work with screen readers and keyboards: axe-core finds nothing serious in any state of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.looking import PHONE, wait_until_live
from tests.harness import until


def assert_accessible(page: Page) -> None:
    # transitions end in colours that have more contrast than those on the way
    transitions = "document.getAnimations().filter(one => one.transitionProperty)"
    page.evaluate(f"Promise.all({transitions}.map(one => one.finished))")
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("mode", "language"), [("stream", "en"), ("snapshot", "ko")])
@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_a_page_with_a_healthy_camera(
    daemon: Any, new_page: Callable[..., Page], mode: str, language: str, device: dict[str, Any], scheme: str
) -> None:
    page = new_page(**device, color_scheme=scheme)
    page.goto(f"{daemon.address}?mode={mode}&lang={language}")
    wait_until_live(page, {"ko": "실시간", "en": "Live"}[language])
    page.locator("summary").last.click()
    page.locator("#closer").click()
    assert_accessible(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_without_camera_and_then_without_server(
    start_daemon: Any, new_page: Callable[..., Page], scheme: str
) -> None:
    daemon = start_daemon(source__kind="csi", csi__camera="no-such-camera")
    until("the camera is missing", lambda: daemon.state()["cause"] == "missing", 30)
    page = new_page(color_scheme=scheme)
    page.goto(daemon.address)
    expect(page.get_by_role("heading", name="No camera found")).to_be_visible()
    assert_accessible(page)
    daemon.stop()
    expect(page.get_by_role("heading", name="The camera server does not answer")).to_be_visible()
    assert_accessible(page)


def test_everything_can_be_reached_and_used_by_keyboard(daemon: Any, page: Page) -> None:
    page.goto(daemon.address)
    wait_until_live(page)
    expect(page.locator("#addresses details")).to_have_count(5)
    reached = []
    for _ in range(20):
        page.keyboard.press("Tab")
        where = "(e => e.id || e.getAttribute('aria-label') || e.textContent)(document.activeElement)"
        reached.append(page.evaluate(where).strip())
    expected = [
        "view",
        "closer",
        "fullscreen",
        "to-stream",
        "to-snapshot",
        "save",
        "full-size",
        "Copy: Stream",
        "Copy: Snapshot",
    ]
    programs = ["Home Assistant", "OctoPrint", "VLC", "OpenCV", "Frigate"]
    assert reached[: len(expected + programs)] == expected + programs
    page.locator("#addresses summary").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Copy: MJPEG URL")).to_be_visible()
