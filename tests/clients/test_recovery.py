"""Programs see pictures again after a camera died or was off, as docs/integrations.md says."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.clients import document, picture
from tests.clients.programs import Watching, started
from tests.kit.daemon import running
from tests.kit.wait import until

RIG = Path(__file__).parent / "rig"
VENVS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pi-cam-daemon" / "consumers"
# motion is some seconds of cards behind, so there are ten
SMALL = {"video.width": 320, "video.height": 240, "source.start_timeout_seconds": 10.0}
HEADLESS_VLC = (
    "unshare --user env HOME={folder} cvlc --no-audio --no-dbus --vout dummy --video-filter scene --scene-ratio 1"
    " --scene-format png --scene-prefix= --scene-path {folder} "
)

Argv = Sequence[str | Path]


def motion(address: str, folder: Path) -> Argv:
    config = folder / "motion.conf"
    headless = f"target_dir {folder}\npicture_output off\nmovie_output off\nwebcontrol_port 0\nsnapshot_interval 1\n"
    small = {"width 640": f"width {SMALL['video.width']}", "height 480": f"height {SMALL['video.height']}"}
    config.write_text(headless + document.block("motion", 0, {document.CAMERA: address, **small}))
    return ["motion", "-n", "-c", config]


def octoprint(address: str, folder: Path) -> Argv:
    (folder / "config.yaml").write_text(document.block("OctoPrint", 0, {document.CAMERA: address}))
    # -P: the folder of a script has a say in what is imported otherwise, and it has this one's name
    return [VENVS / "octoprint" / "bin" / "python", "-P", RIG / "octoprint.py", folder, folder]


def opencv(address: str, folder: Path) -> Argv:
    script = folder / "watch.py"
    saved = f'cv2.imwrite("{folder}/%d.png" % time.time_ns(), picture)'
    script.write_text(document.block("OpenCV", 0, {document.CAMERA: address, "...": saved}))
    return [sys.executable, script]


def vlc(address: str, folder: Path) -> Argv:
    command = document.block("VLC", 0, {document.CAMERA: address, "vlc ": HEADLESS_VLC.format(folder=folder)})
    return shlex.split(command)


def mpv(address: str, folder: Path) -> Argv:
    headless = f"mpv --no-config --no-audio --vo=image --vo-image-format=png --vo-image-outdir={folder} "
    return shlex.split(document.block("mpv", 0, {document.CAMERA: address, "mpv ": headless}))


def ffmpeg(address: str, folder: Path) -> Argv:
    # files of one picture instead of ten minutes
    pictures = {"segment -segment_time 600": "image2", "yard-": f"{folder}/yard-", ".mkv": ".jpg"}
    return ["sh", "-c", document.block("ffmpeg", 0, {document.CAMERA: address, **pictures})]


def gstreamer(address: str, folder: Path) -> Argv:
    sink = f"pngenc ! multifilesink location={folder}/%06d.png"
    return ["sh", "-c", document.block("GStreamer", 0, {document.CAMERA: address, "autovideosink": sink})]


CONSUMERS: dict[str, Callable[[str, Path], Argv]] = {
    function.__name__: function for function in (motion, octoprint, opencv, vlc, mpv, ffmpeg, gstreamer)
}
# these show the card, on the connection that they have; who asks for a picture each time is told that there is none
STREAMS = ["motion"]
POLLS = ["octoprint"]


def sees(watcher: Watching, what: str, wanted: Callable[[bytes], bool]) -> None:
    """Wait for a new picture that is *wanted*."""
    before = len(watcher.pictures())
    until(f"{watcher.program} shows {what}", lambda: any(map(wanted, watcher.pictures()[before:])), 40)


def is_card(data: bytes) -> bool:
    return not picture.is_upright(data)


@pytest.mark.parametrize("name", [*STREAMS, *POLLS])
def test_a_killed_camera_is_survived(name: str, tmp_path: Path) -> None:
    with running(tmp_path / "daemon", SMALL) as daemon:
        daemon.wait_for_state("streaming", 30)
        with started(name, CONSUMERS[name](f"127.0.0.1:{daemon.port}", tmp_path), tmp_path) as watcher:
            sees(watcher, "the test picture", picture.is_upright)
            # motion looks what there is, and then watches
            connections = daemon.log().count(" came, ")
            pid = daemon.camera_pid()
            os.kill(pid, signal.SIGSTOP)
            daemon.fault("never-opens")
            os.kill(pid, signal.SIGKILL)
            if name in STREAMS:
                sees(watcher, "the card", is_card)
            else:
                until("an error", lambda: any("503" in line for line in watcher.said()), 20)
            sees(watcher, "the test picture again", picture.is_upright)
            assert name in POLLS or connections == daemon.log().count(" came, ")


@pytest.mark.parametrize("name", CONSUMERS)
def test_a_camera_that_was_off_is_watched_again(name: str, tmp_path: Path) -> None:
    with running(tmp_path / "before", SMALL) as daemon:
        daemon.wait_for_state("streaming", 30)
        with started(name, CONSUMERS[name](f"127.0.0.1:{daemon.port}", tmp_path), tmp_path) as watcher:
            sees(watcher, "the test picture", picture.is_upright)
            daemon.stop()
            with running(tmp_path / "after", {**SMALL, "http.port": daemon.port}) as after:
                after.wait_for_state("streaming", 30)
                sees(watcher, "the test picture again", picture.is_upright)
