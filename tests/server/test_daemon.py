"""The daemon as a service: start, reload, stop, systemd, wrong input."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.kit.daemon import REFUSED, RIG, ROOT, Daemon, running
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.kit.wire import Part, Reading


class Systemd:
    """The service manager's end of sd_notify."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(path))
        self._sock.setblocking(False)
        self.messages: list[str] = []

    def heard(self) -> list[str]:
        while True:
            try:
                self.messages.append(self._sock.recv(65536).decode())
            except BlockingIOError:
                return self.messages

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    systemd = Systemd(tmp_path / "notify")
    yield systemd
    systemd.close()


def test_systemd_gets_ready_status_watchdog_reload_and_stopping(tmp_path: Path, systemd: Systemd) -> None:
    env = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "600000"}
    with running(tmp_path / "daemon", env=env) as daemon:
        until("READY", lambda: any(message.startswith("READY=1\nSTATUS=") for message in systemd.heard()))
        until("STATUS", lambda: "STATUS=Streaming 640x480 at 25 frames/s from Test picture" in systemd.heard())
        until("WATCHDOG", lambda: systemd.heard().count("WATCHDOG=1") >= 5)
        environ = Path(f"/proc/{daemon.camera_pid()}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environ and b"WATCHDOG" not in environ
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        systemd.messages.clear()
        daemon.process.send_signal(signal.SIGHUP)
        until("READY after the reload", lambda: any(message.startswith("READY=1") for message in systemd.heard()))
        reloading = next(message for message in systemd.messages if message.startswith("RELOADING=1"))
        match = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", reloading)
        assert match and before <= int(match[1]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert daemon.stop() == 0
        assert any(message.startswith("STOPPING=1") for message in systemd.heard())


def test_the_watchdog_is_fed_on_while_the_camera_is_silent_or_asleep(tmp_path: Path, systemd: Systemd) -> None:
    env = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "600000"}
    settings = {"source.capture": "on-demand", "source.idle_seconds": 0}
    with running(tmp_path / "daemon", settings, env=env) as daemon:
        daemon.wait_for_state("idle")
        systemd.heard()
        systemd.messages.clear()
        until("WATCHDOG", lambda: systemd.heard().count("WATCHDOG=1") >= 5)
        viewer = Reading(daemon.watch())
        until("pictures", lambda: viewer.parts)
        os.kill(daemon.camera_pid(), signal.SIGSTOP)
        systemd.heard()
        systemd.messages.clear()
        until("WATCHDOG", lambda: systemd.heard().count("WATCHDOG=1") >= 5)
        viewer.finish()


# becomes the daemon, and notes when Python takes itself apart
WITH_EXIT_HANDLER = """
import atexit, sys
from pi_cam_daemon import cli

atexit.register(print, "taken apart", file=sys.stderr)
sys.exit(cli.main(["run", "--config", sys.argv[1]]))
"""


def test_threads_that_still_run_at_the_end_find_python_whole(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", argv=[sys.executable, "-c", WITH_EXIT_HANDLER]) as daemon:
        daemon.wait_for_state("streaming")
        assert daemon.stop() == 0
        assert "taken apart" not in daemon.log()


@pytest.mark.parametrize("camera", ["streaming", "stopped", "hanging"])
def test_sigterm_ends_everything_within_two_seconds_under_viewers(tmp_path: Path, camera: str) -> None:
    with running(tmp_path / "daemon") as daemon:
        viewers = [Reading(daemon.watch()) for _ in range(10)]
        until("pictures", lambda: all(viewer.parts for viewer in viewers))
        pid = daemon.camera_pid()
        if camera == "stopped":
            os.kill(pid, signal.SIGSTOP)
        elif camera == "hanging":
            daemon.fault("hang")
            until("the fault was taken", lambda: not daemon.fault_file.exists())
        asked = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - asked < patience(2)
        assert not Path(f"/proc/{pid}").exists()
        for viewer in viewers:
            viewer.join(patience(2))
            assert not viewer.is_alive()


def test_ctrl_c_causes_no_traceback_however_early_it_comes(tmp_path: Path) -> None:
    with running(tmp_path / "daemon") as daemon:
        os.killpg(daemon.process.pid, signal.SIGINT)  # the camera process is still busy with its imports
        assert daemon.process.wait(patience(5)) == 0
        assert not [words for words in ("Traceback", "died", "bug ended") if words in daemon.log()]


def test_files_in_the_working_directory_are_not_imported(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    folder.mkdir()
    for name in ("cv2.py", "numpy.py", "picamera2.py", "queue.py"):
        (folder / name).write_text("raise SystemExit('a file of a beginner')\n")
    with running(folder, argv=[sys.executable, "-P", "-m", "pi_cam_daemon", "run", "--config"]) as daemon:
        daemon.wait_for_rate()
        pid = daemon.camera_pid()
        viewer = daemon.watch()
        os.kill(pid, signal.SIGSTOP)
        viewer.next_where("a card that was drawn", lambda part: part.size == (640, 480) and len(part.jpeg) > 20000)
        viewer.close()
        assert "beginner" not in daemon.log()


def test_the_camera_process_does_not_outlive_a_killed_daemon(tmp_path: Path) -> None:
    with running(tmp_path / "daemon") as daemon:
        daemon.wait_for_state("streaming")
        pid = daemon.camera_pid()
        os.kill(pid, signal.SIGSTOP)  # it cannot help itself
        daemon.process.kill()
        daemon.process.wait(patience(5))
        # what nobody waits for stays a zombie where the test itself is process 1's stand-in
        until("the camera process dead", lambda: "\nState:\tZ" in _status(pid) or not _status(pid))


def _status(pid: int) -> str:
    try:
        return "\n" + Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_the_watchdogs_signal_logs_the_stacks_of_all_threads(tmp_path: Path) -> None:
    with running(tmp_path / "daemon") as daemon:
        daemon.wait_for_state("streaming")
        daemon.fault("hang")
        until("the fault was taken", lambda: not daemon.fault_file.exists())
        os.kill(daemon.camera_pid(), signal.SIGABRT)
        until("the camera process's stacks", lambda: re.search(r'camera.py", line \d+ in hang\n', daemon.log()))
        assert re.search(r'sender.py", line \d+ in _send_all\n', daemon.log())
        daemon.process.send_signal(signal.SIGABRT)
        assert daemon.process.wait(patience(5)) == -signal.SIGABRT
        for loop in ("daemon.py", "server/streams.py", "server/listener.py", "core/supervisor.py"):
            assert re.search(rf'pi_cam_daemon/{loop}", line \d+ in (run|_run|serve_forever)\n', daemon.log())


def leftmost_colour(part: Part) -> list[int]:
    image = cv2.imdecode(np.frombuffer(part.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    height, width = image.shape[:2]
    colour: list[int] = image[height // 2, width // 32].astype(int).tolist()
    return colour


def differs(one: list[int], other: list[int]) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) > 60


def test_a_reload_turns_the_picture_of_a_connected_viewer(daemon: Daemon) -> None:
    viewer = daemon.watch()
    before = leftmost_colour(viewer.part())
    pid = daemon.process.pid
    daemon.reload({"video.width": 320, "video.height": 240, "video.hflip": True})
    viewer.next_where(
        "the picture mirrored", lambda part: part.size == (320, 240) and differs(leftmost_colour(part), before), 15
    )
    assert daemon.process.pid == pid and daemon.process.poll() is None
    assert "died" not in daemon.log() and "bug ended" not in daemon.log()
    viewer.close()


def test_a_reload_adds_and_removes_the_overlay_of_a_connected_viewer(daemon: Daemon) -> None:
    def darkest_above(part: Part) -> int:
        """Return the darkest value in the corner above the first bar, which is grey."""
        image = cv2.imdecode(np.frombuffer(part.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        return int(image[:14, :20].min())

    with closing(daemon.watch()) as viewer:
        assert darkest_above(viewer.part()) > 120
        for overlay, drawn in (("MMMM {time}", True), ("", False)):
            daemon.reload({"video.width": 320, "video.height": 240, "video.overlay": overlay})
            viewer.next_where(
                f"a picture with {overlay!r}",
                lambda part, drawn=drawn: b"X-No-Picture" not in part.header and (darkest_above(part) < 60) == drawn,
                15,
            )
        daemon.reload({"video.overlay": "Küche"}, REFUSED)
        assert "video.overlay: " in daemon.log() and "ASCII" in daemon.log()
        viewer.part()


def test_no_reload_is_lost_however_soon_it_comes_after_another(daemon: Daemon) -> None:
    for number in range(150):
        daemon.write_config({"video.width": 320, "video.height": 240, "http.max_viewers": 100 + number})
        daemon.process.send_signal(signal.SIGHUP)
        until(f"reload {number}", lambda number=number: daemon.state()["max_viewers"] == 100 + number)


def test_a_reload_of_other_settings_leaves_the_camera_alone(daemon: Daemon) -> None:
    pid = daemon.camera_pid()
    daemon.reload({"video.width": 320, "video.height": 240, "http.max_viewers": 7})
    until("the new limit", lambda: daemon.state()["max_viewers"] == 7)
    assert daemon.camera_pid() == pid


def test_a_reload_to_a_missing_camera_reports_nothing_of_the_last_one(daemon: Daemon) -> None:
    daemon.fault("missing")
    daemon.reload({"video.width": 640, "video.height": 240})
    table = daemon.wait_for_state("no-camera")
    assert (table["camera"], table["source"]["kind"]) == (None, None)


def test_every_reload_warns_of_an_address_that_is_not_in_force(daemon: Daemon) -> None:
    warning = "the new http.listen_address and http.port need a restart"
    daemon.write_config({"http.port": 9})
    for turn in (1, 2):
        daemon.reload()
        assert daemon.log().count(warning) == turn
    daemon.reload({})
    assert daemon.log().count(warning) == 2


def test_healthz_and_the_config_command_give_the_same_hash(daemon: Daemon) -> None:
    def in_force() -> str:
        name: str = json.loads(daemon.get("/healthz")[2])["config_sha256"]
        return name

    def of_the_file() -> str:
        done = run("config", "--sha256", "--config", str(daemon.config_file))
        return done.stdout.strip()

    assert in_force() == of_the_file() == daemon.state()["config_sha256"]
    daemon.write_config({"video.rotation": 180})
    assert in_force() != of_the_file()
    daemon.reload()
    assert in_force() == of_the_file()
    # not in force before a restart
    daemon.reload({"video.rotation": 90, "http.port": 9})
    assert in_force() != of_the_file()
    assert daemon.state()["release"] is None, "it is not installed"


def test_a_broken_file_changes_nothing_and_is_explained(daemon: Daemon) -> None:
    pid = daemon.camera_pid()
    daemon.config_file.write_text("video.rotation = 45\nvideo.widht = 3\n")
    daemon.reload(said=REFUSED)
    assert "video.rotation" in daemon.log() and "video.widht: unknown key; did you mean width?" in daemon.log()
    assert daemon.state()["state"] == "streaming" and daemon.camera_pid() == pid


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pi_cam_daemon", *argv]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def test_a_busy_port_is_one_clear_line(daemon: Daemon) -> None:
    done = run("run", "--set", f"http.port={daemon.port}", "--set", 'http.listen_address="127.0.0.1"')
    assert done.returncode == 1
    assert done.stderr == (
        f"pi-cam-daemon: http.port = {daemon.port} is taken by another pi-cam-daemon, {daemon.address}; "
        "choose a free one, as with --set http.port=8080\n"
    )


def test_an_address_of_another_machine_is_one_clear_line() -> None:
    done = run("run", "--set", 'http.listen_address="203.0.113.77"', "--set", "http.port=0")
    assert done.returncode == 1
    assert re.fullmatch(r'pi-cam-daemon: http.listen_address = "203.0.113.77" is not an address .*\n', done.stderr)


def test_a_wrong_configuration_ends_with_78_before_anything_is_opened() -> None:
    done = run("run", "--set", "video.rotation=45", "--set", "http.prot=1", "--set", "source.kind=pattern")
    assert done.returncode == 78
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in ("video.rotation", "http.prot: unknown key; did you mean port?", "source.kind"):
        assert word in done.stderr


def test_the_daemon_stays_up_without_a_camera(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "pi_cam_daemon", "run"]
    for setting in ("http.port=0", 'http.listen_address="127.0.0.1"', 'source.kind="csi"'):
        argv += ["--set", setting]
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            until("the reason", lambda: "picamera2" in (tmp_path / "log").read_text())
            assert process.poll() is None
            process.terminate()
            assert process.wait(patience(5)) == 0
        finally:
            process.kill()
            assert process.stdout
            process.stdout.close()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_the_snapshot_command_gives_one_picture(tmp_path: Path) -> None:
    out = tmp_path / "out.jpg"
    done = run(
        "snapshot", str(out), "--set", 'source.kind="pattern"', "--set", "video.width=160", "--set", "video.height=120"
    )
    assert (done.returncode, done.stderr) == (0, "")
    image = cv2.imdecode(np.frombuffer(out.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None and image.shape == (120, 160, 3)


def test_clients_cannot_write_lines_into_the_log(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"log.level": "debug"}) as daemon:
        with daemon.connect("GET /\xc2\x9b31mred HTTP/1.1\r\nConnection: close\r\n\r\n") as sock:
            while sock.recv(4096):
                pass
        until("the request in the log", lambda: "31mred" in daemon.log())
        assert "\x9b" not in daemon.log()


# a root that may not open everything and whose /dev has a camera of other people's, and then the program it is given
ORDINARY_USER = """
import ctypes, os, subprocess, sys
CLONE_NEWNS, PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 0x20000, 24, 1, 2
libc = ctypes.CDLL(None)
if libc.unshare(CLONE_NEWNS):
    sys.exit("needs root")
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev"], check=True)
os.umask(0)
for name, minor in (("null", 3), ("urandom", 9)):
    os.mknod(f"/dev/{name}", 0o20666, os.makedev(1, minor))
os.mknod("/dev/video0", 0o20660, os.makedev(81, 0))
os.chown("/dev/video0", 1, 44)
os.setgroups([])
os.umask(0o022)
for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
    libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a /dev of its own")
@pytest.mark.parametrize("kind", ["csi", "pattern"])
def test_device_nodes_that_may_not_be_opened_are_named_once_at_the_start(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "ordinary-user.py"
    file.write_text(ORDINARY_USER)
    argv = [str(file), str(RIG), str(tmp_path / "fault")]
    with running(tmp_path / "daemon", {"source.kind": kind}, argv=[sys.executable, *argv]) as daemon:
        daemon.wait_for_state("streaming")
        told = daemon.log().count("WARNING no permission to open /dev/video0 (group video)\n")
        assert told == (kind == "csi")


TAKE = """
import os, sys
from pi_cam_daemon.system.systemd import listening_socket

handed, listen_pid, listen_fds = sys.argv[1:]
for number in (3, 4):
    os.dup2(int(handed), number)
os.environ |= {"LISTEN_PID": listen_pid or str(os.getpid()), "LISTEN_FDS": listen_fds, "LISTEN_FDNAMES": "x"}
taken = listening_socket()
print(taken and (taken.getsockname()[1], taken.fileno(), taken.get_inheritable()))
print([name for name in os.environ if name.startswith("LISTEN_")])
"""


@pytest.mark.parametrize(
    ("listen_pid", "listen_fds", "taken"), [("", "1", True), ("", "2", True), ("", "", False), ("1", "1", False)]
)
def test_the_socket_units_socket_is_taken_by_the_addressed_process(
    listen_pid: str, listen_fds: str, taken: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        handed = listener.fileno()
        done = subprocess.run(
            [sys.executable, "-c", TAKE, str(handed), listen_pid, listen_fds],
            pass_fds=(handed,), capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        expected = str((listener.getsockname()[1], 3, False)) if taken else "None"
    assert done.stdout.splitlines() == [expected, "[]"], done.stderr
    assert ("is ignored" in done.stderr) == (listen_fds == "2")
