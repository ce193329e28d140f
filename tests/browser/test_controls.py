"""The panel of controls shows, sets and saves the camera's values and reports errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from pi_cam_daemon.config import users
from pi_cam_daemon.config.schema import ControlsConfig
from pi_cam_daemon.config.users import Role
from tests.browser.drawer import opened
from tests.browser.looking import PHONE
from tests.browser.test_accessibility import assert_accessible
from tests.kit.daemon import Daemon, running
from tests.kit.wait import until

SETTINGS = {"source.kind": "csi", "video.width": 320, "video.height": 240}
# the names of the kernel's v4l2-ctrls-defs.c that a camera may have, and those of older kernels
V4L2 = """
    Brightness; Contrast; Saturation; Hue; Black Level; White Balance, Automatic; Do White Balance; Red Balance;
    Blue Balance; Gamma; Exposure; Gain, Automatic; Gain; Horizontal Flip; Vertical Flip; Power Line Frequency;
    Hue, Automatic; White Balance Temperature; Sharpness; Backlight Compensation; Chroma AGC; Color Killer;
    Color Effects; Brightness, Automatic; Band-Stop Filter; Rotate; Background Color; Chroma Gain; Illuminator 1;
    Illuminator 2; Alpha Component; Color Effects, CbCr; Color Effects, RGB; Auto Exposure; Exposure Time, Absolute;
    Exposure, Dynamic Framerate; Pan, Relative; Tilt, Relative; Pan, Reset; Tilt, Reset; Pan, Absolute; Tilt, Absolute;
    Focus, Absolute; Focus, Relative; Focus, Automatic Continuous; Zoom, Absolute; Zoom, Relative; Zoom, Continuous;
    Privacy; Iris, Absolute; Iris, Relative; Auto Exposure, Bias; White Balance, Auto & Preset; Wide Dynamic Range;
    Image Stabilization; ISO Sensitivity; ISO Sensitivity, Auto; Exposure, Metering Mode; Scene Mode; 3A Lock;
    Auto Focus, Start; Auto Focus, Stop; Auto Focus, Range; Pan, Speed; Tilt, Speed; HDR Sensor Mode; Analogue Gain;
    White Balance Temperature, Auto; Exposure, Auto; Exposure (Absolute); Exposure, Auto Priority; Focus, Auto;
    Hue, Auto; Pan (Absolute); Tilt (Absolute); Zoom (Absolute); Focus (absolute)
"""
V4L2_ENTRIES = """
    Auto Mode; Manual Mode; Shutter Priority Mode; Aperture Priority Mode; Average; Center Weighted; Spot; Matrix;
    Disabled; Auto; Normal; Macro; Infinity; None; Black & White; Sepia; Negative; Emboss; Sketch; Sky Blue;
    Grass Green; Skin Whiten; Vivid; Aqua; Art Freeze; Silhouette; Solarization; Antique; Set Cb/Cr; Set RGB; Manual;
    Incandescent; Fluorescent; Fluorescent H; Horizon; Daylight; Flash; Cloudy; Shade; Backlight; Beach/Snow;
    Candle Light; Dusk/Dawn; Fall Colors; Fireworks; Landscape; Night; Party/Indoor; Portrait; Sports; Sunset; Text
"""


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[Daemon]:
    """Start a daemon whose camera has the controls of a Camera Module 3."""
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


def controls(daemon: Daemon) -> Any:
    return json.loads(daemon.get("/controls")[2])["controls"]


def value_is(daemon: Daemon, name: str, value: object) -> None:
    until(f"{name} is {value}", lambda: controls(daemon)[name]["value"] == value)


def exact(panel: Locator, name: str) -> Locator:
    return panel.get_by_role("spinbutton", name=name, exact=True)


def enter(field: Locator, text: str) -> None:
    field.fill(text)
    field.press("Tab")


def test_a_slider_a_number_and_a_choice_set_the_camera_live(camera: Daemon, page: Page, keep_screenshot: Any) -> None:
    panel = opened(page, camera)
    brightness = panel.get_by_role("slider", name="Brightness")
    expect(brightness).to_have_value("0")
    brightness.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    value_is(camera, "brightness", 0.1)
    enter(exact(panel, "Contrast"), "1.37")
    value_is(camera, "contrast", 1.37)
    panel.get_by_role("combobox", name="White balance").select_option("cloudy")
    value_is(camera, "awb", "cloudy")
    keep_screenshot(page, "controls-desktop-en")


def test_controls_are_grouped_and_stand_below_the_one_that_decides(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera)
    groups = panel.get_by_role("group")
    assert groups.locator("legend").all_inner_texts() == ["Exposure", "Colour", "Image", "Focus", "Framing"]
    focus = groups.nth(3).locator(".control")
    expect(focus.first).to_contain_text("Autofocus mode")
    assert focus.count() == 6 and groups.nth(3).locator(".under").count() == 5
    trigger = panel.get_by_role("button", name="Focus once")
    expect(trigger).to_be_disabled()
    mode = panel.get_by_role("combobox", name="Autofocus mode")
    mode.select_option("auto")
    expect(trigger).to_be_enabled()
    mode.select_option("manual")
    expect(panel.get_by_role("combobox", name="Autofocus range")).to_be_disabled()


def test_a_dragged_slider_sets_its_last_value(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera)
    slider = panel.get_by_role("slider", name="Saturation")
    for step in range(40):
        slider.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')) }", step / 4)
    value_is(camera, "saturation", 9.75)
    expect(slider).to_have_value("9.75")
    expect(exact(panel, "Saturation")).to_have_value("9.75")


def test_automatic_mode_is_switched_off_and_on(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera)
    field = exact(panel, "Exposure time (µs)")
    automatic = panel.get_by_label("Automatic: Exposure time")
    expect(automatic).to_be_checked()
    enter(field, "5000")
    value_is(camera, "shutter", 5000)
    expect(automatic).not_to_be_checked()
    automatic.check()
    value_is(camera, "shutter", 0)
    enter(exact(panel, "Lens position (dioptres)"), "2")
    value_is(camera, "autofocus_mode", "manual")
    expect(panel.get_by_label("Autofocus mode", exact=True)).to_have_value("manual")


def test_each_control_is_reset_alone_and_all_of_them_after_a_question(camera: Daemon, page: Page) -> None:
    camera.post("/controls", b'{"brightness": 0.5, "contrast": 2, "ev": 1, "roi": [0.25, 0.25, 0.5, 0.5]}')
    panel = opened(page, camera)
    expect(panel.get_by_label("Part of the picture: Width %")).to_have_value("50")
    expect(panel.get_by_label("Reset: Sharpness")).to_be_disabled()
    panel.get_by_label("Reset: Brightness").click()
    value_is(camera, "brightness", 0.0)
    expect(panel.get_by_label("Reset: Brightness")).to_be_disabled()
    assert controls(camera)["contrast"]["value"] == 2
    panel.get_by_role("button", name="Reset all…").click()
    dialog = page.get_by_role("dialog", name="Reset all controls?")
    assert_accessible(page)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(panel).to_be_visible()
    assert controls(camera)["contrast"]["value"] == 2
    panel.get_by_role("button", name="Reset all…").click()
    dialog.get_by_role("button", name="Reset all").click()
    value_is(camera, "contrast", 1.0)
    value_is(camera, "roi", [0.125, 0.0, 0.75, 1.0])
    expect(panel.get_by_role("button", name="Reset all…")).to_be_disabled()


def test_a_value_out_of_range_is_told_and_the_panel_shows_the_real_one(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera)
    enter(exact(panel, "Brightness"), "7")
    expect(panel.get_by_role("status")).to_contain_text("That was not set. Brightness: from -1 to 1")
    expect(exact(panel, "Brightness")).to_have_value("0")
    gain = exact(panel, "Gain")
    enter(gain, "0.5")
    expect(panel.get_by_role("status")).to_contain_text("Gain: from 1 to 16")
    expect(gain).to_have_value("")
    enter(gain, "4")
    value_is(camera, "gain", 4)
    enter(gain, "0")  # it stands for automatic
    value_is(camera, "gain", 0)


def test_what_the_camera_refuses_is_told_in_its_words(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera)
    camera.fault_file.with_name("refuse").touch()
    enter(exact(panel, "Brightness"), "0.5")
    expect(panel.get_by_role("status")).to_contain_text("That was not set.")
    expect(panel.locator("[lang=en]")).to_contain_text("Brightness: The camera refuses it: the test says no")
    expect(exact(panel, "Brightness")).to_have_value("0")


def test_what_is_not_saved_can_be_kept_or_undone(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera)
    status = panel.get_by_role("status")
    keep, undo = panel.get_by_role("button", name="Keep"), panel.get_by_role("button", name="Undo")
    expect(keep).to_be_hidden()
    panel.get_by_role("combobox", name="White balance").select_option("cloudy")
    expect(status).to_contain_text("Not saved")
    expect(keep).to_be_in_viewport()
    keep.click()
    expect(status).to_contain_text("Saved")
    expect(keep).to_be_hidden()
    assert json.loads(camera.get("/controls")[2])["saved"] == {"awb": "cloudy"}
    panel.get_by_role("combobox", name="White balance").select_option("indoor")
    enter(exact(panel, "Contrast"), "3")
    undo.click()
    value_is(camera, "contrast", 1.0)
    value_is(camera, "awb", "cloudy")
    expect(undo).to_be_hidden()
    expect(panel.get_by_role("combobox", name="White balance")).to_have_value("cloudy")


def test_changes_of_others_show_while_nobody_drags_or_types(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera)
    contrast = exact(panel, "Contrast")
    expect(contrast).to_have_value("1")
    slider = panel.get_by_role("slider", name="Brightness")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    # an answer to what was asked before may come while the slider is held
    asked: list[Route] = []
    page.route("**/controls", lambda route: asked.append(route))
    while not asked:
        page.wait_for_event("request")
    page.mouse.down()
    camera.post("/controls", b'{"sharpness": 3}')
    for route in asked:
        route.continue_()
    page.unroute("**/controls")
    answered = 0
    while answered < 5:  # more polls of the state than the panel waits for
        with page.expect_response("**/state"):
            answered += 1
    expect(exact(panel, "Sharpness")).to_have_value("1")
    page.mouse.up()
    expect(exact(panel, "Sharpness")).to_have_value("3")
    # last: what was typed is sent when something else is clicked, and the answer shows everything
    exact(panel, "Saturation").press_sequentially("2")
    camera.post("/controls", b'{"contrast": 2, "saturation": 5}')
    expect(contrast).to_have_value("2")
    expect(exact(panel, "Saturation")).to_have_value("12")


def test_a_failed_answer_leaves_the_panel_and_says_what_failed(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera)
    status = panel.get_by_role("status")
    page.route("**/controls", lambda route: route.fulfill(status=503, body="The camera is not running"))
    expect(status).to_contain_text("The controls cannot be read. The camera is not running.")
    expect(exact(panel, "Contrast")).to_be_visible()
    page.unroute("**/controls")
    page.route("**/controls", lambda route: route.abort())
    expect(status).to_contain_text("The camera server does not answer.")
    page.unroute("**/controls")
    expect(status).to_have_text(re.compile(r"^\s*$"))


@pytest.mark.parametrize(("name", "usable"), [("alice", True), ("bob", False)], ids=["admin", "viewer"])
def test_a_viewer_sees_values_and_why_none_can_be_changed(
    tmp_path: Path, new_page: Callable[..., Page], name: str, usable: bool
) -> None:
    file, password = tmp_path / "users", "correct horse battery"
    users.add(file, "alice", Role.ADMIN, password)
    users.add(file, "bob", Role.VIEWER, password)
    with running(tmp_path / "daemon", {**SETTINGS, "http.users_file": str(file), "controls.contrast": 2.0}) as daemon:
        page = new_page(http_credentials={"username": name, "password": password})
        panel = opened(page, daemon)
        expect(exact(panel, "Contrast")).to_have_value("2")
        expect(panel.get_by_text("Only an admin may change these values.")).to_be_visible(visible=not usable)
        expect(panel.get_by_role("slider", name="Contrast")).to_be_visible(visible=usable)
        enabled = panel.locator("input:enabled:visible, select:enabled:visible, button:enabled:visible")
        assert (enabled.count() > 0) == usable
        assert_accessible(page)


def test_a_camera_without_controls_says_so(daemon: Any, page: Page) -> None:
    page.goto(daemon.address)
    page.locator("#menu").click()
    expect(page.get_by_text("This camera has no controls.")).to_be_visible()


def test_the_panel_speaks_korean_on_a_phone(camera: Daemon, new_page: Any, keep_screenshot: Any) -> None:
    page = new_page(**PHONE, locale="ko-KR")
    panel = opened(page, camera)
    panel.get_by_role("combobox", name="화이트 밸런스").select_option(label="흐림")
    value_is(camera, "awb", "cloudy")
    expect(panel.get_by_role("status")).to_contain_text("저장되지 않음")
    enter(exact(panel, "밝기"), "7")
    expect(panel.get_by_role("status")).to_contain_text("적용하지 못했습니다. 밝기: -1부터 1까지")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert not re.search("[a-z]{4}", panel.inner_text()), "English words are left"
    keep_screenshot(page, "controls-phone-ko")


def test_all_controls_and_choices_of_v4l2_and_libcamera_have_korean_names(daemon: Any, page: Page) -> None:
    page.goto(daemon.address)
    words = page.evaluate("import('/controls-ko.js').then(one => JSON.parse(JSON.stringify(one.words)))")
    slugs = [re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in V4L2.split(";")]
    names = [*slugs, *ControlsConfig.__dataclass_fields__, "autofocus_trigger"]
    assert [name for name in names if name not in words["names"]] == []
    entries = [" ".join(entry.split()) for entry in V4L2_ENTRIES.split(";")]
    assert [entry for entry in entries if entry not in words["choices"]] == []


@pytest.mark.parametrize(
    "options", [{"color_scheme": "light"}, {**PHONE, "color_scheme": "dark"}], ids=["desk", "phone"]
)
def test_axe_finds_nothing_serious_in_the_panel(camera: Daemon, new_page: Any, options: Any) -> None:
    page = new_page(**options)
    panel = opened(page, camera)
    enter(exact(panel, "Brightness"), "0.5")
    expect(panel.get_by_role("button", name="Keep")).to_be_visible()
    assert_accessible(page)
    boxes = panel.locator("[type=checkbox]").evaluate_all("all => all.map(e => e.getBoundingClientRect().width)")
    assert boxes and min(boxes) >= 24


def test_every_input_has_a_name_for_screen_readers(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera)
    inputs = panel.locator("input, select, button")
    unnamed = inputs.evaluate_all(
        "all => all.filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent.trim())).length"
    )
    assert inputs.count() > 50 and unnamed == 0
