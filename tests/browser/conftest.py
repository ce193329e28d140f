"""Start a real daemon with its test picture, and Debian's Chromium to look at its page."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.harness import RUN, Daemon, running, until
from tests.lateness import patience

CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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
def tabs(playwright: Playwright, tmp_path: Path) -> Iterator[BrowserContext]:
    """Start a browser whose tab is hidden when another tab comes to the front, as for a person.

    Playwright makes all pages that it starts believe that they are in front. A browser that it connects to with
    `no_defaults` behaves normally.
    """
    profile = tmp_path / "profile"
    options = ["--remote-debugging-port=0", f"--user-data-dir={profile}"]
    process = subprocess.Popen([CHROMIUM, *CHROMIUM_FLAGS, *options], stderr=subprocess.DEVNULL)
    try:
        browser = playwright.chromium.connect_over_cdp(_debugger(profile), no_defaults=True)
        context = browser.contexts[0]
        context.set_default_timeout(1000 * patience(15))
        yield context
        browser.close()
    finally:
        process.terminate()
        process.wait(patience(10))


def _debugger(profile: Path) -> str:
    """Return the address of the browser's debugger once it has its first tab: connecting earlier can hang."""

    def joined() -> str | None:
        with contextlib.suppress(OSError, IndexError, ValueError):  # no file, no line in it, nobody listens yet
            port = int((profile / "DevToolsActivePort").read_text().split()[0])
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as reply:
                if any(target["type"] == "page" for target in json.load(reply)):
                    return f"http://127.0.0.1:{port}"
        return None

    address: str = until("Chromium has a tab that can be joined", joined, 20)
    return address


@pytest.fixture
def keep_screenshot(pytestconfig: pytest.Config) -> Callable[[Page, str], None]:
    """Write a PNG of the whole page into DIR if the option `--screenshots DIR` was given."""
    folder: Path | None = pytestconfig.getoption("--screenshots", default=None)

    def keep(page: Page, name: str) -> None:
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=folder / f"{name}.png", full_page=True)

    return keep
