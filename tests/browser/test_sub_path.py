"""The pages behind nginx at a path of a larger site: every link and every request stays below it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.engines import listens, process
from tests.browser.seen import Seen
from tests.clients.test_proxies import NGINX_FOLDERS
from tests.kit.wait import free_port, until

CONFIG = """
daemon off; pid pid; error_log stderr; events {}
http {
    access_log off; %s
    server {
        listen 127.0.0.1:%d;
        location /garden/cam/ {
            proxy_pass http://127.0.0.1:%d/;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
        }
    }
}
"""


@pytest.fixture
def site(start_daemon: Any, tmp_path: Path) -> Iterator[str]:
    """Return the address of a site that has a camera at garden/cam/."""
    port = free_port()
    site = f"http://127.0.0.1:{port}"
    daemon = start_daemon(http__trusted_proxies=["127.0.0.1"], wall__cameras=[site])
    (tmp_path / "nginx.conf").write_text(CONFIG % (NGINX_FOLDERS, port, daemon.port))
    with process("nginx", "-p", tmp_path, "-c", tmp_path / "nginx.conf"):
        until("nginx listens", lambda: listens(port))
        yield f"{site}/"


@pytest.mark.parametrize("path", ["garden/cam", "garden/cam/", "garden/cam/mjpeg/"])
def test_the_page_works_with_all_that_it_asks_for(site: str, page: Page, seen: Seen, path: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(site + path)
    seen.wait_until_it_moves()
    post = "fetch('controls', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'})"
    assert page.evaluate(f"{post}.then(answer => answer.status)") == 200
    page.locator("#menu").click()
    page.locator("#tab-info").click()
    page.locator("#photo").click()
    with page.expect_download() as download:
        page.locator("#save").click()
    assert download.value.path().read_bytes().startswith(b"\xff\xd8")
    page.goto(f"{site}{path}?mode=snapshot")
    seen.wait_for_key("held")
    assert [url for url in asked if not url.startswith((f"{site}garden/cam", "blob:"))] == []


def test_links_stay_below_the_path(site: str, page: Page, seen: Seen) -> None:
    page.goto(f"{site}garden/cam/")
    page.locator("#wall").click()
    expect(page).to_have_url(f"{site}garden/cam/wall")
    expect(page.locator(".tile")).to_have_count(1)
    for wrong in ("nowhere", "mjpeg/nowhere"):
        answer = page.goto(f"{site}garden/cam/{wrong}")
        assert answer and answer.status == 404
        page.get_by_role("link").first.click()
        seen.wait_for_key("live")
        assert page.url.startswith(f"{site}garden/cam/")
