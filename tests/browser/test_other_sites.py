"""Pages of other sites can only do what is allowed, in a browser that resolves their names to this machine."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.browser.engines import CHROMIUM, CHROMIUM_FLAGS

NAMES = ("attacker.example", "friend.example")


class _BlankPage(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>another site</title>")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    """Start a web server that serves empty pages; return its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _BlankPage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    rules = ",".join(f"MAP {name} 127.0.0.1" for name in NAMES)
    # Chromium asks a person before a site may reach the local network; who was tricked once has said yes
    flags = [*CHROMIUM_FLAGS, f"--host-resolver-rules={rules}", "--disable-features=LocalNetworkAccessChecks"]
    browser = playwright.chromium.launch(executable_path=Path(CHROMIUM), args=flags)
    yield browser
    browser.close()


@pytest.fixture
def daemon(start_daemon: Callable[..., Any], site: int) -> Any:
    friend = f"http://friend.example:{site}"
    return start_daemon(http__cors_origins=[friend], http__frame_ancestors=[friend])


Visit = Callable[[str], Page]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    contexts = []

    def open_page(address: str) -> Page:
        context = browser.new_context()
        contexts.append(context)
        page = context.new_page()
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()


def outcome(page: Page, address: str, options: str = "{}") -> str:
    """Return the status that a script of *page* gets from *address*, or the error."""
    script = f"fetch({address!r}, {options}).then(reply => String(reply.status)).catch(error => error.name)"
    return str(page.evaluate(script))


def test_a_foreign_name_that_resolves_to_the_camera_gets_no_picture(
    daemon: Any, visit: Visit, keep_screenshot: Any
) -> None:
    page = visit(daemon.address.replace("127.0.0.1", "attacker.example"))
    expect(page.locator("body")).to_contain_text("This camera does not answer to the name attacker.example")
    expect(page.get_by_role("heading", name="카메라가 이 이름으로는 응답하지 않습니다")).to_be_visible()
    keep_screenshot(page, "wrong-name-desktop-light")
    assert [outcome(page, path) for path in ("/snapshot", "/state", "/stream")] == ["421"] * 3


def test_scripts_of_other_sites_read_nothing_unless_they_are_in_the_list(daemon: Any, visit: Visit, site: int) -> None:
    post = "{method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'}"
    simple_post = "{method: 'POST', body: 'x'}"
    attacker, friend = (visit(f"http://{name}:{site}/") for name in NAMES)
    state = f"{daemon.address}state"
    assert [outcome(attacker, state, how) for how in ("{}", post, simple_post)] == ["TypeError"] * 3
    assert [outcome(friend, state, how) for how in ("{}", post, simple_post)] == ["200", "405", "405"]


def test_a_picture_may_be_shown_anywhere_but_not_read(daemon: Any, visit: Visit, site: int) -> None:
    page = visit(f"http://attacker.example:{site}/")
    page.set_content(f'<img id="live" src="{daemon.address}stream">')
    page.wait_for_function("document.getElementById('live').naturalWidth > 0")
    name = page.evaluate("""() => {
        const canvas = document.createElement("canvas");
        canvas.getContext("2d").drawImage(document.getElementById("live"), 0, 0);
        try { canvas.toDataURL(); return "read"; } catch (error) { return error.name; }
    }""")
    assert name == "SecurityError"


def test_the_page_is_framed_only_by_sites_in_the_list(daemon: Any, visit: Visit, site: int) -> None:
    frame = f"document.body.append(Object.assign(document.createElement('iframe'), {{src: '{daemon.address}'}}))"
    attacker, friend = (visit(f"http://{name}:{site}/") for name in NAMES)
    friend.evaluate(frame)
    expect(friend.frame_locator("iframe").locator("#app")).to_be_visible()
    with attacker.expect_event("requestfailed") as failed:
        attacker.evaluate(frame)
    assert failed.value.url == daemon.address and failed.value.failure == "net::ERR_BLOCKED_BY_RESPONSE"
