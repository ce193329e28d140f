"""Start the programs that people watch with, and collect the pictures that they decode."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.kit.daemon import Daemon
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.kit.wire import Reading, Viewer

FFMPEG = "ffmpeg -hide_banner -nostdin -loglevel repeat+warning"

# These write each picture as a PNG into {folder} …
PLAYERS = {
    "ffmpeg": FFMPEG + " -i {url} {folder}/%06d.png",
    # its preset-http-mjpeg-generic, then what its detector asks of any camera
    "frigate": FFMPEG + " -user_agent FFmpeg/Frigate -avoid_negative_ts make_zero -fflags nobuffer -flags low_delay"
    " -strict experimental -fflags +genpts+discardcorrupt -use_wallclock_as_timestamps 1 -i {url}"
    " -r 5 -vf fps=5 {folder}/%06d.png",
    "opencv": shlex.join([sys.executable, str(Path(__file__).parent / "rig" / "opencv.py")]) + " {url} {folder}",
    # VLC refuses to run as root; in a user namespace without a mapping it is nobody, yet may write here
    "vlc": "unshare --user env HOME={folder} cvlc --no-audio --no-dbus --vout dummy"
    " --video-filter scene --scene-ratio 1 --scene-format png --scene-prefix= --scene-path {folder} {url}",
    "gstreamer": "gst-launch-1.0 -q souphttpsrc location={url} is-live=true ! multipartdemux ! jpegdec ! videoconvert"
    " ! pngenc ! multifilesink location={folder}/%06d.png",
    "mpv": "mpv --no-config --msg-level=all=warn --no-audio --vo=image --vo-image-format=png"
    " --vo-image-outdir={folder} {url}",
}
# … and these the whole HTTP answer to their standard output.
DOWNLOADERS = {
    "curl": "curl --silent --show-error --no-buffer --include {url}",
    "wget": "wget --no-verbose --save-headers --output-document=- {url}",
}
PROGRAMS = PLAYERS | DOWNLOADERS

# nothing comes behind these: the picture has been written to its end
ENDS = (b"IEND\xaeB`\x82", b"\xff\xd9")


class Watching:
    """A program that watches a camera, as long as `watching` lasts."""

    def __init__(self, program: str, process: subprocess.Popen[bytes], folder: Path, answer: socket.socket) -> None:
        self.program = program
        self.process = process
        self.reading = Reading(Viewer(answer)) if program in DOWNLOADERS else None
        self._folder = folder
        self._pictures: list[bytes] = []
        self._newest = 0

    def pictures(self) -> list[bytes]:
        """Return the files of all pictures so far."""
        assert self.process.poll() is None, f"{self.program} has ended"
        if self.reading:
            assert self.reading.error is None, self.reading.error
            return [part.jpeg for part in self.reading.parts]
        # by time and not by name: VLC counts from 1 again when the size changes
        for written, file in sorted((file.stat().st_mtime_ns, file) for file in self._folder.glob("*.[jp][pn]g")):
            if written > self._newest and (data := file.read_bytes()).endswith(ENDS):
                self._newest = written
                self._pictures.append(data)
        return self._pictures

    def wait_for(self, count: int, seconds: float = 15.0) -> list[bytes]:
        """Return all pictures so far, at least *count*."""
        until(f"{count} pictures in {self.program}", lambda: len(self.pictures()) >= count, seconds)
        return self.pictures()

    def said(self) -> list[str]:
        """Return the lines that the program wrote for a person."""
        return (self._folder / "output").read_text(errors="replace").splitlines()


@contextlib.contextmanager
def watching(
    program: str,
    daemon: Daemon,
    folder: Path,
    path: str = "/stream",
    origin: str = "http://127.0.0.1",
    options: str = "",
) -> Iterator[Watching]:
    """Let *program* watch *daemon* at *path* for as long as the block lasts; its output goes to *folder*.

    *options* stand right before the address.
    """
    words = {"url": f"{origin}:{daemon.port}{path}", "folder": str(folder)}
    command = re.sub(r"\S*\{url\}", rf"{options} \g<0>", PROGRAMS[program])
    with started(program, [word.format(**words) for word in shlex.split(command)], folder) as watching:
        yield watching


@contextlib.contextmanager
def started(program: str, argv: Sequence[str | Path], folder: Path) -> Iterator[Watching]:
    """Run *argv* as a watching program for as long as the block lasts."""
    output = folder / "output"
    answer, theirs = socket.socketpair()
    with answer, output.open("wb") as log:
        answer.settimeout(patience(10))
        with theirs:
            stdout = theirs.fileno() if program in DOWNLOADERS else log.fileno()
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=log, start_new_session=True
            )
        try:
            watching = Watching(program, process, folder, answer)
            yield watching
            if watching.reading:
                watching.reading.finish()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(patience(5))
            print(f"--- {program}", output.read_text(errors="replace"), sep="\n")
