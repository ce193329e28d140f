"""Zoom, full screen and saving of the picture."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looking import PHONE, assert_moves, open_drawer, wait_until_live
from tests.kit.wait import until

_PLACE = """() => {
    const stage = document.getElementById("stage").getBoundingClientRect();
    const view = document.getElementById("view").getBoundingClientRect();
    return [view.width / stage.width, view.left - stage.left, view.top - stage.top, stage.width, stage.height];
}"""


def place(page: Page) -> tuple[float, float, float]:
    """Return the picture's scale relative to its stage, and its left and top offset in sizes of the stage."""
    scale, left, top, width, height = page.evaluate(_PLACE)
    return scale, left / width, top / height


_NOT_ALLOWED = "Element.prototype.requestFullscreen = () => Promise.reject(new TypeError())"


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


def test_a_wheel_that_cannot_make_the_picture_smaller_scrolls_the_page(
    daemon: Any, new_page: Callable[..., Page]
) -> None:
    page = new_page(viewport=PHONE["viewport"])
    page.goto(daemon.address)
    wait_until_live(page)
    page.evaluate("document.body.style.minHeight = '300vh'")
    page.mouse.move(*point(page, 0.5, 0.5))
    page.mouse.wheel(0, 200)
    until("the page has scrolled", lambda: page.evaluate("scrollY") > 100)
    assert place(page)[0] == 1
    page.mouse.move(*point(page, 0.5, 0.5))
    page.mouse.wheel(0, -2000)
    until("the page is at its top", lambda: page.evaluate("scrollY") == 0)
    assert place(page)[0] == 1


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


_WINDOW = "({x: 0, y: 0, width: innerWidth, height: innerHeight})"


def fills_the_window(page: Page) -> bool:
    return bool(page.locator("#stage").bounding_box() == page.evaluate(_WINDOW))


def test_full_screen_shows_the_picture_its_badge_and_its_buttons(live: Page, keep_screenshot: Any) -> None:
    button = live.get_by_role("button", name="Full screen")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    until("it fills the window", lambda: fills_the_window(live))
    expect(live.locator("#badge")).to_be_visible()
    keep_screenshot(live, "fullscreen-desktop-light-en")
    assert_moves(live)
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    until("it leaves room for the bar", lambda: not fills_the_window(live))


def test_the_full_screen_of_a_phone_has_the_picture_above_and_the_drawer_below(
    daemon: Any, new_page: Callable[..., Page]
) -> None:
    page = new_page(**PHONE)
    page.goto(daemon.address)
    wait_until_live(page)
    open_drawer(page, "info")
    page.locator("#fullscreen").press("Enter")
    expect(page.locator("#app")).to_have_class(re.compile(r"\bfull\b"))
    stage, drawer = (page.locator(name).bounding_box() for name in ("#stage", "#drawer"))
    assert stage and drawer
    assert drawer["width"] == stage["width"] == 360
    assert stage["y"] + stage["height"] <= drawer["y"]


def test_the_bar_leaves_the_full_screen_to_the_picture_until_the_mouse_moves(live: Page) -> None:
    live.get_by_role("button", name="Full screen").click()
    live.mouse.move(*point(live, 0.5, 0.5))
    live.evaluate("document.activeElement.blur()")
    expect(live.locator("#badge")).to_be_hidden()
    live.mouse.move(*point(live, 0.6, 0.6))
    expect(live.locator("#badge")).to_be_visible()


@pytest.mark.parametrize("refusal", ["delete Element.prototype.requestFullscreen", _NOT_ALLOWED])
def test_without_full_screen_for_elements_the_picture_fills_the_window(
    daemon: Any, new_page: Callable[..., Page], keep_screenshot: Any, refusal: str
) -> None:
    page = new_page(**PHONE)
    page.add_init_script(refusal)
    page.goto(daemon.address)
    wait_until_live(page)
    page.get_by_role("button", name="Full screen").click()
    until("it fills the window", lambda: fills_the_window(page))
    keep_screenshot(page, "filled-phone-light-en")
    page.keyboard.press("Escape")
    until("it is a page again", lambda: not fills_the_window(page))
