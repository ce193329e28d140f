"""The pages of a camera with users, seen by somebody with a name and a password."""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from tests.browser.looking import wait_until_live
from tests.browser.test_wall import tile, wait_until_shown
from tests.browser.wire import Wire
from tests.kit.wait import free_port, until
from tests.kit.wire import basic

ADMIN = {"username": "alice", "password": "correct horse battery"}
VIEWER = {"username": "지우", "password": "staple:지우개"}


@pytest.fixture
def camera(start_daemon: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Start a camera with users."""
    file = tmp_path / "users"
    users.add(file, ADMIN["username"], Role.ADMIN, ADMIN["password"])
    users.add(file, VIEWER["username"], Role.VIEWER, VIEWER["password"])

    def start(**settings: object) -> Any:
        return start_daemon(http__users_file=str(file), **settings)

    return start


def told_after_its_stream_was_lost(page: Page, wire: Wire) -> list[str]:
    """Return the page's key, headline, detail and advice of the same moment: a lock-out may end in a second."""
    wire.hang_up()
    page.wait_for_timeout(300)
    told = "['headline', 'detail', 'advice'].map((id) => document.getElementById(id).textContent)"
    found: list[str] = page.evaluate(f"[document.getElementById('app').dataset.key, ...{told}]")
    return found


@pytest.mark.parametrize("who", [ADMIN, VIEWER], ids=["admin", "viewer"])
def test_a_user_who_logs_in_sees_the_page_live(
    camera: Callable[..., Any], new_page: Callable[..., Page], who: Any
) -> None:
    daemon = camera()
    page = new_page(http_credentials=who)
    page.goto(daemon.address)
    wait_until_live(page)
    page.goto(f"{daemon.address}?mode=snapshot")
    wait_until_live(page, "held")


def test_a_user_who_is_locked_out_by_a_neighbour_is_told_and_sees_the_camera_again(
    camera: Callable[..., Any], new_page: Callable[..., Page], keep_screenshot: Any
) -> None:
    daemon = camera()
    page = new_page(http_credentials=VIEWER)
    stop = threading.Event()

    def guess() -> None:
        for number in itertools.count():
            with daemon.connect(
                f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {basic('bob', str(number))}\r\n\r\n"
            ) as sock:
                sock.recv(100)
            if stop.wait(0.2):
                return

    guessing = threading.Thread(target=guess)
    with contextlib.closing(Wire(daemon.port)) as wire:
        page.goto(wire.address)
        wait_until_live(page)
        try:
            with page.expect_response(lambda answer: answer.status == 429):
                guessing.start()
            wait_until_live(page)  # whoever sees the picture goes on seeing it

            def locked() -> list[str] | None:
                key, *told = told_after_its_stream_was_lost(page, wire)
                return told if key == "lockout" else None

            headline, detail, advice = until("it has to ask again meanwhile", locked, 30)
            assert re.fullmatch(r"Too many wrong passwords\. Again in \d+ s\.", headline)
            # the server's own words would say the same again
            assert detail == "" and "none is checked now" in advice
            keep_screenshot(page, "locked-out-desktop-light-en")
        finally:
            stop.set()
            guessing.join()
        wait_until_live(page)


def test_name_and_password_in_the_pages_address_log_in_and_disappear(camera: Callable[..., Any], page: Page) -> None:
    daemon = camera()
    page.goto(daemon.address.replace("//", f"//{ADMIN['username']}:correct%20horse%20battery@") + "?mode=stream")
    wait_until_live(page)
    assert page.url == f"{daemon.address}?mode=stream"


def test_the_wall_shows_cameras_after_a_login_to_them(
    camera: Callable[..., Any], new_page: Callable[..., Page]
) -> None:
    ports = [free_port() for _ in range(3)]
    first, second = (f"http://127.0.0.1:{port}" for port in ports[1:])
    own = camera(wall__cameras=[first, second], http__port=ports[0])
    camera(http__cors_origins=[own.address.rstrip("/")], http__port=ports[1])
    camera(http__port=ports[2])
    page = new_page(http_credentials=ADMIN)
    for address in (first, second):
        page.goto(address)
        wait_until_live(page)
    # on this machine it would tell without a password
    refusal = {"status": 401, "headers": {"Access-Control-Allow-Origin": own.address.rstrip("/")}}
    page.route(f"{first}/state", lambda route: route.fulfill(**refusal))
    page.goto(f"{own.address}wall")
    expect(tile(page, 0)).to_be_visible()
    for number in (0, 1):
        wait_until_shown(page, number)
