"""Make the pictures of the documents for `scripts/screenshots`."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.engines import CHROMIUM, CHROMIUM_FLAGS
from tests.kit.daemon import ROOT
from tests.screenshots.scenery import photographs
from tests.screenshots.session import Session
from tests.screenshots.states import ON_THE_WALL, STATES
from tests.screenshots.views import VIEWS, no_signal

NAMES = [*STATES, *VIEWS, "no-signal"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/screenshots", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of them: {', '.join(NAMES)}")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "screens", help="the folder for the pictures")
    options = parser.parse_args()
    if strangers := set(options.names) - set(NAMES):
        parser.error(f"there is no picture {', '.join(sorted(strangers))}; there are {', '.join(NAMES)}")
    options.output.mkdir(parents=True, exist_ok=True)
    found = photographs()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        for name in options.names or NAMES:
            begun = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="pi-cam-screenshots-") as folder:
                session = Session(browser, Path(folder), found)
                log = io.StringIO()
                try:
                    with contextlib.redirect_stdout(log), session.stack:
                        files = _make(session, name, options.output)
                except BaseException:
                    print(log.getvalue(), file=sys.stderr)
                    raise
            sizes = ", ".join(f"{file.name} {file.stat().st_size / 1000:.0f} kB" for file in files)
            print(f"{sizes}, {time.monotonic() - begun:.0f} s", flush=True)
        browser.close()
    return 0


def _make(session: Session, name: str, output: Path) -> list[Path]:
    if name == "no-signal":
        return no_signal(session, output)
    (STATES | VIEWS)[name](session)
    if name in STATES and name not in ON_THE_WALL:
        session.wait(name)
    return session.keep(name, output)


if __name__ == "__main__":
    sys.exit(main())
