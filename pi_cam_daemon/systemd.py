"""What systemd is told. Outside systemd every call does nothing."""

from __future__ import annotations

import logging
import os
import time

from sdnotify import SystemdNotifier

log = logging.getLogger(__name__)


class Notifier:
    """The service's end of sd_notify(3).

    Takes NOTIFY_SOCKET and WATCHDOG_* out of the environment, so that the camera process does not inherit them.
    *failures* counts messages that could not be sent: sdnotify itself says nothing of them. *pings* and *withheld*
    count the periods in which the watchdog was fed and in which it was not.
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
