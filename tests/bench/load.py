"""Put viewers on a server and measure what serving them costs."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from tests.bench import meter
from tests.bench.servers import CLIENT_CPU, Rig, Server, lift

_DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Load:
    """The result of one measurement: what load.c saw, and the *cpu* seconds of the server meanwhile. Times are in ms.

    *server_cpu* is the time of the server process alone, *resident_mb* its memory at the end.
    """

    seen: dict[str, Any]
    cpu: float
    server_cpu: float
    wakeups: int
    resident_mb: float

    @property
    def seconds(self) -> float:
        return float(self.seen["seconds"])

    @property
    def us_per_picture(self) -> float:
        """Return the processor time in µs for each picture that was delivered whole."""
        return self.cpu / float(self.seen["pictures"]) * 1e6

    @property
    def percent(self) -> float:
        """Return the processor time in percent of one core."""
        return 100 * self.cpu / self.seconds

    @property
    def fps(self) -> float:
        return float(self.seen["pictures"] / self.seconds / self.seen["viewers"])

    @property
    def fewest_fps(self) -> float:
        """Return the pictures a second of the viewer that got the fewest."""
        return float(self.seen["fewest"] / self.seconds)

    @property
    def snapshots_per_second(self) -> float:
        return float(self.seen["snapshot"]["count"] / self.seconds)

    def flaws(self, stamped: bool) -> list[str]:
        """Return the flaws that no run may have: lost or damaged connections and pictures."""
        kinds = ("ended", "errors", "corrupt", *(("unstamped",) if stamped else ()))
        return [f"{self.seen[kind]} {kind}" for kind in kinds if self.seen[kind]]


def run(rig: Rig, server: Server, *options: str, path: str = "stream", seconds: float, settle: float = 0.4) -> Load:
    """Run load.c with *options* against the server, let it settle, and measure."""
    argv = [
        str(rig.built["load"]),
        "-w",
        str(settle),
        "-d",
        str(seconds),
        *options,
        str(server.port),
        server.paths[path],
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: lift(CLIENT_CPU)) as process:
        assert process.stdout
        try:
            _expect("begin", process.stdout.readline())
            before = meter.read(server.pid)
            _expect("end", process.stdout.readline())
            after = meter.read(server.pid)
            resident = meter.resident_mb(server.pid)
            seen = json.loads(process.stdout.readline())
            process.wait(_DEADLINE_SECONDS)
        finally:
            process.kill()
    scale = seen["seconds"] / (after.at - before.at)
    return Load(
        seen,
        meter.cpu_between(before, after) * scale,
        meter.cpu_between(before, after, server.pid) * scale,
        after.wakeups - before.wakeups,
        resident,
    )


def _expect(word: str, line: str) -> None:
    if line.strip() != word:
        raise RuntimeError(f"load.c said {line!r} instead of {word!r}")
