"""A camera that runs for years: a clock that jumps, and no writes to the disk."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.kit.daemon import RIG, ROOT, Daemon, running
from tests.kit.lateness import patience
from tests.kit.proc import files_open_for_writing, written
from tests.kit.wait import until
from tests.kit.wire import Reading

CLOCK = RIG.with_name("clock")
TEN_YEARS = 10 * 365 * 86400.0


def test_a_clock_that_jumps_by_years_changes_nothing_but_the_timestamps(tmp_path: Path) -> None:
    offset = tmp_path / "offset"

    def jump(seconds: float) -> None:
        new = offset.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(offset)

    jump(0)
    env = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, CLOCK))), "CLOCK_OFFSET_FILE": str(offset)}
    with running(tmp_path / "daemon", {"source.stall_timeout_seconds": 2.0}, env=env) as daemon:
        viewer = Reading(daemon.watch())
        until("pictures", lambda: len(viewer.parts) > 25)
        log = daemon.log()
        for years in (TEN_YEARS, -TEN_YEARS, 0.0):
            count = len(viewer.parts)
            jump(years)
            until("pictures", lambda count=count: len(viewer.parts) > count + 15)
            assert abs(viewer.parts[-1].timestamp - (time.time() + years)) < 2, "the clock was not the daemon's"
            asked = time.monotonic()
            assert daemon.get("/snapshot?max_age_ms=500")[0] == 200
            assert time.monotonic() - asked < patience(2)
            table = daemon.state()
            assert (table["state"], table["camera_process"]["starts"]) == ("streaming", 1)
            assert 0 <= table["frames"]["age_seconds"] < 1
            assert 0 <= table["since_seconds"] <= table["uptime_seconds"] < 90
        gaps = [after.arrived - before.arrived for before, after in itertools.pairwise(viewer.finish())]
        assert max(gaps) < 1
        assert daemon.log().removeprefix(log).count("\n") == 0, "nothing happened that is worth a line"


@pytest.mark.usefixtures("kernel_that_counts")
def test_while_it_streams_nothing_is_written_to_disk(daemon: Daemon) -> None:
    pids = (daemon.process.pid, daemon.camera_pid())
    viewers = [Reading(daemon.watch()) for _ in range(3)]
    for path in ("/snapshot", "/state", "/healthz", "/metrics", "/"):
        daemon.get(path)
    until("pictures", lambda: all(len(viewer.parts) > 10 for viewer in viewers))
    before = [written(pid) for pid in pids]
    seen: set[str] = set()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        for path in ("/snapshot", "/state", "/healthz", "/metrics", "/"):
            assert daemon.get(path)[0] == 200
        for pid in pids:
            seen |= files_open_for_writing(pid)
        time.sleep(0.05)
    assert [written(pid) for pid in pids] == before
    frames = "/memfd:frames (deleted)"  # memory
    assert seen - {frames} == {str(daemon.log_file)}, "standard error, which is the journal's socket in a service"
    for viewer in viewers:
        viewer.finish()


@pytest.fixture
def kernel_that_counts(tmp_path: Path) -> None:
    """Skip a test where a write would not be seen: the folder is in memory, or the kernel does not count."""
    file = tmp_path / "file"
    script = f"echo written >{file}; sync {file}; grep write_bytes /proc/$$/io"
    told = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30, check=True).stdout
    if told.splitlines()[0] == "write_bytes: 0":
        pytest.skip("no disk is written to here, or nobody counts it")
