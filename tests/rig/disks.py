"""A writer of clips on the disk at FOLDER, which its test has mounted: `disks.py CASE FOLDER`. Tells of it as JSON.

`disks.py daemon FOLDER CONFIG` runs a daemon whose FOLDER never answers.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pi_cam_daemon
from pi_cam_daemon.recording import writer as writers
from pi_cam_daemon.recording.picture import Picture
from pi_cam_daemon.recording.shelf import Shelf
from pi_cam_daemon.recording.writer import Writer
from tests.kit.wait import until

JPEG = (Path(pi_cam_daemon.__file__).parent / "core/no-signal.jpg").read_bytes()
BEGAN_US = 1_700_000_000_000_000
LARGE = 100_000  # bytes of a picture
PER_CLIP = 4


def picture(number: int, size: int = LARGE) -> Picture:
    """Return a JPEG of *size* bytes that was taken *number* tenths of a second after the first one."""
    comment = b"\xff\xfe" + (0xC000).to_bytes(2) + bytes(0xC000 - 2)
    padded = JPEG[:2] + comment * (size // len(comment)) + JPEG[2:]
    return Picture(padded, BEGAN_US + number * 100_000, time.monotonic())


def clip(writer: Writer, number: int) -> None:
    """Record one clip, the one with this *number*, and wait until it is complete or lost."""
    for index in range(PER_CLIP):
        writer.put(picture(100 * number + index), "motion")
    writer.end()
    until("the clip is done", lambda: writer._busy_since is None and not writer._waiting)


def many(folder: Path, writer: Writer) -> dict[str, Any]:
    """Record more clips than there is room for."""
    for number in range(20):
        clip(writer, number)
    names = sorted(path.name for path in folder.glob("*.mkv"))
    newest = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(BEGAN_US // 10**6 + 190))
    progress = writer.progress(time.monotonic())
    return {
        "problem": progress.problem,
        "lost": progress.lost,
        "removed": 20 - len(names),
        "newest": names[-1][:19] if names else "",
        "last_written": newest,
    }


def filled(folder: Path, writer: Writer) -> dict[str, Any]:
    """Record on a disk that is full of something else, and again when there is room."""
    music = folder / "music"
    with music.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 12)):
            pass
    clip(writer, 0)
    full = writer.progress(time.monotonic())
    music.unlink()
    time.sleep(writers._RETRY_SECONDS)
    clip(writer, 1)
    after = writer.progress(time.monotonic())
    return {"full": full.problem, "lost": full.lost, "problem": after.problem, "clips": after.clips}


def hangs(folder: Path, writer: Writer) -> dict[str, Any]:
    """Record on a file system in user space whose server never answers."""
    del folder
    longest = 0.0
    for number in range(400):
        begun = time.monotonic()
        writer.put(picture(number), "motion")
        longest = max(longest, time.monotonic() - begun)
    progress = writer.progress(time.monotonic() + writers._HANGS_SECONDS + 1)
    return {
        "problem": progress.problem,
        "lost": progress.lost,
        "longest_put": longest,
        "waiting_bytes": writer._waiting_bytes,
    }


def mount_without_an_answer(folder: Path) -> int:
    """Mount a file system in user space at *folder*, and return the descriptor that nobody answers."""
    server = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", os.fsencode(folder), b"fuse", 0, options):
        raise OSError(ctypes.get_errno(), "mount")
    return server


def main(case: str, folder: Path) -> None:
    if case == "hangs":
        mount_without_an_answer(folder)
    writer = Writer(Shelf(folder, 1 << 40, 0), 300, make_folder=False)
    writer.start()
    told = {"many": many, "filled": filled, "hangs": hangs}[case](folder, writer)
    print(json.dumps(told), flush=True)
    os._exit(0)  # a thread that hangs would be waited for


def run_daemon(folder: Path, config: str) -> None:
    """Become a daemon; its end is that of the disk."""
    os.set_inheritable(mount_without_an_answer(folder), True)
    os.execv(sys.executable, [sys.executable, "-m", "pi_cam_daemon", "run", "--config", config])


if __name__ == "__main__":
    if sys.argv[1] == "daemon":
        run_daemon(Path(sys.argv[2]), sys.argv[3])
    main(sys.argv[1], Path(sys.argv[2]))
