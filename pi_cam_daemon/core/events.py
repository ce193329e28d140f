"""The last events: what happened, in memory, for all that show it or pass it on."""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MOST_EVENTS = 100


class EventKind(enum.StrEnum):
    """The kinds of events, in the words of /events."""

    MOTION = "motion"
    CAMERA_LOST = "camera-lost"
    CAMERA_BACK = "camera-back"
    RELOAD_REFUSED = "reload-refused"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True)
class Event:
    """One event. It is immutable: a change makes a new one with the same *number*.

    *began_at* and *ended_at* are Unix times; *ended_at* is None while a motion goes on. *peak* is the largest share of
    the picture that moved at once, 0 to 1, and *box* the rectangle around that, as (x, y, width, height) in fractions
    of the upright picture; both are None for other kinds. *text* says what happened. *picture* is a JPEG, or b"".
    """

    number: int
    kind: EventKind
    began_at: float
    ended_at: float | None
    text: str = ""
    peak: float | None = None
    box: tuple[float, float, float, float] | None = None
    picture: bytes = b""


Listener = Callable[[Event], None]


class Events:
    """The last MOST_EVENTS events. Any thread may call anything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call *listener* with each event that is new or has changed. It must not block."""
        self._listeners.append(listener)
