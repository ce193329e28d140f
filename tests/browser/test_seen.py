"""The page says what this viewer sees, not what the camera says of itself."""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.refused import Refused
from tests.browser.seen import Seen
from tests.browser.wire import Wire
from tests.kit.causes import EMPTY
from tests.kit.daemon import RUN, running
from tests.kit.wait import until
from tests.server.test_stand_in import env, settings

SEOUL = datetime.timezone(datetime.timedelta(hours=9))

# ---- pictures


def test_a_camera_of_a_picture_in_ten_seconds_is_live_all_the_time(
    start_daemon: Any, start_wire: Callable[[int], Wire], page: Page, seen: Seen, soak: bool
) -> None:
    wire = start_wire(start_daemon(video__framerate=0.1).port)
    page.goto(wire.address)
    seen.wait_for_key("live", 25)
    seen.keep_keys()
    pictures = set()
    end = time.monotonic() + (600 if soak else 60)
    while time.monotonic() < end:
        pictures.add(seen.picture())
        page.wait_for_timeout(500)
    assert seen.kept_keys() == {"live"}
    assert len(pictures) >= 5
    assert wire.count("/stream") == 1


def test_a_test_picture_in_place_of_a_camera_is_called_so(tmp_path: Path, page: Page, seen: Seen) -> None:
    with running(tmp_path / "daemon", settings(), env=env(tmp_path, EMPTY), argv=RUN) as daemon:
        daemon.wait_for_state("no-camera", 30)
        page.goto(daemon.address)
        seen.wait_for_key("test-picture")
        expect(page.locator("#app")).to_have_attribute("data-tone", "wait")
        expect(page.locator("#told")).to_be_visible()
        first = seen.picture()
        until("another picture", lambda: seen.picture() != first)


def test_one_failed_poll_changes_nothing_while_the_picture_moves(daemon: Any, page: Page, seen: Seen) -> None:
    page.goto(daemon.address)
    seen.wait_until_it_moves()
    polls = {"failed": 0, "answered": 0}

    def fail_once(route: Route) -> None:
        if not polls["failed"]:
            polls["failed"] = 1
            route.abort()
        else:
            polls["answered"] += 1
            route.continue_()

    seen.keep_keys()
    page.route("**/state", fail_once)

    def answered_twice() -> bool:
        page.wait_for_timeout(100)  # lets the handler run
        return polls["answered"] >= 2

    until("two answers after a failure", answered_twice, 20)
    assert seen.kept_keys() == {"live"}


def test_the_last_picture_stays_under_what_is_wrong(start_daemon: Any, page: Page, seen: Seen) -> None:
    daemon = start_daemon()
    page.goto(daemon.address)
    seen.wait_until_it_moves()
    daemon.stop()
    seen.wait_for_key("offline")
    expect(page.locator("#stage")).to_have_class(re.compile(r"\bdim\b"))
    last = seen.picture()
    page.wait_for_timeout(2500)  # further polls fail
    assert seen.picture() == last
    assert seen.has_colours()


def test_a_page_whose_program_cannot_run_has_the_picture_and_links(daemon: Any, page: Page) -> None:
    page.route("**/app.js", lambda route: route.abort())
    page.goto(daemon.address, wait_until="commit")
    shown = "[...document.images].some(image => image.naturalWidth == 640 && image.checkVisibility())"
    until("a picture", lambda: page.evaluate(shown))
    assert daemon.state()["viewers"] == 1
    for path in ("stream", "snapshot"):
        expect(page.locator(f"a[href={path}]").first).to_be_visible()


def test_saved_pictures_are_named_by_the_local_time(daemon: Any, new_page: Callable[..., Page]) -> None:
    page = new_page(timezone_id="Asia/Seoul")
    page.goto(daemon.address)
    Seen(page.evaluate).wait_until_it_moves()
    page.locator("#photo").click()
    with page.expect_download() as download:
        page.locator("#save").click()
    stamp = re.search(r"\d{4}-\d\d-\d\dT?_?\d\d-\d\d-\d\d", name := download.value.suggested_filename)
    assert stamp, name
    taken = datetime.datetime.strptime(re.sub(r"\D", "", stamp[0]), "%Y%m%d%H%M%S").replace(tzinfo=SEOUL)
    assert abs((datetime.datetime.now(SEOUL) - taken).total_seconds()) < 60


# ---- refusals


@pytest.mark.parametrize("key", ["network", "host", "lockout"])
def test_a_refusal_is_told_by_its_reason(refused: Refused, page: Page, seen: Seen, key: str) -> None:
    page.goto(refused.wire.address)
    seen.wait_until_it_moves()

    def told() -> bool:
        getattr(refused, key)()
        refused.wire.hang_up()  # who watches already may go on
        page.wait_for_timeout(100)
        now, words = seen.told()  # at once: a lock-out may end in a second
        return now == key and words != ""

    until(f"the page says {key}", told, 10)
    assert page.evaluate("document.getElementById('picture').width") == 640
    refused.send()
    seen.wait_until_it_moves(30)


@pytest.mark.parametrize(("key", "setting"), [("full", "max_viewers"), ("crowded", "max_viewers_per_address")])
def test_a_place_that_is_not_free_is_told_and_taken_when_it_is(
    start_daemon: Any, page: Page, seen: Seen, key: str, setting: str
) -> None:
    daemon = start_daemon(**{f"http__{setting}": 1})
    with daemon.connect("/stream"):
        until("one viewer", lambda: daemon.state()["viewers"] == 1)
        page.goto(daemon.address)
        seen.wait_for_key(key)
        expect(page.locator("#told")).to_be_visible()
    seen.wait_until_it_moves(20)
