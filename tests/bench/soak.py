"""Run a camera for an hour with viewers that stay, viewers that come and go, killed camera processes and reloads.

At the end it must hold the same resources as at the beginning.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import frames, meter
from tests.bench.figures import Figure
from tests.bench.servers import CLIENT_CPU, Pictures, Rig, lift

_VIEWERS = 100
_CHURN = 5  # new viewers a second
_SAMPLE_SECONDS = 1.0
_KILL_SECONDS = 47.0
_RELOAD_SECONDS = 31.0
# connections settle and allocators find their size
_SETTLE_SECONDS = 30.0
_TOLERANCE_PERCENT = 2.0


def run(rig: Rig, cache: Path, seconds: float, say: Callable[[str], None]) -> list[Figure]:
    pictures = Pictures(frames.folder(cache, 1280, 720, 60_000), 1280, 720)
    samples: dict[str, list[float]] = {"memory": [], "threads": [], "descriptors": []}
    kills = 0
    with rig.daemon(pictures) as server:
        argv = [
            str(rig.built["load"]),
            "-n",
            str(_VIEWERS),
            "--churn",
            str(_CHURN),
            "-w",
            "0",
            "-d",
            str(_SETTLE_SECONDS + seconds),
        ]
        load = subprocess.Popen(
            [*argv, str(server.port), "/stream"], stdout=subprocess.DEVNULL, preexec_fn=lambda: lift(CLIENT_CPU)
        )
        try:
            time.sleep(_SETTLE_SECONDS)
            began = time.monotonic()
            kill_at, reload_at, say_at = began + _KILL_SECONDS, began + _RELOAD_SECONDS, began + 60
            while (now := time.monotonic()) < began + seconds:
                if load.poll() is not None or server.process.poll() is not None:
                    raise RuntimeError("the load or the server ended before its time")
                if now >= kill_at:
                    kill_at += _KILL_SECONDS
                    for child in meter.family(server.pid)[1:]:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(child, signal.SIGKILL)
                            kills += 1
                if now >= reload_at:
                    reload_at += _RELOAD_SECONDS
                    os.kill(server.pid, signal.SIGHUP)
                samples["memory"].append(meter.resident_mb(server.pid))
                samples["threads"].append(meter.threads(server.pid))
                samples["descriptors"].append(meter.descriptors(server.pid))
                if now >= say_at:
                    say_at += 60
                    say(", ".join(f"{name} {values[-1]:g}" for name, values in samples.items()) + f", {kills} kills")
                time.sleep(_SAMPLE_SECONDS)
        finally:
            load.kill()
            load.wait()
    return [
        Figure(f"{name}: last quarter, of the first", abs(_change_percent(values)), "% away", _TOLERANCE_PERCENT)
        for name, values in samples.items()
    ]


def _change_percent(values: list[float]) -> float:
    quarter = len(values) // 4
    first, last = statistics.mean(values[:quarter]), statistics.mean(values[-quarter:])
    return 100 * (last - first) / first
