"""The page names each cause for which there is no camera, or files that are not in force."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looking import open_drawer, told, wait_until_live
from tests.kit.causes import CAUSES, Cause
from tests.kit.daemon import REFUSED, RUN, Daemon, running
from tests.kit.wait import until
from tests.server.test_daemon import ORDINARY_USER
from tests.server.test_stand_in import env, settings
from tests.systemd import csi

WRONG = {"video.rotation": 45}


def bring_about(stack: ExitStack, folder: Path, cause: Cause) -> Daemon:
    """Start a daemon with *cause*, or let it happen to the running daemon."""
    environment = env(folder, "" if cause.event else cause.picamera2)
    package = folder / "modules"
    if cause.event:
        (package / "picamera2.py").unlink()
        csi.put(package)
    argv: list[str | Path] = [*RUN]
    if cause.forbidden:
        (folder / "ordinary-user.py").write_text(ORDINARY_USER)
        argv = [sys.executable, folder / "ordinary-user.py", *RUN[1:]]
    home = folder / "daemon"
    if cause.last:
        (home / "state").mkdir(parents=True)
        (home / "state" / "last-camera.json").write_text(cause.last)
    daemon = stack.enter_context(running(home, settings(), env=environment, argv=argv))
    if not cause.event:
        return daemon
    until("the camera", lambda: daemon.state()["source"]["kind"] == "csi" and daemon.state()["ok"])
    if cause.event == "lost":
        (package / "picamera2" / "__init__.py").write_text(cause.picamera2)
        os.kill(daemon.camera_pid(), signal.SIGKILL)
    elif cause.event == "reload":
        daemon.reload(settings(**WRONG), REFUSED)
    else:
        daemon.stop()
        return stack.enter_context(running(home, settings(**WRONG), env=environment, argv=argv))
    return daemon


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name.replace(" ", "-"))
def test_a_cause_is_named_on_the_page(tmp_path: Path, page: Page, cause: Cause) -> None:
    if cause.forbidden and os.geteuid() != 0:
        pytest.skip("needs root, for a /dev of its own")
    with ExitStack() as stack:
        daemon = bring_about(stack, tmp_path, cause)
        page.goto(daemon.address)
        if cause.health == 200:
            wait_until_live(page)
            expect(open_drawer(page, "info").locator("#files")).to_contain_text(cause.page)
            return
        expect(page.locator("#badge")).to_have_text(re.compile("^(Test picture|No camera)$"))
        for words in (cause.page, cause.hint.replace("`", ""), cause.detail):
            expect(told(page)).to_contain_text(words, timeout=5000)
