"""The camera dies while a program watches: the same connection shows the no-signal card, then pictures again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients import picture
from tests.clients.programs import PROGRAMS, Watching, watching
from tests.kit.daemon import running
from tests.kit.wait import until

# Not the size of the packaged card, so that the size may change in the middle of the stream. The card is there for
# five seconds and more, once a second: ffmpeg's filters drop what they hold when the size changes.
SETTINGS = {"video.width": 320, "video.height": 240, "source.start_timeout_seconds": 5.0}


def sees(watcher: Watching, what: str, wanted: Callable[[bytes], bool], since: int) -> int:
    """Return the number of the first picture after *since* that is *wanted*."""

    def found() -> int | None:
        news = watcher.pictures()[since:]
        return next((number for number, data in enumerate(news, since + 1) if wanted(data)), None)

    number: int = until(f"{watcher.program} shows {what}", found, 15)
    return number


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_killed_camera_is_survived_on_the_same_connection(program: str, tmp_path: Path) -> None:
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        with watching(program, daemon, tmp_path) as watcher:
            number = sees(watcher, "the test picture", picture.is_upright, 0)
            pid = daemon.camera_pid()
            os.kill(pid, signal.SIGSTOP)
            daemon.fault("never-opens")  # for the next camera process: long enough without a picture for the card
            os.kill(pid, signal.SIGKILL)
            number = sees(watcher, "the card", lambda data: not picture.is_upright(data), number)
            number = sees(watcher, "the test picture again", picture.is_upright, number)
            watcher.wait_for(number + 10)
            assert daemon.state()["viewers"] == 1
            assert (daemon.log().count(" came, "), daemon.log().count(" left (")) == (1, 0)
