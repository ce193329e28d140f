"""Makes small pictures in a thread of its own, of the pictures that a source offers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from pi_cam_daemon.camera.source import Sink
from pi_cam_daemon.errors import JpegError

Picture = TypeVar("Picture")


class SmallPictures(Generic[Picture]):
    """Makes small pictures for *sink* with *shrink*, while they are wanted. *shrink* returns a JPEG.

    The thread of the source does not wait: making one takes a Zero 2 W tens of milliseconds. The thread here ends with
    the process.
    """

    def __init__(self, sink: Sink, shrink: Callable[[Picture], bytes]) -> None:
        self._shrink = shrink
        self._sink = sink
        self._changed = threading.Condition()
        self._newest: tuple[Picture, int] | None = None
        self._thread: threading.Thread | None = None

    def offer(self, copied: Callable[[], Picture], captured_ns: int) -> None:
        """Make a picture small if a small one is due. Then *copied* returns a copy of it. See Sink.frame."""
        if not self._sink.claim_small():
            return
        with self._changed:
            self._newest = copied(), captured_ns
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="small", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        try:
            while True:
                self._make()
        finally:  # after a lack of memory, for example: the next offer starts another thread
            with self._changed:
                self._thread = None

    def _make(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._newest)
            assert self._newest
            (picture, captured_ns), self._newest = self._newest, None
        try:
            self._sink.small(self._shrink(picture), captured_ns)
        except JpegError as error:
            self._sink.unusable(f"it cannot be made small: {error}")
