"""The report of a trial: a text file with one line for each result. It has no passwords and no addresses."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pi_cam_daemon.system.redaction import Redactor


@dataclass(frozen=True)
class Result:
    """One result: the measured *value*, and what was *expected*. *ok* is None where only a person can judge."""

    name: str
    value: str
    expected: str
    ok: bool | None = None

    def __str__(self) -> str:
        verdict = {True: "ok", False: "FAILED", None: "measured"}[self.ok]
        return " ".join(f"{verdict} {self.name}: {self.value}; expected {self.expected}".split())


Results = Generator[Result, None, None]


class TooLong(Exception):
    """A step did not end in time. No OSError: the steps expect those, and would go on."""


class Report:
    """Writes results to the file *path* as they come, so that a Pi that hangs leaves those before."""

    def __init__(self, path: Path) -> None:
        self.failed = self.count = 0
        self._redactor = Redactor()
        self._file = path.open("w", encoding="utf-8", errors="replace")

    def close(self) -> None:
        self._file.close()

    def text(self, title: str, text: str, redact: bool = True) -> None:
        """Add a section. *redact* False is for versions, of which some look like addresses."""
        self._write(f"\n== {title}\n{self._redactor.redact(text) if redact else text}")

    def result(self, result: Result) -> None:
        """Add a line, and print it on standard error too."""
        self.count += 1
        self.failed += result.ok is False
        line = self._redactor.redact(str(result))
        self._write(line)
        print(line, file=sys.stderr, flush=True)

    def step(self, title: str, seconds: float, step: Callable[[], Results]) -> None:
        """Add the results of *step* under *title*. One that fails, or takes over *seconds*, does not end the others."""
        self._write(f"\n== {title}")
        print(f"== {title}", file=sys.stderr, flush=True)
        try:
            with _deadline(seconds), contextlib.closing(step()) as results:
                for result in results:
                    self.result(result)
        except Exception as error:  # noqa: BLE001 - the top of a step: on unknown hardware anything may be raised
            why = str(error) or "no reason given"
            self.result(Result(title, f"{type(error).__name__}: {why}", f"an end within {seconds:.0f} s", ok=False))

    def _write(self, text: str) -> None:
        print(text.rstrip("\n"), file=self._file, flush=True)


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise TooLong inside the block after *seconds*, whatever it waits for."""

    def ring(*_: Any) -> None:
        raise TooLong(f"not within {seconds:.0f} s")

    handler = signal.signal(signal.SIGALRM, ring)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)
