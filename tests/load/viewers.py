"""Run a crowd of viewers and collect the pictures that each received."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.kit.daemon import Daemon
from tests.kit.wait import until

CROWD = Path(__file__).with_name("crowd.py")


class Crowd:
    """*count* viewers in a process of their own, over TLS with a *ca*. *first* goes before the command."""

    def __init__(self, daemon: Daemon, count: int, ca: Path | None = None, first: Sequence[str] = ()) -> None:
        argv = [*first, sys.executable, CROWD, str(daemon.port), str(count), *([ca] if ca else [])]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._counts = [0] * count
        until("all watch", lambda: min(self.pictures()) > 0)

    def came(self) -> list[list[tuple[float, float]]]:
        """Return, for each viewer since the last call, the time (CLOCK_MONOTONIC) and age of each picture."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the viewers are gone"
        each: list[list[tuple[float, float]]] = json.loads(line)
        self._counts = [before + len(came) for before, came in zip(self._counts, each, strict=True)]
        return each

    def pictures(self) -> list[int]:
        """Return the number of pictures that each viewer has received."""
        self.came()
        return self._counts

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
