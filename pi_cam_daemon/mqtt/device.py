"""The camera in the broker: it publishes its state and its events, and obeys commands.

Only the description and "offline" are retained, so that nothing in the broker lies after a power cut. Everything else
is repeated while the camera is connected: soon after each connect, since who listens may need a moment, and then
twice a minute.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable
from typing import Any

from pi_cam_daemon.config.text import short
from pi_cam_daemon.core.events import Event, EventKind
from pi_cam_daemon.core.supervisor import Supervisor
from pi_cam_daemon.ipc.controls import Control, Kind
from pi_cam_daemon.mqtt import discovery
from pi_cam_daemon.mqtt.connection import Connection
from pi_cam_daemon.mqtt.discovery import ON, ONLINE, Component, Topics
from pi_cam_daemon.server.app import App
from pi_cam_daemon.server.refused import Refused
from pi_cam_daemon.system import machine
from pi_cam_daemon.system.logs import LogThrottle

log = logging.getLogger(__name__)

_BIRTH = "homeassistant/status"
_FIRST_PERIOD, _PERIOD = 1.0, 30.0  # seconds between two repetitions
_LOOK_SECONDS = 1.0  # between two looks for what has changed
_MOST_PAYLOAD = 1000  # bytes of a command
_DEFAULT = "default"


class Device:
    """The camera, as *identity*. *address* returns that of its page. All but `happened` is for the thread of mqtt."""

    def __init__(
        self, identity: str, topics: Topics, app: App, supervisor: Supervisor, address: Callable[[], str]
    ) -> None:
        self._identity = identity
        self._topics = topics
        self._observer = app.observer
        self._live_controls = app.live_controls
        self._events = app.events
        self._supervisor = supervisor
        self._address = address
        self._connection: Connection | None = None
        # what happens while there is no connection is told by its end
        events = app.events.since()
        self._moves = any(event.kind is EventKind.MOTION and event.ended_at is None for event in events)
        self._pictured: Event | None = None  # the newest with a picture
        self._sent_picture = b""
        self._described: tuple[object, ...] = ()  # what the last description was made of
        self._description = ""  # as it was sent
        self._known: dict[str, Component] = {}  # entities that Home Assistant may have
        self._sent: dict[str, str] = {}
        self._period = _FIRST_PERIOD
        self._repeat_at = 0.0
        self._refusals = LogThrottle(60.0, 20)

    def happened(self, event: Event) -> None:
        """Take over an event that is new or has changed. Never blocks."""
        if event.kind is EventKind.MOTION:
            self._moves = event.ended_at is None
        if event.picture:
            self._pictured = event
        if self._connection:
            self._connection.wake()

    # -- a user of the connection

    def connected(self, connection: Connection) -> None:
        """Listen to commands, and say everything."""
        self._connection = connection
        topics = self._topics
        # its own description as well: it tells which entities an earlier start had
        connection.subscribe(discovery.topic(self._identity), _BIRTH, topics.snapshot, topics.command("+"))
        self._begin()

    def received(self, topic: str, payload: bytes, retained: bool) -> None:
        """Act on a message: a command, Home Assistant's start, or the description of an earlier start."""
        if topic == discovery.topic(self._identity):
            if retained:
                self._recall(payload)
        elif topic == _BIRTH:
            if payload == ONLINE.encode():
                self._begin()
        elif retained:  # it would come again after each connect
            if self._refusals.due(topic, time.monotonic()):
                log.warning("a retained command of MQTT is ignored: %s", short(topic))
        elif topic == self._topics.snapshot:
            self._events.snapshot()
        else:
            self._set(topic.removesuffix("/set").rpartition("/")[2], payload)

    def work(self) -> float:
        """Publish what has changed, and everything when it is due."""
        now = time.monotonic()
        self._show()
        controls, known = self._controls()
        self._describe(controls, known)
        if repeat := now >= self._repeat_at:
            self._sent.clear()
            self._publish(self._topics.status, ONLINE)
            self._repeat_at, self._period = now + self._period, min(2 * self._period, _PERIOD)
        status = self._observer.camera()
        if repeat or self._sent.get(self._topics.state) != status.state:  # not with every tenth of a frame
            self._publish(self._topics.rate, f"{status.rate:.1f}")
        for topic, value in self._values(status.state, controls).items():
            if self._sent.get(topic) != value:
                self._publish(topic, value)
        return _LOOK_SECONDS

    # -- parts of these

    def _begin(self) -> None:
        """Say everything."""
        self._described, self._description = (), ""
        self._repeat_soon()

    def _repeat_soon(self) -> None:
        self._period, self._repeat_at = _FIRST_PERIOD, 0.0

    def _publish(self, topic: str, value: str) -> None:
        assert self._connection
        self._connection.publish(topic, value)
        self._sent[topic] = value

    def _controls(self) -> tuple[tuple[Control, ...], bool]:
        """Return the controls, and whether they are the camera's: a test picture that stands in has none."""
        kind, controls = self._supervisor.controls()
        return controls, bool(kind) and not self._observer.camera().stands_in

    def _values(self, state: str, controls: tuple[Control, ...]) -> dict[str, str]:
        """Return what entities show, by topic."""
        values = {self._topics.state: state}
        if self._looks_for_motion:
            values[self._topics.motion] = ON if self._moves else discovery.OFF
        for control in controls:
            if control.kind not in (Kind.ACTION, Kind.RECTANGLE):
                values[self._topics.control(control.name)] = discovery.shown(control)
        return values

    @property
    def _looks_for_motion(self) -> bool:
        return self._observer.config.motion.enabled

    def _show(self) -> None:
        """Publish the picture of the last event, once, unless new masks came meanwhile."""
        event = self._pictured
        if event and event.picture != self._sent_picture and self._connection:
            self._sent_picture = event.picture
            if (kept := self._events.get(event.number)) and kept.picture:
                self._connection.publish(self._topics.picture, kept.picture)

    def _describe(self, controls: tuple[Control, ...], known: bool) -> None:
        """Publish the description, if it has changed. Entities that are no more are named without content."""
        made_of = self._observer.name, self._looks_for_motion, controls, known, len(self._known)
        if made_of == self._described or not self._connection:
            return
        ours = discovery.components(self._identity, self._topics, self._looks_for_motion, controls)
        for key, entity in self._known.items():
            # before the camera ran nobody knows what it has
            ours.setdefault(key, entity if not known else {"platform": entity["platform"]})
        self._known = ours
        self._described = (*made_of[:-1], len(ours))
        told = discovery.description(self._identity, self._observer.name, machine.model(), self._address(), ours)
        text = json.dumps(told)
        if text != self._description:
            self._connection.publish(discovery.topic(self._identity), text, retain=True)
            self._description = text
            self._repeat_soon()  # for new entities

    def _recall(self, payload: bytes) -> None:
        """Remember the entities of an earlier description."""
        try:
            entities = json.loads(payload)["components"].items()
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return
        for key, entity in entities:
            if isinstance(entity, dict) and isinstance(entity.get("platform"), str):
                self._known.setdefault(key, entity)

    def _set(self, name: str, payload: bytes) -> None:
        """Set the control *name*. A refused value is answered by the old one."""
        try:
            text = payload[:_MOST_PAYLOAD].decode()
        except UnicodeDecodeError:
            text = ""
        controls = self._supervisor.controls()[1]
        wanted = {name: _value(text, next((control.kind for control in controls if control.name == name), None))}
        try:
            errors = self._live_controls.set(wanted)[1].get("errors", {})
        except Refused as refused:
            errors = refused.text
        if errors and self._refusals.due(name, time.monotonic()):
            log.warning("MQTT cannot set %s to %s: %s", short(name), short(text), _words(errors))
        self._sent.pop(self._topics.control(name), None)


def _words(errors: Any) -> str:
    return "; ".join(map(str, errors.values())) if isinstance(errors, dict) else str(errors)


def _value(text: str, kind: Kind | None) -> object:
    """Return *text* as a control of *kind* takes it."""
    if text == _DEFAULT:
        return None
    match kind:
        case Kind.BOOLEAN if text in (ON, discovery.OFF):
            return text == ON
        case Kind.ACTION if text == discovery.PRESS:
            return True
        case Kind.NUMBER | Kind.INTEGER:
            with contextlib.suppress(ValueError):
                return int(text)
            with contextlib.suppress(ValueError):
                number = float(text)
                return int(number) if kind is Kind.INTEGER and number.is_integer() else number
    return text
