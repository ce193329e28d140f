"""Drive Debian's Chromium, Firefox and MiniBrowser (WebKitGTK), each in one tab, through what it has for that itself.

Firefox has Marionette, WebKitGTK has WebKitWebDriver, which speaks HTTP. Both take the commands of WebDriver.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, Playwright

from tests.browser.seen import Seen
from tests.kit.lateness import patience
from tests.kit.wait import free_port, until

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
# no page of its own at the start, and no requests but the tests'
FIREFOX_PREFERENCES = {
    "marionette.port": 0,
    "browser.startup.homepage": "about:blank",
    "browser.startup.page": 0,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.tabs.unloadOnLowMemory": False,
}
_ANSWERS_SECONDS = 30


class Engine(ABC):
    """A browser with one tab. Its processes are one process group. *seen* is the page of a camera in the tab."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.seen = Seen(self.run)

    @abstractmethod
    def go(self, address: str) -> None:
        """Load *address* and return when it is loaded."""

    def back(self) -> None:
        """Go back to the page before. One that was kept in memory does not load, so its address tells."""
        left = self.address()
        self.run("void setTimeout(() => history.back())")

        def there() -> bool:
            with contextlib.suppress(AssertionError, OSError, Error):  # asked between two pages
                return self.address() != left
            return False

        until("the page before", there)

    def address(self) -> str:
        """Return the address of the page that is shown."""
        return str(self.run("location.href"))

    @abstractmethod
    def run(self, expression: str) -> Any:
        """Return the value of a JavaScript *expression*; a promise is waited for."""

    def sleep(self, seconds: float) -> None:
        """Stop all of its processes for that long, as a laptop does whose lid is closed."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.killpg(self.process.pid, signal.SIGCONT)


class Chromium(Engine):
    def __init__(self, process: subprocess.Popen[bytes], profile: Path, playwright: Playwright) -> None:
        super().__init__(process)
        # one that is launched has no back-forward cache, and believes that each tab is in front
        browser = playwright.chromium.connect_over_cdp(debugger(profile), no_defaults=True)
        self.context = browser.contexts[0]
        self.context.set_default_timeout(1000 * patience(15))
        self.page = self.context.pages[0]

    def go(self, address: str) -> None:
        self.page.goto(address)

    def run(self, expression: str) -> Any:
        return self.page.evaluate(f"() => {expression}")


class WebDriver(Engine):
    """One that takes commands of WebDriver, each in its own way of sending them."""

    @abstractmethod
    def send(self, command: str, **parameters: object) -> Any:
        """Return the value that *command* has as its answer."""

    def go(self, address: str) -> None:
        self.send("Navigate", url=address)

    def run(self, expression: str) -> Any:
        return self.send("ExecuteScript", script=f"return {expression}", args=[])


class Firefox(WebDriver):
    def __init__(self, process: subprocess.Popen[bytes], profile: Path) -> None:
        super().__init__(process)
        file = profile / "MarionetteActivePort"
        port = until("Firefox can be driven", lambda: file.exists() and file.read_text(), 60)
        self._file = socket.create_connection(("127.0.0.1", int(port)), patience(_ANSWERS_SECONDS)).makefile("rwb")
        self._numbers = itertools.count(1)
        self._read()
        self.send("NewSession", capabilities={})

    def send(self, command: str, **parameters: object) -> Any:
        message = json.dumps([0, next(self._numbers), f"WebDriver:{command}", parameters]).encode()
        self._file.write(b"%d:%s" % (len(message), message))
        self._file.flush()
        _, _, error, answer = self._read()
        assert not error, error["message"]
        return answer and answer.get("value", answer)

    def _read(self) -> Any:
        length = b""
        while not length.endswith(b":"):
            byte = self._file.read(1)
            assert byte, "Firefox has hung up"
            length += byte
        return json.loads(self._file.read(int(length[:-1])))


class WebKit(WebDriver):
    _PATHS: Mapping[str, str] = {"Navigate": "/url", "ExecuteScript": "/execute/sync"}

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        super().__init__(process)
        self._address = f"http://127.0.0.1:{port}/session"
        until("WebKit can be driven", lambda: listens(port), 30)
        # without a choice of the browser, the driver starts the MiniBrowser beside it
        self._address += "/" + self._post("", {"capabilities": {}})["sessionId"]

    def send(self, command: str, **parameters: object) -> Any:
        return self._post(self._PATHS[command], parameters)

    def address(self) -> str:
        """Ask the browser, not the page: a script that is sent between two pages may get no answer for minutes."""
        return str(self._ask(urllib.request.Request(f"{self._address}/url")))

    def _post(self, path: str, parameters: object) -> Any:
        return self._ask(urllib.request.Request(self._address + path, json.dumps(parameters).encode()))

    @staticmethod
    def _ask(asked: urllib.request.Request) -> Any:
        with urllib.request.urlopen(asked, timeout=patience(_ANSWERS_SECONDS)) as answer:
            return json.load(answer)["value"]


def listens(port: int) -> bool:
    """Return whether somebody takes connections on *port* of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def debugger(profile: Path) -> str:
    """Return the address of Chromium's debugger once it has its first tab: connecting earlier can hang."""

    def joined() -> str | None:
        with contextlib.suppress(OSError, IndexError, ValueError):  # no file, no line in it, nobody listens yet
            port = int((profile / "DevToolsActivePort").read_text().split()[0])
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as reply:
                if any(target["type"] == "page" for target in json.load(reply)):
                    return f"http://127.0.0.1:{port}"
        return None

    address: str = until("Chromium has a tab that can be joined", joined, 20)
    return address


def processes(group: int, kind: str) -> list[int]:
    """Return the processes of *kind*, "renderer" or "gpu-process", of the Chromium that leads *group*."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):  # it has ended, or is no process
            pid = int(folder.name)
            if os.getpgid(pid) == group and f"--type={kind}" in (folder / "cmdline").read_text():
                found.append(pid)
    return found


@contextlib.contextmanager
def process(
    *argv: str | Path, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a process group of its own, and end the group."""
    if not shutil.which(argv[0]):
        pytest.skip(f"needs {argv[0]}, which scripts/test brings")
    started = subprocess.Popen(
        argv,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
        env={**os.environ, **(env or {})},
        pass_fds=pass_fds,
    )
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait(patience(10))


@contextlib.contextmanager
def chromium(playwright: Playwright, folder: Path) -> Iterator[Chromium]:
    profile = folder / "chromium"
    options = ["--remote-debugging-port=0", f"--user-data-dir={profile}"]
    with process(CHROMIUM, *CHROMIUM_FLAGS, *options, "about:blank") as started:
        yield Chromium(started, profile, playwright)


@contextlib.contextmanager
def firefox(folder: Path) -> Iterator[Firefox]:
    profile = folder / "firefox"
    profile.mkdir()
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in FIREFOX_PREFERENCES.items()]
    (profile / "user.js").write_text("".join(lines))
    argv = ("firefox-esr", "--headless", "--no-remote", "--marionette", "--profile", profile)
    with process(*argv, env={"HOME": str(folder)}) as started:
        yield Firefox(started, profile)


@contextlib.contextmanager
def webkit(folder: Path) -> Iterator[WebKit]:
    port = free_port()
    home = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    with _screen() as display, process("WebKitWebDriver", f"--port={port}", env=display | home) as started:
        yield WebKit(started, port)


@contextlib.contextmanager
def _screen() -> Iterator[dict[str, str]]:
    """Start an X server without a screen; yield the variable of the environment that names it."""
    read, write = os.pipe()
    with os.fdopen(read) as number, process("Xvfb", "-displayfd", str(write), "-nolisten", "tcp", pass_fds=[write]):
        os.close(write)
        yield {"DISPLAY": f":{number.readline().strip()}"}
