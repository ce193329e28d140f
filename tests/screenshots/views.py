"""The other pictures: parts of the page, other windows, and what viewers see who do not use the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, expect

from tests.browser.looking import open_drawer
from tests.kit.causes import EMPTY
from tests.kit.daemon import RUN
from tests.kit.events import event
from tests.kit.lateness import patience
from tests.kit.wait import free_port
from tests.screenshots.session import LANGUAGES, TILE, Session
from tests.server.test_stand_in import env

_PHONE = {"is_mobile": True, "has_touch": True, "device_scale_factor": 1}
_PORTRAIT = {**_PHONE, "viewport": {"width": 390, "height": 844}}
_LANDSCAPE = {**_PHONE, "viewport": {"width": 844, "height": 390}}
_FOREIGN = {"X-Forwarded-For": "203.0.113.5"}


def drawer_controls(session: Session) -> None:
    _drawer(session, "picture", 0)


def drawer_settings(session: Session) -> None:
    _drawer(session, "picture", 1)


def drawer_info(session: Session) -> None:
    _drawer(session, "info", 0)


def drawer_motion(session: Session) -> None:
    _drawer(session, "picture", 2, motion__enabled=True)
    for page in session.pages.values():
        expect(page.get_by_role("meter")).to_have_class("motion moving", timeout=1000 * patience(30))


def drawer_events(session: Session) -> None:
    camera = session.camera(source__kind="csi")
    session.watch(camera.address)
    for word, done in (("motion", "picture"), ("motion-ends", "ended")):
        camera.fault(word)
        event(camera, "motion", lambda one, done=done: one[done])
    for page in session.pages.values():
        expect(open_drawer(page, "events").locator("img").first).to_be_visible()


def simple(session: Session) -> None:
    session.watch(session.camera().address + "?view=simple")


def phone(session: Session) -> None:
    session.watch(session.camera("chelsea", page__name="Chelsea", source__kind="csi").address, **_PORTRAIT)
    _open_panel(session, "picture", 0)


def phone_landscape(session: Session) -> None:
    session.watch(session.camera("chelsea", page__name="Chelsea").address, **_LANDSCAPE)


def wall(session: Session) -> None:
    ports = [free_port() for _ in range(4)]
    origins = [f"http://127.0.0.1:{port}" for port in ports]
    readable: dict[str, Any] = {"http__cors_origins": [origins[0]]}
    session.camera(width=TILE, http__port=ports[0], wall__cameras=origins)
    session.camera("coffee", TILE, http__port=ports[1], page__name="Kitchen", **readable)
    session.camera("chelsea", TILE, http__port=ports[2], page__name="Chelsea", **readable)
    without = env(session.folder, EMPTY)
    dark = {"source__kind": "csi", "page__name": "Garden", **readable}
    session.daemon(http__port=ports[3], argv=RUN, env=without, **dark)
    session.open(f"{origins[0]}/wall")
    for number, key in enumerate(("live", "live", "live", "missing")):
        session.wait(key, f".tile >> nth={number}")


def refusal_page(session: Session) -> None:
    camera = session.camera(http__trusted_proxies=["127.0.0.1"])
    session.open(camera.address, extra_http_headers=_FOREIGN)


VIEWS: dict[str, Callable[[Session], None]] = {
    view.__name__.replace("_", "-"): view
    for view in (
        drawer_controls, drawer_settings, drawer_motion, drawer_info, drawer_events, simple, phone, phone_landscape,
        wall, refusal_page,
    )
}  # fmt: skip


def no_signal(session: Session, output: Path) -> list[Path]:
    """Write the picture that the stream shows for a missing camera in each language, and return the files."""
    return [_no_signal(session, language, output / f"no-signal-{language}.jpg") for language in LANGUAGES]


def _no_signal(session: Session, language: str, file: Path) -> Path:
    without = env(session.folder / language, EMPTY)
    camera = session.daemon(source__kind="csi", page__language=language, argv=RUN, env=without)
    camera.wait_for_state("no-camera", 30)
    viewer = camera.watch()
    first = viewer.next_where("the packaged picture", lambda one: b"X-No-Picture: missing" in one.header, 30)
    file.write_bytes(viewer.next_where("its own picture", lambda one: one.jpeg != first.jpeg, 30).jpeg)
    viewer.close()
    return file


def _drawer(session: Session, tab: str, section: int, **settings: Any) -> None:
    session.watch(session.camera(source__kind="csi", **settings).address)
    for panel in _open_panel(session, tab, section):
        panel.evaluate("node => node.scrollIntoView()")


def _open_panel(session: Session, tab: str, section: int) -> list[Locator]:
    """Open the panel in that *section* of a *tab* on each page, and return the panels once they are filled."""
    panels = [open_drawer(page, tab).locator("> section").nth(section) for page in session.pages.values()]
    for panel in panels:
        expect(panel.locator("input, dd, code").first).to_be_attached()
    return panels
