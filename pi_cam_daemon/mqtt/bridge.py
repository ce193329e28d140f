"""The bridge between the camera and an MQTT broker, as configured now."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

from pi_cam_daemon.config import saved
from pi_cam_daemon.config.broker import Login
from pi_cam_daemon.core.events import Event
from pi_cam_daemon.core.supervisor import Supervisor
from pi_cam_daemon.mqtt.connection import Connection
from pi_cam_daemon.mqtt.device import Device
from pi_cam_daemon.mqtt.discovery import OFFLINE, Topics
from pi_cam_daemon.server.app import App
from pi_cam_daemon.system import files, network


class Bridge:
    """Connects the camera of *app* and *supervisor* to the broker of `[mqtt]`. The page is at *port*.

    The main thread configures and closes it.
    """

    def __init__(self, app: App, supervisor: Supervisor, port: int) -> None:
        self._app = app
        self._supervisor = supervisor
        self._port = port
        self._login: Login | None = None
        self._device: Device | None = None
        self._connection: Connection | None = None
        app.events.listen(self._happened)
        app.observer.mqtt = self.status

    def configure(self) -> None:
        """Connect as the policy in force says, anew if that has changed. Without a broker say the farewell."""
        login = self._app.policy.broker
        if login == self._login:
            return
        self._login = login
        self.close()
        if not login:
            self._device = self._connection = None
            return
        name = login.client_id or identity()
        topics = Topics(login.topic or name)
        self._device = device = Device(name, topics, self._app, self._supervisor, self._address)
        self._connection = Connection(login, name, (topics.status, OFFLINE), device)

    def status(self) -> dict[str, object] | None:
        """Return the part of /state; None without a broker."""
        connection = self._connection
        return connection.status() if connection else None

    def close(self) -> None:
        """Say that the camera is offline, and disconnect. Home Assistant keeps the device."""
        if self._connection:
            self._connection.close()

    def _address(self) -> str:
        """Return the address of the page for other machines."""
        http = self._app.observer.config.http
        place = http.scheme, http.listen_address, self._port
        try:
            return network.listening_addresses(*place)[-1]
        except OSError:
            return network.local_address(*place)

    def _happened(self, event: Event) -> None:
        if device := self._device:
            device.happened(event)


def identity() -> str:
    """Return a name that no other camera has: of this machine's id, which must not be told, and the state directory."""
    machine = files.text(Path("/etc/machine-id")) or platform.node()
    return f"pi-cam-{hashlib.sha256(f'{machine} {saved.folder()}'.encode()).hexdigest()[:12]}"
