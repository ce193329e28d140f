"""Servers of other projects as Debian packages them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.kit.wait import free_port, until
from tests.kit.wire import Reading
from tests.upstream.test_daemon import behind
from tests.usb.conftest import frames, library, machine  # noqa: F401 - fixtures: µStreamer needs a USB camera
from tests.usb.machine import Machine


@contextlib.contextmanager
def program(*argv: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(argv, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ffmpeg(port: int, *options: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """Run ffmpeg as a server for one connection."""
    return program(
        *("ffmpeg", "-nostdin", "-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=15"),
        *("-f", "mpjpeg", *options, "-listen", "1", f"http://127.0.0.1:{port}/video"),
    )


def test_ffmpeg_serves_and_is_found_again_when_it_comes_back(tmp_path: Path) -> None:
    port = free_port()
    multipart = ("-content_type", "multipart/x-mixed-replace;boundary=ffmpeg")
    with behind(tmp_path, f"http://127.0.0.1:{port}/video") as daemon:
        assert daemon.wait_for_state("no-camera")["cause"] == "missing"
        viewer = Reading(daemon.watch())
        for _ in range(2):
            with ffmpeg(port, *multipart):
                daemon.wait_for_state("streaming", 45)
                count = len(viewer.parts)
                until("20 pictures", lambda more=count + 20: len(viewer.parts) > more)  # type: ignore[misc]
                assert viewer.parts[-1].size == (320, 240)
            daemon.wait_for_state("no-camera")
        viewer.finish()


def test_ffmpeg_without_a_content_type_is_read(tmp_path: Path) -> None:
    port = free_port()
    with ffmpeg(port), behind(tmp_path, f"http://127.0.0.1:{port}/video") as daemon:
        daemon.wait_for_state("streaming", 30)


@pytest.mark.parametrize("path", ["/stream", "/?action=stream"])
def test_ustreamer_serves_and_its_bytes_come_through(tmp_path: Path, machine: Machine, path: str) -> None:  # noqa: F811
    machine.plug("video0", formats="MJPG", size="320x240", fps="25", kind="camera", state="run")
    drawn = {file.read_bytes() for file in machine.frames.iterdir()}
    port = free_port()
    camera = ("--device", str(machine.dev / "video0"), "--format", "mjpeg", "--encoder", "hw")
    address = ("--host", "127.0.0.1", "--port", str(port))
    with (
        program("ustreamer", *camera, "--resolution", "320x240", *address, env=machine.env),
        behind(tmp_path / "daemon", f"http://127.0.0.1:{port}{path}") as daemon,
    ):
        daemon.wait_for_state("streaming", 30)
        reader = Reading(daemon.watch())
        until("every picture of the camera", lambda: drawn <= {part.jpeg for part in reader.parts})
        reader.finish()


def test_ustreamer_refuses_a_wrong_login_and_its_snapshot_is_polled(tmp_path: Path, machine: Machine) -> None:  # noqa: F811
    machine.plug("video0", formats="MJPG", size="320x240", fps="25", kind="camera", state="run")
    port = free_port()
    argv = ("ustreamer", "--device", str(machine.dev / "video0"), "--format", "mjpeg", "--encoder", "hw")
    login = ("--host", "127.0.0.1", "--port", str(port), "--user", "me", "--passwd", "s3cret")
    with program(*argv, "--resolution", "320x240", *login, env=machine.env):
        with behind(tmp_path / "stranger", f"http://127.0.0.1:{port}/stream") as daemon:
            until("the refusal", lambda: daemon.state()["cause"] == "permission", 30)
        with behind(tmp_path / "friend", f"http://me:s3cret@127.0.0.1:{port}/stream") as daemon:
            daemon.wait_for_state("streaming", 30)
            assert "s3cret" not in daemon.log()
        with behind(tmp_path / "snapshot", f"http://me:s3cret@127.0.0.1:{port}/snapshot") as daemon:
            daemon.wait_for_state("streaming", 30)
            assert len(daemon.watch().parts(5)) == 5
