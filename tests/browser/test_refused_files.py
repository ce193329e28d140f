"""The page says since when and why the files on disk are not in force."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.drawer import opened
from tests.browser.looking import KOREAN, PHONE, open_drawer, told, wait_until_live
from tests.browser.test_accessibility import assert_accessible
from tests.kit.daemon import REFUSED, Daemon


@pytest.mark.parametrize(
    ("options", "badge", "headline", "advice"),
    [
        ({"color_scheme": "light"}, "Live", "The files on disk have not been in force since", "last good config"),
        ({**PHONE, **KOREAN, "color_scheme": "dark"}, "실시간", "부터 디스크의 설정 파일이", "올바랐던 설정"),
    ],
    ids=["desktop", "phone"],
)
def test_a_refused_reload_is_told_until_the_files_are_right(
    daemon: Daemon,
    new_page: Callable[..., Page],
    keep_screenshot: Any,
    options: dict[str, Any],
    badge: str,
    headline: str,
    advice: str,
) -> None:
    page = new_page(**options)
    opened(page, daemon, "info")
    wait_until_live(page)
    info = open_drawer(page, "info")
    notice, problems = info.locator("#files"), info.locator("#files-problems")
    expect(notice).to_be_hidden()

    before = datetime.datetime.now()
    daemon.reload({"video.rotation": 45, "video.widht": 3}, REFUSED)
    expect(notice).to_be_visible()
    refused = daemon.state()["config_refused"]["problems"]
    assert len(refused) == 2 and problems.text_content() == "\n".join(refused)
    expect(notice).to_contain_text(advice)
    times = {f"{time.hour}:{time:%M}" for time in (before, datetime.datetime.now())}
    words = page.locator("#files-headline").text_content() or ""
    assert headline in words and any(time in words for time in times)
    wait_until_live(page)  # it is no alarm
    expect(page.locator("#badge")).to_have_text(badge)
    expect(told(page)).to_have_text("")
    amber = {"light": "rgb(138, 90, 0)", "dark": "rgb(240, 182, 74)"}[options["color_scheme"]]
    assert page.locator("#files-headline").evaluate("node => getComputedStyle(node).color") == amber
    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("innerWidth")
    assert_accessible(page)
    keep_screenshot(page, f"refused-files-{options['color_scheme']}")

    daemon.reload({"video.rotation": 46}, REFUSED)
    expect(problems).to_contain_text("video.rotation: 46 cannot be used")
    expect(problems).not_to_contain_text("widht")
    daemon.reload({"video.rotation": 180})
    expect(notice).to_be_hidden()


def test_the_notice_is_written_once(daemon: Daemon, page: Page) -> None:
    opened(page, daemon, "info")
    wait_until_live(page)
    daemon.reload({"video.rotation": 45}, REFUSED)
    notice = open_drawer(page, "info").locator("#files")
    expect(notice).to_be_visible()
    # a screen reader says each change
    notice.evaluate("""node => {
        window.changes = 0;
        const count = () => { window.changes += 1; };
        new MutationObserver(count).observe(node, {subtree: true, childList: true, characterData: true});
    }""")
    for _ in range(3):
        with page.expect_response("**/state"):
            pass
    assert page.evaluate("window.changes") == 0


def test_a_mark_tells_of_refused_files_while_the_drawer_is_closed(daemon: Daemon, page: Page) -> None:
    page.goto(daemon.address)
    wait_until_live(page)
    menu = page.locator("#menu")
    expect(menu).to_have_attribute("title", "")
    daemon.reload({"video.rotation": 45}, REFUSED)
    expect(menu).to_have_attribute("title", "The configuration files on disk are not in force")
    expect(menu).to_have_class("icon marked")
    assert_accessible(page)
    daemon.reload({"video.rotation": 180})
    expect(menu).to_have_class("icon")
