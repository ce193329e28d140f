"""Live controls: settings that are changed while the camera runs, kept over its restarts, and saved on request."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

from pi_cam_daemon.config import saved
from pi_cam_daemon.config.schema import CameraConfig, MotionConfig, VideoConfig
from pi_cam_daemon.config.text import Value
from pi_cam_daemon.core.supervisor import Supervisor
from pi_cam_daemon.ipc.controls import MOST_NAMES, Control, Kind, check
from pi_cam_daemon.ipc.messages import Report
from pi_cam_daemon.server.limits import held
from pi_cam_daemon.server.refused import Refused

# A USB camera takes some milliseconds per value. One that hangs is found and killed by the supervisor.
_ANSWER_SECONDS = 3.0
_NOT_RUNNING = "The camera is not running; /state tells why"


def parse(body: bytes, example: str = '{"brightness": 0.2}') -> dict[str, object]:
    """Return the JSON object in *body*, names and values. Raises Refused, with *example* of an object."""
    try:
        wanted = json.loads(body)
    except (ValueError, RecursionError):
        wanted = None
    if not isinstance(wanted, dict):
        raise Refused(HTTPStatus.BAD_REQUEST, f"The body has to be a JSON object, such as {example}")
    if len(wanted) > MOST_NAMES:
        raise Refused(HTTPStatus.BAD_REQUEST, f"The JSON object may have {MOST_NAMES} names at most")
    return wanted


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Raise Refused if the file *path* cannot be written."""
    try:
        yield
    except OSError as error:
        text = f"{path} cannot be written: {error.strerror}"
        raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, text) from error


class LiveControls:
    """Settings of *supervisor*'s camera that override the configuration. The saved ones are in the file *path*.

    *configured* is the configuration with the saved settings, *unsaved* the one without. One change is made at a time:
    of two clients the last one wins, and both read the true values. Thread-safe.
    """

    def __init__(self, supervisor: Supervisor, path: Path, configured: CameraConfig, unsaved: CameraConfig) -> None:
        self._supervisor = supervisor
        self._path = path
        self._configured = configured
        self._unsaved = unsaved
        self._live: dict[str, dict[str, Value]] = {}  # by kind of camera
        self._lock = threading.Lock()  # for the three above
        self._turn = threading.Lock()
        self._numbers = itertools.count(1)

    def configure(self, configured: CameraConfig, unsaved: CameraConfig) -> CameraConfig:
        """Take over a new configuration, and return the settings that the camera needs now.

        Live settings stay, unless the configured ones have changed: the latest change counts.
        """
        with self._lock:
            before, self._configured, self._unsaved = self._configured, configured, unsaved
            if (configured.controls, configured.usb.controls) != (before.controls, before.usb.controls):
                self._live.clear()
            return self._adjusted()

    def film(self, video: VideoConfig, motion: MotionConfig) -> CameraConfig:
        """Take over another picture and another watch for motion; return the settings that the camera needs now."""
        with self._lock:
            self._configured = dataclasses.replace(self._configured, video=video, motion=motion)
            self._unsaved = dataclasses.replace(self._unsaved, video=video, motion=motion)
            return self._adjusted()

    def table(self) -> dict[str, object]:
        """Return the answer of GET /controls. Its "unsaved" has the values to which the next start would go back."""
        kind, controls = self._supervisor.controls()
        info = self._supervisor.status().info
        camera = info.name if info else None
        with self._lock:
            kept, live = self._kept(kind), self._live.get(kind, {})
        unsaved = {control.name: kept.get(control.name) for control in controls if control.name in live}
        return {
            "camera": camera,
            "controls": _described(controls),
            "saved": saved.read(self._path, kind),
            "unsaved": unsaved,
        }

    def set(self, wanted: Mapping[str, object]) -> tuple[HTTPStatus, dict[str, object]]:
        """Set the controls in *wanted*, or none if one is invalid; return status and answer.

        The answer names those that the camera itself refused. Raises Refused if no camera answers.
        """
        kind, controls = self._known()
        values, wrong = check(controls, wanted)
        if wrong:
            return HTTPStatus.BAD_REQUEST, {"errors": wrong}
        report = self._ask(values, controls)
        defaults = {control.name: control.default for control in controls if control.kind is not Kind.ACTION}
        with self._lock:
            live, kept = self._live.setdefault(kind, {}), self._kept(kind)
            for name, value in report.applied.items():
                if name not in defaults:
                    continue
                asked = values.get(name, value)
                if asked == kept.get(name) or (kept.get(name) is None and value == defaults[name]):
                    live.pop(name, None)
                else:  # null stays null: another camera may have a different default
                    live[name] = None if asked is None else value
            self._supervisor.adopt(self._adjusted())
        return HTTPStatus.CONFLICT if report.refused else HTTPStatus.OK, _answer(report)

    def save(self) -> dict[str, object]:
        """Save the live settings. Raises Refused if the file cannot be written."""
        kind, _ = self._known()
        with self._lock:
            settings = {**saved.read(self._path, kind), **self._live.get(kind, {})}
            if settings:
                self._change_file(saved.write, kind, settings)
                self._configured = self._configured.with_settings(kind, settings)
                self._live.pop(kind, None)
        return {"saved": settings}

    def forget(self) -> dict[str, object]:
        """Undo what was set and saved, here and in the camera, so that the configuration files count again.

        Raises Refused if the file cannot be removed, or if no camera answers; it then gets its settings at its start.
        """
        kind, controls = self._known()
        with self._lock:
            self._change_file(saved.forget, kind)
            before, after = self._adjusted().settings(kind), self._unsaved.settings(kind)
            self._live.pop(kind, None)
            self._configured = self._configured.replaced(kind, self._unsaved)
            self._supervisor.adopt(self._adjusted())
        there = {control.name for control in controls}
        # `before` lacks what was set to null: the camera has its own default there, maybe not the configured value
        names = there & (before.keys() | after.keys())
        changed = {name: after.get(name) for name in names if before.get(name) != after.get(name)}
        try:
            report = self._ask(changed, controls)
        except Refused as refused:
            raise Refused(refused.status, f"What was saved is forgotten. {refused.text}") from refused
        return {**_answer(report), "saved": {}}

    def _known(self) -> tuple[str, tuple[Control, ...]]:
        """Return the kind and the controls of the camera. Raises Refused before it ran for the first time."""
        kind, controls = self._supervisor.controls()
        if not kind:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, _NOT_RUNNING)
        return kind, controls

    def _kept(self, kind: str) -> dict[str, Value]:
        """Return what a *kind* of camera starts with, as configured and saved. The caller holds the lock."""
        kept = self._configured.settings(kind)
        if kept.get("lens_position") is not None:
            kept.setdefault("autofocus_mode", "manual")  # it follows from the position
        return kept

    def _adjusted(self) -> CameraConfig:
        """Return the configuration with all live settings. The caller holds the lock."""
        adjusted = self._configured
        for kind, values in self._live.items():
            adjusted = adjusted.with_settings(kind, values)
        return adjusted

    def _ask(self, values: dict[str, Value], controls: tuple[Control, ...]) -> Report:
        """Set *values* on the camera, which has *controls*, and return its answer. Raises Refused."""
        if not values:  # a source without controls would not answer
            return Report(0, {}, {}, controls)
        busy = HTTPStatus.SERVICE_UNAVAILABLE, "Another client is changing the controls; try again"
        with held(self._turn, _ANSWER_SECONDS, *busy):
            try:
                return self._supervisor.link().adjust(next(self._numbers), values, _ANSWER_SECONDS)
            except TimeoutError:
                text = f"The camera did not answer within {_ANSWER_SECONDS:g} s; GET /controls shows later what is set"
                raise Refused(HTTPStatus.GATEWAY_TIMEOUT, text) from None
            except EOFError:
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, _NOT_RUNNING) from None

    def _change_file(self, change: Callable[..., object], *arguments: object) -> None:
        with written(self._path):
            change(self._path, *arguments)


def _answer(report: Report) -> dict[str, object]:
    errors = {"errors": report.refused} if report.refused else {}
    return {"applied": report.applied, **errors, "controls": _described(report.controls)}


def _described(controls: Sequence[Control]) -> dict[str, object]:
    """Return *controls* by name for JSON, without empty fields."""
    described: dict[str, object] = {}
    for control in controls:
        fields = dataclasses.asdict(control).items()
        about = {key: value for key, value in fields if value or type(value) in (int, float)}
        if control.kind is not Kind.ACTION:
            about |= {"default": control.default, "value": control.value}
        described[about.pop("name")] = about
    return described
