"""The panel of controls shows, sets and saves the camera's values and reports errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.looking import PHONE
from tests.browser.test_accessibility import assert_accessible
from tests.harness import Daemon, running, until


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[Daemon]:
    """Start a daemon whose camera has the controls of a Camera Module 3."""
    with running(tmp_path / "daemon", {"source.kind": "csi", "video.width": 320, "video.height": 240}) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


def controls(daemon: Daemon) -> Any:
    return json.loads(daemon.get("/controls")[2])["controls"]


def opened(page: Page, daemon: Daemon, title: str = "Camera controls") -> Locator:
    page.goto(f"http://127.0.0.1:{daemon.port}/")
    panel = page.locator("#controls")
    expect(panel).to_be_visible()
    page.get_by_text(title, exact=True).click()
    return panel


def value_is(daemon: Daemon, name: str, value: object) -> None:
    until(f"{name} is {value}", lambda: controls(daemon)[name]["value"] == value)


def test_a_slider_a_number_and_a_choice_set_the_camera_live(camera: Daemon, page: Page, keep_screenshot: Any) -> None:
    panel = opened(page, camera)
    brightness = panel.get_by_role("slider", name="Brightness")
    expect(brightness).to_have_value("0")
    brightness.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    value_is(camera, "brightness", 0.1)
    exact = panel.get_by_role("spinbutton", name="Contrast", exact=True)
    exact.fill("1.37")
    exact.press("Tab")
    value_is(camera, "contrast", 1.37)
    panel.get_by_role("combobox", name="White balance").select_option("cloudy")
    value_is(camera, "awb", "cloudy")
    expect(panel.get_by_role("status")).to_contain_text("Set")
    keep_screenshot(page, "controls-desktop-en")


def test_a_dragged_slider_sets_its_last_value(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera)
    slider = panel.get_by_role("slider", name="Saturation")
    for step in range(40):
        slider.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')) }", step / 4)
    value_is(camera, "saturation", 9.75)
    expect(slider).to_have_value("9.75")
    expect(panel.get_by_role("spinbutton", name="Saturation", exact=True)).to_have_value("9.75")


def test_automatic_mode_is_switched_off_and_on(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera)
    shutter = panel.locator(".control", has=page.get_by_role("slider", name="Exposure time (µs)"))
    expect(shutter.get_by_label("Automatic")).to_be_checked()
    exact = panel.get_by_role("spinbutton", name="Exposure time", exact=True)
    exact.fill("5000")
    exact.press("Tab")
    value_is(camera, "shutter", 5000)
    expect(shutter.get_by_label("Automatic")).not_to_be_checked()
    shutter.get_by_label("Automatic").check()
    value_is(camera, "shutter", 0)
    panel.get_by_role("spinbutton", name="Lens position", exact=True).fill("2")
    panel.get_by_role("spinbutton", name="Lens position", exact=True).press("Tab")
    value_is(camera, "autofocus_mode", "manual")
    expect(panel.get_by_label("Autofocus mode", exact=True)).to_have_value("manual")


def test_each_control_is_reset_alone_and_forget_resets_all(camera: Daemon, page: Page) -> None:
    camera.post("/controls", b'{"brightness": 0.5, "contrast": 2, "ev": 1, "roi": [0.25, 0.25, 0.5, 0.5]}')
    panel = opened(page, camera)
    expect(panel.get_by_label("Part of the picture: Width")).to_have_value("0.5")
    expect(panel.get_by_role("button", name="Reset: Sharpness")).to_be_disabled()
    panel.get_by_role("button", name="Reset: Brightness").click()
    value_is(camera, "brightness", 0.0)
    expect(panel.get_by_role("button", name="Reset: Brightness")).to_be_disabled()
    assert controls(camera)["contrast"]["value"] == 2
    panel.get_by_role("button", name="Forget").click()
    value_is(camera, "contrast", 1.0)
    value_is(camera, "roi", [0.125, 0.0, 0.75, 1.0])


def test_a_refused_value_is_reported_and_the_panel_shows_the_real_one(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera)
    exact = panel.get_by_role("spinbutton", name="Brightness", exact=True)
    exact.fill("7")
    exact.press("Tab")
    expect(panel.get_by_role("status")).to_contain_text(
        "Brightness: 7 cannot be used; accepted: a number from -1.0 to 1"
    )
    expect(exact).to_have_value("0")
    panel.get_by_role("button", name="Focus once").click()
    expect(panel.get_by_role("status")).to_contain_text('works in autofocus_mode "auto" only')


def test_controls_are_saved_and_forgotten(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera)
    panel.get_by_role("combobox", name="White balance").select_option("cloudy")
    value_is(camera, "awb", "cloudy")
    panel.get_by_role("button", name="Save").click()
    expect(panel.get_by_role("status")).to_contain_text("Saved")
    assert json.loads(camera.get("/controls")[2])["saved"] == {"awb": "cloudy"}
    panel.get_by_role("button", name="Forget").click()
    expect(panel.get_by_role("status")).to_contain_text("Forgotten")
    expect(panel.get_by_role("combobox", name="White balance")).to_have_value("auto")
    assert json.loads(camera.get("/controls")[2])["saved"] == {}


def test_a_camera_without_controls_has_no_panel(daemon: Any, page: Page) -> None:
    with page.expect_response("**/controls") as answered:
        page.goto(daemon.address)
    assert answered.value.json()["controls"] == {}
    expect(page.locator("#badge")).to_have_text("Live")
    expect(page.locator("#controls")).to_be_hidden()


def test_the_panel_speaks_korean_on_a_phone(camera: Daemon, new_page: Any, keep_screenshot: Any) -> None:
    page = new_page(**PHONE, locale="ko-KR")
    panel = opened(page, camera, "카메라 조절")
    panel.get_by_role("combobox", name="화이트 밸런스").select_option(label="흐림")
    value_is(camera, "awb", "cloudy")
    expect(panel.get_by_role("status")).to_contain_text("적용됨")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    keep_screenshot(page, "controls-phone-ko")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_panel(camera: Daemon, new_page: Any, scheme: str) -> None:
    page = new_page(color_scheme=scheme)
    opened(page, camera).get_by_role("slider", name="Brightness").focus()
    assert_accessible(page)


def test_every_input_has_a_name_for_screen_readers(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera)
    inputs = panel.locator("input, select, button")
    unnamed = inputs.evaluate_all(
        "all => all.filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent.trim())).length"
    )
    assert inputs.count() > 50 and unnamed == 0
