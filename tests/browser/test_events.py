"""The tab of events: what happened, with pictures, live while it is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.looking import KOREAN, PHONE, open_drawer, wait_until_live
from tests.browser.test_accessibility import assert_accessible
from tests.kit.daemon import REFUSED, Daemon, running
from tests.kit.events import move
from tests.kit.wait import until
from tests.server.test_metrics import value

SETTINGS = {"small.width": 160}
KINDS = {"en": ["Motion", "Camera lost", "Camera back"], "ko": ["움직임", "카메라 끊김", "카메라 복구"]}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Start a daemon whose camera can be given faults."""
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


def opened(page: Page, daemon: Daemon) -> Locator:
    page.goto(daemon.address)
    wait_until_live(page)
    return open_drawer(page, "events")


@pytest.mark.parametrize(
    ("options", "language"), [({}, "en"), ({**PHONE, **KOREAN}, "ko")], ids=["desk", "phone in Korean"]
)
def test_events_are_told_with_pictures_and_live(
    daemon: Daemon, new_page: Callable[..., Page], options: Any, language: str
) -> None:
    page = new_page(**options, timezone_id="Asia/Seoul")
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    panel = opened(page, daemon)
    expect(panel.get_by_role("status")).to_have_text(re.compile("Nothing|아직"))
    assert_accessible(page)
    first = move(daemon)
    item = panel.locator("li")
    expect(item.locator("strong")).to_have_text(KINDS[language][0])
    expect(panel.get_by_role("status")).to_contain_text(KINDS[language][0])
    moment = page.evaluate("at => new Date(1000 * at).toLocaleTimeString('en-GB')", first["began"])
    expect(item.locator("time")).to_contain_text(moment.lstrip("0"))
    expect(item.locator("p").first).to_have_text(re.compile(r"· \S+"))
    expect(item.locator("p").first).not_to_have_text(re.compile("goes on|진행 중"))
    until("the picture", lambda: item.locator("img").evaluate("node => node.naturalWidth") == 160)

    daemon.fault("lost")
    expect(panel.locator("strong")).to_have_text([*reversed(KINDS[language])])
    expect(panel.locator("li").nth(1)).to_contain_text(
        {"en": "The camera was unplugged", "ko": "카메라와 연결이 끊겼습니다"}[language]
    )
    assert_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("innerWidth")
    assert said == []


def test_a_picture_opens_large_by_keyboard(daemon: Daemon, page: Page) -> None:
    move(daemon)
    panel = opened(page, daemon)
    thumb = panel.get_by_role("button", name=re.compile("^Enlarge: Motion, "))
    thumb.focus()
    page.keyboard.press("Enter")
    large = panel.get_by_role("dialog", name=re.compile("^Motion, "))
    expect(large.locator("img")).to_be_visible()
    until("it is large", lambda: large.locator("img").evaluate("node => node.complete && node.clientWidth") > 480)
    assert_accessible(page)
    page.keyboard.press("Escape")
    expect(large).to_be_hidden()
    expect(panel).to_be_visible()
    expect(thumb).to_be_focused()
    thumb.press("Enter")
    large.get_by_role("button", name="Close").click()
    expect(large).to_be_hidden()


def test_only_a_tab_that_is_shown_listens(daemon: Daemon, page: Page) -> None:
    opened(page, daemon)
    until("it listens", lambda: value(daemon, "pi_cam_event_streams") == 1)
    open_drawer(page, "info")
    until("it does not", lambda: value(daemon, "pi_cam_event_streams") == 0)
    move(daemon)
    panel = open_drawer(page, "events")
    expect(panel.locator("li")).to_have_count(1)
    until("it listens again", lambda: value(daemon, "pi_cam_event_streams") == 1)
    page.locator("#close").click()
    until("the drawer is closed", lambda: value(daemon, "pi_cam_event_streams") == 0)


def test_without_a_free_place_events_come_now_and_then(tmp_path: Path, page: Page) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "http.max_event_streams": 1}) as daemon:
        daemon.wait_for_state("streaming")
        page.clock.install()
        page.route("**/events?after=*", lambda route: route.fulfill(status=503, body="full"))
        panel = opened(page, daemon)
        expect(panel.get_by_role("status")).to_have_text("Nothing has happened yet.")
        move(daemon)
        page.clock.fast_forward(10_000)
        expect(panel.locator("li")).to_have_count(1)
        page.unroute("**/events?after=*")
        page.clock.fast_forward(10_000)
        until("it listens", lambda: value(daemon, "pi_cam_event_streams") == 1)


def test_a_configuration_that_is_refused_and_a_text_of_a_stranger_are_only_text(daemon: Daemon, page: Page) -> None:
    daemon.reload({**SETTINGS, "page.name": "<img src=x onerror=alert(1)>" * 9}, REFUSED)
    panel = opened(page, daemon)
    expect(panel.locator("strong")).to_have_text("Configuration refused")
    expect(panel.locator("li")).to_contain_text("<img src=x")
    assert json.loads(daemon.get("/events")[2])["events"][0]["text"] in panel.locator("li").inner_text()
