"""A real daemon with its test picture, and Debian's Chromium to look at its page."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.lateness import patience

CHECKOUT = Path(__file__).parents[2]
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


class Daemon:
    """`pi-cam-daemon run` in a process of its own, on a free port unless *port* says which."""

    def __init__(self, log: Path, *settings: str, port: int = 0, config: Path | None = None) -> None:
        settings = (f"http.port={port}", 'http.listen_address="127.0.0.1"', *settings)
        options = [word for setting in settings for word in ("--set", setting)]
        options += ["--config", str(config)] if config else []
        self.log = log
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pi_cam_daemon", "run", *options],
                cwd=CHECKOUT,
                env={**os.environ, "STATE_DIRECTORY": str(log.parent / "state")},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read_lines, name="daemon's output", daemon=True)
        self._reader.start()
        self.address = self._find_address(time.monotonic() + 20)
        self.port = int(self.address.rstrip("/").rpartition(":")[2])

    def _read_lines(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _find_address(self, deadline: float) -> str:
        seen = ""
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = ""
            seen += line
            if found := re.search(r"https?://127\.0\.0\.1:\d+/", line):
                return found[0]
            if not line:
                self.stop()
                pytest.fail(f"the daemon named no address:\n{seen}{self.log.read_text()}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def state(self) -> Any:
        with urllib.request.urlopen(self.address + "state", timeout=5) as reply:
            return json.load(reply)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(patience(10))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(patience(10))
        self._reader.join(patience(10))


StartDaemon = Callable[..., Daemon]


@pytest.fixture
def start_daemon(tmp_path: Path) -> Iterator[StartDaemon]:
    with contextlib.ExitStack() as stack:

        def start(*settings: str, port: int = 0, config: Path | None = None) -> Daemon:
            daemon = Daemon(tmp_path / "daemon.log", *settings, port=port, config=config)
            stack.callback(daemon.stop)
            return daemon

        yield start


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> Daemon:
    """One that shows the test picture."""
    return start_daemon('source.kind="pattern"')


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}: apt install chromium")
    expect.set_options(timeout=15000)
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
    """Makes a page with the context options of Playwright; whatever a script of it throws fails the test."""
    contexts: list[BrowserContext] = []
    thrown: list[str] = []

    def new(**options: Any) -> Page:
        context = chromium.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(15000)
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
    """A browser whose tabs are hidden when another one comes to the front, as a person's are.

    Playwright makes all pages it starts believe that they are in front; only a browser that it joins with
    `no_defaults` is left alone.
    """
    profile = tmp_path / "profile"
    options = ["--remote-debugging-port=0", f"--user-data-dir={profile}"]
    process = subprocess.Popen([CHROMIUM, *CHROMIUM_FLAGS, *options], stderr=subprocess.DEVNULL)
    try:
        browser = playwright.chromium.connect_over_cdp(_debugger(profile), no_defaults=True)
        context = browser.contexts[0]
        context.set_default_timeout(15000)
        yield context
        browser.close()
    finally:
        process.terminate()
        process.wait(patience(10))


def _debugger(profile: Path) -> str:
    """Where the browser with this *profile* can be joined, as soon as it has its first tab: earlier joins can hang."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        time.sleep(0.05)
        with contextlib.suppress(OSError, IndexError, ValueError):  # no file, no line in it, nobody listens yet
            port = int((profile / "DevToolsActivePort").read_text().split()[0])
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as reply:
                if any(target["type"] == "page" for target in json.load(reply)):
                    return f"http://127.0.0.1:{port}"
    pytest.fail("Chromium opened no tab that can be joined")


@pytest.fixture
def keep_screenshot(pytestconfig: pytest.Config) -> Callable[[Page, str], None]:
    """Writes a PNG of the whole page where `--screenshots DIR` asks for it."""
    folder: Path | None = pytestconfig.getoption("--screenshots", default=None)

    def keep(page: Page, name: str) -> None:
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=folder / f"{name}.png", full_page=True)

    return keep
