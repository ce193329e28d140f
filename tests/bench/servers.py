"""Start the servers that are compared, one at a time, on the same camera."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.kit.wait import free_port
from tests.usb.machine import Machine

ROOT = Path(__file__).parents[2]
FRAMERATE = 30
SERVER_CPU, CLIENT_CPU = 0, 1
# above all ordinary work of the machine, below the fake camera's thread
_PRIORITY = 5
_CAMERA_PRIORITY = 10
_START_SECONDS = 20.0


@dataclass(frozen=True)
class Pictures:
    """The pictures that the camera delivers; *folder* holds its JPEGs."""

    folder: Path
    width: int
    height: int


@dataclass
class Server:
    """A running server; *started_at* is in CLOCK_MONOTONIC, *listening_after* the seconds until it listened."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    paths: Mapping[str, str]
    started_at: float
    listening_after: float

    @property
    def pid(self) -> int:
        return self.process.pid


@dataclass
class Rig:
    """The means to run the servers: *built* maps names to compiled programs, *folder* is for this run alone."""

    built: Mapping[str, Path]
    folder: Path
    count: int = field(default=0)

    @contextlib.contextmanager
    def daemon(
        self, pictures: Pictures | None, env: Mapping[str, str] | None = None, **settings: object
    ) -> Iterator[Server]:
        """Run the whole daemon; without *pictures* with its test picture. Names of *settings* have __ for the dot."""
        with self._machine(pictures) as (machine, camera):
            port = free_port()
            table: dict[str, object] = {
                "http.listen_address": "127.0.0.1",
                "http.port": port,
                "http.max_viewers": 1000,
                "http.max_viewers_per_address": 1000,
                "http.max_connections": 1000,
                "http.max_connections_per_address": 1000,
                "video.framerate": float(FRAMERATE),
            }
            if pictures:
                table |= {"video.width": pictures.width, "video.height": pictures.height}
                table |= {"source.kind": "usb", "usb.device": str(camera)}
            else:
                table |= {"source.kind": "pattern"}
            table |= {name.replace("__", "."): value for name, value in settings.items()}
            config = machine.dev.parent / "config.toml"
            config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items()))
            argv = [sys.executable, "-m", "pi_cam_daemon", "run", "--config", str(config)]
            paths = {"stream": "/stream", "small": "/stream?size=small", "snapshot": "/snapshot"}
            # nothing that somebody has saved on a page of this checkout
            own = {"STATE_DIRECTORY": str(machine.dev.parent / "state")}
            with self._running("daemon", argv, {**machine.env, **own, **(env or {})}, port, paths) as server:
                yield server

    @contextlib.contextmanager
    def ustreamer(self, pictures: Pictures) -> Iterator[Server]:
        with self._machine(pictures) as (machine, camera):
            port = free_port()
            argv = [_found("ustreamer"), f"--device={camera}", "--format=mjpeg", "--encoder=hw", "--host=127.0.0.1"]
            argv += [f"--port={port}", f"--resolution={pictures.width}x{pictures.height}"]
            paths = {"stream": "/stream", "snapshot": "/snapshot"}
            with self._running("µStreamer", argv, machine.env, port, paths) as server:
                yield server

    @contextlib.contextmanager
    def spyglass(self, pictures: Pictures) -> Iterator[Server]:
        """Run spyglass; RuntimeError if `spyglass` is not among *built*."""
        if "spyglass" not in self.built:
            raise RuntimeError("spyglass is not there")
        with self._machine(pictures) as (machine, camera):
            port = free_port()
            argv = [sys.executable, "-m", "tests.bench.spyglass", str(self.built["spyglass"]), str(camera), str(port)]
            argv += [str(pictures.width), str(pictures.height), str(FRAMERATE)]
            paths = {"stream": "/stream", "snapshot": "/snapshot"}
            with self._running("spyglass", argv, machine.env, port, paths) as server:
                yield server

    @contextlib.contextmanager
    def floor(self, pictures: Pictures) -> Iterator[Server]:
        port = free_port()
        argv = [str(self.built["floor"]), str(port), str(pictures.folder), str(FRAMERATE)]
        with self._running("C floor", argv, {}, port, {"stream": "/"}) as server:
            yield server

    @contextlib.contextmanager
    def _machine(self, pictures: Pictures | None) -> Iterator[tuple[Machine, Path]]:
        self.count += 1
        folder = self.folder / f"machine{self.count}"
        machine = Machine(folder, self.built["fakev4l"], pictures.folder if pictures else folder)
        camera = machine.dev / "video0"
        if pictures:
            words = {"size": f"{pictures.width}x{pictures.height}", "fps": str(FRAMERATE), "formats": "MJPG"}
            machine.plug(**words, stamp="1", priority=str(_CAMERA_PRIORITY))
        try:
            yield machine, camera
        finally:
            shutil.rmtree(folder)

    @contextlib.contextmanager
    def _running(
        self, name: str, argv: list[str], env: Mapping[str, str], port: int, paths: Mapping[str, str]
    ) -> Iterator[Server]:
        log = self.folder / f"{name}.log"
        started_at = time.monotonic()
        with log.open("ab") as file:
            process = subprocess.Popen(
                argv,
                cwd=ROOT,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                process_group=0,
                preexec_fn=lambda: lift(SERVER_CPU),
            )
        try:
            listening_at = wait_for_listener(process, port, log)
            yield Server(name, process, port, paths, started_at, listening_at - started_at)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def lift(cpu: int) -> None:
    """Bind this process to one processor and, if permitted, give it priority over other work."""
    os.sched_setaffinity(0, {cpu})
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_PRIORITY))


def wait_for_listener(process: subprocess.Popen[bytes], port: int, log: Path) -> float:
    """Return the CLOCK_MONOTONIC time at which the server was first seen to accept connections."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return time.monotonic()
        time.sleep(0.002)
    raise RuntimeError(f"{process.args!r} does not listen; its last words:\n{log.read_text(errors='replace')[-1000:]}")


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise RuntimeError(f"{program} is not installed")
    return path
