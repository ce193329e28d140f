"""Commands that a camera process answers, and the wait for the answers."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from pi_cam_daemon.config.text import Value
from pi_cam_daemon.ipc.messages import Look, Report, SetControls, Still
from pi_cam_daemon.ipc.protocol import COUNT, Kind

Answer = TypeVar("Answer", Report, Still, Look)


class Questions(ABC):
    """Asks a camera process, through `tell`. One thread gives the answers to `answer`; any thread may ask.

    Frames may pause for a still until *stall_grace_until* (CLOCK_MONOTONIC). After *ended* no answer comes.
    """

    def __init__(self) -> None:
        self._answered = threading.Condition()
        self._report: Report | None = None
        self._still: Still | None = None
        self._look: Look | None = None
        self.stall_grace_until = 0.0
        self.ended = False

    @abstractmethod
    def tell(self, kind: Kind, payload: bytes = b"") -> None:
        """Send a command, without waiting."""

    def adjust(self, number: int, values: dict[str, Value], seconds: float) -> Report:
        """Set *values* on the camera and return its answer. For one thread at a time; *number* differs for each call.

        Raises TimeoutError after *seconds* without an answer, and EOFError when the camera process has ended.
        """
        self.tell(Kind.SET, SetControls(number, values).to_json())
        return self._wait(lambda: self._report, number, seconds)

    def take_still(self, number: int, seconds: float) -> Still:
        """Take a still, a picture at the full size of the sensor. Arguments and errors: see `adjust`."""
        self.stall_grace_until = time.monotonic() + seconds
        try:
            self.tell(Kind.TAKE_STILL, COUNT.pack(number))
            return self._wait(lambda: self._still, number, seconds)
        finally:
            self.stall_grace_until = 0.0
            with self._answered:
                self._still = None  # megabytes

    def look(self, number: int, seconds: float) -> Look:
        """Return what the newest look for motion has seen. Arguments and errors: see `adjust`."""
        self.tell(Kind.LOOK, COUNT.pack(number))
        return self._wait(lambda: self._look, number, seconds)

    def answer(self, answer: Report | Still | Look) -> None:
        """Take an answer of the camera process."""
        with self._answered:
            if isinstance(answer, Report):
                self._report = answer
            elif isinstance(answer, Look):
                self._look = answer
            elif self.stall_grace_until:  # else it is too late: nobody waits any more
                self._still = answer
            self._answered.notify_all()

    def end(self) -> None:
        """Let nobody wait any more."""
        with self._answered:
            self.ended = True
            self._answered.notify_all()

    def _wait(self, last: Callable[[], Answer | None], number: int, seconds: float) -> Answer:
        def answer() -> Answer | None:
            newest = last()
            return newest if newest and newest.number == number else None

        with self._answered:
            if not self._answered.wait_for(lambda: answer() or self.ended, seconds):
                raise TimeoutError
            if found := answer():
                return found
        raise EOFError
