"""Show ffmpeg and Chromium the oddities that are not in SEEN yet, and print what they make of them, as lines for it."""

from __future__ import annotations

import subprocess

from playwright.sync_api import sync_playwright

from tests.upstream.oddities import SEEN, TABLE
from tests.upstream.servers import once, serving

_SECONDS = 5
_LOADED = "document.images[0].naturalWidth"


def ffmpeg(url: str) -> str:
    """Return how many pictures ffmpeg decodes."""
    argv = ["ffmpeg", "-nostdin", "-loglevel", "quiet", "-i", url, "-f", "framecrc", "-fps_mode", "passthrough", "-"]
    try:
        out = subprocess.run(argv, capture_output=True, timeout=_SECONDS, check=False).stdout
    except subprocess.TimeoutExpired as late:
        out = late.stdout or b""
    return str(sum(not line.startswith(b"#") for line in out.splitlines()))


def main() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page()
        for oddity in (oddity for oddity in TABLE if oddity.name not in SEEN):
            with serving(once(oddity.sent)) as server:
                decoded = ffmpeg(server.url())
                page.set_content(f'<img src="{server.url()}">')
                page.wait_for_timeout(300)
                shown = "shown" if page.evaluate(_LOADED) else "not shown"
            print(f'    "{oddity.name}": ("{decoded}", "{shown}"),', flush=True)
        browser.close()


if __name__ == "__main__":
    main()
