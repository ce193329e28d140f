"""The pages work with screen readers and keyboards: axe-core finds nothing serious in any state of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.looking import PHONE, open_drawer, wait_for_key, wait_until_live
from tests.kit.wait import until


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
    wait_until_live(page, {"stream": "live", "snapshot": "held"}[mode])
    page.locator("#closer").click()
    assert_accessible(page)
    for tab in ("picture", "info", "events"):
        open_drawer(page, tab)
        assert_accessible(page)
    page.locator("#photo").click()
    expect(page.locator("#save")).to_be_visible()
    assert_accessible(page)


def test_a_page_that_is_simple_or_fills_the_screen(daemon: Any, page: Page) -> None:
    page.goto(f"{daemon.address}?view=simple")
    wait_until_live(page)
    expect(page.locator("#hold, #menu, #closer")).to_have_count(3)
    for control in ("#hold", "#menu", "#closer", "#drawer"):
        expect(page.locator(control)).to_be_hidden()
    expect(page.locator("#badge")).to_be_visible()
    assert_accessible(page)
    page.goto(daemon.address)
    wait_until_live(page)
    page.locator("#fullscreen").click()
    expect(page.locator("#fullscreen")).to_have_attribute("aria-pressed", "true")
    assert_accessible(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_without_camera_and_then_without_server(
    start_daemon: Any, new_page: Callable[..., Page], scheme: str
) -> None:
    daemon = start_daemon(source__kind="csi", csi__camera="no-such-camera")
    until("the camera is missing", lambda: daemon.state()["cause"] == "missing", 30)
    page = new_page(color_scheme=scheme)
    page.goto(daemon.address)
    wait_for_key(page, "missing")
    assert_accessible(page)
    daemon.stop()
    wait_for_key(page, "offline")
    assert_accessible(page)


def reached(page: Page, count: int) -> list[str]:
    """Press the Tab key *count* times; return the ids of what has the focus each time."""
    ids = []
    for _ in range(count):
        page.keyboard.press("Tab")
        ids.append(page.evaluate("document.activeElement.id"))
    return ids


def test_everything_can_be_reached_and_used_by_keyboard(daemon: Any, page: Page) -> None:
    page.goto(daemon.address)
    wait_until_live(page)
    assert reached(page, 6) == ["hold", "photo", "fullscreen", "menu", "view", "closer"]
    page.locator("#menu").press("Enter")
    expect(page.locator("#panel-picture section").last).not_to_be_empty()
    page.locator("#view").focus()
    assert reached(page, 2) == ["closer", "tab-picture"]
    page.keyboard.press("ArrowRight")
    expect(page.locator("#panel-info")).not_to_have_text("")
    assert page.evaluate("document.activeElement.id") == "tab-info"
    assert reached(page, 2) == ["close", "panel-info"]
    page.keyboard.press("Escape")
    expect(page.locator("#drawer")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "menu"
    page.locator("#photo").press("Enter")
    expect(page.locator("#save")).to_have_attribute("href", "snapshot")
    expect(page.locator("#full-size")).to_be_visible()  # once the page knows that there is a camera
    assert reached(page, 2) == ["save", "full-size"]
    page.keyboard.press("Escape")
    expect(page.locator("#photos")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "photo"


def test_the_programs_in_the_drawer_open_by_keyboard(daemon: Any, page: Page) -> None:
    page.goto(daemon.address)
    wait_until_live(page)
    info = open_drawer(page, "info")
    expect(info.locator("details")).to_have_count(5)
    info.locator("summary").first.press("Enter")
    expect(page.get_by_role("button", name="Copy: MJPEG URL")).to_be_visible()
