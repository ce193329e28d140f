"""Run the whole daemon as a process."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.kit.wire import Viewer, ask, watch

ROOT = Path(__file__).parents[2]
RIG = Path(__file__).parents[1] / "rig" / "daemon.py"
# starts the daemon as people do, without the rig's faults
RUN = (sys.executable, "-m", "pi_cam_daemon", "run", "--config")
# the log's words for a reload that was refused
REFUSED = "the configuration was not reloaded; the old one stays"


class Daemon:
    """A pi-cam-daemon on a free port of 127.0.0.1 with a test picture. Its camera can be given faults."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, object],
        unkillable: bool = False,
        env: Mapping[str, str] | None = None,
        argv: Sequence[str | Path] = (),
    ) -> None:
        self.folder = folder
        self.fault_file = folder / "fault"
        self.state_folder = folder / "state"
        self.config_file = folder / "config.toml"
        self.write_config(settings)
        self.log_file = folder / "log"
        argv = argv or [sys.executable, RIG, self.fault_file, *(["--unkillable"] if unkillable else [])]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*argv, self.config_file],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "STATE_DIRECTORY": str(self.state_folder)}
                | {"LC_ALL": "C.UTF-8", **(env or {})},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                process_group=0,  # as a shell starts it
            )
        try:
            assert self.process.stdout
            line = self.process.stdout.readline()
            match = re.search(r"https?://\S+:(\d+)/", line)
            assert match, f"no address in {line!r}; the log says: {self.log()}"
        except BaseException:  # nobody gets the object that could end the process
            self.close()
            raise
        self.address = match[0]
        self.port = int(match[1])

    def write_config(self, settings: Mapping[str, object]) -> None:
        """Write the configuration file: *settings* over the defaults of the tests."""
        every = {"source.kind": "pattern", "http.port": 0, "http.listen_address": "127.0.0.1", **settings}
        self.config_file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in every.items()))

    def fault(self, word: str) -> None:
        """Give the camera a fault; rig/camera.py lists the words."""
        new = self.fault_file.with_suffix(".new")
        new.write_text(word)
        new.rename(self.fault_file)

    def log(self) -> str:
        return self.log_file.read_text()

    def reload(self, settings: Mapping[str, object] | None = None, said: str = "configuration reloaded") -> None:
        """Have the configuration file read again, with *settings* in it if given. Return once the log *said* so."""
        if settings is not None:
            self.write_config(settings)
        before = self.log().count(said)
        self.process.send_signal(signal.SIGHUP)
        until(said, lambda: self.process.poll() is not None or self.log().count(said) > before)
        assert self.process.poll() is None, "the reload ended the daemon"

    # -- asked over HTTP

    def get(self, path: str, timeout: float = 10.0) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers (names in lower case) and body for any status."""
        return ask(f"http://127.0.0.1:{self.port}{path}", timeout)

    def post(
        self, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, timeout: float = 10.0
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a POST, with JSON unless *headers* say otherwise, and return the same as `get`."""
        every = {"Content-Type": "application/json", **(headers or {})}
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, every, method="POST")
        return ask(asked, timeout)

    def state(self) -> dict[str, Any]:
        table = json.loads(self.get("/state")[2])
        assert isinstance(table, dict)
        return table

    def wait_for_state(self, state: str, seconds: float = 15.0) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            table = self.state()
            return table if table["state"] == state else None

        table: dict[str, Any] = until(f"state {state}", there, seconds)
        return table

    def wait_for_rate(self) -> dict[str, Any]:
        """Return the state once the rate is measured: before, a pause is no stall."""
        table: dict[str, Any] = until("a measured rate", lambda: (now := self.state())["frames"]["rate"] and now)
        return table

    def camera_pid(self) -> int:
        pid = self.state()["camera_process"]["pid"]
        assert isinstance(pid, int)
        return pid

    def connect(self, request: str, receive_buffer: int = 0) -> socket.socket:
        """Return a connection on which *request* (a path, or a whole HTTP request) was sent."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(patience(10))
        sock.connect(("127.0.0.1", self.port))
        if request.startswith("/"):
            request = f"GET {request} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        sock.sendall(request.encode("latin-1"))
        return sock

    def watch(self, path: str = "/stream") -> Viewer:
        return watch(self.connect(""), path)

    # -- ended

    def stop(self, seconds: float = 5.0) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience(seconds))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(patience(5))
        assert self.process.stdout
        self.process.stdout.close()


@contextlib.contextmanager
def running(
    folder: Path,
    settings: Mapping[str, object] | None = None,
    unkillable: bool = False,
    env: Mapping[str, str] | None = None,
    argv: Sequence[str | Path] = (),
) -> Iterator[Daemon]:
    """Run a daemon for as long as the block lasts; *argv* replaces the rig's command before its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    daemon = Daemon(folder, settings or {}, unkillable, env, argv)
    try:
        yield daemon
    finally:
        daemon.close()
        print(f"--- the daemon's log\n{daemon.log()}")
