"""The service's side of systemd: sd_notify(3), the watchdog and socket activation. Outside systemd it does nothing."""

from __future__ import annotations

import logging
import os
import re
import shlex
import socket
import time
from pathlib import Path

from sdnotify import SystemdNotifier

from pi_cam_daemon.system import files

log = logging.getLogger(__name__)
_CGROUP = Path("/proc/self/cgroup")
_FIRST_SOCKET = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)


def listening_socket() -> socket.socket | None:
    """Return the socket of pi-cam-daemon.socket, None without that unit. Removes LISTEN_* from the environment."""
    given = {name: os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if given["LISTEN_PID"] != str(os.getpid()) or not given["LISTEN_FDS"].isdecimal():
        return None
    sockets = [socket.socket(fileno=_FIRST_SOCKET + number) for number in range(int(given["LISTEN_FDS"]))]
    for handed in sockets:
        handed.set_inheritable(False)
    for unused in sockets[1:]:
        log.warning("%s is ignored: only the first socket is used", unused.getsockname())
        unused.close()
    return sockets[0] if sockets else None


def runtime_directory() -> Path | None:
    """Return the runtime directory that systemd gave to this process; None without one."""
    given = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(given) if given else None


class Notifier:
    """Sender of sd_notify(3) messages.

    Removes NOTIFY_SOCKET and WATCHDOG_* from the environment, so that the camera process does not inherit them.
    *failures* counts messages that could not be sent, *pings* and *withheld* the watchdog periods with and without a
    message. *reboot_requested*: a flag file asks pi-cam-daemon-reboot.path, a unit of root, for a reboot.
    """

    def __init__(self) -> None:
        self.failures = self.pings = self.withheld = 0
        self._notifier: SystemdNotifier | None = None
        if os.environ.get("NOTIFY_SOCKET"):
            try:
                self._notifier = SystemdNotifier(debug=True)  # else it hides errors
                self._notifier.socket.setblocking(False)  # a systemd that hangs must not block this service
            except OSError as error:
                log.warning("systemd cannot be notified: %s", error)
        self.watchdog_seconds = _watchdog_seconds()
        runtime = runtime_directory()
        self._reboot_flag = runtime / "reboot-requested" if runtime else None
        self._reboot_needed: bool | None = None
        self.reboot_requested = False
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
            os.environ.pop(name, None)

    @property
    def reload_command(self) -> str:
        """Return the command that makes this process read its configuration again."""
        unit = unit_in(files.text(_CGROUP)) if self._notifier else ""
        return f"sudo systemctl reload {shlex.quote(unit)}" if unit else f"kill -HUP {os.getpid()}"

    def ready(self, status: str) -> None:
        """Tell that the service is ready; `systemctl status` shows *status*."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={_line(status)}")

    def reloading(self) -> None:
        """Tell that a reload begins, and when: systemd wants both in one datagram, and `ready` afterwards."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=Stopping")

    def watchdog(self) -> None:
        """Tell that the service is alive; due at least once in *watchdog_seconds*."""
        self._send("WATCHDOG=1")
        self.pings += 1

    def withhold(self) -> None:
        """Count a period without `watchdog`; after *watchdog_seconds* systemd ends the service."""
        self.withheld += 1

    def reboot(self, needed: bool) -> None:
        """Request a reboot when *needed* becomes true, and withdraw the request when it becomes false."""
        if needed is self._reboot_needed:
            return
        self._reboot_needed, self.reboot_requested = needed, False
        try:
            if needed and self._reboot_flag:
                self._reboot_flag.touch()
                self.reboot_requested = True
                log.error("a reboot is needed and is requested by %s", self._reboot_flag)
            elif needed:
                log.error("a reboot is needed, but without RUNTIME_DIRECTORY it cannot be requested")
            elif self._reboot_flag and self._reboot_flag.exists():  # maybe of an earlier process
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
                log.warning("systemd cannot be notified: %s", error)


def _watchdog_seconds() -> float | None:
    """Return the watchdog period that systemd set for this process; None without one."""
    pid, microseconds = os.environ.get("WATCHDOG_PID", str(os.getpid())), os.environ.get("WATCHDOG_USEC", "")
    return (int(microseconds) / 1e6 or None) if pid == str(os.getpid()) and microseconds.isdecimal() else None


def unit_in(cgroup: str) -> str:
    """Return the system's service in *cgroup*, the text of /proc/PID/cgroup; "" for a session or a user's service."""
    path = cgroup.rpartition(":")[2]
    return path.rpartition("/")[2] if path.endswith(".service") and "/user@" not in path else ""


def _line(text: str) -> str:
    # sdnotify encodes as Latin-1. A line feed would begin another field, and an escape sequence act on a terminal.
    return re.sub("[^ -~]", " ", text.encode("ascii", "replace").decode())
