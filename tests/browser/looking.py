"""Read the content of a page, and wait for it."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.harness import until

PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
KOREAN = {"locale": "ko-KR"}

# a short text that is another one for another picture
_PICTURE = """id => {
    const canvas = document.createElement("canvas");
    const context = Object.assign(canvas, {width: 160, height: 120}).getContext("2d");
    context.drawImage(document.getElementById(id), 0, 0, 160, 120);
    return canvas.toDataURL();
}"""


def picture(page: Page, which: str) -> str:
    """Return the pixels that the page's element *which* shows, `live` or `still`."""
    pixels: str = page.evaluate(_PICTURE, which)
    return pixels


def wait_until_live(page: Page, badge: str = "Live") -> None:
    expect(page.locator("#badge")).to_have_text(badge)
    expect(page.locator("#stage")).not_to_have_class(re.compile("frozen"))


def assert_moves(page: Page) -> None:
    first = picture(page, "live")
    until("another picture", lambda: picture(page, "live") != first)


def is_grey(page: Page) -> bool:
    """Return whether both layers of the stage are drawn without colour."""
    filters = [page.locator(f"#{layer}").evaluate("e => getComputedStyle(e).filter") for layer in ("live", "still")]
    return all("grayscale(1)" in one for one in filters)
