"""The page of a camera that is missing, lost or broken, with the test picture in its place or without a picture."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looking import KOREAN, assert_moves, is_grey, picture
from tests.browser.test_accessibility import assert_accessible
from tests.causes import BAD_NUMPY, EMPTY, IMX708
from tests.harness import RUN, Daemon, free_port, running, until
from tests.server.test_stand_in import env, settings
from tests.upstream.servers import PICTURES, header, paced, part, serving

DESKTOP = {"viewport": {"width": 1280, "height": 720}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
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


def wait_until_shown(page: Page) -> None:
    """Wait until the stage shows a picture in colour."""
    expect(page.locator("#stage")).not_to_have_class(re.compile("frozen"))
    assert not is_grey(page)


def colour(page: Page, selector: str) -> str:
    value: str = page.locator(selector).evaluate("node => getComputedStyle(node).color")
    return value


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("device", "camera", "words"),
    [
        (DESKTOP, {"program": BAD_NUMPY}, ("No camera: test picture", "The camera's software does not work", "numpy")),
        ({**DESKTOP, **KOREAN}, {"lost": True}, ("카메라 없음: 테스트 영상", "카메라와 연결이 끊겼습니다", "케이블을")),
        (PHONE, {"lost": True}, ("No camera: test picture", "The camera was lost", "Check the ribbon cable")),
        (
            {**PHONE, **KOREAN},
            {"program": BAD_NUMPY},
            ("카메라 없음: 테스트 영상", "카메라 소프트웨어에 문제가 있습니다", "라즈베리 파이에서"),
        ),
    ],
    ids=["desktop-broken", "desktop-lost-ko", "phone-lost", "phone-broken-ko"],
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
    badge, headline, advice = words
    daemon = start_stand_in(**camera)
    page = new_page(**device, color_scheme=scheme)
    page.goto(daemon.address)
    expect(page.locator("#badge")).to_have_text(badge)
    state = daemon.state()
    expect(page).to_have_title(f"{badge} · {state['name']}")
    assert colour(page, "#status") == colour(page, "#headline") == AMBER[scheme]

    expect(page.get_by_role("heading", name=headline)).to_be_visible()
    expect(page.locator("#hint")).to_contain_text(advice)
    for sentence in (state["detail"], state["hint"]):
        expect(page.locator("#notice")).to_contain_text(sentence)
    box = page.locator("#notice").bounding_box()
    assert box and page.evaluate("scrollY") == 0
    assert box["y"] >= 0 and box["y"] + box["height"] <= device["viewport"]["height"]
    assert page.evaluate("document.documentElement.scrollWidth") == device["viewport"]["width"]

    wait_until_shown(page)
    assert_moves(page)
    expect(page.locator("#since")).to_have_text("")
    expect(page.locator("#viewers")).not_to_have_text("")
    expect(page.locator("#rate")).to_have_text("")
    assert_accessible(page)
    keep_screenshot(page, f"stand-in-{headline}-{scheme}-{device['viewport']['width']}")


def test_zoom_snapshot_and_save_go_on_with_a_stand_in(start_stand_in: StartStandIn, page: Page) -> None:
    daemon = start_stand_in()
    page.goto(daemon.address)
    wait_until_shown(page)
    page.get_by_role("button", name="Zoom in").click()
    expect(page.get_by_role("button", name="Show all (now 1.5×)")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Save picture").click()
    assert download.value.suggested_filename.endswith(".jpg")
    expect(page.locator("#full-size")).to_be_hidden()  # the server refuses it
    assert daemon.get("/still.jpg")[0] == 503

    page.get_by_role("link", name="Snapshot", exact=True).click()
    expect(page.locator("#taken")).to_contain_text("Taken at")
    wait_until_shown(page)
    before = picture(page, "still")
    page.get_by_role("button", name="Take another").click()
    until("another picture", lambda: picture(page, "still") != before)
    expect(page.locator("#badge")).to_have_text("No camera: test picture")


def test_a_viewer_without_a_place_is_told_that_there_is_no_camera_too(start_stand_in: StartStandIn, page: Page) -> None:
    daemon = start_stand_in(**{"http.max_viewers_per_address": 1})
    viewer = daemon.watch()
    page.goto(daemon.address)
    expect(page.get_by_role("heading", name="No camera found")).to_be_visible()
    expect(page.locator("#since")).to_have_text("This device has all the streams it may have")
    viewer.close()
    wait_until_shown(page)
    assert_moves(page)


def test_the_test_picture_that_was_asked_for_is_live(daemon: Daemon, page: Page) -> None:
    page.goto(daemon.address)
    expect(page.locator("#badge")).to_have_text("Live")
    expect(page.locator("#notice")).to_be_hidden()


def test_a_missing_camera_without_a_stand_in_is_red_above_the_fold(
    start_daemon: Callable[..., Daemon], new_page: Callable[..., Page]
) -> None:
    daemon = start_daemon(source__kind="csi", csi__camera="no-such-camera")
    daemon.wait_for_state("no-camera", 30)
    page = new_page(**DESKTOP, color_scheme="light")
    page.goto(daemon.address)
    expect(page.locator("#badge")).to_have_text("No camera")
    assert colour(page, "#headline") == "rgb(179, 38, 30)"
    box = page.locator("#notice").bounding_box()
    assert box and box["y"] + box["height"] <= 720
    until("it is grey", lambda: is_grey(page))


def test_the_reason_for_pictures_that_cannot_be_used_is_shown(start_daemon: Callable[..., Daemon], page: Page) -> None:
    cut = part(PICTURES[0][:-40])
    with serving(paced(header(), cut)) as server:
        daemon = start_daemon(source__kind="upstream", upstream__url=server.url())
        page.goto(daemon.address)
        expect(page.get_by_role("heading", name="The camera is starting")).to_be_visible()
        expect(page.locator("#detail")).to_contain_text("The camera's pictures cannot be used: ")


def test_the_wall_shows_a_stand_in_as_no_camera(
    start_stand_in: StartStandIn, start_daemon: Callable[..., Daemon], new_page: Callable[..., Page]
) -> None:
    port = free_port()
    daemon = start_stand_in(**{"http.cors_origins": [f"http://127.0.0.1:{port}"]})
    start_daemon(http__port=port, wall__cameras=[f"http://127.0.0.1:{daemon.port}"])
    page = new_page(color_scheme="light")
    page.goto(f"http://127.0.0.1:{port}/wall")
    badge = page.locator(".tile .badge")
    expect(badge).to_have_text("No camera")
    assert colour(page, ".tile .badge") == AMBER["light"]
    expect(page.locator(".tile")).not_to_have_class(re.compile("frozen"))
    assert_accessible(page)
