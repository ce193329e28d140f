"""The cameras, relays and pages that one picture needs. All of them end with it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, TimeoutError, expect

from tests.browser.wire import Wire
from tests.kit.daemon import Daemon, running
from tests.kit.lateness import patience
from tests.screenshots.scenery import HEIGHT, RATE, WIDTH, Scene
from tests.upstream.servers import serving

LANGUAGES = {"en": "en-GB", "ko": "ko-KR"}
DESKTOP = {"viewport": {"width": 1280, "height": 720}}
TILE = 640  # width of a tile of a wall with four or two cameras, in pixels
_QUALITY = 80
_QUIET_MS = 60_000
# whether the rates that are shown are those of a machine with nothing else to do; 10 small pictures come in a second
_USUAL_RATE = """() => [["#rate", document.querySelector("[data-size=small][aria-pressed=true]") ? 8 : 13],
    [".rate", 8]].every(([selector, least]) => [...document.querySelectorAll(selector)].every((node) =>
        !node.textContent || node.textContent.match(/[0-9.]+/) >= least))"""


class Session:
    """The cameras and pages for one picture. *pages* are those that are open, by language."""

    def __init__(self, browser: Browser, folder: Path, photographs: Mapping[str, Path]) -> None:
        self.folder = folder
        self._photographs = photographs
        self._scenes: dict[tuple[str, int], Scene] = {}
        self.pages: dict[str, Page] = {}
        self.stack = contextlib.ExitStack()
        self._browser = browser
        self._numbers = itertools.count()

    def scene(self, name: str = "rocket", width: int = WIDTH) -> Scene:
        """Return what the cameras of this session see."""
        return self._scenes.setdefault((name, width), Scene(self._photographs[name], width))

    def camera(self, scene: str = "rocket", width: int = WIDTH, unkillable: bool = False, **settings: Any) -> Daemon:
        """Start a daemon that shows *scene*, and can be given faults; names of settings have __ for the dot."""
        server = self.stack.enter_context(serving(self.scene(scene, width).answer))
        shown: dict[str, Any] = {"source__kind": "upstream", "upstream__url": server.url(), "page__name": "Launch pad"}
        return self.daemon(unkillable=unkillable, **{**shown, **settings})

    def daemon(
        self,
        unkillable: bool = False,
        env: Mapping[str, str] | None = None,
        argv: Sequence[str | Path] = (),
        **settings: Any,
    ) -> Daemon:
        """Start a daemon with pictures of the usual size and rate."""
        usual = {"video.width": WIDTH, "video.height": HEIGHT, "video.framerate": RATE}
        named = {name.replace("__", "."): value for name, value in settings.items()}
        folder = self.folder / f"daemon-{next(self._numbers)}"
        return self.stack.enter_context(running(folder, {**usual, **named}, unkillable, env, argv))

    def wire(self, port: int) -> Wire:
        """Put a relay before *port*."""
        wire = Wire(port)
        self.stack.callback(wire.close)
        return wire

    def open(self, address: str, frozen_clock: bool = False, hang: str = "", **options: Any) -> None:
        """Open *address* in each language. Requests that match *hang* are never answered.

        With a *frozen_clock* no time passes for the page, so it does not grow impatient.
        """
        for language, locale in LANGUAGES.items():
            context = self._browser.new_context(**{**DESKTOP, "locale": locale, **options})
            self.stack.callback(context.close)
            context.set_default_timeout(1000 * patience(30))
            page = self.pages[language] = context.new_page()
            if frozen_clock:
                page.clock.set_fixed_time(page.evaluate("Date.now()"))
            if hang:
                page.route(hang, lambda _: None)
            page.goto(address, wait_until="commit" if hang else "load")

    def watch(self, address: str, **options: Any) -> None:
        """Open *address* in each language, and wait for the live picture and its rate."""
        self.open(address, **options)
        self.wait("live")
        for page in self.pages.values():
            expect(page.locator("#rate")).not_to_have_text("", timeout=1000 * patience(30))
            expect(page.locator("#viewers")).not_to_have_text("", timeout=1000 * patience(30))

    def wait(self, key: str, element: str = "#app") -> None:
        """Wait until *element* of each page tells the state *key*."""
        for page in self.pages.values():
            expect(page.locator(element)).to_have_attribute("data-key", key, timeout=1000 * patience(30))

    def keep(self, name: str, output: Path) -> list[Path]:
        """Write a JPEG of each page into *output*, and return the files."""
        files = []
        for language, page in self.pages.items():
            with contextlib.suppress(TimeoutError):  # of a machine that has no quiet moment
                page.wait_for_function(_USUAL_RATE, timeout=_QUIET_MS)
            page.mouse.move(1, 1)  # off the buttons
            page.wait_for_timeout(500)  # the picture is dimmed slowly
            files.append(output / f"{name}-{language}.jpg")
            page.screenshot(path=files[-1], type="jpeg", quality=_QUALITY)
        return files
