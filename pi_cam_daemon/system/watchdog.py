"""Probes: the main thread asks the other loops whether they still turn."""

from __future__ import annotations

from collections.abc import Callable


class Probe:
    """A probe of the loop *name*: `ask` calls *wake*, and the loop then calls `answer`."""

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
        """Return whether the loop has answered the last question."""
        return self._answered == self._asked
