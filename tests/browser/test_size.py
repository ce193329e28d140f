"""Small pictures: for a phone, a browser that saves data, a slow connection, and everybody who asks for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from pi_cam_daemon.imaging import jpeg
from tests.browser.looking import KOREAN, PHONE, assert_moves, open_drawer, wait_until_live
from tests.browser.test_accessibility import assert_accessible
from tests.kit.daemon import Daemon
from tests.kit.wait import until

BIG, SMALL = (640, 480), (320, 240)
_SLOW = 120_000  # bytes a second: four big pictures
_SAVES_DATA = "Object.defineProperty(NetworkInformation.prototype, 'saveData', { get: () => true })"


def wait_for_size(page: Page, size: tuple[int, int], seconds: float = 10.0) -> None:
    shape = "canvas => [canvas.width, canvas.height]"
    until(f"a picture of {size}", lambda: tuple(page.locator("#picture").evaluate(shape)) == size, seconds)


def switch(place: Locator, size: str) -> Locator:
    return place.locator(f"[data-size={size}]")


@pytest.mark.parametrize(
    ("options", "script", "query", "size"),
    [
        ({}, "", "", BIG),
        (PHONE, "", "", SMALL),
        ({"viewport": {"width": 690, "height": 500}}, "", "", SMALL),
        ({"has_touch": True, "is_mobile": True, "viewport": {"width": 1200, "height": 800}}, "", "", SMALL),
        ({}, _SAVES_DATA, "", SMALL),
        ({}, "", "?size=small", SMALL),
        (PHONE, "", "?size=big", BIG),
        ({}, "", "?size=huge", BIG),
        ({}, "localStorage.setItem('size', 'small')", "", SMALL),
        ({}, "Storage.prototype.getItem = () => { throw new DOMException('refused', 'SecurityError'); }", "", BIG),
    ],
    ids=["desk", "phone", "narrow", "tablet", "saves-data", "asked", "phone-big", "refused", "kept", "keeps-nothing"],
)
def test_the_page_asks_for_pictures_of_the_right_size_at_once(
    shared: Daemon, new_page: Callable[..., Page], options: Any, script: str, query: str, size: tuple[int, int]
) -> None:
    page = new_page(**options)
    page.add_init_script(script)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/stream" in request.url else None)
    page.goto(shared.address + query)
    wait_until_live(page)
    wait_for_size(page, size)
    assert [one.endswith("&size=small") for one in asked] == [size == SMALL]
    until("its viewer is counted", lambda: shared.state()["small"]["viewers"] == int(size == SMALL))


def test_photos_of_small_pictures_are_big(
    shared: Daemon, new_page: Callable[..., Page], tmp_path: Path, keep_screenshot: Any
) -> None:
    page = new_page(**PHONE)
    page.goto(shared.address)
    wait_for_size(page, SMALL)
    keep_screenshot(page, "small-phone-light-en")

    def saved() -> tuple[int, int]:
        with page.expect_download() as download:
            page.locator("#save").click()
        download.value.save_as(tmp_path / "saved.jpg")
        assert download.value.suggested_filename.endswith(".jpg")
        return jpeg.size((tmp_path / "saved.jpg").read_bytes())

    page.locator("#photo").click()
    assert saved() == BIG
    page.route("**/snapshot?*", lambda route: route.fulfill(status=503, body="The lens cap is on"))
    page.locator("#save").click()
    expect(page.locator("#photo-said")).to_have_text("No picture could be taken")
    expect(page.locator("#photo-why")).to_have_text("The lens cap is on")
    page.unroute("**/snapshot?*")
    page.keyboard.press("Escape")
    page.locator("#hold").click()
    wait_for_size(page, BIG)
    wait_until_live(page, "held")
    page.locator("#photo").click()
    with page.expect_request(lambda request: "/snapshot" not in request.url):
        assert saved() == BIG
    page.keyboard.press("Escape")
    page.locator("#hold").click()
    wait_for_size(page, SMALL)
    assert_moves(page)


@pytest.mark.parametrize("options", [{"color_scheme": "dark"}, {**PHONE, **KOREAN}], ids=["desk", "phone"])
def test_a_size_that_is_picked_in_the_drawer_is_remembered(
    shared: Daemon, new_page: Callable[..., Page], keep_screenshot: Any, options: Any
) -> None:
    phone = "locale" in options
    usual, other = ("small", "big") if phone else ("big", "small")
    size = {"small": SMALL, "big": BIG}
    page = new_page(**options)
    page.goto(f"{shared.address}?size={usual}&view=full")
    wait_for_size(page, size[usual])
    panel = open_drawer(page, "picture")
    expect(switch(panel, usual)).to_have_attribute("aria-pressed", "true")
    expect(switch(panel, other)).to_have_text({"big": "크게", "small": "Small"}[other])
    assert_accessible(page)
    keep_screenshot(page, f"size-{'phone-light-ko' if phone else 'desktop-dark-en'}")
    switch(panel, other).press("Enter")
    wait_for_size(page, size[other])
    assert_moves(page)
    expect(switch(panel, other)).to_have_attribute("aria-pressed", "true")
    expect(switch(panel, usual)).to_have_attribute("aria-pressed", "false")
    expect(switch(panel, other)).to_be_focused()
    expect(page).to_have_url(f"{shared.address}?view=full")
    assert page.locator("#hold").get_attribute("href") == "/?view=full&mode=snapshot"
    second = page.context.new_page()
    second.goto(shared.address)
    wait_for_size(second, size[other])
    second.goto(f"{shared.address}?size={usual}")
    wait_for_size(second, size[usual])


def throttle(page: Page, bytes_per_second: int) -> None:
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    limits = {"offline": False, "latency": 0, "downloadThroughput": bytes_per_second, "uploadThroughput": -1}
    session.send("Network.emulateNetworkConditions", limits)


def test_a_connection_that_is_too_slow_is_told_and_gets_small_pictures(
    shared: Daemon, page: Page, keep_screenshot: Any
) -> None:
    throttle(page, _SLOW)
    page.goto(shared.address)
    wait_until_live(page)
    wait_for_size(page, SMALL, 30)
    expect(page.locator("#slow")).to_have_text("Few of the big pictures arrive here, so these are small")
    wait_until_live(page)
    assert_moves(page)
    assert_accessible(page)
    keep_screenshot(page, "slow-desktop-light-en")
    switch(page.locator("#slow-size"), "big").press("Enter")
    wait_for_size(page, BIG)
    expect(page.locator("#slow")).to_have_text("")
    expect(page.locator("#slow-size")).to_be_hidden()
    expect(page.locator("#view")).to_be_focused()
    page.reload()
    wait_for_size(page, BIG)


def test_who_picked_big_pictures_is_told_and_keeps_them(
    shared: Daemon, new_page: Callable[..., Page], keep_screenshot: Any
) -> None:
    page = new_page(**PHONE, **KOREAN)
    throttle(page, _SLOW)
    page.goto(f"{shared.address}?size=big")
    wait_until_live(page)
    expect(page.locator("#slow")).to_have_text("큰 영상이 드물게 도착하여 작은 영상을 보여 줍니다", timeout=30_000)
    wait_for_size(page, BIG)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert_accessible(page)
    keep_screenshot(page, "slow-phone-light-ko")
    switch(page.locator("#slow-size"), "small").click()
    wait_for_size(page, SMALL)
    expect(page.locator("#slow")).to_have_text("")
