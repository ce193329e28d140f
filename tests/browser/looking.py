"""Read what a page tells of its picture, and wait for it."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.kit.lateness import patience
from tests.kit.wait import until

PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
KOREAN = {"locale": "ko-KR"}
_DIM = re.compile(r"\bdim\b")

# a short text that is another one for another picture
PIXELS = """node => {
    const canvas = document.createElement("canvas");
    const context = Object.assign(canvas, {width: 160, height: 120}).getContext("2d");
    context.drawImage(node, 0, 0, 160, 120);
    return canvas.toDataURL();
}"""


def picture(page: Page) -> str:
    """Return the pixels that the page shows."""
    pixels: str = page.locator("#picture").evaluate(PIXELS)
    return pixels


def wait_for_key(page: Page, key: str, seconds: float = 15.0) -> None:
    """Wait until the page has judged what it shows as *key*, a word of judge.js."""
    expect(page.locator("#app")).to_have_attribute("data-key", key, timeout=1000 * patience(seconds))


def wait_for_the_state(page: Page) -> None:
    """Wait until the page has the first answer of /state: the picture comes before it."""
    expect(page.locator("#viewers")).not_to_have_text("")


def wait_until_live(page: Page, key: str = "live") -> None:
    """Wait until the page says that its picture is live (or *key*), and shows it in its colours."""
    wait_for_key(page, key)
    expect(page.locator("#stage")).not_to_have_class(_DIM)


def wait_until_dim(page: Page) -> None:
    """Wait until the picture is drawn dark and without colour."""
    stage = page.locator("#stage")
    expect(stage).to_have_class(_DIM)
    expect(stage.locator("#picture")).to_have_css("filter", re.compile(r"grayscale\(1\)"))


def assert_moves(page: Page) -> None:
    first = picture(page)
    until("another picture", lambda: picture(page) != first)


def assert_below_the_picture(page: Page, bar: Locator) -> None:
    """Fail if *bar* lies on the picture, or is not wholly on the screen."""
    stage, box = page.locator("#stage").bounding_box(), bar.bounding_box()
    assert stage and box and page.viewport_size
    assert box["y"] >= stage["y"] + stage["height"]
    assert box["y"] + box["height"] <= page.viewport_size["height"]


def told(page: Page) -> Locator:
    """Return the text in the middle of the picture."""
    return page.locator("#told")


def headline(page: Page, words: str) -> Locator:
    return told(page).get_by_role("heading", name=words)


def open_drawer(page: Page, tab: str) -> Locator:
    """Open a tab, such as `events`, beside the picture, or below it on a phone, and return its panel."""
    if page.locator("#menu").is_visible() and page.locator("#menu").get_attribute("aria-expanded") == "false":
        page.locator("#menu").click()
    page.locator(f"#tab-{tab}").click()
    panel = page.locator(f"#panel-{tab}")
    expect(panel).to_be_visible()
    expect(panel.locator("> section").last).not_to_be_empty()
    return panel
