"""The page in Chromium, Firefox and WebKit: its streams open and close as they should, and its picture moves."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.browser.engines import Engine, Firefox
from tests.browser.refused import Refused
from tests.browser.wire import Wire
from tests.kit.wait import until

WATCHED_SECONDS = 13


def test_the_picture_moves_all_the_time_on_one_stream(engine: Engine, wire: Wire) -> None:
    engine.go(wire.address)
    engine.seen.wait_until_it_moves()
    pictures = []
    end = time.monotonic() + WATCHED_SECONDS
    while time.monotonic() < end:
        pictures.append(engine.seen.picture())
        time.sleep(0.5)
    assert wire.count("/stream") == 1
    assert len(set(pictures)) > 0.9 * len(pictures)


def test_pages_that_were_left_keep_no_stream(engine: Engine, daemon: Any) -> None:
    for _ in range(5):
        engine.go(daemon.address)
        engine.seen.wait_until_it_moves()
    until("one viewer", lambda: daemon.state()["viewers"] == 1, 3)
    engine.go(f"{daemon.address}livez")
    until("no viewer", lambda: daemon.state()["viewers"] == 0, 3)


def test_a_page_that_somebody_comes_back_to_is_live(engine: Engine, daemon: Any) -> None:
    engine.go(daemon.address)
    engine.seen.wait_until_it_moves()
    engine.run("addEventListener('pageshow', shown => { document.body.dataset.kept = shown.persisted; })")
    engine.go(f"{daemon.address}livez")
    until("no viewer", lambda: daemon.state()["viewers"] == 0, 3)
    engine.back()
    engine.seen.wait_until_it_moves()
    assert daemon.state()["viewers"] == 1
    if not isinstance(engine, Firefox):  # which keeps no page in memory that has a stream open when it is left
        assert engine.run("document.body.dataset.kept") == "true"


def test_a_stalled_connection_is_told_within_six_seconds(engine: Engine, wire: Wire) -> None:
    engine.go(wire.address)
    engine.seen.wait_until_it_moves()
    wire.go_silent(later=True)
    engine.seen.wait_for_key("link", 6)
    wire.recover()
    engine.seen.wait_until_it_moves(15)


@pytest.mark.parametrize("capture", ["always", "on-demand"])
def test_a_restarted_daemon_is_live_again(engine: Engine, start_daemon: Any, capture: str) -> None:
    settings = {"source__capture": capture, "source__idle_seconds": 1.0}
    first = start_daemon(**settings)
    engine.go(first.address)
    engine.seen.wait_until_it_moves(15)
    first.stop()
    second = start_daemon(http__port=first.port, **settings)
    until("the page asks for pictures", lambda: second.state()["viewers"] == 1)
    engine.seen.wait_until_it_moves()


def test_a_browser_that_slept_is_live_again(engine: Engine, start_daemon: Any, soak: bool) -> None:
    # the daemon lets go of a viewer that takes no bytes long before a laptop is opened again
    daemon = start_daemon(http__viewer_timeout_seconds=2.0)
    engine.go(daemon.address)
    engine.seen.wait_until_it_moves()
    engine.sleep(20 if soak else 6)
    assert daemon.state()["viewers"] == 0
    until("it watches again", lambda: daemon.state()["viewers"] == 1)  # first it shows what it had received
    engine.seen.wait_until_it_moves()


def test_a_password_that_is_asked_for_is_told_and_opens_no_dialog(engine: Engine, refused: Refused) -> None:
    engine.go(refused.wire.address)
    engine.seen.wait_until_it_moves()
    refused.password()
    refused.wire.hang_up()
    # a dialog over it would end and open with each poll; an engine that is driven answers nothing meanwhile
    engine.seen.wait_for_key("password")
    refused.send()


def test_the_page_of_a_refusal_is_shown(engine: Engine, daemon: Any) -> None:
    engine.go(f"{daemon.address}nowhere")
    assert engine.run("document.querySelector('h1').checkVisibility()")
    assert "There is no such page here" in engine.run("document.body.innerText")
