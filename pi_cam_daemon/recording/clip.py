"""Clip: a film of what happens, with pictures at their real times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.recording.film import Film, created
from pi_cam_daemon.recording.picture import Picture

_JUMP_SECONDS = 5.0  # between the camera's clock and the time that has passed


class Clip(Film):
    """A new film in *folder*, whose name has the local time of its *first* picture and *reason*."""

    def __init__(self, folder: Path, first: Picture, reason: str) -> None:
        self._first = self._last = first
        dimensions = jpeg.size(first.jpeg)
        super().__init__(*created(folder, f"{first.local('%Y-%m-%d_%H-%M-%S')}_{reason}"), dimensions, first.taken_us)
        self.begin(folder)

    def continues(self, picture: Picture, longest_seconds: float) -> bool:
        """Return whether *picture* belongs to this clip: of the same size, soon enough, and after the one before.

        A clock that was set begins another clip, with the right time.
        """
        since = (picture.taken_us - self._last.taken_us) / 1e6
        jumped = abs(since - (picture.arrived - self._last.arrived)) > _JUMP_SECONDS
        long = picture.taken_us - self._first.taken_us >= longest_seconds * 1e6
        return since > 0 and not jumped and not long and jpeg.size(picture.jpeg) == self._dimensions

    def add(self, picture: Picture) -> None:
        """Note that *picture* is the newest one of the clip."""
        self._last = picture

    def write(self, pictures: Sequence[Picture]) -> None:
        """Write *pictures*, of less than half a minute, to the disk."""
        self.put([(self._ms(picture), picture.jpeg) for picture in pictures])

    def close(self) -> None:
        """Complete the clip."""
        self.finish(self._ms(self._last))

    def _ms(self, picture: Picture) -> int:
        return round((picture.taken_us - self._first.taken_us) / 1000)
