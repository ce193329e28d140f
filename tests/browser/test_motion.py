"""The panel of motion: a bar that moves with the picture, zones that are drawn on it, and settings for admins."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from tests.browser.drawer import opened
from tests.browser.looking import PHONE
from tests.browser.test_accessibility import assert_accessible
from tests.browser.test_rectangles import drag
from tests.browser.test_settings import apply
from tests.kit.daemon import Daemon, running
from tests.kit.wait import until
from tests.server.test_motion import BARS, SETTINGS, STRIP


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


def test_the_bar_follows_what_moves(camera: Daemon, page: Page, keep_screenshot: Any) -> None:
    panel = opened(page, camera, "motion")
    bar = panel.get_by_role("meter")
    expect(panel.get_by_text("Something moves.")).to_be_visible(timeout=20_000)
    expect(bar).to_have_class(re.compile("moving"))
    assert int(bar.get_attribute("aria-valuenow") or 0) > 50
    assert_accessible(page)
    keep_screenshot(page, "motion-desktop-en")
    camera.post("/settings", json.dumps({"motion.zones": [BARS]}).encode())
    expect(panel.get_by_text("Nothing moves.")).to_be_visible(timeout=20_000)
    expect(bar).to_have_attribute("aria-valuenow", "0")


def test_the_camera_is_asked_only_while_the_panel_is_shown(camera: Daemon, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/motion") else None)
    opened(page, camera, "motion")
    page.wait_for_timeout(2000)
    assert len(asked) >= 4, "several times a second"
    page.get_by_role("button", name="Close").click()
    page.wait_for_timeout(2500)
    before = len(asked)
    page.wait_for_timeout(1500)
    assert len(asked) == before


def test_zones_are_drawn_and_taken_back(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera, "motion")
    panel.get_by_role("button", name="Draw on the picture: Zones").click()
    expect(page.locator(".rectangles-bar output")).to_have_text("100 × 10 % at 0, 62 %")
    drag(page, (0.1, 0.1), (0.5, 0.4))
    page.get_by_role("button", name="Use it").click()
    apply(panel)
    saved = json.loads(camera.get("/settings")[2])["saved"]["motion.zones"]
    assert saved == [STRIP, pytest.approx([0.1, 0.1, 0.4, 0.3], abs=0.01)]
    panel.get_by_role("button", name="Back to that: Zones").click()
    panel.get_by_role("button", name="Apply").click()
    until("nothing is saved", lambda: json.loads(camera.get("/settings")[2])["saved"] == {})


def test_a_wrong_value_is_explained(camera: Daemon, page: Page) -> None:
    panel = opened(page, camera, "motion")
    panel.get_by_role("spinbutton", name="Looks per second").fill("99")
    panel.get_by_role("button", name="Apply").click()
    expect(panel.get_by_role("status")).to_contain_text("a number from 1 to 15")


def test_a_viewer_sees_the_bar_and_changes_nothing(tmp_path: Path, new_page: Callable[..., Page]) -> None:
    file, password = tmp_path / "users", "correct horse battery"
    users.add(file, "bob", Role.VIEWER, password)
    with running(tmp_path / "daemon", {**SETTINGS, "http.users_file": str(file)}) as daemon:
        page = new_page(http_credentials={"username": "bob", "password": password})
        panel = opened(page, daemon, "motion")
        expect(panel.get_by_text("Something moves.")).to_be_visible(timeout=20_000)
        assert panel.locator("input:enabled:visible, select:enabled:visible, button:enabled:visible").count() == 0


@pytest.mark.parametrize("options", [{}, {**PHONE, "color_scheme": "dark"}], ids=["desk", "phone"])
def test_the_panel_is_accessible_and_speaks_korean(
    camera: Daemon, new_page: Callable[..., Page], keep_screenshot: Any, options: Any
) -> None:
    page = new_page(**options, locale="ko-KR")
    panel = opened(page, camera, "motion")
    expect(panel.get_by_text("움직임이 있습니다.")).to_be_visible(timeout=20_000)
    panel.get_by_role("spinbutton", name="초당 검사 횟수").fill("6")
    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("innerWidth")
    assert_accessible(page)
    keep_screenshot(page, f"motion-{len(options)}-ko")
