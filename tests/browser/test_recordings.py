"""The tab of recordings: clips are played in the picture's place, saved, and deleted by an admin."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from tests.browser.engines import Engine
from tests.browser.looking import (
    KOREAN,
    PHONE,
    PIXELS,
    assert_below_the_picture,
    open_drawer,
    wait_for_key,
    wait_until_live,
)
from tests.browser.test_accessibility import assert_accessible
from tests.kit.clips import recording
from tests.kit.daemon import Daemon, running
from tests.kit.films import BEGAN_US, write
from tests.kit.wait import until
from tests.kit.wire import Part

PICTURES = 20
EVERY_MS = 200
LAST = (PICTURES - 1) * EVERY_MS / 1000
SETTINGS = {"video.width": 320, "video.height": 240}
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


@pytest.fixture(scope="module")
def seen(daemon: Daemon) -> list[Part]:
    """Pictures of the daemon, all different."""
    return daemon.watch().parts(PICTURES)


@pytest.fixture
def clip(daemon: Daemon, seen: list[Part]) -> Iterator[Path]:
    """The only clip there is."""
    yield made(daemon, seen)
    for path in (daemon.state_folder / "recordings").iterdir():
        path.unlink()


def made(daemon: Daemon, seen: list[Part], later_seconds: int = 0, **more: Any) -> Path:
    """Make a clip of *seen*, one picture in EVERY_MS."""
    from pi_cam_daemon.recording.picture import Picture

    folder = daemon.state_folder / "recordings"
    folder.mkdir(exist_ok=True)
    began_us = BEGAN_US + 1_000_000 * later_seconds
    pictures = [Picture(part.jpeg, began_us + 1000 * EVERY_MS * n, n * EVERY_MS / 1000) for n, part in enumerate(seen)]
    return write(folder, pictures, **more)


def opened(page: Page, daemon: Daemon) -> Locator:
    """Open the tab, which is there once the drawer is open, as no recorder runs."""
    page.goto(daemon.address)
    wait_until_live(page)
    if page.locator("#menu").is_visible():
        page.locator("#menu").click()
    else:
        page.locator("#tab-info").click()
    expect(page.locator("#tab-recordings")).to_be_visible()
    return open_drawer(page, "recordings")


def played(page: Page, daemon: Daemon) -> Locator:
    """Play the clip, and return the player's bar."""
    opened(page, daemon).get_by_role("button", name=re.compile("^Play: ")).click()
    wait_for_key(page, "played")
    return page.locator(".player")


def at(page: Page) -> float:
    """Return the seconds of the picture that is shown."""
    return float(page.locator(".player input").input_value())


def shown(page: Page) -> str:
    pixels: str = page.locator(".recorded").evaluate(PIXELS)
    return pixels


@pytest.mark.usefixtures("clip")
@pytest.mark.parametrize(
    ("options", "language"), [({}, "en"), ({**PHONE, **KOREAN}, "ko")], ids=["desk", "phone in Korean"]
)
def test_recordings_are_listed_with_what_matters(
    daemon: Daemon, seen: list[Part], new_page: Callable[..., Page], options: Any, language: str
) -> None:
    made(daemon, seen, 60, reason="manual", closed=False)
    page = new_page(**options, timezone_id="Asia/Seoul")
    panel = opened(page, daemon)
    expect(panel.locator("li strong")).to_have_text(
        {"en": ["By hand", "Motion"], "ko": ["직접 녹화", "움직임"]}[language]
    )
    motion = panel.locator("li").nth(1)
    expect(motion.locator("time")).to_contain_text("7:13:20")  # in Seoul, where it is another day
    expect(motion).to_contain_text(re.compile("3.8 sec|3.8초"))
    expect(motion).to_contain_text(re.compile("MB"))
    until("the thumbnail", lambda: motion.locator("img").evaluate("node => node.naturalWidth") == 320)
    expect(panel.get_by_role("link")).to_have_count(2)
    assert_accessible(page)
    motion.locator("button").first.click()
    wait_for_key(page, "played")
    until("a picture", lambda: at(page) > 0)
    assert_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("innerWidth")
    if options:
        assert_below_the_picture(page, page.locator(".player"))


def test_the_tab_is_there_only_if_there_is_something_in_it(daemon: Daemon, page: Page) -> None:
    with page.expect_response("**/recordings") as answer:
        page.goto(daemon.address)
        wait_until_live(page)
        page.locator("#menu").click()
    assert answer.value.json()["clips"] == 0
    expect(page.locator("#panel-picture section").last).not_to_be_empty()
    expect(page.locator("#tab-recordings")).to_be_hidden()
    page.locator("#tab-events").focus()
    page.keyboard.press("ArrowRight")  # it passes over the tab
    assert page.evaluate("document.activeElement.id") == "tab-picture"


@pytest.mark.usefixtures("clip")
def test_a_recording_is_played_to_its_end_and_again(daemon: Daemon, page: Page) -> None:
    bar = played(page, daemon)
    expect(page.locator("#badge")).to_have_text("Recorded")
    expect(page.get_by_role("img", name=re.compile("^Recording of "))).to_be_visible()
    until("the live stream rests", lambda: daemon.state()["viewers"] == 1)
    begun = time.monotonic()
    until("the end", lambda: at(page) == LAST)
    assert time.monotonic() - begun < LAST + 5
    play = bar.get_by_role("button", name="Play", exact=True)
    expect(play).to_be_visible()
    until("nobody watches", lambda: daemon.state()["viewers"] == 0)
    play.click()
    until("it plays again", lambda: 0 < at(page) < LAST)
    bar.get_by_role("button", name="Back to live").click()
    expect(page.locator(".player, .recorded")).to_have_count(0)
    wait_until_live(page)
    assert page.evaluate("document.activeElement.id") == "view"


@pytest.mark.usefixtures("clip")
def test_a_recording_is_held_and_stepped_through(daemon: Daemon, page: Page) -> None:
    bar = played(page, daemon)
    until("a picture", lambda: at(page) > 0)
    bar.get_by_role("button", name="Pause").click()
    expect(bar.get_by_role("button", name="Play", exact=True)).to_be_focused()
    until("the stream ends", lambda: daemon.state()["viewers"] == 0)
    held, picture = at(page), shown(page)
    bar.get_by_role("button", name="Next picture").click()
    until("the next one", lambda: at(page) == pytest.approx(held + EVERY_MS / 1000))
    assert shown(page) != picture
    bar.get_by_role("button", name="Picture before").press("Enter")
    until("the one before", lambda: at(page) == pytest.approx(held))
    assert shown(page) == picture


@pytest.mark.usefixtures("clip")
def test_the_position_bar_goes_anywhere(daemon: Daemon, page: Page) -> None:
    bar = played(page, daemon)
    bar.get_by_role("button", name="Pause").click()
    position = bar.get_by_role("slider", name="Position")
    position.fill("3.0")
    until("the picture there", lambda: at(page) == 3.0)
    expect(position).to_have_attribute("aria-valuetext", "3.0 sec")
    bar.get_by_role("button", name="Play", exact=True).click()
    until("it goes on from there", lambda: at(page) == LAST)
    bar.get_by_label("Speed").select_option("0.5")
    bar.get_by_role("button", name="Play", exact=True).click()
    until("it plays again", lambda: at(page) < 1)
    with page.expect_request(re.compile(r"/stream\?.*&from=2\.[0-9]+$|/stream\?.*&from=2$")):
        position.fill("2")
    until("it plays on from there", lambda: 2 < at(page) < LAST)


@pytest.mark.usefixtures("clip")
def test_the_speed_is_changed_while_it_plays(daemon: Daemon, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/stream?" in request.url else None)
    bar = played(page, daemon)
    bar.get_by_label("Speed").select_option("16")
    until("it is asked for", lambda: any("speed=16" in url for url in asked))
    until("the end", lambda: at(page) == LAST, 3)
    bar.get_by_label("Speed").select_option("½×")
    bar.get_by_role("button", name="Play", exact=True).click()
    until("it is asked for", lambda: any("speed=0.5&from=0" in url for url in asked))


def test_a_recording_is_saved_as_a_file(daemon: Daemon, clip: Path, page: Page) -> None:
    panel = opened(page, daemon)
    with page.expect_download() as download:
        panel.get_by_role("link", name=re.compile("^Download: Motion, ")).click()
    assert download.value.suggested_filename == clip.name
    assert Path(download.value.path()).read_bytes() == clip.read_bytes()


def test_a_recording_is_deleted_after_a_question(daemon: Daemon, clip: Path, seen: list[Part], page: Page) -> None:
    made(daemon, seen, 60)
    bar = played_one(page, daemon)
    panel = page.locator("#panel-recordings")
    panel.get_by_role("button", name=re.compile("^Delete: ")).last.click()
    question = panel.get_by_role("dialog", name="Delete this recording?")
    assert_accessible(page)
    question.get_by_role("button", name="Keep").click()
    assert clip.exists()
    panel.get_by_role("button", name=re.compile("^Delete: ")).last.click()
    question.get_by_role("button", name="Delete").click()
    expect(panel.get_by_role("status")).to_contain_text("Deleted.")
    expect(panel.locator("li")).to_have_count(1)
    assert not clip.exists()
    expect(bar).to_have_count(0)  # it was being played
    wait_until_live(page)


def played_one(page: Page, daemon: Daemon) -> Locator:
    """Play the oldest clip."""
    opened(page, daemon).get_by_role("button", name=re.compile("^Play: ")).last.click()
    wait_for_key(page, "played")
    return page.locator(".player")


def test_a_recording_that_is_gone_is_told(daemon: Daemon, clip: Path, page: Page) -> None:
    panel = opened(page, daemon)
    expect(panel.locator("li")).to_have_count(1)
    clip.rename(clip.with_suffix(".away"))
    panel.get_by_role("button", name=re.compile("^Play: ")).click()
    expect(panel.get_by_role("status")).to_contain_text("There is no such recording")
    page.locator(".player").get_by_role("button", name="Back to live").click()
    panel.get_by_role("button", name=re.compile("^Delete: ")).click()
    panel.get_by_role("button", name="Delete", exact=True).click()
    expect(panel.get_by_role("status")).to_contain_text("It was not deleted.")
    clip.with_suffix(".away").rename(clip)


def test_older_recordings_come_when_they_are_asked_for(daemon: Daemon, clip: Path, page: Page) -> None:
    table = json.loads(daemon.get("/recordings")[2])
    older = {**table["recordings"][0], "name": "2020-01-01_00-00-00_motion.mkv"}
    page.route("**/recordings", lambda route: route.fulfill(json={**table, "before": clip.name}))
    page.route(
        f"**/recordings?before={clip.name}",
        lambda route: route.fulfill(json={"recordings": [older], "clips": 2, "before": None}),
    )
    panel = opened(page, daemon)
    panel.get_by_role("button", name="Older ones").click()
    expect(panel.locator("li")).to_have_count(2)
    expect(panel.get_by_role("button", name="Older ones")).to_be_hidden()


def test_a_viewer_plays_and_deletes_nothing(tmp_path: Path, seen: list[Part], new_page: Callable[..., Page]) -> None:
    file = tmp_path / "users"
    users.add(file, "vera", Role.VIEWER, PASSWORD)
    with running(tmp_path / "daemon", {**SETTINGS, "http.users_file": str(file)}) as daemon:
        clip = made(daemon, seen)
        page = new_page(http_credentials={"username": "vera", "password": PASSWORD})
        bar = played(page, daemon)
        until("a picture", lambda: at(page) > 0)
        expect(bar).to_be_visible()
        expect(page.get_by_role("button", name=re.compile("^Delete"))).to_have_count(0)
        assert (
            page.evaluate(
                """name => fetch("recordings/delete", {
                method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({name}),
            }).then(reply => reply.status)""",
                clip.name,
            )
            == 403
        )
        assert clip.exists()


def test_the_recorder_is_told_of_while_it_records_and_fails(tmp_path: Path, page: Page) -> None:
    settings = {**SETTINGS, "recordings.clips": True, "recordings.keep_free_percent": 0, "recordings.after_seconds": 1}
    with running(tmp_path / "daemon", settings) as daemon, recording(daemon) as recorder:
        daemon.wait_for_state("streaming")
        page.goto(daemon.address)
        wait_until_live(page)
        panel = open_drawer(page, "recordings")
        expect(panel).to_contain_text("The recorder waits for something to happen.")
        expect(panel.get_by_role("status")).to_contain_text("There are no recordings yet.")
        daemon.fault("motion")
        expect(panel).to_contain_text("Recording now…")
        expect(panel.locator("li")).to_contain_text("being written")
        expect(panel.get_by_role("button", name=re.compile("^Delete"))).to_have_count(0)
        daemon.fault("motion-ends")
        expect(panel).to_contain_text("The recorder waits")
        expect(panel.locator("li")).not_to_contain_text("being written")
        expect(panel.get_by_role("button", name=re.compile("^Delete"))).to_have_count(1)
        assert recorder.process.poll() is None
        recorder.record_file.write_text(
            json.dumps({**recorder.record(), "state": "failing", "detail": "Nothing is recorded: <b>no room"})
        )
        expect(panel).to_contain_text("Something is not recorded. Nothing is recorded: <b>no room")
        assert_accessible(page)


def test_every_engine_plays_a_recording(engine: Engine, daemon: Daemon, clip: Path) -> None:
    """Play, hold, and go on at the last picture; without Playwright, which not every engine has."""
    engine.go(daemon.address)
    engine.seen.wait_until_it_moves()
    engine.run("document.getElementById('tab-info').click()")
    until("the tab", lambda: engine.run("!document.getElementById('tab-recordings').hidden"))
    engine.run("document.getElementById('tab-recordings').click()")
    until("the clip", lambda: engine.run("document.querySelectorAll('.recordings li').length") == 1)
    assert clip.name in engine.run("document.querySelector('.recordings a').href")
    engine.run("document.querySelector('.recordings li button').click()")
    engine.seen.wait_for_key("played")
    position = "Number(document.querySelector('.player input').value)"
    until("the end", lambda: engine.run(position) == LAST)
    assert engine.run("document.querySelector('.recorded').width") == 320
    engine.run("document.querySelectorAll('.player button')[0].click()")
    until("the picture before", lambda: engine.run(position) == pytest.approx(LAST - EVERY_MS / 1000))
    engine.run("[...document.querySelectorAll('.player button')].at(-1).click()")
    engine.seen.wait_until_it_moves()
