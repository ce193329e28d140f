"""The button for a picture of the sensor's full size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from pi_cam_daemon.imaging import jpeg
from tests.browser.looking import PHONE, wait_until_live


@pytest.mark.parametrize("mode", ["stream", "snapshot"])
def test_a_full_size_photo_is_saved_and_the_page_says_how_large_it_is(
    daemon: Any, page: Page, tmp_path: Path, keep_screenshot: Any, mode: str
) -> None:
    page.goto(f"{daemon.address}?mode={mode}")
    wait_until_live(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Full-size photo").click()
    expect(page.locator("#full-size-told")).to_have_text("Full-size photo saved: 3280 × 2464")
    assert re.fullmatch(r".+-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-full\.jpg", download.value.suggested_filename)
    saved = tmp_path / "saved.jpg"
    download.value.save_as(saved)
    assert jpeg.size(saved.read_bytes()) == (3280, 2464)
    keep_screenshot(page, f"full-size-{mode}-desktop-light-en")
    wait_until_live(page)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_page_says_why_there_is_no_full_size_photo_now(
    daemon: Any, new_page: Any, keep_screenshot: Any, language: str
) -> None:
    page = new_page(**PHONE, color_scheme="dark")
    page.goto(f"{daemon.address}?lang={language}")
    wait_until_live(page, {"en": "Live", "ko": "실시간"}[language])
    button, told = page.locator("#full-size"), page.locator("#full-size-told")
    button.click()
    expect(told).to_contain_text("3280 × 2464")
    button.click()
    expect(told).to_contain_text({"en": "No full-size photo.", "ko": "원본 크기로 찍지 못했습니다."}[language])
    expect(told.locator("[lang=en]")).to_contain_text("The stream comes first")
    keep_screenshot(page, f"full-size-refused-phone-dark-{language}")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
