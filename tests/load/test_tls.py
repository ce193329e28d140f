"""The cost of encrypted viewers, and their effect on plain ones, measured in turns on one daemon."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from pathlib import Path

import pytest

from tests.conftest import Report
from tests.kit import certificates
from tests.kit.daemon import Daemon, running
from tests.kit.wait import until
from tests.load.viewers import Crowd

PLAIN = 50
SECONDS = 6.0


def seen(crowd: Crowd, seconds: float) -> tuple[float, float, float]:
    """Return the lowest rate of a viewer in the last *seconds*, and the pictures' ages, p50 and p99, in ms."""
    since = time.monotonic() - seconds
    late = [[age for at, age in came if at >= since] for came in crowd.came()]
    ages = statistics.quantiles([age * 1000 for ages in late for age in ages], n=100)
    return min(map(len, late)) / seconds, ages[49], ages[98]


def go_first(pid: int) -> None:
    """Give all threads of a process priority over other work, so that other work does not affect the measurement."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has ended since it was listed
            os.sched_setscheduler(int(thread.name), os.SCHED_RR, os.sched_param(1))


def processor_seconds(daemon: Daemon) -> float:
    """Return the processor time of the server's own process."""
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.parametrize("encrypted", [1, 10, 50])
def test_plain_viewers_do_not_notice_encrypted_ones(tmp_path: Path, report: Report, encrypted: int) -> None:
    certificate = certificates.make(tmp_path / "certificate")
    settings = {
        **certificate.settings(max_tls_viewers=50, max_viewers_per_address=100, max_connections=300),
        "video.width": 1280, "video.height": 720, "video.framerate": 15.0,
    }  # fmt: skip
    alone: list[tuple[float, float, float]] = []
    beside: list[tuple[float, float, float]] = []
    theirs: list[tuple[float, float, float]] = []
    used: dict[int, list[float]] = {0: [], encrypted: []}
    with running(tmp_path / "daemon", settings) as daemon:
        daemon.wait_for_state("streaming")
        for pid in (daemon.process.pid, daemon.camera_pid()):
            go_first(pid)
        for _ in range(2):  # in turns, so that other work on this machine meets both
            for count in (0, encrypted):
                until("room for the next", lambda: daemon.state()["viewers"] == 0)
                crowds = [Crowd(daemon, PLAIN), *([Crowd(daemon, count, certificate.ca)] if count else [])]
                for crowd in crowds:
                    go_first(crowd.process.pid)
                time.sleep(1)
                before = processor_seconds(daemon)
                time.sleep(SECONDS)
                used[count].append((processor_seconds(daemon) - before) / SECONDS)
                for crowd, turns in zip(crowds, (beside, theirs) if count else (alone,), strict=True):
                    turns.append(seen(crowd, SECONDS))
                    crowd.close()

    def middle(turns: list[tuple[float, float, float]]) -> str:
        rate, p50, p99 = (statistics.mean(column) for column in zip(*turns, strict=True))
        return f"{rate:.1f} pictures/s at least, age p50/p99 {p50:.1f} / {p99:.1f} ms"

    report(f"{PLAIN} plain viewers alone: {middle(alone)}; server {statistics.mean(used[0]):.1%} of a processor")
    report(f"beside {encrypted} encrypted: {middle(beside)}; server {statistics.mean(used[encrypted]):.1%}")
    report(f"the {encrypted} encrypted: {middle(theirs)}")
    assert statistics.mean(turn[0] for turn in beside) >= 0.9 * statistics.mean(turn[0] for turn in alone)
