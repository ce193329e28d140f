"""The page of a camera that is missing, lost or broken, with the test picture in its place or without a picture."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looking import (
    KOREAN,
    assert_moves,
    headline,
    open_drawer,
    picture,
    told,
    wait_for_key,
    wait_until_dim,
    wait_until_live,
)
from tests.browser.test_accessibility import assert_accessible
from tests.kit.causes import BAD_NUMPY, EMPTY, IMX708
from tests.kit.daemon import RUN, Daemon, running
from tests.kit.wait import free_port, until
from tests.server.test_stand_in import env, settings
from tests.upstream.servers import PICTURES, header, paced, part, serving

DESKTOP = {"viewport": {"width": 1280, "height": 720}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
STRIPE = "rgb(240, 182, 74)"
AMBER = {"light": "rgb(138, 90, 0)", "dark": "rgb(240, 182, 74)"}

StartStandIn = Callable[..., Daemon]


@pytest.fixture
def start_stand_in(tmp_path: Path) -> Iterator[StartStandIn]:
    """Start a daemon whose `auto` finds no camera, because its picamera2 is *program*."""
    with contextlib.ExitStack() as stack:

        def start(program: str = EMPTY, lost: bool = False, **more: object) -> Daemon:
            folder = tmp_path / "daemon"
            if lost:
                (folder / "state").mkdir(parents=True)
                (folder / "state" / "last-camera.json").write_text(IMX708)
            daemon = stack.enter_context(running(folder, settings(**more), env=env(tmp_path, program), argv=RUN))
            daemon.wait_for_state("no-camera", 30)
            return daemon

        yield start


def colour(page: Page, selector: str) -> str:
    value: str = page.locator(selector).evaluate("node => getComputedStyle(node).color")
    return value


@pytest.mark.parametrize(
    ("device", "camera", "words", "scheme"),
    [
        (DESKTOP, {"program": BAD_NUMPY}, ("Test picture", "The camera's software does not work", "numpy"), "light"),
        ({**DESKTOP, **KOREAN}, {"lost": True}, ("테스트 영상", "카메라와 연결이 끊겼습니다", "케이블을"), "dark"),
        (PHONE, {"lost": True}, ("Test picture", "The camera was lost", "Check the ribbon cable"), "dark"),
        (
            {**PHONE, **KOREAN},
            {"program": BAD_NUMPY},
            ("테스트 영상", "카메라 소프트웨어에 문제가 있습니다", "라즈베리 파이에서"),
            "light",
        ),
    ],
    ids=["desktop-broken-light", "desktop-lost-ko-dark", "phone-lost-dark", "phone-broken-ko-light"],
)
def test_a_stand_in_is_amber_and_its_reason_is_above_the_fold(
    start_stand_in: StartStandIn,
    new_page: Callable[..., Page],
    keep_screenshot: Any,
    device: dict[str, Any],
    camera: dict[str, Any],
    words: tuple[str, str, str],
    scheme: str,
) -> None:
    badge, reason, advice = words
    daemon = start_stand_in(**camera)
    page = new_page(**device, color_scheme=scheme)
    page.goto(daemon.address)
    expect(page.locator("#badge")).to_have_text(badge)
    state = daemon.state()
    expect(page).to_have_title(f"{badge} · {state['name']}")
    assert colour(page, "#status") == AMBER[scheme]
    wait_until_live(page, "test-picture")
    assert_moves(page)
    expect(page.locator("#viewers")).not_to_have_text("")

    notice = told(page)
    box = notice.bounding_box()
    assert box and page.evaluate("scrollY") == 0
    assert box["y"] >= 0 and box["y"] + box["height"] <= device["viewport"]["height"]
    assert page.evaluate("document.documentElement.scrollWidth") == device["viewport"]["width"]
    assert notice.evaluate("node => getComputedStyle(node).backgroundColor") == STRIPE
    assert_accessible(page)
    keep_screenshot(page, f"stand-in-{reason}-{scheme}-{device['viewport']['width']}")

    expect(notice).to_contain_text(badge)
    for sentence in (reason, advice):
        expect(notice).to_contain_text(sentence, timeout=1000)


# where the arrow and the word TOP end, of the test picture's height; tests/unit/test_pattern.py looks at them
TOP_ENDS = 0.248


def top_of_the_notice(page: Page) -> float:
    """Return how far below the word TOP the notice begins, in pixels, and fail if a part of it is cut off."""
    stage, notice = page.locator("#stage").bounding_box(), told(page).bounding_box()
    assert stage and notice
    assert notice["y"] + notice["height"] <= stage["y"] + stage["height"]
    shape = page.locator("#picture").evaluate("canvas => canvas.height / canvas.width")
    height = min(stage["height"], stage["width"] * shape)
    return float(notice["y"] - (stage["y"] + (stage["height"] - height) / 2 + TOP_ENDS * height))


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("size", [(640, 480), (1280, 720)], ids=["4:3", "16:9"])
def test_the_notice_of_a_stand_in_leaves_the_word_top_free(
    start_stand_in: StartStandIn, new_page: Callable[..., Page], size: tuple[int, int], language: str
) -> None:
    usb = {"usb.device": "/dev/video9"}  # the longest words
    daemon = start_stand_in(**dict(zip(("video.width", "video.height"), size, strict=True)), **usb)
    for device in (DESKTOP, PHONE, {**PHONE, "viewport": {"width": 844, "height": 390}}):
        page = new_page(**device)
        page.goto(f"{daemon.address}?lang={language}")
        wait_until_live(page, "test-picture")
        expect(page.locator("#detail code, #advice code").first).to_be_visible()
        assert top_of_the_notice(page) >= 0
        open_drawer(page, "info")
        assert top_of_the_notice(page) >= 0
        if page.locator("#menu").is_visible():
            page.locator("#menu").press("Enter")
        page.locator("#fullscreen").press("Enter")
        expect(page.locator("#app")).to_have_class(re.compile(r"\bfull\b"))
        assert top_of_the_notice(page) >= 0


@pytest.mark.parametrize("language", ["en", "ko"])
def test_commands_are_shown_as_code_without_backticks(start_stand_in: StartStandIn, page: Page, language: str) -> None:
    daemon = start_stand_in(**{"usb.device": "/dev/video9"})
    page.goto(f"{daemon.address}?lang={language}")
    expect(told(page).locator("code").first).to_have_text("pi-cam-daemon list-cameras")
    expect(told(page)).not_to_contain_text("`")
    assert_accessible(page)
    events = open_drawer(page, "events")
    expect(events.locator("li strong")).to_have_text(["No camera" if language == "en" else "카메라 없음"])
    expect(events).not_to_contain_text("`")
    page.goto(f"{daemon.address}still.jpg?lang={language}")
    expect(page.locator("p code").first).to_have_text("pi-cam-daemon list-cameras")
    expect(page.locator("body")).not_to_contain_text("`")
    assert_accessible(page)


def test_without_picamera2_the_page_says_in_korean_what_to_plug_in(start_stand_in: StartStandIn, page: Page) -> None:
    daemon = start_stand_in()
    values = {"module": "picamera2", "command": "lsusb"}  # as on a machine that is no Raspberry Pi
    page.route("**/state", lambda route: route.fulfill(json={**daemon.state(), "values": values}))
    page.goto(f"{daemon.address}?lang=ko")
    expect(told(page)).to_contain_text("USB 카메라를 꽂아 주세요.")


def test_the_badge_of_a_phone_is_whole_where_only_the_picture_is_shown(
    start_stand_in: StartStandIn, new_page: Callable[..., Page]
) -> None:
    page = new_page(**{**PHONE, "viewport": {"width": 320, "height": 568}})
    page.goto(f"{start_stand_in().address}?view=simple")
    wait_until_live(page, "test-picture")
    expect(page.locator("#viewers")).not_to_have_text("")
    box = page.locator("#status").bounding_box()
    assert box and box["x"] + box["width"] <= 320


def test_zoom_hold_and_save_go_on_with_a_stand_in(start_stand_in: StartStandIn, page: Page) -> None:
    daemon = start_stand_in()
    page.goto(daemon.address)
    wait_until_live(page, "test-picture")
    page.get_by_role("button", name="Zoom in").click()
    expect(page.get_by_role("button", name="Show all (now 1.5×)")).to_be_visible()
    page.get_by_role("button", name="Photo").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Save this picture").click()
    assert download.value.suggested_filename.endswith(".jpg")
    expect(page.locator("#full-size")).to_be_hidden()  # the server refuses it
    assert daemon.get("/still.jpg")[0] == 503
    page.keyboard.press("Escape")

    page.get_by_role("link", name="Hold", exact=True).click()
    wait_until_live(page, "held")
    before = picture(page)
    page.get_by_role("button", name="Take another").click()
    until("another picture", lambda: picture(page) != before)


def test_a_viewer_without_a_place_is_told_so_first(start_stand_in: StartStandIn, page: Page) -> None:
    daemon = start_stand_in(**{"http.max_viewers_per_address": 1})
    viewer = daemon.watch()
    page.goto(daemon.address)
    wait_for_key(page, "crowded")
    expect(headline(page, "This device has all the streams it may have")).to_be_visible()
    viewer.close()
    wait_until_live(page, "test-picture")
    assert_moves(page)


def test_the_test_picture_that_was_asked_for_is_live(daemon: Daemon, page: Page) -> None:
    page.goto(daemon.address)
    wait_until_live(page)
    expect(page.locator("#badge")).to_have_text("Live")
    expect(told(page)).to_have_text("")


def test_a_missing_camera_without_a_stand_in_is_red_above_the_fold(
    start_daemon: Callable[..., Daemon], new_page: Callable[..., Page]
) -> None:
    daemon = start_daemon(source__kind="csi", csi__camera="no-such-camera")
    daemon.wait_for_state("no-camera", 30)
    page = new_page(**DESKTOP, color_scheme="light")
    page.goto(daemon.address)
    wait_for_key(page, "missing")
    expect(page.locator("#badge")).to_have_text("No camera")
    assert colour(page, "#status") == "rgb(179, 38, 30)"
    box = told(page).bounding_box()
    assert box and box["y"] + box["height"] <= 720
    wait_until_dim(page)


def test_the_detail_does_not_repeat_the_headline(start_daemon: Callable[..., Daemon], page: Page) -> None:
    daemon = start_daemon(source__kind="csi", csi__camera="no-such-camera")
    daemon.wait_for_state("no-camera", 30)
    refused = {"cause": "settings", "detail": "The camera refuses its settings: Invalid size", "hint": "Ask `me`"}
    page.route("**/state", lambda route: route.fulfill(json={**daemon.state(), **refused}))
    page.goto(daemon.address)
    expect(headline(page, "The camera refuses its settings")).to_be_visible()
    expect(page.locator("#detail")).to_have_text("Invalid size")
    expect(page.locator("#advice code")).to_have_text("me")


def test_the_reason_for_pictures_that_cannot_be_used_is_shown(start_daemon: Callable[..., Daemon], page: Page) -> None:
    cut = part(PICTURES[0][:-40])
    with serving(paced(header(), cut)) as server:
        daemon = start_daemon(source__kind="upstream", upstream__url=server.url())
        page.goto(daemon.address)
        wait_for_key(page, "starting")
        expect(page.locator("#detail")).to_contain_text("The camera's pictures cannot be used: ")


def test_the_wall_shows_a_stand_in_as_a_test_picture(
    start_stand_in: StartStandIn, start_daemon: Callable[..., Daemon], new_page: Callable[..., Page]
) -> None:
    port = free_port()
    daemon = start_stand_in(**{"http.cors_origins": [f"http://127.0.0.1:{port}"]})
    start_daemon(http__port=port, wall__cameras=[f"http://127.0.0.1:{daemon.port}"])
    page = new_page(color_scheme="light")
    page.goto(f"http://127.0.0.1:{port}/wall")
    tile = page.locator(".tile")
    expect(tile).to_have_attribute("data-key", "test-picture")
    expect(tile.locator(".badge")).to_have_text("Test picture")
    assert colour(page, ".tile .badge") == AMBER["light"]
    expect(tile.locator(".told")).to_contain_text("No camera found")
    expect(tile).not_to_have_class(re.compile("dim"))
    assert_accessible(page)
