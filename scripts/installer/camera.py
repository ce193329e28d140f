"""The camera of a unit, as its server tells it to root: if it gives pictures, and if they are a camera's."""

from __future__ import annotations

import http
import json
import time
from dataclasses import dataclass

from installer import server
from installer.machine import Failed, has_systemd

# a snapshot waits 4 s for the camera, so a camera that is slower has to be asked again
_ANSWER_SECONDS = 10.0
_POLL_SECONDS = 0.25
# the kinds that `auto` finds
_OF_THIS_HOST = ("csi", "usb")


@dataclass(frozen=True)
class Camera:
    """The state of a camera, in the words of its server.

    *stand_in*: the test picture is shown in place of a camera. *had_one*: a camera of this host has given pictures.
    *refused* are the problems of files that are not in force.
    """

    state: str
    ok: bool
    words: str
    kind: str | None
    stand_in: bool
    had_one: bool
    refused: tuple[str, ...] = ()

    @property
    def unknown(self) -> bool:
        """Return whether it sleeps, or starts for the first time."""
        return self.state in ("idle", "starting")

    @property
    def gives(self) -> bool:
        """Return whether it gives pictures, or sleeps, and no test picture stands in for it."""
        return self.ok and not self.stand_in

    @property
    def lost(self) -> bool:
        """Return whether it is missing and was there before."""
        return self.stand_in and self.had_one

    @property
    def never(self) -> bool:
        """Return whether it is missing and was never there, so that nothing was lost."""
        return self.stand_in and not self.had_one


def look(unit: str) -> Camera | None:
    """Return the camera of *unit*; None if its server does not run, or does not tell this address of the machine."""
    status, body = _ask(unit, "/state")
    if status != http.HTTPStatus.OK:
        return None
    try:
        table = json.loads(body)
        source = table["source"]
        words = ". ".join(filter(None, (table["detail"], table["hint"])))
        # also true for a release that takes the test picture for healthy
        stand_in = source["kind"] == "pattern" != source["configured"]
        had_one = source.get("last") in _OF_THIS_HOST
        refused = tuple((table.get("config_refused") or {}).get("problems", ()))
        return Camera(table["state"], table["ok"], words, source["kind"], stand_in, had_one, refused)
    except (ValueError, LookupError):
        return None


def known(unit: str, seconds: float) -> Camera | None:
    """Return the camera of *unit*. Wait at most *seconds* until it has started. Wake one that sleeps."""
    deadline = time.monotonic() + seconds
    while True:
        camera = look(unit)
        if camera is None or not camera.unknown or time.monotonic() > deadline:
            return camera
        # a server with users wakes its camera for nobody else
        if camera.state == "idle" and not _wakes(unit):
            return camera
        time.sleep(_POLL_SECONDS)


def _wakes(unit: str) -> bool:
    """Ask for a snapshot, and return whether that was allowed."""
    return _ask(unit, "/snapshot")[0] not in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN)


def _ask(unit: str, path: str) -> tuple[int, bytes]:
    """Return status and body of the answer of the server of *unit*; 0 if it does not answer."""
    pid = int(server.show(unit)["MainPID"])
    try:
        return server.get(pid, path, _ANSWER_SECONDS) if pid else (0, b"")
    except (OSError, Failed):
        return 0, b""


def giving(units: list[str], seconds: float, proven: bool) -> dict[str, Camera]:
    """Return the cameras of those of *units* that give pictures; no stand-in. Each may take *seconds* to start.

    A camera that is lost counts as well, unless the present release is *proven*: that release may have lost it.
    """
    if not has_systemd():
        return {}
    found = {unit: camera for unit in units if (camera := known(unit, seconds)) and not camera.unknown}
    return {unit: camera for unit, camera in found.items() if camera.gives or (camera.lost and not proven)}


def check(unit: str, before: Camera, seconds: float) -> None:
    """Wait until *unit* gives pictures again as it did *before*. Raises Failed after *seconds*."""
    # with the settings that a new release comes with, `auto` may take the place of another source
    had_none = before.kind not in _OF_THIS_HOST and not before.lost
    deadline = time.monotonic() + seconds
    while True:
        camera = known(unit, deadline - time.monotonic())
        if camera and (camera.gives or (had_none and camera.never)):
            return
        if time.monotonic() > deadline:
            why = camera.words if camera else "its server does not tell why"
            raise Failed(f"{unit} gives no pictures of its camera any more: {why}")
        time.sleep(_POLL_SECONDS)
