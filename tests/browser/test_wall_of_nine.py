"""A wall of nine cameras says of each what this viewer sees, whatever happens to the others."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from tests.browser.seen import Seen
from tests.browser.wire import Wire
from tests.kit.daemon import Daemon
from tests.kit.wait import free_port, until

SMALL = {"video__width": 320, "video__height": 240}


class Wall:
    """A wall of nine tiles. Eight show one camera, the last one another, each through a relay of its own."""

    def __init__(self, start_daemon: Any, start_wire: Callable[[int], Wire], page: Page, **settings: object) -> None:
        own, other = free_port(), free_port()
        origin = f"http://127.0.0.1:{own}"
        self.page = page
        self.wires = [start_wire(own) for _ in range(8)] + [start_wire(other)]
        cameras = [wire.address.rstrip("/") for wire in self.wires]
        start_daemon(http__port=own, http__cors_origins=[origin], wall__cameras=cameras, **SMALL)
        self.other: Daemon = start_daemon(**{"http__port": other, "http__cors_origins": [origin], **SMALL, **settings})
        page.goto(f"{origin}/wall")
        self.tiles = [self._tile(f"document.querySelectorAll('.tile')[{number}]") for number in range(9)]
        for tile in self.tiles[:8]:
            tile.wait_until_it_moves(20)

    def _tile(self, element: str) -> Seen:
        return Seen(self.page.evaluate, element, f"{element}.querySelector('canvas')")

    def assert_others_are_live(self) -> None:
        assert {tile.key() for tile in self.tiles[:8]} == {"live"}


@pytest.fixture
def wall(start_daemon: Any, start_wire: Callable[[int], Wire], page: Page) -> Callable[..., Wall]:
    """Start a wall of nine; settings are those of the last camera."""
    return lambda **settings: Wall(start_daemon, start_wire, page, **settings)


def test_one_failed_poll_changes_no_tile(wall: Callable[..., Wall], page: Page) -> None:
    shown = wall()
    last = shown.tiles[-1]
    last.wait_until_it_moves()
    last.keep_keys()
    polls: list[str] = []

    def fail_once(route: Route) -> None:
        polls.append(route.request.url)
        route.abort() if len(polls) == 1 else route.continue_()

    page.route(f"{shown.wires[-1].address}state", fail_once)

    def asked_again() -> bool:
        page.wait_for_timeout(100)  # lets the handler run
        return len(polls) >= 3

    until("two polls after the failed one", asked_again, 20)
    last.wait_until_it_moves()
    assert last.kept_keys() == {"live"}


@pytest.mark.parametrize(("settings", "key"), [({}, "link"), ({"http__cors_origins": []}, "unknown")])
def test_a_tile_whose_connection_stalls_says_so_and_comes_back(
    wall: Callable[..., Wall], page: Page, settings: dict[str, object], key: str
) -> None:
    shown = wall(**settings)
    tile, last = shown.tiles[-1], page.locator(".tile").last
    tile.wait_for_key("live", 20)
    shown.wires[-1].go_silent(later=True)
    tile.wait_for_key(key, 12)
    expect(last).to_have_attribute("data-tone", "bad")
    expect(last.locator(".told")).to_be_visible()
    shown.assert_others_are_live()
    shown.wires[-1].recover()
    tile.wait_for_key("live", 20)


def test_the_last_picture_of_a_camera_that_is_off_stays(wall: Callable[..., Wall], page: Page) -> None:
    shown = wall()
    tile = shown.tiles[-1]
    tile.wait_until_it_moves()
    shown.other.stop()
    tile.wait_for_key("offline", 12)
    expect(page.locator(".tile").last).to_have_class(re.compile(r"\bdim\b"))
    assert tile.has_colours()
    shown.assert_others_are_live()


def test_a_camera_with_users_asks_for_a_login(wall: Callable[..., Wall], page: Page, tmp_path: Path) -> None:
    users.add(tmp_path / "users", "alice", Role.ADMIN, "correct horse battery")
    shown = wall(http__users_file=str(tmp_path / "users"), http__trusted_proxies=["127.0.0.1"])
    # from another machine: on this one, /state asks for no password
    shown.wires[-1].change = lambda data: data.replace(
        b" HTTP/1.1\r\n", b" HTTP/1.1\r\nX-Forwarded-For: 192.168.1.5\r\n"
    )
    page.reload()
    shown.tiles[-1].wait_for_key("password", 20)
    asked = len(shown.wires[-1].asked)
    until("three requests more", lambda: len(shown.wires[-1].asked) >= asked + 3, 20)
    assert shown.tiles[-1].key() == "password"
    expect(page.locator(".tile").last.locator(".told")).to_be_visible()
    until("the others are live", lambda: {tile.key() for tile in shown.tiles[:8]} == {"live"})


def test_polls_leave_no_listeners_behind(wall: Callable[..., Wall], page: Page) -> None:
    wires = wall().wires
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def listeners() -> int:
        session.send("HeapProfiler.collectGarbage")
        metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        return int(metrics["JSEventListeners"])

    def polled(times: int) -> int:
        """Return the number of listeners after *times* more polls of each tile."""
        aims = [wire.count("/state") + times for wire in wires]
        until("polls", lambda: all(wire.count("/state") >= aim for wire, aim in zip(wires, aims, strict=True)), 30)
        return listeners()

    early = polled(1)
    late = polled(3)
    assert late <= early + 3  # of a poll that is under way
