"""Start a real daemon with its test picture, and Debian's browsers to look at its page."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from tests.browser import engines
from tests.browser.engines import CHROMIUM, CHROMIUM_FLAGS, Engine
from tests.browser.refused import NAME, PASSWORD, Refused
from tests.browser.seen import Seen
from tests.browser.wire import Wire
from tests.kit.daemon import RUN, Daemon, running
from tests.kit.lateness import patience


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="DIR", type=Path, help="keep pictures of the viewer page in DIR")


StartDaemon = Callable[..., Daemon]


@pytest.fixture
def start_daemon(tmp_path: Path) -> Iterator[StartDaemon]:
    """Start daemons with the test picture as a user does; names of settings have __ for the dot."""
    with contextlib.ExitStack() as stack:
        folders = (tmp_path / f"daemon-{number}" for number in itertools.count())

        def start(**settings: object) -> Daemon:
            named = {name.replace("__", "."): value for name, value in settings.items()}
            return stack.enter_context(running(next(folders), named, argv=RUN))

        yield start


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> Daemon:
    return start_daemon()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for the tests that only look at its pages."""
    with running(tmp_path_factory.mktemp("shared"), argv=RUN) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}: apt install chromium")
    expect.set_options(timeout=1000 * patience(15))
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
    yield browser
    browser.close()


NewPage = Callable[..., Page]


@pytest.fixture
def new_page(chromium: Browser) -> Iterator[NewPage]:
    """Make pages with Playwright's context options; an uncaught error of a script fails the test."""
    contexts: list[BrowserContext] = []
    thrown: list[str] = []

    def new(**options: Any) -> Page:
        context = chromium.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(1000 * patience(15))
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: thrown.append(str(error)))
        return page

    yield new
    for context in contexts:
        context.close()
    assert not thrown


@pytest.fixture
def page(new_page: NewPage) -> Page:
    return new_page()


@pytest.fixture
def seen(page: Page) -> Seen:
    return Seen(page.evaluate)


@pytest.fixture
def tabs(playwright: Playwright, tmp_path: Path) -> Iterator[BrowserContext]:
    """Start a browser whose tab is hidden when another tab comes to the front, as for a person.

    Playwright makes all pages that it starts believe that they are in front. A browser that it connects to with
    `no_defaults` behaves normally.
    """
    with engines.chromium(playwright, tmp_path) as chromium:
        yield chromium.context


@pytest.fixture(scope="module", params=["chromium", "firefox", "webkit"])
def started_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("engine")
    with contextlib.ExitStack() as stack:
        if request.param == "chromium":
            playwright = request.getfixturevalue("playwright")
            yield stack.enter_context(engines.chromium(playwright, folder))
        else:
            yield stack.enter_context({"firefox": engines.firefox, "webkit": engines.webkit}[request.param](folder))


@pytest.fixture
def engine(started_engine: Engine) -> Iterator[Engine]:
    """Return Chromium, Firefox and WebKitGTK in turn, each as a person has it: nothing in them is emulated."""
    yield started_engine
    started_engine.go("about:blank")


@pytest.fixture
def start_wire() -> Iterator[Callable[[int], Wire]]:
    """Put a relay before a port, which counts requests and can break streams."""
    with contextlib.ExitStack() as stack:

        def start(port: int) -> Wire:
            wire = Wire(port)
            stack.callback(wire.close)
            return wire

        yield start


@pytest.fixture
def wire(daemon: Daemon, start_wire: Callable[[int], Wire]) -> Wire:
    return start_wire(daemon.port)


@pytest.fixture
def refused(start_daemon: StartDaemon, start_wire: Callable[[int], Wire], tmp_path: Path) -> Refused:
    file = tmp_path / "users"
    users.add(file, NAME, Role.ADMIN, PASSWORD)
    daemon = start_daemon(http__trusted_proxies=["127.0.0.1"], http__users_file=str(file))
    return Refused(daemon, start_wire(daemon.port))


@pytest.fixture
def keep_screenshot(pytestconfig: pytest.Config) -> Callable[[Page, str], None]:
    """Write a PNG of the whole page into DIR if the option `--screenshots DIR` was given."""
    folder: Path | None = pytestconfig.getoption("--screenshots", default=None)

    def keep(page: Page, name: str) -> None:
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=folder / f"{name}.png", full_page=True)

    return keep
