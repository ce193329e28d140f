"""Open a panel in the drawer of the page."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from tests.browser.looking import open_drawer
from tests.kit.daemon import Daemon

_PANELS = {
    "controls": ("picture", 0),
    "settings": ("picture", 1),
    "motion": ("picture", 2),
    "info": ("info", 0),
    "addresses": ("info", 1),
}


def opened(page: Page, daemon: Daemon, panel: str = "controls") -> Locator:
    """Return the *panel* of the page, which is opened anew, with what the server tells for it."""
    page.goto(f"http://127.0.0.1:{daemon.port}/")
    expect(page.locator("#app")).to_be_visible()
    tab, number = _PANELS[panel]
    found = open_drawer(page, tab).locator("> section").nth(number)
    expect(found.locator("input, dd, code").first).to_be_attached()
    return found
