"""/settings: settings of the configuration that an admin saves on the page. They act at once, and after a restart."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from pi_cam_daemon.config import loading, saved, schema
from pi_cam_daemon.config.converters import LONGEST_NAME, MOST_RECTANGLES
from pi_cam_daemon.config.loading import Loaded
from pi_cam_daemon.config.schema import ROTATIONS, SIDES
from pi_cam_daemon.config.text import Setting, short, toml
from pi_cam_daemon.core.supervisor import Supervisor
from pi_cam_daemon.ipc.controls import Kind
from pi_cam_daemon.server.limits import held
from pi_cam_daemon.server.live_controls import LiveControls, written
from pi_cam_daemon.server.report import Observer

log = logging.getLogger(__name__)

# to write one file takes longer only on a card that is failing
_WAIT_SECONDS = 5.0
_SIDE = {"kind": Kind.INTEGER, "minimum": SIDES[0], "maximum": SIDES[-1], "step": SIDES.step}
# what can be saved, and how the page shows it
_OFFERED: dict[str, Mapping[str, object]] = {
    "video.width": _SIDE,
    "video.height": _SIDE,
    "video.rotation": {"kind": Kind.CHOICE, "choices": ROTATIONS},
    "video.hflip": {"kind": Kind.BOOLEAN},
    "video.vflip": {"kind": Kind.BOOLEAN},
    "video.masks": {"kind": "rectangles", "maximum": MOST_RECTANGLES},
    "motion.enabled": {"kind": Kind.BOOLEAN},
    **{
        f"motion.{name}": {"kind": Kind.NUMBER, "minimum": low, "maximum": high}
        for name, (low, high) in schema.MOTION.items()
    },
    "motion.zones": {"kind": "rectangles", "maximum": MOST_RECTANGLES},
    "page.name": {"kind": "text", "maximum": LONGEST_NAME},
}


class Settings:
    """Settings that are saved in the file *path*, above the files of the configuration and below `--set`.

    *loaded* is the configuration of all layers. A change is told to *observer*, and to *live_controls* and *supervisor*
    if it is about the picture. Thread-safe; *turn* has to be held to change the configuration in force.
    """

    def __init__(
        self, path: Path, loaded: Loaded, observer: Observer, live_controls: LiveControls, supervisor: Supervisor
    ) -> None:
        self.turn = threading.Lock()
        self._path = path
        self._observer = observer
        self._live_controls = live_controls
        self._supervisor = supervisor
        self.configure(loaded)

    def configure(self, loaded: Loaded) -> None:
        """Take over a new configuration. The caller holds *turn*, and puts it into force."""
        self._loaded = loaded
        self._saved: Mapping[str, Setting] = {key: loaded.saved[key] for key in _OFFERED if key in loaded.saved}
        for key, value in self._saved.items():
            if loaded.config.value(key) != loaded.configured.value(key):  # else somebody looks for it in the files
                told = toml(value), toml(loaded.configured.value(key))
                log.info("%s is %s, as saved on the page, and not %s", key, *told)

    def table(self) -> dict[str, object]:
        """Return the answer of GET /settings: what is in force, and what would be if nothing were saved."""
        config, configured = self._observer.config, self._loaded.configured
        settings = {
            key: {"value": config.value(key), "configured": configured.value(key), **about}
            for key, about in _OFFERED.items()
        }
        return {"settings": settings, "saved": self._saved}

    def set(self, wanted: Mapping[str, object], client: str) -> tuple[HTTPStatus, dict[str, object]]:
        """Save what *client* wants and put it into force, or change nothing if any of it is wrong.

        None takes back what was saved. Return status and answer. Raises Refused if the file cannot be written.
        """
        busy = HTTPStatus.SERVICE_UNAVAILABLE, "Another client is changing the settings; try again"
        with held(self.turn, _WAIT_SECONDS, *busy):
            values, errors = self._checked(wanted)
            if errors:
                return HTTPStatus.BAD_REQUEST, {"errors": errors}
            settings = {key: value for key, value in {**self._saved, **values}.items() if value is not None}
            with written(self._path):
                saved.write_settings(self._path, settings)
            self._saved = settings
            for key, value in values.items():
                log.info("%s set %s %s", client, key, "back" if value is None else f"to {toml(value)}")
            self._apply()
            return HTTPStatus.OK, self.table()

    def _checked(self, wanted: Mapping[str, object]) -> tuple[dict[str, Setting], dict[str, str]]:
        """Return the values in *wanted*, and an error message for each that cannot be saved."""
        values: dict[str, Setting] = {}
        errors: dict[str, str] = {}
        for key, raw in wanted.items():
            if key not in _OFFERED:
                errors[short(key)] = f"This cannot be saved here; accepted: {', '.join(_OFFERED)}"
            elif raw is None:
                values[key] = None
            elif key in self._loaded.fixed:
                errors[key] = "The daemon was started with --set for this, which stands above what is saved"
            else:
                try:
                    values[key] = loading.converted(key, raw)
                except ValueError as error:
                    errors[key] = f"{error}, or null for the configured value"
        return values, errors

    def _apply(self) -> None:
        """Put what is saved into force. Only another picture restarts the camera; viewers stay."""
        before, configured, fixed = self._observer.config, self._loaded.configured, self._loaded.fixed
        now = {key: self._saved.get(key, configured.value(key)) for key in _OFFERED if key not in fixed}
        config = before.with_values(now)
        self._observer.config = config
        if config.camera != before.camera:
            self._supervisor.configure(config, self._live_controls.film(config.video, config.motion))
