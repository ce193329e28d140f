"""The last events: what happened, in memory, for all that show it or pass it on."""

from __future__ import annotations

import enum
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.health import CameraStatus, Failure, State
from pi_cam_daemon.errors import Cause
from pi_cam_daemon.ipc.messages import Motion

MOST_EVENTS = 100
MOST_PICTURE_BYTES = 3_000_000  # of all events together
_PICTURE_SECONDS = 5.0  # for a camera that sleeps
_LOST_SECONDS = 60.0  # between two events of a camera that comes and goes


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
    *cause* and *values* say why the camera was lost, as in /state. *changed* grows with each change of any event.
    """

    number: int
    kind: EventKind
    began_at: float
    ended_at: float | None
    text: str = ""
    peak: float | None = None
    box: tuple[float, float, float, float] | None = None
    picture: bytes = b""
    cause: Cause | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    changed: int = 0

    def table(self) -> dict[str, Any]:
        """Return the event for JSON, with the address of its picture beside /events."""
        return {
            "id": self.number,
            "changed": self.changed,
            "kind": self.kind,
            "began": round(self.began_at, 3),
            "ended": None if self.ended_at is None else round(self.ended_at, 3),
            "text": self.text,
            "cause": self.cause,
            "values": dict(self.values),
            "peak": self.peak,
            "box": self.box,
            "picture": f"events/{self.number}.jpg" if self.picture else None,
        }


Listener = Callable[[Event], None]


class Events:
    """The last MOST_EVENTS events. Any thread may call anything, and nothing blocks.

    *take(since, seconds)* returns a small picture that was captured since then (CLOCK_MONOTONIC), or None after
    *seconds*. A thread of its own calls it. *counted* has the events by kind since the start.
    """

    def __init__(self, take: Callable[[float, float], Frame | None]) -> None:
        self.counted = Counter(dict.fromkeys(EventKind, 0))
        self._take = take
        self._wake = threading.Condition(threading.Lock())  # guards all below
        self._listeners: list[Listener] = []
        self._kept: dict[int, Event] = {}  # by number, oldest first
        self._changes = int(time.time())  # no number comes again after a restart
        self._wanting: dict[int, float] = {}  # events without their picture, and since when it may be captured
        self._motion: tuple[Event, float] | None = None  # the one that goes on, and its begin (CLOCK_MONOTONIC)
        self._failure: Failure | None = None
        self._lost = False  # as the events say
        self._lost_at = -math.inf
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def listen(self, listener: Listener) -> None:
        """Call *listener* with each event that is new or has changed, in order.

        It must not block, nor call this object: it may be the stream loop that waits for it.
        """
        with self._wake:
            self._listeners.append(listener)

    def since(self, changed: int = 0) -> list[Event]:
        """Return the events that changed after *changed*, oldest first; all for a number that was never given."""
        with self._wake:
            if changed == self._changes:
                return []
            changed = changed if changed < self._changes else 0
            return [event for event in self._kept.values() if event.changed > changed]

    def newest(self) -> Event | None:
        """Return the event that began last; None if there was none."""
        with self._wake:
            return next(reversed(self._kept.values()), None)

    def get(self, number: int) -> Event | None:
        """Return the event with this *number*; None if it is gone."""
        with self._wake:
            return self._kept.get(number)

    # -- what happens

    def motion(self, motion: Motion, captured: float) -> None:
        """Begin or end the event of a motion that was seen in the picture *captured* then (CLOCK_MONOTONIC)."""
        with self._wake:
            if motion.ends:
                self._end_motion(captured, motion.peak, motion.box)
            elif self._motion is None:
                began_at = time.time() - (time.monotonic() - captured)
                event = self._add(
                    EventKind.MOTION, "Something moves", began_at, ended_at=None, peak=motion.peak, box=motion.box
                )
                self._motion = event, captured
                self._want(event, captured)

    def snapshot(self) -> Event:
        """Add an event with a picture of now, which comes a moment later, and return it."""
        with self._wake:
            event = self._add(EventKind.SNAPSHOT, "A picture was asked for", time.time())
            self._want(event, time.monotonic())
            return event

    def refuse(self, problems: Sequence[str]) -> None:
        """Add an event: the configuration on disk was refused, due to *problems*."""
        with self._wake:
            self._add(EventKind.RELOAD_REFUSED, problems[0], time.time())

    def camera(self, status: CameraStatus) -> None:
        """Add an event if *status* says that the camera is lost or back; end the motion of a camera that is not there.

        A camera that comes and goes makes two events a minute.
        """
        with self._wake:
            if self._motion and (status.state is not State.STREAMING or status.since > self._motion[1]):
                self._end_motion(time.monotonic())  # of that camera process, whose end may not have come
            if status.failure or status.state is State.STREAMING:
                self._failure = None if status.state is State.STREAMING else status.failure
            self._settle(time.monotonic())
            self._wake.notify()

    def forget_pictures(self) -> None:
        """Drop all pictures, and those that are being taken."""
        with self._wake:
            self._wanting.clear()
            self._kept = {number: replace(event, picture=b"") for number, event in self._kept.items()}

    # -- with the lock held

    def _add(self, kind: EventKind, text: str, began_at: float, **facts: Any) -> Event:
        self.counted[kind] += 1
        event = self._put(Event(self._changes + 1, kind, began_at, **{"ended_at": began_at, **facts}, text=text))
        if len(self._kept) > MOST_EVENTS:  # no kind pushes out the others
            (most, _), *_ = Counter(event.kind for event in self._kept.values()).most_common(1)
            del self._kept[next(number for number, event in self._kept.items() if event.kind is most)]
        return event

    def _put(self, event: Event) -> Event:
        self._changes += 1
        event = replace(event, changed=self._changes)
        self._kept[event.number] = event
        for listener in self._listeners:
            listener(event)
        return event

    def _want(self, event: Event, since: float) -> None:
        self._wanting[event.number] = since
        self._wake.notify()

    def _end_motion(self, now: float, peak: float = 0.0, box: tuple[float, float, float, float] | None = None) -> None:
        if self._motion:
            (event, began), self._motion = self._motion, None
            seconds = max(0.0, now - began)
            event = self._kept[event.number]  # it may have its picture
            if peak <= (event.peak or 0.0):
                peak, box = event.peak or 0.0, event.box
            text = f"Something moved for {seconds:.0f} s"
            self._put(replace(event, ended_at=event.began_at + seconds, text=text, peak=peak, box=box))

    def _settle(self, now: float) -> float | None:
        """Tell if the camera is lost or back; return in how many seconds it has to be told, None if it was."""
        failure = self._failure
        if (failure is not None) == self._lost:
            return None
        if failure is None:
            self._add(EventKind.CAMERA_BACK, "The camera gives pictures again", time.time())
        elif now < self._lost_at + _LOST_SECONDS:
            return self._lost_at + _LOST_SECONDS - now
        else:
            facts = {"cause": failure.cause, "values": failure.values}
            self._add(EventKind.CAMERA_LOST, failure.message, time.time(), **facts)
            self._lost_at = now
        self._lost = failure is not None
        return None

    # -- the thread

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._wanting:
                    self._wake.wait(self._settle(time.monotonic()))
                asked = dict(self._wanting)
            if asked:
                frame = self._take(max(asked.values()), _PICTURE_SECONDS)
                self._give(asked, bytes(frame.jpeg) if frame else b"")

    def _give(self, numbers: Mapping[int, float], picture: bytes) -> None:
        with self._wake:
            for number in numbers:
                # else the pictures or the event were forgotten meanwhile
                if self._wanting.pop(number, None) and picture and (event := self._kept.get(number)):
                    self._put(replace(event, picture=picture))
            surplus = sum(len(event.picture) for event in self._kept.values()) - MOST_PICTURE_BYTES
            for number, event in self._kept.items():
                if surplus > 0 and event.picture:
                    self._kept[number] = replace(event, picture=b"")
                    surplus -= len(event.picture)
