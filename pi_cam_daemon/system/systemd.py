"""What systemd is told. Outside systemd nobody hears it."""

from __future__ import annotations

import logging
import os
import socket
import time
from pathlib import Path

from sdnotify import SystemdNotifier

log = logging.getLogger(__name__)


# sd_listen_fds(3): where the sockets begin that systemd hands over
_FIRST_SOCKET = 3


def listening_socket() -> socket.socket | None:
    """The listening socket of pi-cam-daemon.socket, None without that unit.

    Takes LISTEN_* out of the environment, so that the camera process does not think that they are meant for it.
    """
    given = {name: os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if given["LISTEN_PID"] != str(os.getpid()) or not given["LISTEN_FDS"].isdecimal():
        return None
    sockets = [socket.socket(fileno=_FIRST_SOCKET + number) for number in range(int(given["LISTEN_FDS"]))]
    for handed in sockets:
        handed.set_inheritable(False)
    for unused in sockets[1:]:
        log.warning("%s is not served: one socket is", unused.getsockname())
        unused.close()
    return sockets[0] if sockets else None


class Notifier:
    """The service's end of sd_notify(3).

    Takes NOTIFY_SOCKET and WATCHDOG_* out of the environment, so that the camera process does not inherit them.
    *failures* counts messages that could not be sent: sdnotify itself says nothing of them. *pings* and *withheld*
    count the periods in which the watchdog was fed and in which it was not. *reboot_requested* tells that a flag file
    asks for a reboot, which the root-owned unit pi-cam-daemon-reboot.path obeys.
    """

    def __init__(self) -> None:
        self.failures = self.pings = self.withheld = 0
        self._notifier: SystemdNotifier | None = None
        if os.environ.get("NOTIFY_SOCKET"):
            try:
                self._notifier = SystemdNotifier(debug=True)
                # a manager that hangs must not take us along
                self._notifier.socket.setblocking(False)
            except OSError as error:
                log.warning("systemd cannot be told: %s", error)
        self.watchdog_seconds = _watchdog_seconds()
        runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        self._reboot_flag = Path(runtime, "reboot-requested") if runtime else None
        self._reboot_needed: bool | None = None
        self.reboot_requested = False
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
            os.environ.pop(name, None)

    def ready(self, status: str) -> None:
        """The service serves; *status* is what `systemctl status` shows."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={_line(status)}")

    def reloading(self) -> None:
        """A reload begins; systemd wants the moment in the same datagram, and `ready` after it in any case."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=Stopping")

    def watchdog(self) -> None:
        """The service is alive; due at least once in *watchdog_seconds*."""
        self._send("WATCHDOG=1")
        self.pings += 1

    def withhold(self) -> None:
        """The service is not alive in every part; after *watchdog_seconds* of this systemd ends it."""
        self.withheld += 1

    def reboot(self, needed: bool) -> None:
        """Ask for a reboot, once for as long as it is *needed*, and then take it back."""
        if needed is self._reboot_needed:
            return
        self._reboot_needed = needed
        self.reboot_requested = False
        if self._reboot_flag is None:
            if needed:
                log.error("a reboot is needed; without RUNTIME_DIRECTORY it cannot be asked for")
            return
        try:
            if needed:
                self._reboot_flag.touch()
                self.reboot_requested = True
                log.error("a reboot is needed and was asked for in %s", self._reboot_flag)
            elif self._reboot_flag.exists():  # maybe of the process before us
                self._reboot_flag.unlink(missing_ok=True)
                log.info("no reboot is needed any more")
        except OSError as error:
            log.error("%s: %s", self._reboot_flag, error.strerror)

    def _send(self, message: str) -> None:
        if self._notifier is None:
            return
        try:
            self._notifier.notify(message)
        except OSError as error:
            self.failures += 1
            if self.failures == 1:
                log.warning("systemd cannot be told: %s", error)


def _watchdog_seconds() -> float | None:
    """How often systemd wants to hear from this very process; None when it does not."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        seconds = int(os.environ.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return None
    return seconds if seconds > 0 else None


def _line(text: str) -> str:
    # sdnotify encodes as Latin-1 and a line feed would begin another field
    return text.encode("ascii", "replace").decode().replace("\n", " ")
