"""Measure processor time, memory, threads and descriptors of all processes of a server."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
# The thread of tests/usb/rig/fakev4l.c stands for the camera's own electronics.
_CAMERA_THREAD = "fakev4l"
_CPUCLOCK_SCHED = 2  # <linux/posix-timers.h>: the scheduler's own count, in ns


@dataclass(frozen=True)
class Reading:
    """The counters at the CLOCK_MONOTONIC time *at*: CPU seconds since the start of each process, by process.

    *wakeups* counts how often threads of the server process went to sleep and woke.
    """

    at: float
    cpu: dict[int, float]
    wakeups: int


def family(pid: int) -> list[int]:
    """Return *pid* and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, rest = [], [pid]
    while rest:
        found.append(rest.pop())
        rest += children.get(found[-1], [])
    return found


def read(pid: int) -> Reading:
    """Return the present counters of the server *pid*."""
    cpu = {}
    for member in family(pid):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            cpu[member] = _cpu_seconds(member)
    return Reading(time.monotonic(), cpu, _wakeups(pid))


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process without its camera thread."""
    seconds = time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)
    for task in (_PROC / str(pid) / "task").iterdir():
        with contextlib.suppress(OSError):
            if (task / "comm").read_text().strip() == _CAMERA_THREAD:
                seconds -= int((task / "schedstat").read_text().split()[0]) / 1e9
    return seconds


def cpu_between(before: Reading, after: Reading, pid: int | None = None) -> float:
    """Return the CPU seconds of all processes, or of one, between two readings."""
    pids = after.cpu if pid is None else [pid]
    return sum(after.cpu[one] - before.cpu.get(one, 0.0) for one in pids)


def _wakeups(pid: int) -> int:
    count = 0
    for task in (_PROC / str(pid) / "task").iterdir():
        with contextlib.suppress(OSError):
            count += _status_number(task / "status", "voluntary_ctxt_switches")
    return count


def resident_mb(pid: int) -> float:
    """Return the resident memory of one process in MB (10^6 bytes)."""
    return _status_number(_PROC / str(pid) / "status", "VmRSS") * 1024 / 1e6


def most_resident_mb(pid: int) -> float:
    """Return the most resident memory that one process has had, in MB (10^6 bytes)."""
    return _status_number(_PROC / str(pid) / "status", "VmHWM") * 1024 / 1e6


def threads(pid: int) -> int:
    return _status_number(_PROC / str(pid) / "status", "Threads")


def descriptors(pid: int) -> int:
    return sum(1 for _ in (_PROC / str(pid) / "fd").iterdir())


def _status_number(file: Path, key: str) -> int:
    for line in file.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise ValueError(f"no {key} in {file}")
