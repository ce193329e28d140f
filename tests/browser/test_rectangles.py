"""Rectangles are drawn on the picture, by mouse, touch and keyboard, and mean parts of the sensor's picture."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.drawer import opened
from tests.browser.looking import PHONE
from tests.browser.test_accessibility import assert_accessible
from tests.kit.daemon import Daemon, running
from tests.kit.wait import until

SETTINGS = {"source.kind": "csi", "video.width": 320, "video.height": 240}
WHOLE_PICTURE = [0.125, 0.0, 0.75, 1.0]  # of a Camera Module 3: the part of the sensor with the picture's shape
CALL = "([name, ...values]) => import('/rectangles.js').then(one => one[name](...values))"


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


def value(daemon: Daemon, name: str) -> Any:
    return json.loads(daemon.get("/controls")[2])["controls"][name]["value"]


def value_is(daemon: Daemon, name: str, wanted: list[float], slack: float = 0.02) -> None:
    until(f"{name} is {wanted}", lambda: value(daemon, name) == pytest.approx(wanted, abs=slack))


def drawing(page: Page, panel: Locator, name: str = "Draw on the picture: Part of the picture") -> Locator:
    """Return the rectangle in the editor, which is opened."""
    panel.get_by_role("button", name=name).click()
    rectangle = page.get_by_role("application")
    expect(rectangle).to_be_focused()
    return rectangle


def spot(page: Page, x: float, y: float) -> tuple[float, float]:
    """Return the place on the screen of a point in fractions of the editor."""
    box = page.locator("svg.rectangles").bounding_box()
    assert box
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*spot(page, *start))
    page.mouse.down()
    page.mouse.move(*spot(page, *end), steps=4)
    page.mouse.up()


# -- the functions


def seen(rectangle: list[float], view: dict[str, Any]) -> list[float] | None:
    """Return the same as `toPicture`, found in pixels that are cropped, mirrored and turned."""
    size = 200
    pixels = np.zeros((size, size), bool)
    x, y, width, height = (round(side * size) for side in rectangle)
    pixels[y : y + height, x : x + width] = True
    left, top, wide, high = (round(side * size) for side in view["crop"])
    pixels = pixels[top : top + high, left : left + wide]
    pixels = pixels[:: -1 if view["vflip"] else 1, :: -1 if view["hflip"] else 1]
    pixels = np.rot90(pixels, -view["rotation"] // 90)
    rows, columns = np.nonzero(pixels)
    if not len(rows):
        return None
    (all_rows, all_columns), (top, left) = pixels.shape, (rows.min(), columns.min())
    wide, high = columns.max() + 1 - left, rows.max() + 1 - top
    return [left / all_columns, top / all_rows, wide / all_columns, high / all_rows]


def test_rectangles_are_converted_between_the_sensors_picture_and_the_pages(daemon: Any, page: Page) -> None:
    page.goto(daemon.address)
    turns = itertools.product((0, 90, 180, 270), (False, True), (False, True), ([0, 0, 1, 1], [0.2, 0.1, 0.5, 0.8]))
    for rotation, hflip, vflip, crop in turns:
        view = {"rotation": rotation, "hflip": hflip, "vflip": vflip, "crop": crop}
        inside, across, outside = [0.25, 0.3, 0.1, 0.25], [0.1, 0.05, 0.3, 0.4], [0.8, 0.92, 0.1, 0.05]
        for rectangle in (inside, across, outside):
            shown = page.evaluate(CALL, ["toPicture", rectangle, view])
            expected = seen(rectangle, view)
            assert shown == (expected and pytest.approx(expected, abs=1e-9)), (rectangle, view)
        back = page.evaluate(CALL, ["toSensor", page.evaluate(CALL, ["toPicture", inside, view]), view])
        assert back == pytest.approx(inside, abs=2e-4), view


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (["moved", [0.2, 0.2, 0.4, 0.4], 0.1, -0.1], [0.3, 0.1, 0.4, 0.4]),
        (["moved", [0.2, 0.2, 0.4, 0.4], 0.9, -0.9], [0.6, 0, 0.4, 0.4]),
        (["resized", [0.2, 0.2, 0.4, 0.4], 0.1, 0, False], [0.2, 0.2, 0.5, 0.4]),
        (["resized", [0.2, 0.2, 0.4, 0.4], 0, 0.1, True], [0.2, 0.2, 0.5, 0.5]),
        (["resized", [0.2, 0.2, 0.4, 0.4], -0.9, 0, False], [0.2, 0.2, 0.03, 0.4]),
        (["resized", [0.5, 0.2, 0.4, 0.4], 0.9, 0, True], [0.5, 0.2, 0.5, 0.5]),
        (["spanned", [0.5, 0.5], [0.7, 0.8], False], [0.5, 0.5, 0.2, 0.3]),
        (["spanned", [0.5, 0.5], [0.1, 0.2], False], [0.1, 0.2, 0.4, 0.3]),
        (["spanned", [0.5, 0.5], [0.1, 0.9], True], [0.1, 0.5, 0.4, 0.4]),
        (["spanned", [0.5, 0.3], [0.0, 0.0], True], [0.2, 0, 0.3, 0.3]),
        (["spanned", [0.5, 0.5], [0.5, 0.5], False], [0.5, 0.5, 0.03, 0.03]),
    ],
)
def test_hands_stay_within_the_picture(daemon: Any, page: Page, call: list[Any], result: list[float]) -> None:
    page.goto(daemon.address)
    assert page.evaluate(CALL, call) == pytest.approx(result)


def test_the_picture_in_a_box_of_another_shape_is_centred(daemon: Any, page: Page) -> None:
    page.goto(daemon.address)
    for box, shape, result in (
        ((10, 20, 400, 200), (100, 100), (110, 20, 200, 200)),
        ((10, 20, 200, 400), (200, 100), (10, 170, 200, 100)),
    ):
        left, top, width, height = box
        named = {"left": left, "top": top, "width": width, "height": height}
        assert tuple(page.evaluate(CALL, ["contained", named, *shape]).values()) == result


# -- the editor


def test_a_part_of_the_picture_is_drawn_with_the_mouse(camera: Daemon, page: Page, keep_screenshot: Any) -> None:
    panel = opened(page, camera)
    drawing(page, panel)
    stage, editor = page.locator("#stage").bounding_box(), page.locator("svg.rectangles").bounding_box()
    assert stage and editor and editor["height"] < stage["height"] - 20, "the picture is not letterboxed"
    drag(page, (0.1, 0.1), (0.6, 0.6))
    expect(page.locator(".rectangles-bar output")).to_have_text("50 × 50 % at 10, 10 %")
    drag(page, (0.3, 0.3), (0.4, 0.4))
    drag(page, (0.7, 0.7), (0.8, 0.8))
    expect(page.locator(".rectangles-bar output")).to_have_text("60 × 60 % at 20, 20 %")
    keep_screenshot(page, "rectangle-desktop-en")
    assert_accessible(page)
    page.get_by_role("button", name="Use it").click()
    value_is(camera, "roi", [0.125 + 0.75 * 0.2, 0.2, 0.75 * 0.6, 0.6])
    expect(page.locator("svg.rectangles")).to_have_count(0)
    expect(panel.get_by_label("Part of the picture: Width %")).not_to_have_value("75")


def test_a_rectangle_is_moved_and_resized_with_keys_and_taken_or_cancelled(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera)
    rectangle = drawing(page, panel)
    numbers = page.locator(".rectangles-bar output")
    expect(numbers).to_have_text("50 × 50 % at 25, 25 %")
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "Shift+ArrowRight", "Shift+ArrowDown", "Shift+ArrowUp"):
        page.keyboard.press(key)
    expect(numbers).to_have_text("51 × 51 % at 23, 24 %")
    assert "Part of the picture: 51 × 51 % at 23, 24 %" in (rectangle.get_attribute("aria-label") or "")
    stroke = "e => getComputedStyle(e.firstElementChild).stroke"
    assert rectangle.evaluate(stroke) == "rgb(255, 214, 10)", "the focus is not visible"
    page.keyboard.press("Enter")
    taken = [0.125 + 0.75 * 0.23, 0.24, 0.75 * 0.51, 0.51]
    value_is(camera, "roi", taken, 0.001)
    button = panel.get_by_role("button", name="Draw on the picture: Part of the picture")
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(rectangle).to_be_focused()
    value_is(camera, "roi", WHOLE_PICTURE)  # all of it is shown to draw on
    expect(numbers).to_have_text("51 × 51 % at 23, 24 %")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    value_is(camera, "roi", taken, 0.001)
    expect(page.locator("#app")).to_have_class("app opened")


def test_a_rectangle_follows_the_picture_that_is_zoomed(camera: Daemon, page: Page) -> None:
    page.set_viewport_size({"width": 1400, "height": 780})  # the picture lies below the zoom's buttons
    panel = opened(page, camera)
    page.locator("#closer").click()
    drawing(page, panel)
    view, editor = page.locator("#picture").bounding_box(), page.locator("svg.rectangles").bounding_box()
    assert view and editor and editor["width"] == pytest.approx(min(view["width"], view["height"] * 4 / 3), abs=2)
    drag(page, (0.25, 0.25), (0.4, 0.4))
    page.locator("#closer").click()
    page.keyboard.press("Escape")
    expect(page.locator("svg.rectangles")).to_have_count(1)  # the key was meant for the picture
    page.get_by_role("application").focus()
    page.keyboard.press("Enter")
    value_is(camera, "roi", [0.125 + 0.75 * 0.4, 0.4, 0.75 * 0.35, 0.35])


def test_a_focus_window_is_drawn_on_a_turned_and_cropped_picture(tmp_path: Path, page: Page) -> None:
    roi = [0.2, 0.1, 0.6, 0.8]
    turned = {**SETTINGS, "video.rotation": 90, "video.hflip": True, "controls.roi": roi}
    with running(tmp_path / "daemon", turned) as daemon:
        daemon.wait_for_state("streaming")
        panel = opened(page, daemon)
        drawing(page, panel, "Draw on the picture: Autofocus window")
        drag(page, (0.1, 0.2), (0.5, 0.9))
        page.keyboard.press("Enter")
        # turned back, then mirrored, it is [0.8, 0.5, 0.7, 0.4] with x from the right
        value_is(daemon, "autofocus_window", [0.2 + 0.6 * 0.1, 0.1 + 0.8 * 0.5, 0.6 * 0.7, 0.8 * 0.4])


def test_the_drawer_makes_room_on_a_phones_side(camera: Daemon, new_page: Callable[..., Page]) -> None:
    page = new_page(**{**PHONE, "viewport": {"width": 844, "height": 390}})
    panel = opened(page, camera)
    drawing(page, panel)
    expect(page.locator("#drawer")).to_be_hidden()
    page.get_by_role("button", name="Cancel").click()
    expect(panel.get_by_role("button", name="Draw on the picture: Part of the picture")).to_be_focused()


def test_a_finger_draws_on_a_phone_and_handles_are_large(
    camera: Daemon, new_page: Callable[..., Page], keep_screenshot: Any
) -> None:
    page = new_page(**PHONE, locale="ko-KR")
    panel = opened(page, camera)
    rectangle = drawing(page, panel, "화면에 그리기: 화면 영역")
    sizes = rectangle.locator(".handle").evaluate_all("all => all.map(e => e.getBoundingClientRect().width)")
    assert len(sizes) == 4 and min(sizes) >= 24
    touch = page.context.new_cdp_session(page)
    for kind, at in (("touchStart", (0.25, 0.25)), ("touchMove", (0.2, 0.2)), ("touchMove", (0.05, 0.05))):
        x, y = spot(page, *at)
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator(".rectangles-bar output")).to_have_text("70 × 70 %, 위치 5, 5 %")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert_accessible(page)
    keep_screenshot(page, "rectangle-phone-ko")
    page.get_by_role("button", name="확인").click()
    value_is(camera, "roi", [0.125 + 0.75 * 0.05, 0.05, 0.75 * 0.7, 0.7])
