"""The panel of facts says which camera this is, how its pictures are made, and whether the clock can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from pi_cam_daemon import __version__
from tests.browser.drawer import opened
from tests.browser.looking import KOREAN, PHONE
from tests.browser.test_accessibility import assert_accessible


@pytest.mark.parametrize(
    ("options", "kind", "clock"),
    [
        ({}, "Test picture", {False: "times may be wrong", True: "Set by the network", None: "–"}),
        ({**PHONE, **KOREAN}, "테스트 영상", {False: "시각이 틀릴 수 있습니다", True: "맞춰져 있습니다", None: "–"}),
    ],
    ids=["desk", "phone"],
)
def test_camera_encoder_version_and_clock_are_told(
    shared: Any, new_page: Callable[..., Page], options: Any, kind: str, clock: dict[Any, str]
) -> None:
    page = new_page(**options)
    answer: dict[str, Any] = {"clock_synced": None}
    page.route("**/state", lambda route: route.fulfill(json={**shared.state(), **answer}))
    panel = opened(page, shared, "info")
    expect(panel.locator("#size")).to_have_text("640 × 480")
    state = shared.state()
    expect(panel.locator("#camera")).to_have_text(state["camera"]["name"])
    expect(panel.locator("#kind")).to_have_text(kind)
    expect(panel.locator("#encoder")).to_contain_text(state["camera"]["encoder"])
    expect(panel.locator("#version")).to_have_text(f"pi-cam-daemon {__version__}")
    for answer["clock_synced"], words in clock.items():
        expect(panel.locator("#clock")).to_contain_text(words)
    assert_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("innerWidth")
    page.unroute("**/state")
