"""What people set on the camera while it runs: checked, handed to it, kept over its restarts, saved and forgotten."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

from pi_cam_daemon.config import saved
from pi_cam_daemon.config.schema import CameraConfig
from pi_cam_daemon.config.text import Value
from pi_cam_daemon.core.supervisor import Supervisor
from pi_cam_daemon.ipc.controls import Control, Kind, check
from pi_cam_daemon.ipc.messages import Report
from pi_cam_daemon.server.refused import Refused

# A USB camera takes some milliseconds for each value. One that hangs is found and killed by others; nobody waits here.
_ANSWER_SECONDS = 3.0
_NOT_RUNNING = "The camera does not run now; /state tells why"


class LiveControls:
    """The settings of *supervisor*'s camera over those of the configuration; those saved are in the file *path*.

    One change is made at a time, so that of two writers the last one wins and both are told what is true. Any thread
    may call.
    """

    def __init__(self, supervisor: Supervisor, path: Path, configured: CameraConfig, unsaved: CameraConfig) -> None:
        self._supervisor = supervisor
        self._path = path
        self._configured = configured
        self._unsaved = unsaved
        self._live: dict[str, dict[str, Value]] = {}  # by the kind of camera
        self._lock = threading.Lock()  # for the three above
        self._turn = threading.Lock()
        self._numbers = itertools.count(1)

    def configure(self, configured: CameraConfig, unsaved: CameraConfig) -> CameraConfig:
        """Another configuration, with and without what is saved; what the camera has to be set to now.

        What was set live stays, unless the configured settings are others now: the last word wins.
        """
        with self._lock:
            if _settings(configured) != _settings(self._configured):
                self._live.clear()
            self._configured, self._unsaved = configured, unsaved
            return self._adjusted()

    def table(self) -> dict[str, object]:
        """What can be set, as GET /controls gives it."""
        kind, controls = self._supervisor.controls()
        info = self._supervisor.status().info
        return {
            "camera": info.name if info else None,
            "controls": _described(controls),
            "saved": saved.read(self._path, kind),
        }

    def set(self, wanted: Mapping[str, object]) -> tuple[HTTPStatus, dict[str, object]]:
        """Set what is *wanted*, all of it or, where something of it cannot be accepted, nothing: status and answer.

        What the camera itself refuses is told, too; the rest is set then. Raises Refused without a camera that answers.
        """
        kind, controls = self._supervisor.controls()
        if not kind:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, _NOT_RUNNING)
        values, wrong = check(controls, wanted)
        if wrong:
            return HTTPStatus.BAD_REQUEST, {"errors": wrong}
        report = self._ask(values)
        actions = {control.name for control in controls if control.kind is Kind.ACTION}
        # a default stays one, also when the camera is another some day
        kept = {name: None if values.get(name, 0) is None else value for name, value in report.applied.items()}
        with self._lock:
            live = self._live.setdefault(kind, {})
            live |= {name: value for name, value in kept.items() if name not in actions}
            self._supervisor.adopt(self._adjusted())
        return HTTPStatus.CONFLICT if report.refused else HTTPStatus.OK, _answer(report)

    def save(self) -> dict[str, object]:
        """Keep over restarts what was set. Raises Refused where that cannot be written."""
        kind, _ = self._supervisor.controls()
        with self._lock:
            settings = {**saved.read(self._path, kind), **self._live.get(kind, {})}
            if settings:
                try:
                    saved.write(self._path, kind, settings)
                except OSError as error:
                    raise self._unwritable(error) from error
        return {"saved": settings}

    def forget(self) -> dict[str, object]:
        """Take back what was set and saved, here and in the camera: what the files configure is in force again.

        Raises Refused when the file cannot be removed, or when no camera answers, which is then set right at its start.
        """
        kind, controls = self._supervisor.controls()
        with self._lock:
            try:
                saved.forget(self._path, kind)
            except OSError as error:
                raise self._unwritable(error) from error
            before = self._adjusted().settings(kind)
            after = self._unsaved.settings(kind)
            self._live.pop(kind, None)
            self._configured = self._configured.replaced(kind, self._unsaved)
            self._supervisor.adopt(self._adjusted())
        there = {control.name for control in controls}
        changed = {name: after.get(name) for name in before if name in there and before[name] != after.get(name)}
        try:
            report = self._ask(changed) if changed else Report(0, {}, {}, controls)
        except Refused as refused:
            raise Refused(refused.status, f"What was saved is forgotten. {refused.text}") from refused
        return {**_answer(report), "saved": {}}

    def _adjusted(self) -> CameraConfig:
        """The configuration with all that was set live; with the lock held."""
        adjusted = self._configured
        for kind, values in self._live.items():
            adjusted = adjusted.with_settings(kind, values)
        return adjusted

    def _ask(self, values: dict[str, Value]) -> Report:
        if not self._turn.acquire(timeout=_ANSWER_SECONDS):
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "The camera is being set by somebody else; try again")
        try:
            return self._supervisor.link().adjust(next(self._numbers), values, _ANSWER_SECONDS)
        except TimeoutError:
            text = f"The camera did not answer within {_ANSWER_SECONDS:g} s; GET /controls tells later what is set"
            raise Refused(HTTPStatus.GATEWAY_TIMEOUT, text) from None
        except EOFError:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, _NOT_RUNNING) from None
        finally:
            self._turn.release()

    def _unwritable(self, error: OSError) -> Refused:
        return Refused(HTTPStatus.INTERNAL_SERVER_ERROR, f"{self._path} cannot be written: {error.strerror}")


def _settings(config: CameraConfig) -> tuple[object, object]:
    return config.controls, config.usb.controls


def _answer(report: Report) -> dict[str, object]:
    errors = {"errors": report.refused} if report.refused else {}
    return {"applied": report.applied, **errors, "controls": _described(report.controls)}


def _described(controls: Sequence[Control]) -> dict[str, object]:
    """Return *controls* by name, each without what it does not have."""
    described: dict[str, object] = {}
    for control in controls:
        fields = dataclasses.asdict(control).items()
        about = {key: value for key, value in fields if value or type(value) in (int, float)}
        if control.kind is not Kind.ACTION:
            about |= {"default": control.default, "value": control.value}
        described[about.pop("name")] = about
    return described
