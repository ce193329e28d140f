"""The viewers of one size of the pictures, and what they see: the newest picture, the last one again, or a card."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.latest import Pictures
from pi_cam_daemon.ipc.pace import SILENT_SECONDS
from pi_cam_daemon.server.viewer import Viewer

# The last picture is shown for at least so long.
HOLD_SECONDS = SILENT_SECONDS
# Without a new frame the last part is sent again after this time; Home Assistant hangs up after 10 s without a byte.
REPEAT_SECONDS = 1.0


class Audience:
    """The viewers of *pictures*, by descriptor. Only the stream loop uses it.

    *no_signal* returns what to show after HOLD_SECONDS without a new picture, so that nobody takes an old picture for a
    live one; None while no other picture is overdue. *shown* is the frame shown now, None if there was none yet. It was
    sent at *shown_at*, and the last new picture at *fresh_at* (CLOCK_MONOTONIC).
    """

    def __init__(self, pictures: Pictures, no_signal: Callable[[], Frame | None]) -> None:
        self.viewers: dict[int, Viewer] = {}
        self.no_signal = no_signal
        self.shown: Frame | None = None
        self.shown_at = 0.0
        self.fresh_at = float("-inf")
        self._pictures = pictures

    def expect(self, now: float) -> None:
        """Prepare for the first viewer: decide what it sees at once."""
        newest, steady = self._pictures.latest.frame, self._pictures.steady
        if newest and (now - newest.captured <= HOLD_SECONDS or (steady and self.no_signal() is None)):
            self.shown = newest
        else:
            # Old pictures are not shown. The camera has some time for a new one before the no-signal picture comes.
            self.shown = None
            self.fresh_at = now
        self.shown_at = now

    def forget(self, now: float) -> None:
        """Show no picture of before any more. The camera has some time for a new one, as in `expect`."""
        self._pictures.latest.forget()
        self.shown = None
        self.shown_at = self.fresh_at = now

    def count(self) -> None:
        """Let the camera know how many viewers there are."""
        self._pictures.demand.viewers(len(self.viewers))

    def due(self) -> float:
        """Return when `repeat` is needed if no frame comes: to repeat the picture, or to replace it by no-signal."""
        repeat_at, replace_at = self.shown_at + REPEAT_SECONDS, self.fresh_at + HOLD_SECONDS
        return min(repeat_at, replace_at) if replace_at > self.shown_at else repeat_at

    def publish(self, frame: Frame, now: float) -> list[tuple[Viewer, OSError]]:
        """Make *frame* the newest, and show it. See `show`."""
        self._pictures.latest.publish(frame)
        self.fresh_at = now
        return self.show(frame, now)

    def repeat(self, now: float) -> list[tuple[Viewer, OSError]]:
        """Show the last picture again, or the no-signal picture if it is too old. See `show`."""
        no_signal = self.no_signal()  # starts the drawing, so that it is ready in the right size when it is needed
        if no_signal is not None and now - self.fresh_at >= HOLD_SECONDS:
            return self.show(no_signal, now)
        if self.shown is not None:
            return self.show(self.shown, now)
        self.shown_at = now
        return []

    def show(self, frame: Frame, now: float) -> list[tuple[Viewer, OSError]]:
        """Send *frame* to every viewer that is ready for it; return those that are gone. This is the hot path."""
        self.shown, self.shown_at = frame, now
        gone = []
        for viewer in self.viewers.values():
            if viewer.part is None and now >= viewer.due:
                try:
                    viewer.begin(frame, now)
                except OSError as error:
                    gone.append((viewer, error))
            elif viewer.last is not frame:
                viewer.last = None  # it would keep an old picture in memory
        return gone

    def in_order(self) -> None:
        """Put viewers without TLS first: encryption takes a Pi 4 over a millisecond for each picture."""
        self.viewers = dict(sorted(self.viewers.items(), key=lambda entry: entry[1].client.encrypted))

    def waiting(self) -> Iterator[Viewer]:
        """Yield the viewers that have a part of a picture to take."""
        return (viewer for viewer in self.viewers.values() if viewer.part is not None)
