"""Days: the films of the time-lapse, one for each day. The newest days stay."""

from __future__ import annotations

import contextlib
from functools import partial

from pi_cam_daemon.clips.names import TIMELAPSE
from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.recording.day import Day, reopened
from pi_cam_daemon.recording.film import created
from pi_cam_daemon.recording.picture import Picture
from pi_cam_daemon.recording.shelf import NoRoomError, Shelf

_DATE = len("2026-11-29")


class Days:
    """Writes pictures to the film of their day on *shelf*, and keeps the films of the newest *kept* days.

    Days are counted, not compared with the clock: a clock that is years ahead takes none away.
    """

    def __init__(self, shelf: Shelf, kept: int) -> None:
        self._shelf = shelf
        self._kept = kept
        self._film: Day | None = None

    @property
    def is_open(self) -> bool:
        return self._film is not None

    @property
    def name(self) -> str:
        """Return the name of the open film, or ""."""
        return self._film.name if self._film else ""

    def add(self, picture: Picture) -> None:
        """Write *picture*. Raises OSError, JpegError and NoRoomError."""
        dimensions = jpeg.size(picture.jpeg)
        date = picture.local("%Y-%m-%d")
        if self._film and self._film.is_gone:
            self.leave()
            self._shelf.look()
        if self._film and (self._film.name[:_DATE] != date or self._film.dimensions != dimensions):
            self.close()
        film = self._film or self._open(picture, date, dimensions)
        try:
            self._shelf.make_room(len(picture.jpeg))
        except NoRoomError:  # all that is there is this film: it may go once it is complete
            if not film.is_begun:
                raise
            self.close()
            film = self._begin(picture, dimensions)
            self._shelf.make_room(len(picture.jpeg))
        self._shelf.when_full(partial(film.add, picture))
        self._shelf.grown(film.name, film.size)

    def close(self) -> None:
        """Complete the open film. Raises OSError."""
        if self._film:
            self._shelf.when_full(self._film.close)
            self._shelf.grown(self._film.name, self._film.size)
            self._shelf.open.discard(self._film.name)
            self._film = None

    def leave(self) -> None:
        """Leave the open film as it is. The next picture of the day goes on with it."""
        if self._film:
            film, self._film = self._film, None
            self._shelf.open.discard(film.name)
            film.leave()
            if not film.is_begun:
                with contextlib.suppress(OSError):
                    self._shelf.remove(film.name)

    def _open(self, picture: Picture, date: str, dimensions: tuple[int, int]) -> Day:
        """Return the newest film of *date*, or a new one. Remove the films of the oldest days."""
        newest = next((name for name in reversed(self._films()) if name.startswith(date)), "")
        film = reopened(self._shelf.folder / newest, dimensions) if newest else None
        if film:
            self._take(film)
        else:
            film = self._begin(picture, dimensions)
        dates = sorted({name[:_DATE] for name in self._films()})[-self._kept :]
        for name in self._films():
            if name[:_DATE] not in dates and name not in self._shelf.open:
                self._shelf.remove(name)
        return film

    def _begin(self, picture: Picture, dimensions: tuple[int, int]) -> Day:
        self._shelf.make_room(len(picture.jpeg))
        self._shelf.when_full(partial(self._create, picture, dimensions))
        assert self._film
        return self._film

    def _create(self, picture: Picture, dimensions: tuple[int, int]) -> None:
        stem = f"{picture.local('%Y-%m-%d_%H-%M-%S')}_{TIMELAPSE}"
        film = Day(*created(self._shelf.folder, stem), dimensions, picture.taken_us)
        film.begin(self._shelf.folder)
        self._take(film)

    def _take(self, film: Day) -> None:
        self._film = film
        self._shelf.open.add(film.name)
        self._shelf.grown(film.name, film.size)

    def _films(self) -> list[str]:
        return [name for name in self._shelf.names() if f"_{TIMELAPSE}" in name]
