"""The button for a picture of the sensor's full size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from pi_cam_daemon.imaging import jpeg
from tests.browser.looking import PHONE, wait_for_the_state, wait_until_live


@pytest.mark.parametrize("mode", ["stream", "snapshot"])
def test_a_full_size_photo_is_saved_and_the_page_says_how_large_it_is(
    daemon: Any, page: Page, tmp_path: Path, keep_screenshot: Any, mode: str
) -> None:
    page.goto(f"{daemon.address}?mode={mode}")
    wait_until_live(page, {"stream": "live", "snapshot": "held"}[mode])
    wait_for_the_state(page)
    page.get_by_role("button", name="Photo").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Full-size photo").click()
    expect(page.locator("#photo-said")).to_have_text("Full-size photo saved: 3280 × 2464")
    assert re.fullmatch(r".+-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-full\.jpg", download.value.suggested_filename)
    saved = tmp_path / "saved.jpg"
    download.value.save_as(saved)
    assert jpeg.size(saved.read_bytes()) == (3280, 2464)
    keep_screenshot(page, f"full-size-{mode}-desktop-light-en")
    wait_until_live(page, {"stream": "live", "snapshot": "held"}[mode])


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_page_says_why_there_is_no_full_size_photo_now(
    daemon: Any, new_page: Any, keep_screenshot: Any, language: str
) -> None:
    page = new_page(**PHONE, color_scheme="dark")
    page.goto(f"{daemon.address}?lang={language}")
    wait_until_live(page)
    wait_for_the_state(page)
    page.locator("#photo").click()
    button, said = page.locator("#full-size"), page.locator("#photo-said")
    button.click()
    expect(said).to_contain_text("3280 × 2464")
    button.click()
    expect(said).to_have_text({"en": "No full-size photo.", "ko": "최대 해상도로 찍지 못했습니다."}[language])
    expect(page.locator("#photo-why[lang=en]")).to_contain_text("The stream comes first")
    keep_screenshot(page, f"full-size-refused-phone-dark-{language}")
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_it_is_offered_once_the_camera_is_known(daemon: Any, page: Page) -> None:
    asked: list[Route] = []
    page.route("**/state", lambda route: asked.append(route))
    page.goto(daemon.address)
    wait_until_live(page)
    page.locator("#photo").click()
    expect(page.locator("#save")).to_be_visible()
    for route in asked:
        route.continue_()
    page.unroute("**/state")
    wait_for_the_state(page)
    expect(page.locator("#full-size")).to_be_visible(timeout=5000)
