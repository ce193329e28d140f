"""Probes: questions that a loop answers as long as it turns."""

from __future__ import annotations

from collections.abc import Callable


class Probe:
    """A question to the loop *name*. *wake* makes the loop come round, and it then calls `answer`."""

    def __init__(self, name: str, wake: Callable[[], None]) -> None:
        self.name = name
        self._wake = wake
        self._asked = 0
        self._answered = 0

    def ask(self) -> None:
        self._asked += 1
        self._wake()

    def answer(self) -> None:
        self._answered = self._asked

    @property
    def answered(self) -> bool:
        """Return whether the loop has come round since it was last asked."""
        return self._answered == self._asked
