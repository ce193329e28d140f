"""Sending: a command that copies a file, in a process group of its own, for so long as its size allows."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO

_MOST_BYTES = 65536
_LEAST_SECONDS = 120.0
_SLOWEST_BYTES = 20_000  # a second


def limit(size: int) -> float:
    """Return the seconds that a file of *size* bytes may take."""
    return _LEAST_SECONDS + size / _SLOWEST_BYTES


class Sending:
    """The command *argv*, which is started at *now* with *environment* over ours, and may take *seconds*.

    It holds the descriptors *inherited* until its end. Raises OSError if it cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        now: float,
        seconds: float,
        inherited: Sequence[int] = (),
    ) -> None:
        self._seconds = seconds
        self._until = now + seconds
        self._child = subprocess.Popen(
            argv,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
            pass_fds=inherited,
        )

    def ended(self, now: float) -> tuple[int, str, str] | None:
        """Return status, output and errors of the command; None while it runs. Kill it if it takes too long."""
        status = self._child.poll()
        if status is None and now < self._until:
            return None
        if status is None:
            self.kill()
            return -signal.SIGKILL, "", f"it took longer than {self._seconds:.0f} s"
        return status, self._read(self._child.stdout), self._read(self._child.stderr)

    def kill(self) -> None:
        """End the command, and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    @staticmethod
    def _read(pipe: IO[bytes] | None) -> str:
        """Return what is in *pipe*, without waiting for more."""
        assert pipe
        os.set_blocking(pipe.fileno(), False)
        with pipe:
            return (pipe.read(_MOST_BYTES) or b"").decode("utf-8", "replace")
