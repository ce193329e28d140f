"""The pages that a person reads when the camera refuses a request."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looking import PHONE, headline, wait_for_key, wait_until_live
from tests.browser.test_accessibility import assert_accessible
from tests.kit.wait import until
from tests.kit.wire import ask

BUSY = {"http__max_connections": 1, "http__request_timeout_seconds": 600}


@pytest.fixture
def only_connection() -> Iterator[Callable[[int], socket.socket]]:
    """Take the only connection that a camera allows, and keep it."""
    taken: list[socket.socket] = []

    def take(port: int) -> socket.socket:
        taken.append(socket.create_connection(("127.0.0.1", port), timeout=5))
        return taken[-1]

    yield take
    for sock in taken:
        sock.close()


def plain(address: str, headers: dict[str, str]) -> tuple[int, str, str]:
    """Return status, content type and body as a program gets them."""
    status, answered, body = ask(urllib.request.Request(address, headers=headers))
    return status, answered["content-type"], body.decode()


@pytest.fixture
def behind_proxy(start_daemon: Any) -> Any:
    return start_daemon(http__trusted_proxies=["127.0.0.1"], http__max_viewers=1)


FOREIGN = {"X-Forwarded-For": "203.0.113.5"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_network_that_is_not_served_is_told_how_its_owner_can_change_that(
    behind_proxy: Any, new_page: Callable[..., Page], keep_screenshot: Any, scheme: str
) -> None:
    page = new_page(**PHONE, color_scheme=scheme, extra_http_headers=FOREIGN)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    answer = page.goto(behind_proxy.address)
    assert answer and answer.status == 403
    expect(page.get_by_role("heading", name="This camera does not serve 203.0.113.5.")).to_be_visible()
    expect(page.locator("pre")).to_have_text('[http]\nallowed_networks = ["local", "203.0.113.5"]')
    expect(page.get_by_role("heading", name="허용되지 않은 기기입니다")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('pre')).borderRadius") != "0px"
    assert not [text for text in said if "Content Security Policy" in text and "favicon" not in text]
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert_accessible(page)
    keep_screenshot(page, f"door-network-phone-{scheme}")


def test_programs_read_plain_text(behind_proxy: Any) -> None:
    for path in ("", "nowhere", "snapshot"):
        status, content_type, body = plain(behind_proxy.address + path, {**FOREIGN, "Accept": "*/*"})
        assert (status, content_type) == (403, "text/plain; charset=utf-8")
        assert body.startswith("This camera does not serve 203.0.113.5.\n\nIts owner")


def test_a_wrong_name_is_printed_as_text_whatever_is_in_it(daemon: Any) -> None:
    headers = {"Host": "<b>x&.example", "Accept": "text/html"}
    status, content_type, body = plain(daemon.address, headers)
    assert (status, content_type) == (421, "text/html; charset=utf-8")
    assert "<b>" not in body and "&lt;b&gt;x&amp;.example" in body


@pytest.mark.parametrize(
    ("path", "status", "words", "korean"),
    [
        ("stream", 503, "There is 1 viewer already, and http.max_viewers allows no more", "자리가 없습니다"),
        (
            "nowhere",
            404,
            "There is no such page here",
            "요청을 처리할 수 없습니다",
        ),
    ],
)
def test_an_address_that_cannot_be_served_says_so_in_both_languages(
    behind_proxy: Any, page: Page, path: str, status: int, words: str, korean: str
) -> None:
    with socket.create_connection(("127.0.0.1", behind_proxy.port), timeout=5) as viewer:
        viewer.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.168.1.5\r\n\r\n")
        until("the stream begins", lambda: b"200 OK" in viewer.recv(4096))
        page.set_extra_http_headers({"X-Forwarded-For": "192.168.1.5"})
        answer = page.goto(behind_proxy.address + path)
    assert answer and answer.status == status
    expect(page.get_by_role("heading", name=words)).to_be_visible()
    expect(page.locator("[lang=ko] h2")).to_contain_text(korean)


def test_a_snapshot_without_a_camera_is_a_page_that_leads_to_the_camera(
    start_daemon: Any, page: Page, keep_screenshot: Any
) -> None:
    daemon = start_daemon(source__kind="csi", csi__camera="no-such-camera")
    until("the camera is missing", lambda: daemon.state()["cause"] == "missing", 30)
    answer = page.goto(daemon.address + "snapshot")
    assert answer and answer.status == 503
    expect(page.get_by_role("heading", name=daemon.state()["detail"])).to_be_visible()
    expect(page.get_by_text(daemon.state()["hint"].replace("`", ""))).to_be_visible()
    keep_screenshot(page, "no-camera-snapshot-page")
    page.get_by_role("link", name="카메라 페이지").click()
    expect(headline(page, "No camera found")).to_be_visible()


def test_a_visitor_without_a_free_connection_reads_the_reason(
    start_daemon: Any, page: Page, keep_screenshot: Any, only_connection: Callable[[int], socket.socket]
) -> None:
    daemon = start_daemon(**BUSY)
    with only_connection(daemon.port):
        answer = page.goto(daemon.address)
        assert answer and answer.status == 503
        expect(page.get_by_role("heading", name="There is 1 connection already")).to_be_visible()
        expect(page.get_by_role("heading", name="접속이 가득 찼습니다")).to_be_visible()
        keep_screenshot(page, "door-busy-desktop-light")
    page.get_by_role("link", name="Try again").click()
    expect(page.locator("#badge")).to_be_attached()


def test_a_korean_visitor_reads_korean_first_and_the_links_lead_on(
    start_daemon: Any, new_page: Callable[..., Page], keep_screenshot: Any
) -> None:
    daemon = start_daemon(http__max_viewers=1)
    page = new_page(**PHONE, locale="ko-KR")
    address = daemon.address + "mjpeg/stream?fps=2"
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=5) as viewer:
        viewer.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until("the stream begins", lambda: b"200 OK" in viewer.recv(4096))
        page.goto(address)
        expect(page.get_by_role("heading", level=1)).to_have_text("자리가 없습니다")
        expect(page.locator("section[lang=en] h2")).to_contain_text("There is 1 viewer already")
        assert_accessible(page)
        keep_screenshot(page, "door-full-phone-ko")
        with page.expect_response(address) as answer:
            page.get_by_role("link", name="다시 시도").click()
        assert answer.value.status == 503
    page.get_by_role("link", name="카메라 페이지").click()
    page.wait_for_url(daemon.address)
    expect(page.locator("#badge")).to_be_attached()


def test_a_page_that_finds_no_connection_any_more_says_so_and_comes_back(
    start_daemon: Any, page: Page, keep_screenshot: Any, only_connection: Callable[[int], socket.socket]
) -> None:
    first = start_daemon()
    page.goto(first.address)
    wait_until_live(page)
    first.stop()
    start_daemon(**BUSY | {"http__max_connections": 2, "http__port": first.port})
    with only_connection(first.port), only_connection(first.port):
        wait_for_key(page, "taken")
        expect(headline(page, "The camera has no free connection")).to_be_visible()
        # without the links and the Korean half of the page that refuses
        reason = "There are 2 connections already, and http.max_connections allows no more"
        expect(page.locator("#detail")).to_have_text(reason)
        keep_screenshot(page, "busy-desktop-light-en")
    wait_until_live(page)
