"""Zoom, full screen and saving of the picture."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looking import PHONE, assert_moves, wait_until_live
from tests.harness import until

_PLACE = """() => {
    const stage = document.getElementById("stage").getBoundingClientRect();
    const view = document.getElementById("view").getBoundingClientRect();
    return [view.width / stage.width, view.left - stage.left, view.top - stage.top, stage.width, stage.height];
}"""


def place(page: Page) -> tuple[float, float, float]:
    """Return the picture's scale relative to its stage, and its left and top offset in sizes of the stage."""
    scale, left, top, width, height = page.evaluate(_PLACE)
    return scale, left / width, top / height


def point(page: Page, x: float, y: float) -> tuple[float, float]:
    box = page.locator("#stage").bounding_box()
    assert box
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


@pytest.fixture
def live(daemon: Any, page: Page) -> Page:
    page.goto(daemon.address)
    wait_until_live(page)
    return page


def test_the_wheel_zooms_in_at_the_pointer(live: Page, keep_screenshot: Any) -> None:
    live.mouse.move(*point(live, 0.75, 0.25))
    live.mouse.wheel(0, -240)
    live.mouse.wheel(0, -240)
    until("it is magnified", lambda: place(live)[0] > 2)
    scale, left, top = place(live)
    # the point is where it was: a quarter from the right and from the top
    assert left == pytest.approx(0.75 - 0.75 * scale, abs=0.01)
    assert top == pytest.approx(0.25 - 0.25 * scale, abs=0.01)
    assert_moves(live)
    keep_screenshot(live, "zoomed-desktop-light-en")
    for _ in range(6):
        live.mouse.wheel(0, 240)
    until("it is whole again", lambda: place(live) == (1, 0, 0))


def test_a_wheel_that_cannot_make_the_picture_smaller_scrolls_the_page(live: Page) -> None:
    live.mouse.move(*point(live, 0.5, 0.5))
    live.mouse.wheel(0, 200)
    until("the page has scrolled", lambda: live.evaluate("scrollY") > 100)
    assert place(live)[0] == 1
    live.mouse.move(*point(live, 0.5, 0.5))
    live.mouse.wheel(0, -2000)
    until("the page is at its top", lambda: live.evaluate("scrollY") == 0)
    assert place(live)[0] == 1


def test_keys_zoom_move_and_reset(live: Page) -> None:
    live.locator("#view").focus()
    for key in ("+", "+", "ArrowRight"):
        live.keyboard.press(key)
    scale, left, _ = place(live)
    assert scale == pytest.approx(2.25, abs=0.01)
    assert left == pytest.approx((1 - scale) / 2 - 0.15, abs=0.01)
    for _ in range(9):
        live.keyboard.press("ArrowDown")
    assert place(live)[2] == pytest.approx(1 - scale, abs=0.01)  # the picture's edge is the end
    live.keyboard.press("-")
    assert place(live)[0] == pytest.approx(1.5, abs=0.01)
    live.keyboard.press("0")
    assert place(live) == (1, 0, 0)


def test_buttons_zoom_and_never_lose_the_focus(live: Page) -> None:
    expect(live.get_by_role("button", name="Zoom out")).to_be_hidden()
    for _ in range(9):
        live.get_by_role("button", name="Zoom in").click()
    assert place(live)[0] == pytest.approx(8, abs=0.01)
    live.get_by_role("button", name="Show all (now 8×)").press("Enter")
    assert place(live)[0] == 1
    assert live.evaluate("document.activeElement.id") == "closer"


def test_a_double_click_zooms_in_and_out_and_dragging_moves(live: Page) -> None:
    live.mouse.dblclick(*point(live, 0.5, 0.5))
    scale, left, top = place(live)
    assert scale == pytest.approx(2.5, abs=0.01)
    live.mouse.move(*point(live, 0.5, 0.5))
    live.mouse.down()
    live.mouse.move(*point(live, 0.7, 0.4), steps=4)
    live.mouse.up()
    assert place(live) == pytest.approx((scale, left + 0.2, top - 0.1), abs=0.01)
    live.mouse.move(*point(live, 0.2, 0.2))
    assert place(live) == pytest.approx((scale, left + 0.2, top - 0.1), abs=0.01)
    live.mouse.dblclick(*point(live, 0.5, 0.5))
    assert place(live)[0] == 1


def test_two_fingers_zoom_the_picture_and_not_the_page(daemon: Any, new_page: Callable[..., Page]) -> None:
    page = new_page(**PHONE)
    page.goto(daemon.address)
    wait_until_live(page)
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *places: float) -> None:
        points = [dict(zip("xy", point(page, x, 0.5), strict=True), id=number) for number, x in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 0.4)
    touch("touchStart", 0.4, 0.6)
    for step in range(1, 11):
        touch("touchMove", 0.4 - step * 0.02, 0.6 + step * 0.02)
    touch("touchEnd")
    until("it is three times as large", lambda: math.isclose(place(page)[0], 3, rel_tol=0.05))
    assert page.evaluate("visualViewport.scale") == 1
    left = place(page)[1]
    touch("touchStart", 0.5)
    for step in range(1, 6):
        touch("touchMove", 0.5 + step * 0.04)
    touch("touchEnd")
    until("it is moved", lambda: math.isclose(place(page)[1], left + 0.2, abs_tol=0.03))


def test_full_screen_shows_the_picture_its_badge_and_its_buttons(live: Page, keep_screenshot: Any) -> None:
    button = live.get_by_role("button", name="Full screen")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    until(
        "it fills the window",
        lambda: live.locator("#stage").bounding_box() == {"x": 0, "y": 0, **live.evaluate(_WINDOW)},
    )
    expect(live.locator("#badge")).to_be_visible()
    expect(live.locator("footer")).to_be_hidden()
    keep_screenshot(live, "fullscreen-desktop-light-en")
    assert_moves(live)
    button.click()
    expect(live.locator("footer")).to_be_visible()


_WINDOW = "({width: innerWidth, height: innerHeight})"


def test_without_full_screen_for_elements_the_picture_fills_the_window(
    daemon: Any, new_page: Callable[..., Page], keep_screenshot: Any
) -> None:
    page = new_page(**PHONE)
    page.add_init_script("Object.defineProperty(document, 'fullscreenEnabled', {value: false})")
    page.goto(daemon.address)
    wait_until_live(page)
    page.get_by_role("button", name="Full screen").click()
    until(
        "it fills the window",
        lambda: page.locator("#stage").bounding_box() == {"x": 0, "y": 0, **page.evaluate(_WINDOW)},
    )
    keep_screenshot(page, "filled-phone-light-en")
    page.keyboard.press("Escape")
    expect(page.locator("footer")).to_be_visible()


def test_the_live_picture_can_be_saved(daemon: Any, live: Page, tmp_path: Path) -> None:
    with live.expect_download() as download:
        live.get_by_role("link", name="Save picture").click()
    download.value.save_as(tmp_path / "saved.jpg")
    jpeg = (tmp_path / "saved.jpg").read_bytes()
    assert jpeg.startswith(b"\xff\xd8") and jpeg.endswith(b"\xff\xd9")
    name = re.escape(daemon.state()["name"])
    assert re.fullmatch(rf"{name}-\d{{4}}-\d\d-\d\dT\d\d-\d\d-\d\d\.jpg", download.value.suggested_filename)
    assert_moves(live)
