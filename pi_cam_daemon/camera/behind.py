"""Works on pictures in a thread of its own, so that the thread of the source does not wait."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

Picture = TypeVar("Picture")


class Behind(ABC, Generic[Picture]):
    """Works on the newest of the pictures that a source offers. The thread, *name*, ends with the process."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._newest: tuple[Picture, int] | None = None
        self._thread: threading.Thread | None = None

    @abstractmethod
    def claim(self) -> bool:
        """Return True if a picture is due, and count it as taken."""

    @abstractmethod
    def work(self, picture: Picture, captured_ns: int) -> None:
        """Do the work, in the thread."""

    def offer(self, copied: Callable[[], Picture], captured_ns: int) -> None:
        """Take a picture if one is due. Then *copied* returns a copy of it. See Sink.frame."""
        if not self.claim():
            return
        with self._changed:
            self._newest = copied(), captured_ns
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        try:
            while True:
                self.work(*self._next())
        finally:  # after a lack of memory, for example: the next offer starts another thread
            with self._changed:
                self._thread = None

    def _next(self) -> tuple[Picture, int]:
        with self._changed:
            self._changed.wait_for(lambda: self._newest)
            assert self._newest
            newest, self._newest = self._newest, None
            return newest
