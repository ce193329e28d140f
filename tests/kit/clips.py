"""Read clips, with a reader of Matroska that is not the writer's; and run the recorder as a process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.kit.daemon import ROOT, Daemon
from tests.kit.lateness import patience
from tests.kit.wait import until

EBML, SEGMENT, INFO, TRACKS, CLUSTER, CUES = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675, 0x1C53BB6B
SEEK_HEAD, VOID, DATE, DURATION, TIME, BLOCK = 0x114D9B74, 0xEC, 0x4461, 0x4489, 0xE7, 0xA3
TOP = {EBML, SEEK_HEAD, INFO, TRACKS, CLUSTER, CUES, VOID}
EPOCH = 978_307_200  # 2001, in Unix time


@dataclass
class Clip:
    """The content of a file, up to where it ends. *pictures* are pairs of Unix time in seconds and JPEG."""

    name: str
    began: float = 0.0
    pictures: list[tuple[float, bytes]] = field(default_factory=list)
    complete: bool = False


def read(path: Path) -> Clip:
    """Return the clip at *path*; AssertionError if it is not as it should be."""
    data = path.read_bytes()
    clip = Clip(path.name)
    for name, content, whole in _elements(data, 0):
        if name == INFO and whole:
            facts = {name: content for name, content, _ in _elements(content, 0)}
            clip.began = EPOCH + int.from_bytes(facts[DATE], signed=True) / 1e9
        elif name == CLUSTER:
            time = 0
            for inner, value, inner_whole in _elements(content, 0):
                if inner == TIME:
                    time = int.from_bytes(value)
                elif inner == BLOCK and inner_whole:
                    assert (value[0], value[3]) == (0x81, 0x80), "not a key frame of the first track"
                    jpeg = value[4:]
                    assert jpeg[:2] == b"\xff\xd8" and jpeg[-2:] == b"\xff\xd9", "not one whole JPEG"
                    ms = time + int.from_bytes(value[1:3], signed=True)
                    clip.pictures.append((clip.began + ms / 1000, jpeg))
        elif name == CUES and whole:
            clip.complete = True
    return clip


def _elements(data: bytes, at: int) -> Iterator[tuple[int, bytes, bool]]:
    """Yield identifier, content, and whether all of it is there. A segment is entered."""
    while at < len(data):
        length = 9 - data[at].bit_length()
        name = int.from_bytes(data[at : at + length])
        at += length
        if at >= len(data):
            return
        length = 9 - data[at].bit_length()
        number = data[at : at + length]
        if len(number) < length:
            return
        size = int.from_bytes(number) & (1 << 7 * length) - 1
        at += length
        if name == SEGMENT:
            assert size in (len(data) - at, (1 << 56) - 1) or size > len(data) - at, "the segment has another size"
            continue
        yield name, data[at : at + size], at + size <= len(data)
        at += size


def taken(jpeg: bytes) -> datetime:
    """Return when a picture of the time-lapse was taken, from its comment."""
    assert jpeg[2:4] == b"\xff\xfe", "no comment"
    return datetime.strptime(jpeg[6 : 4 + int.from_bytes(jpeg[4:6])].decode(), "%Y-%m-%dT%H:%M:%S%z")


class Recorder:
    """A recorder of *daemon* as a process, which writes into *folder*."""

    def __init__(self, daemon: Daemon, folder: Path | None = None, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder or daemon.state_folder / "recordings"
        self.log_file = daemon.folder / "recorder-log"
        self.record_file = daemon.state_folder / "recordings.json"
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pi_cam_daemon", "record", "--config", daemon.config_file],
                env={**os.environ, "PYTHONPATH": str(ROOT), "STATE_DIRECTORY": str(daemon.state_folder)}
                | dict(env or {}),
                stderr=log,
            )

    def record(self) -> dict[str, Any]:
        """Return what this recorder tells of itself; {} if it has not yet."""
        with contextlib.suppress(FileNotFoundError):
            table: dict[str, Any] = json.loads(self.record_file.read_text())
            return table if table["pid"] == self.process.pid else {}
        return {}

    def wait_for(self, state: str, seconds: float = 15.0) -> dict[str, Any]:
        """Return the record once it has *state*."""
        found: dict[str, Any] = until(
            f"the recorder is {state}", lambda: (now := self.record()).get("state") == state and now, seconds
        )
        return found

    def clips(self) -> list[Clip]:
        """Return all clips, oldest first."""
        return [read(path) for path in sorted(self.folder.glob("*.mkv"))]

    def log(self) -> str:
        return self.log_file.read_text()

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience(8))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(patience(5))


@contextlib.contextmanager
def recording(daemon: Daemon, folder: Path | None = None, env: Mapping[str, str] | None = None) -> Iterator[Recorder]:
    """Run a recorder of *daemon* for as long as the block lasts, and wait until it waits for something to happen."""
    recorder = Recorder(daemon, folder, env)
    try:
        recorder.wait_for("waiting")
        yield recorder
    finally:
        recorder.close()
        print(f"--- the recorder's log\n{recorder.log()}")
