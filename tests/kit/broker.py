"""Run a real MQTT broker, Debian's mosquitto, and collect what is said there."""

from __future__ import annotations

import contextlib
import getpass
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kit.lateness import patience
from tests.kit.network import CAMERA, Host
from tests.kit.wait import free_port, until

PROGRAMS = ("mosquitto", "mosquitto_pub", "mosquitto_sub", "mosquitto_passwd")


@dataclass(frozen=True)
class Message:
    """A message as a client got it; *retained* if the broker had kept it."""

    topic: str
    payload: bytes
    retained: bool

    @property
    def text(self) -> str:
        return self.payload.decode()


class Broker:
    """A broker at *address*, port *port*, on *host*. A client listens to everything from the start on.

    *lines* are added to its configuration; without a file of passwords in them everybody may do everything. *client*
    are options of mosquitto's clients, such as name and password.
    """

    def __init__(
        self,
        folder: Path,
        lines: Sequence[str] = (),
        client: Sequence[str] = (),
        host: Host = CAMERA,
        address: str = "127.0.0.1",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._folder = folder
        self._host = host
        self._client = ["-h", address, "-p", str(self.port), *client]
        # mosquitto reads files of passwords as the user that it becomes
        own = [f"listener {self.port} {address}", f"user {getpass.getuser()}"]
        anybody = [] if any(line.startswith("password_file") for line in lines) else ["allow_anonymous true"]
        (folder / "mosquitto.conf").write_text("\n".join([*own, *anybody, *lines, ""]))
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the broker, and the client that listens."""
        output = (self._folder / "output").open("ab")
        with output:
            argv = ["mosquitto", "-c", self._folder / "mosquitto.conf"]
            self._process = subprocess.Popen([*self._inside, *argv], stdout=output, stderr=output)
            until("the broker answers", lambda: self._try("mosquitto_pub", "-t", "test", "-n"))
            heard = (self._folder / "heard").open("ab")
            with heard:
                listen = ["mosquitto_sub", *self._client, "-v", "-t", "#", "-F", "%r %t %x"]
                self._listener = subprocess.Popen([*self._inside, *listen], stdout=heard, stderr=output)
        until("the client listens", lambda: self.publish("test", "now") or any(m.topic == "test" for m in self.heard()))

    def kill(self) -> None:
        """End the broker without a word."""
        for process in (self._listener, self._process):
            if process:
                process.kill()
                process.wait(patience(5))

    def heard(self) -> list[Message]:
        """Return everything that was said since the first start."""
        found = []
        for line in (self._folder / "heard").read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                retained, topic, payload = f"{line[:-1]} ".split(" ")[:3]
                found.append(Message(topic, bytes.fromhex(payload), retained == "1"))
        return found

    def last(self, topic: str) -> str | None:
        """Return the last text that was said on *topic*."""
        return next((message.text for message in reversed(self.heard()) if message.topic == topic), None)

    def wait_for(self, topic: str, text: str, seconds: float = 10.0) -> None:
        """Wait until *text* is the last that was said on *topic*."""
        until(f"{text} on {topic}", lambda: self.last(topic) == text, seconds)

    def retained(self) -> dict[str, str]:
        """Return what the broker keeps, by topic: what a client hears at once that begins to listen now."""
        run = ["mosquitto_sub", *self._client, "--retained-only", "-t", "#", "-W", "1", "-F", "%t %x"]
        done = subprocess.run([*self._inside, *run], capture_output=True, text=True, timeout=60, check=False)
        pairs = (f"{line} ".split(" ")[:2] for line in done.stdout.splitlines())
        return {topic: bytes.fromhex(payload).decode() for topic, payload in pairs}

    def publish(self, topic: str, text: str, retain: bool = False) -> None:
        assert self._try("mosquitto_pub", "-t", topic, "-m", text, *(["-r"] if retain else []))

    def description(self) -> dict[str, Any]:
        """Return the newest description of a device for Home Assistant."""
        texts = [m.text for m in self.heard() if m.topic.startswith("homeassistant/device/") and m.payload]
        table = json.loads(texts[-1]) if texts else {}
        assert isinstance(table, dict)
        return table

    @property
    def _inside(self) -> list[str]:
        return ["ip", "netns", "exec", self._host.name] if self._host.name else []

    def _try(self, program: str, *words: str) -> bool:
        argv = [*self._inside, program, *self._client, *words]
        return subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode == 0


@contextlib.contextmanager
def broker(
    folder: Path,
    lines: Sequence[str] = (),
    client: Sequence[str] = (),
    host: Host = CAMERA,
    address: str = "127.0.0.1",
) -> Iterator[Broker]:
    """Run a broker for as long as the block lasts."""
    if lacking := [program for program in PROGRAMS if not shutil.which(program)]:
        pytest.skip(f"needs {', '.join(lacking)}, which scripts/test brings")
    made = None
    try:
        made = Broker(folder, lines, client, host, address)
        yield made
    finally:
        if made:
            made.kill()
        print("--- the broker", (folder / "output").read_text(errors="replace"), sep="\n")


def passwords(folder: Path, **users: str) -> str:
    """Return the line of the configuration for a file of these users and passwords."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "passwords"
    file.touch(0o600)
    for name, password in users.items():
        subprocess.run(["mosquitto_passwd", "-b", file, name, password], check=True, capture_output=True, timeout=60)
    return f"password_file {file}"
