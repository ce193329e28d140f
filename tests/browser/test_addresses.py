"""The addresses and snippets that the page offers for copying work."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looking import open_drawer, wait_until_live
from tests.kit.wait import until


@pytest.fixture
def uses(shared: Any, page: Page) -> Any:
    """Return the snippets of the page for a program, by their labels."""
    page.goto(shared.address)
    wait_until_live(page)
    info = open_drawer(page, "info")
    expect(info.locator("#size")).to_have_text("640 × 480")

    def find(program: str) -> dict[str, str]:
        rows = info.locator("details").filter(has=page.get_by_text(program, exact=True)).locator(".snippet")
        return {
            row.locator("span").text_content() or "": row.locator("code").text_content() or "" for row in rows.all()
        }

    return find


def test_each_address_gives_what_its_field_asks_for(uses: Any) -> None:
    fields = [field for program in ("Home Assistant", "OctoPrint", "VLC") for field in uses(program).items()]
    assert len(fields) >= 5, "each program has one at least"
    for label, address in fields:
        with urllib.request.urlopen(address, timeout=5) as reply:
            still = label in ("Still image URL", "Snapshot URL")
            assert reply.headers.get_content_type() == ("image/jpeg" if still else "multipart/x-mixed-replace")


def test_the_lines_for_opencv_read_a_picture(uses: Any) -> None:
    lines = uses("OpenCV")["Python"] + "print(ok, picture.shape)\n"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True (480, 640, 3)\n", done.stderr


def test_the_lines_for_frigate_name_the_stream_the_preset_and_the_size(shared: Any, uses: Any) -> None:
    name = shared.state()["name"]
    assert shared.get("/snapshot?size=small")[0] == 200
    config = (
        f"cameras:\n  {name}:\n    ffmpeg:\n      inputs:\n"
        f"        - path: {shared.address}stream?size=small\n"
        "          input_args: preset-http-mjpeg-generic\n          roles:\n            - detect\n"
        "    detect:\n      enabled: true\n      width: 320\n      height: 240\n      fps: 5\n"
    )
    until("the size of small pictures", lambda: uses("Frigate")["config.yml"] == config)


@pytest.mark.usefixtures("uses")
def test_small_pictures_have_an_address(shared: Any, page: Page) -> None:
    listed = page.locator("#addresses > .snippet code").all_text_contents()
    assert listed == [f"{shared.address}{path}" for path in ("stream", "stream?size=small", "snapshot")]


def test_open_snippets_stay_open(shared: Any, page: Page) -> None:
    page.goto(shared.address)
    wait_until_live(page)
    info = open_drawer(page, "info")
    info.get_by_text("Frigate", exact=True).click()
    copied = "document.addEventListener('copy', () => { window.copied = String(getSelection()) })"
    page.evaluate(copied)
    page.get_by_role("button", name="Copy: config.yml").click()
    assert "preset-http-mjpeg-generic\n" in page.evaluate("window.copied")
    for _ in range(3):
        with page.expect_response("**/state"):
            pass
    expect(page.get_by_role("button", name="Copy: config.yml")).to_be_visible()


def test_an_address_has_one_line_and_a_long_one_is_broken_after_a_slash(shared: Any, page: Page) -> None:
    page.goto(shared.address)
    wait_until_live(page)
    code = open_drawer(page, "info").locator(".snippet code").first
    expect(code).to_have_text(f"{shared.address}stream")
    tops = "(node) => new Set([...node.getClientRects()].map((one) => one.top)).size"
    assert code.evaluate(tops) == 1
    page.evaluate("document.querySelector('.snippet pre').style.width = '14rem'")
    assert code.evaluate(tops) == 2
    parts = """(node) => [...node.childNodes].filter((one) => one.data).map((one) => {
        const range = document.createRange();
        range.selectNode(one);
        return range.getClientRects().length;
    })"""
    assert code.evaluate(parts) == [1, 1], "neither part of it is broken"
    page.evaluate("document.addEventListener('copy', () => { window.copied = String(getSelection()) })")
    page.get_by_role("button", name="Copy: Live", exact=True).click()
    assert page.evaluate("window.copied") == f"{shared.address}stream"
