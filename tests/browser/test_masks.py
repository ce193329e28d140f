"""Masks are drawn in the settings panel, by mouse, touch and keyboard, and are black in the picture afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from tests.browser.drawer import opened
from tests.browser.looking import PHONE, assert_below_the_picture
from tests.browser.test_accessibility import assert_accessible
from tests.browser.test_rectangles import drag, spot
from tests.browser.test_settings import RESTARTS, apply
from tests.kit.daemon import Daemon, running
from tests.kit.wait import until

DRAW = "Draw on the picture: Privacy masks"


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "daemon", {"video.width": 320, "video.height": 240}) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


def saved(daemon: Daemon) -> Any:
    return json.loads(daemon.get("/settings")[2])["saved"].get("video.masks")


def brightness(daemon: Daemon, x: float, y: float) -> int:
    """Return the brightness of a point, in fractions, of a picture of now."""
    pixels = cv2.imdecode(np.frombuffer(daemon.get("/snapshot")[2], np.uint8), cv2.IMREAD_GRAYSCALE)
    return int(pixels[int(y * len(pixels)), int(x * len(pixels[0]))])


def drawing(page: Page, panel: Locator, name: str = DRAW) -> None:
    panel.get_by_role("button", name=name).click()
    expect(page.locator("svg.rectangles")).to_be_visible()


def test_masks_are_drawn_with_the_mouse_and_are_black(camera: Daemon, page: Page, keep_screenshot: Any) -> None:
    panel = opened(page, camera, "settings")
    drawing(page, panel)
    numbers, rectangles = page.locator(".rectangles-bar output"), page.get_by_role("application")
    expect(numbers).to_have_text("Drag on the picture")
    expect(page.get_by_role("button", name="Add")).to_be_focused()
    expect(page.get_by_role("button", name="Remove")).to_be_disabled()
    drag(page, (0.5, 0.2), (0.51, 0.21))  # a click is no rectangle
    expect(rectangles).to_have_count(0)
    drag(page, (0.05, 0.1), (0.25, 0.5))
    expect(numbers).to_have_text("20 × 40 % at 5, 10 %")
    drag(page, (0.6, 0.1), (0.9, 0.3))
    expect(rectangles).to_have_count(2)
    expect(numbers).to_have_text("30 × 20 % at 60, 10 %")
    drag(page, (0.1, 0.2), (0.2, 0.2))  # the first one is moved
    expect(numbers).to_have_text("20 × 40 % at 15, 10 %")
    assert_accessible(page)
    keep_screenshot(page, "masks-desktop-en")
    page.get_by_role("button", name="Use it").click()
    expect(panel.get_by_role("button", name=DRAW)).to_be_focused()
    expect(panel.get_by_text(RESTARTS)).to_be_visible()
    assert saved(camera) is None
    assert brightness(camera, 0.16, 0.3) > 60
    apply(panel)
    assert saved(camera) == [pytest.approx(one, abs=0.01) for one in ([0.15, 0.1, 0.2, 0.4], [0.6, 0.1, 0.3, 0.2])]
    assert brightness(camera, 0.16, 0.3) < 20
    assert brightness(camera, 0.75, 0.2) < 20
    assert brightness(camera, 0.05, 0.3) > 60


def test_masks_are_added_removed_and_taken_back_with_keys(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera, "settings")
    panel.get_by_role("button", name=DRAW).focus()
    page.keyboard.press("Enter")
    rectangles = page.get_by_role("application")
    expect(page.get_by_role("button", name="Add")).to_be_focused()
    page.keyboard.press("Enter")
    expect(rectangles).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    page.get_by_role("button", name="Add").press("Enter")
    expect(rectangles.nth(1)).to_be_focused()
    assert (rectangles.nth(0).get_attribute("aria-label") or "").startswith("Privacy masks 1: 25 × 26 % at 39, 38 %")
    page.keyboard.press("Delete")
    expect(rectangles).to_have_count(1)
    expect(rectangles).to_be_focused()
    page.keyboard.press("Enter")
    apply(panel)
    assert saved(camera) == [pytest.approx([0.385, 0.375, 0.25, 0.26], abs=0.001)]
    expect(panel.get_by_text("Configured: none")).to_be_visible()
    drawing(page, panel)
    page.keyboard.press("Delete")
    page.keyboard.press("Escape")
    expect(panel.get_by_role("button", name="Apply")).to_be_hidden()
    panel.get_by_role("button", name="Back to that: Privacy masks").click()
    apply(panel)
    assert saved(camera) is None


def test_a_turn_says_that_masks_do_not_turn(camera: Daemon, page: Page) -> None:
    camera.post("/settings", b'{"video.masks": [[0, 0, 0.5, 0.5]]}')
    panel = opened(page, camera, "settings")
    panel.get_by_role("combobox", name="Turned clockwise").select_option("90°")
    expect(panel.get_by_text(f"{RESTARTS} The masks do not turn with the picture.")).to_be_visible()


def test_no_more_masks_are_drawn_than_can_be_saved(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera, "settings")
    drawing(page, panel)
    for _ in range(16):
        page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("button", name="Add")).to_be_disabled()
    drag(page, (0.02, 0.02), (0.2, 0.2))
    expect(page.get_by_role("application")).to_have_count(16)


def test_a_finger_draws_masks_on_a_phone(camera: Daemon, new_page: Callable[..., Page], keep_screenshot: Any) -> None:
    page = new_page(**PHONE, locale="ko-KR")
    panel = opened(page, camera, "settings")
    drawing(page, panel, "화면에 그리기: 가림 영역")
    touch = page.context.new_cdp_session(page)
    for kind, at in (("touchStart", (0.1, 0.1)), ("touchMove", (0.2, 0.2)), ("touchMove", (0.4, 0.5))):
        x, y = spot(page, *at)
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator(".rectangles-bar output")).to_have_text("30 × 40 %, 위치 10, 10 %")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert_accessible(page)
    keep_screenshot(page, "masks-phone-ko")
    bar = page.locator(".rectangles-bar")
    assert_below_the_picture(page, bar)
    bar.get_by_role("button", name="확인").click()
    panel.get_by_role("button", name="적용").click()
    until("it is saved", lambda: saved(camera) == [pytest.approx([0.1, 0.1, 0.3, 0.4], abs=0.01)])


def test_a_viewer_sees_how_many_masks_there_are_and_cannot_change_them(
    tmp_path: Path, new_page: Callable[..., Page]
) -> None:
    file, password = tmp_path / "users", "correct horse battery"
    users.add(file, "bob", Role.VIEWER, password)
    with running(tmp_path / "daemon", {"http.users_file": str(file), "video.masks": [[0, 0, 0.5, 0.5]]}) as daemon:
        page = new_page(http_credentials={"username": "bob", "password": password})
        panel = opened(page, daemon, "settings")
        expect(panel.locator(".control", has_text="Privacy masks").get_by_text("1", exact=True)).to_be_visible()
        expect(panel.get_by_role("button", name=DRAW)).to_be_hidden()
        body = json.dumps({"video.masks": []})
        refused = page.evaluate(
            "body => fetch('settings', {method: 'POST', headers: {'Content-Type': 'application/json'}, body})"
            ".then(reply => reply.status)",
            body,
        )
        assert refused == 403
