"""A bug in a thread ends the daemon only if nothing would work without that thread."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.kit.daemon import RIG, Daemon, running
from tests.kit.wait import until

BUGGY = RIG.with_name("buggy.py")


def buggy(folder: Path, thread: str, fault: str = "") -> AbstractContextManager[Daemon]:
    (folder / "fault").write_text(fault)
    return running(
        folder, {"video.width": 320, "video.height": 240}, argv=[sys.executable, BUGGY, thread, RIG, folder / "fault"]
    )


def errors(daemon: Daemon) -> set[str]:
    return {line for line in daemon.get("/metrics")[2].decode().split("\n") if line.startswith("pi_cam_thread_errors_")}


def counted(**more: float) -> set[str]:
    counts = {**dict.fromkeys(("request", "card", "events", "event-streams", "webhook", "other"), 0.0), **more}
    return {f'pi_cam_thread_errors_total{{thread="{name}"}} {count}' for name, count in counts.items()}


def test_a_bug_in_a_request_ends_that_connection_and_is_counted(tmp_path: Path) -> None:
    with buggy(tmp_path, "request") as daemon:
        for _ in range(2):
            with pytest.raises(OSError):
                daemon.get("/state")
        until("both counted", lambda: errors(daemon) == counted(request=2.0))
        assert daemon.log().count("RuntimeError: a bug of the test's own") == 2
        assert daemon.get("/livez")[0] == 200
        assert daemon.stop() == os.EX_OK


def test_a_bug_in_drawing_a_card_is_counted_and_the_packaged_one_stays(tmp_path: Path) -> None:
    with buggy(tmp_path, "card", "missing") as daemon:
        viewer = daemon.watch()
        until("counted", lambda: errors(daemon) == counted(card=1.0))
        viewer.parts(3)
        viewer.close()
        assert "a bug ended the thread card" in daemon.log()
        assert "RuntimeError: a bug of the test's own" in daemon.log()
        assert daemon.stop() == os.EX_OK


@pytest.mark.parametrize(
    ("thread", "ask"),
    [
        ("accept", lambda daemon: daemon.get("/livez")),
        ("streams", lambda daemon: daemon.watch().parts(100)),
        ("supervisor", lambda _: None),
    ],
)
def test_a_bug_in_one_of_the_loops_ends_the_daemon(
    tmp_path: Path, thread: str, ask: Callable[[Daemon], object]
) -> None:
    with buggy(tmp_path, thread) as daemon:
        with contextlib.suppress(OSError, AssertionError):
            ask(daemon)
        assert daemon.process.wait(10) == os.EX_SOFTWARE
        assert f"a bug ended the thread {thread}" in daemon.log()
