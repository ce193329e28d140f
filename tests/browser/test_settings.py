"""The panel of settings shows size, orientation and name, and saves what an admin applies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from tests.browser.drawer import opened
from tests.browser.looking import PHONE
from tests.browser.test_accessibility import assert_accessible
from tests.kit.daemon import Daemon, running
from tests.kit.wait import until

RESTARTS = "This restarts the camera: the picture stops for some seconds."


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "daemon", {"video.width": 320, "video.height": 240, "page.name": "Shed"}) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


def size_is(daemon: Daemon, width: int, height: int) -> None:
    def there() -> bool:
        camera = daemon.state()["camera"]
        return camera is not None and (camera["width"], camera["height"]) == (width, height)

    until(f"{width}x{height}", there, 20)


def apply(panel: Locator) -> None:
    panel.get_by_role("button", name="Apply").click()
    expect(panel.get_by_role("status")).to_have_text(re.compile("Applied"))


def test_a_size_of_the_list_is_applied_after_a_warning(camera: Daemon, page: Page, keep_screenshot: Any) -> None:
    panel = opened(page, camera, "settings")
    size = panel.get_by_role("combobox", name="Size")
    expect(size).to_have_value("320 × 240")
    expect(panel.get_by_text(RESTARTS)).to_be_hidden()
    expect(panel.get_by_role("button", name="Apply")).to_be_hidden()
    size.select_option("640 × 480")
    expect(panel.get_by_role("spinbutton", name="Width")).to_have_value("640")
    expect(panel.get_by_text(RESTARTS)).to_be_visible()
    assert camera.state()["camera"]["width"] == 320, "nothing is applied yet"
    keep_screenshot(page, "settings-desktop-en")
    apply(panel)
    size_is(camera, 640, 480)
    expect(panel.get_by_text("Configured: 320 × 240")).to_be_visible()
    expect(panel.get_by_text(RESTARTS)).to_be_hidden()


def test_a_size_in_numbers_is_applied_and_taken_back(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera, "settings")
    panel.get_by_role("spinbutton", name="Width").fill("400")
    panel.get_by_role("spinbutton", name="Height").fill("300")
    expect(panel.get_by_role("combobox", name="Size")).to_have_value("")
    apply(panel)
    size_is(camera, 400, 300)
    expect(panel.get_by_role("combobox", name="Size")).to_have_value("400 × 300")
    panel.get_by_role("button", name="Back to that: Size").click()
    apply(panel)
    size_is(camera, 320, 240)
    assert json.loads(camera.get("/settings")[2])["saved"] == {}
    expect(panel.get_by_text("Configured:").locator("visible=true")).to_have_count(0)


def test_name_rotation_and_mirror_are_applied_together(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera, "settings")
    panel.get_by_role("textbox", name="Name").fill("Garden")
    expect(panel.get_by_text(RESTARTS)).to_be_hidden()  # for the name alone
    panel.get_by_role("combobox", name="Turned clockwise").select_option("90°")
    panel.get_by_role("checkbox", name="Mirror left and right").check()
    apply(panel)
    size_is(camera, 240, 320)
    expect(page.locator("#name")).to_have_text("Garden")
    page.reload()
    panel = opened(page, camera, "settings")
    expect(panel.get_by_role("checkbox", name="Mirror left and right")).to_be_checked()
    expect(panel.get_by_text("Configured: Shed")).to_be_visible()
    expect(panel.get_by_text("Configured: off").locator("visible=true")).to_have_count(1)


def test_a_refused_value_is_told_and_stays_to_be_corrected(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera, "settings")
    width = panel.get_by_role("spinbutton", name="Width")
    width.fill("7")
    panel.get_by_role("button", name="Apply").click()
    expect(panel.get_by_role("status")).to_contain_text("That was not applied.")
    expect(panel.locator("[lang=en]")).to_contain_text("Width: 7 cannot be used")
    expect(width).to_have_value("7")
    panel.get_by_role("button", name="Undo").click()
    expect(width).to_have_value("320")
    page.route("**/settings", lambda route: route.abort())
    width.fill("640")
    panel.get_by_role("button", name="Apply").click()
    expect(panel.get_by_role("status")).to_contain_text("The camera server does not answer.")
    expect(width).to_have_value("640")


def test_a_viewer_sees_the_settings_and_cannot_change_them(tmp_path: Path, new_page: Callable[..., Page]) -> None:
    file, password = tmp_path / "users", "correct horse battery"
    users.add(file, "bob", Role.VIEWER, password)
    with running(tmp_path / "daemon", {"http.users_file": str(file), "page.name": "Shed"}) as daemon:
        page = new_page(http_credentials={"username": "bob", "password": password})
        panel = opened(page, daemon, "settings")
        expect(panel.get_by_text("Only an admin may change these values.")).to_be_visible()
        expect(panel.get_by_role("textbox", name="Name")).to_have_value("Shed")
        assert panel.locator("input:enabled:visible, select:enabled:visible, button:enabled:visible").count() == 0
        assert_accessible(page)


@pytest.mark.parametrize("options", [{}, {**PHONE, "color_scheme": "dark"}], ids=["desk", "phone"])
def test_the_panel_is_accessible_and_speaks_korean(
    camera: Daemon, new_page: Callable[..., Page], keep_screenshot: Any, options: Any
) -> None:
    page = new_page(**options, locale="ko-KR")
    panel = opened(page, camera, "settings")
    panel.get_by_role("combobox", name="해상도").select_option("1280 × 720")
    expect(panel.get_by_text("적용하면 카메라가 다시 시작되어")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("innerWidth")
    assert_accessible(page)
    keep_screenshot(page, f"settings-{len(options)}-ko")
