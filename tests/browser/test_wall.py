"""The page that shows all cameras of a list."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.looking import KOREAN, PHONE, wait_until_live
from tests.browser.test_accessibility import assert_accessible
from tests.kit.wait import free_port, until


class Wall:
    """A camera whose wall shows three others: one that lets it read, one that does not, and one that is off."""

    def __init__(self, start_daemon: Callable[..., Any]) -> None:
        self._start_daemon = start_daemon
        self.ports = [free_port() for _ in range(4)]
        self.address = f"http://127.0.0.1:{self.ports[0]}/wall"
        self.own = self.camera(0, wall__cameras=[f"http://127.0.0.1:{port}" for port in self.ports[1:]])
        self.friend = self.camera(1, http__cors_origins=[f"http://127.0.0.1:{self.ports[0]}"])
        self.stranger = self.camera(2)

    def camera(self, number: int, **settings: object) -> Any:
        return self._start_daemon(http__port=self.ports[number], **settings)


@pytest.fixture
def wall(start_daemon: Callable[..., Any]) -> Wall:
    return Wall(start_daemon)


def tile(page: Page, number: int) -> Locator:
    return page.locator(".tile").nth(number)


def wait_for_key_of(page: Page, number: int, key: str) -> None:
    expect(tile(page, number)).to_have_attribute("data-key", key)


def wait_until_shown(page: Page, number: int) -> None:
    """Wait until a tile says that its picture is live, and shows it in its colours: a small one."""
    wait_for_key_of(page, number, "live")
    expect(tile(page, number)).not_to_have_class(re.compile("dim"))
    assert tile(page, number).locator("canvas").evaluate("canvas => canvas.width") == 320


def assert_tile_moves(page: Page, number: int) -> None:
    # no script may read the pixels of another origin
    canvas = tile(page, number).locator("canvas")
    first = canvas.screenshot()
    until("another picture", lambda: canvas.screenshot() != first)


@pytest.mark.parametrize("device", [{"color_scheme": "dark"}, {**PHONE, **KOREAN}], ids=["desktop", "phone"])
def test_each_camera_shows_its_picture_and_the_state_that_it_reports(
    wall: Wall, new_page: Callable[..., Page], keep_screenshot: Any, device: dict[str, Any]
) -> None:
    korean = "locale" in device
    page = new_page(**device)
    page.goto(wall.address)
    expect(page.locator(".tile")).to_have_count(3)
    for number in (0, 1):
        wait_until_shown(page, number)
    live, rate = ("실시간", r"^초당 [\d.]+장$") if korean else ("Live", r"^[\d.]+ fps$")
    for number, name in enumerate((wall.friend.state()["name"], f"127.0.0.1:{wall.stranger.port}")):
        expect(tile(page, number).locator(".name")).to_have_text(name)
        expect(tile(page, number).locator(".badge strong")).to_have_text(live)
        expect(tile(page, number).locator(".told")).to_have_text("")
    expect(tile(page, 0).locator(".rate")).to_have_text(re.compile(rate))
    expect(tile(page, 1).locator(".rate")).to_have_text("")  # of single pictures
    wait_for_key_of(page, 2, "offline")
    expect(tile(page, 2).locator(".badge strong")).to_have_text("연결 끊김" if korean else "Offline")
    expect(tile(page, 2).locator(".told")).not_to_have_text("")
    expect(tile(page, 2)).to_have_class(re.compile("dim"))
    for count in (lambda state: state["viewers"], lambda state: state["small"]["viewers"]):
        assert [count(camera.state()) for camera in (wall.own, wall.friend, wall.stranger)] == [0, 1, 0]
    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("innerWidth")
    assert_accessible(page)
    keep_screenshot(page, "wall-phone-light-ko" if korean else "wall-desktop-dark-en")


def test_a_camera_that_freezes_ends_or_starts_is_followed(wall: Wall, page: Page) -> None:
    page.goto(wall.address)
    for number in (0, 1):
        wait_until_shown(page, number)
    pid = wall.friend.state()["camera_process"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    expect(tile(page, 0)).to_have_attribute("data-key", re.compile("frozen|starting"))
    expect(tile(page, 0)).to_have_class(re.compile("dim"))
    wall.stranger.stop()
    wait_for_key_of(page, 1, "offline")
    expect(tile(page, 1)).to_have_class(re.compile("dim"))
    wall.camera(2)
    wall.camera(3)
    for number in (0, 1, 2):
        wait_until_shown(page, number)


def test_a_hidden_wall_asks_no_camera_for_anything(wall: Wall, tabs: BrowserContext) -> None:
    page = tabs.new_page()
    page.goto(wall.address)
    for number in (0, 1):
        wait_until_shown(page, number)
    tabs.new_page().bring_to_front()
    until("it is not watched", lambda: wall.friend.state()["viewers"] == 0)
    page.bring_to_front()
    until("it is watched", lambda: wall.friend.state()["viewers"] == 1)
    for number in (0, 1):
        wait_until_shown(page, number)
        assert_tile_moves(page, number)


def test_only_the_wall_may_load_from_other_cameras_and_only_listed_ones(wall: Wall, page: Page) -> None:
    answer = page.goto(wall.address)
    assert answer
    origins = " ".join(f"http://127.0.0.1:{port}" for port in wall.ports[1:])
    allowed = f"default-src 'self'; img-src 'self' {origins}; connect-src 'self' {origins}; base-uri 'self';"
    assert answer.headers["content-security-policy"].startswith(allowed)
    answer = page.goto(wall.own.address)
    assert answer and answer.headers["content-security-policy"].startswith("default-src 'self'; base-uri 'self';")


def test_an_empty_wall_says_how_to_fill_it(daemon: Any, page: Page) -> None:
    page.goto(daemon.address + "wall")
    expect(page.locator("#none")).to_contain_text('[wall] cameras = ["http://picam-2.local:8000"]')
    assert page.locator("#none").inner_text().endswith('\n\n[wall]\ncameras = ["http://picam-2.local:8000"]')


def test_without_javascript_the_wall_is_a_list_of_links(wall: Wall, new_page: Callable[..., Page]) -> None:
    page = new_page(java_script_enabled=False)
    page.goto(wall.address)
    expect(page.get_by_role("link")).to_have_text([f"http://127.0.0.1:{port}" for port in wall.ports[1:]])


def test_the_wall_is_linked_as_long_as_it_shows_cameras(daemon: Any, page: Page, keep_screenshot: Any) -> None:
    page.goto(daemon.address)
    wait_until_live(page)
    link = page.get_by_role("link", name="Cameras")
    expect(link).to_be_hidden()
    daemon.reload({"wall.cameras": ["http://picam-2.local:8000"]})
    expect(link).to_be_visible()
    keep_screenshot(page, "wall-link-desktop-light-en")
    link.click()
    expect(page.locator(".tile")).to_have_count(1)
    daemon.reload({"wall.cameras": []})
    until("the wall is empty", lambda: daemon.state()["wall_cameras"] == 0)
    page.reload()
    expect(page.get_by_text("There is none in the list")).to_be_visible()
