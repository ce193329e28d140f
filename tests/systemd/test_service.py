"""The owner's actions on the service: start, reload, stop, a wrong file, a power cut, several cameras, a socket."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Report
from tests.kit.daemon import ROOT
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.systemd.conftest import DROP_INS, ETC, STATE, UNIT, Camera

CLOCK = ROOT / "tests/rig/clock/sitecustomize.py"
GARDEN, GATE = "pi-cam-daemon@garden.service", "pi-cam-daemon@gate.service"


def test_a_reload_turns_the_picture_of_fifty_connected_viewers(camera: Camera) -> None:
    viewers = [camera.watch() for _ in range(50)]
    until("pictures for all", lambda: all(viewer.parts for viewer in viewers))
    pid, child = camera.main_pid(), camera.camera_pid()
    camera.configure({"video.rotation": 180, "video.width": 160, "video.height": 120})
    camera.host.run("systemctl", "reload", UNIT)
    until("the new size for all", lambda: all(viewer.parts[-1].size == (160, 120) for viewer in viewers), 20)
    for viewer in viewers:
        viewer.finish()
    assert camera.main_pid() == pid and camera.camera_pid() != child
    assert camera.show("ActiveState") == "active"


def test_the_release_and_the_configuration_in_force_are_reported(camera: Camera) -> None:
    health = json.loads(camera.get("/healthz")[1])
    current = "/opt/pi-cam-daemon/current"
    assert camera.host.run("readlink", current) == f"releases/{health['release']}"
    assert health["config_sha256"] == camera.host.run(f"{current}/bin/pi-cam-daemon", "config", "--sha256")


@pytest.mark.every_debian
def test_a_reload_of_a_broken_file_fails_says_why_and_changes_nothing(camera: Camera) -> None:
    since = camera.now()
    pid, child = camera.main_pid(), camera.camera_pid()
    camera.configure({"video.rotation": 45})
    done = camera.host.try_run("systemctl", "reload", UNIT)
    assert done.returncode != 0
    assert "video.rotation: 45 cannot be used; accepted: 0 or 90 or 180 or 270" in camera.journal(since)
    assert (camera.main_pid(), camera.camera_pid()) == (pid, child)
    assert camera.show("ActiveState") == "active" and camera.gives_pictures()
    # the daemon knows it, too
    (problem,) = until("the refusal", lambda: camera.state()["config_refused"])["problems"]
    assert problem.startswith(f"{ETC}/config.toml: video.rotation: 45 cannot be used")
    status = f"; the configuration on disk is refused: {problem}"
    until("the status", lambda: camera.show("StatusText").endswith(status))
    assert b"\npi_cam_config_last_reload_successful 0.0\n" in camera.get("/metrics")[1]
    camera.configure({})
    camera.host.run("systemctl", "reload", UNIT)
    until("it is in force", lambda: camera.state()["config_refused"] is None)
    until("the status", lambda: "refused" not in camera.show("StatusText"))
    assert camera.main_pid() == pid


def test_a_stop_under_viewers_takes_two_seconds_at_most(stopped: Camera, soak: bool, report: Report) -> None:
    worst = 0.0
    for _ in range(5 if soak else 1):
        stopped.start()
        viewers = [stopped.watch() for _ in range(10)]
        until("pictures for all", lambda viewers=viewers: all(viewer.parts for viewer in viewers))
        begun = time.monotonic()
        stopped.host.run("systemctl", "stop", UNIT)
        worst = max(worst, time.monotonic() - begun)
        assert (stopped.show("Result"), stopped.show("ActiveState")) == ("success", "inactive")
    report(f"{worst:.2f} s")
    assert worst <= patience(2)


@pytest.mark.every_debian
def test_a_wrong_configuration_parks_the_service_with_the_reason_in_its_status(stopped: Camera) -> None:
    stopped.configure({"video.widht": 3})
    assert stopped.host.try_run("systemctl", "start", UNIT).returncode != 0
    until("parked", lambda: stopped.show("ActiveState") == "failed")
    assert stopped.show("ExecMainStatus") == "78" and stopped.show("NRestarts") == "0"
    assert "video.widht: unknown key; did you mean width?" in stopped.show("StatusText")
    assert "video.widht" in stopped.host.try_run("systemctl", "status", UNIT).stdout
    # as pi-cam-status.txt has it on a card
    told = "from pi_cam_daemon.boot import status_file; print(status_file._camera(8000))"
    said = stopped.host.run("/opt/pi-cam-daemon/current/bin/python", "-c", told)
    assert said.startswith("the service does not answer. ") and "video.widht: unknown key" in said
    stopped.configure({})
    stopped.start()


@pytest.mark.every_debian
def test_a_wrong_configuration_at_the_start_leaves_the_last_good_one_in_force(camera: Camera) -> None:
    camera.configure({"video.rotation": 180, "http.port": 8003, "upstream.url": "http://me:hunter2@192.168.7.77/"})
    moved = Camera(camera.host, port=8003)
    moved.start()
    copy = f"{STATE}/last-good.toml"
    assert camera.host.run("stat", "-c", "%a %U", copy) == "600 pi-cam-daemon"
    assert "hunter2" in camera.host.run("cat", copy)
    moved.configure({"video.widht": 3, "http.port": 8004})
    camera.host.cut_power()
    camera.host.boot()
    camera.host.run("systemctl", "start", UNIT)
    moved.wait_for_pictures()
    state = moved.state()
    (problem,) = state["config_refused"]["problems"]
    assert problem == f"{ETC}/config.toml: video.widht: unknown key; did you mean width?"
    until("it is healthy", lambda: moved.get("/healthz")[0] == 200)  # a moment after its first picture
    assert b"\npi_cam_rotation_degrees 180.0\n" in moved.get("/metrics")[1]
    assert moved.show("StatusText").endswith(f"; the configuration on disk is refused: {problem}")
    assert "the last good configuration is in force" in moved.journal()
    program = "/opt/pi-cam-daemon/current/bin/pi-cam-daemon"
    assert camera.host.try_run(program, "check-config").returncode == 78
    camera.host.run(program, "support-bundle", "/var/tmp/bundle.tar.gz")
    with tarfile.open(camera.host.disk / "var/tmp/bundle.tar.gz") as tar:
        file = tar.extractfile("pi-cam-daemon-support/state.json")
        assert file and json.load(file)["config_refused"], "it asks where the daemon is"
    moved.configure({"http.port": 8003})
    moved.host.run("systemctl", "reload", UNIT)
    until("it is in force", lambda: moved.state()["config_refused"] is None)
    assert b"\npi_cam_rotation_degrees 0.0\n" in moved.get("/metrics")[1]
    assert "hunter2" not in camera.host.run("cat", copy)


def test_each_camera_has_a_last_good_configuration_of_its_own(two: tuple[Camera, Camera]) -> None:
    garden, gate = two
    garden.configure({"http.port": 8001, "video.rotation": 45}, f"{ETC}/cameras/garden.toml")
    assert garden.host.try_run("systemctl", "reload", GARDEN).returncode != 0
    for _ in range(2):
        (problem,) = until("the refusal", lambda: garden.state()["config_refused"])["problems"]
        assert problem.startswith(f"{ETC}/cameras/garden.toml: video.rotation: 45")
        assert gate.state()["config_refused"] is None
        # now at a start
        garden.start()
    copies = garden.host.run("sh", "-c", "ls /var/lib/pi-cam-daemon*/last-good.toml").split()
    assert [f"/var/lib/pi-cam-daemon@{name}/last-good.toml" for name in ("garden", "gate")] == copies


def test_a_users_file_that_cannot_be_read_is_tried_again_until_it_can(stopped: Camera) -> None:
    users = f"{ETC}/users"
    stopped.configure({"http.users_file": users})
    stopped.host.write(users, "")
    stopped.host.run("chmod", "600", users)
    stopped.host.run("systemctl", "start", "--no-block", UNIT)
    until("it was tried again", lambda: int(stopped.show("NRestarts")) >= 1, 30)
    remedy = f"sudo chgrp pi-cam-daemon {users} && sudo chmod g+r {users}"
    told = "Permission denied for pi-cam-daemon: it belongs to root:root, mode 0600"
    assert f"http.users_file: {users}: {told}; {remedy}\n" in stopped.journal()
    stopped.host.run("sh", "-c", remedy.replace("sudo ", ""))
    # 401: it asks for a password
    until("it serves", lambda: _connects(stopped) and stopped.get("/snapshot")[0] == 401, 30)


def test_a_failing_service_waits_longer_each_time_and_is_never_given_up(stopped: Camera) -> None:
    stopped.host.write("/opt/taken.py", "import socket, time\ns = socket.create_server(('', 8000))\ntime.sleep(600)\n")
    stopped.host.run("systemd-run", "--unit=taken", "python3", "/opt/taken.py")
    try:
        until("the port is taken", lambda: _connects(stopped))
        stopped.host.run("systemctl", "start", "--no-block", UNIT)
        restarts = []
        for number in range(1, 5):
            until("another restart", lambda number=number: int(stopped.show("NRestarts")) >= number, 30)
            restarts.append(time.monotonic())
        waits = [later - earlier for earlier, later in itertools.pairwise(restarts)]
        # 2, 3 and 5 s, and each time what a start takes on a busy test machine
        assert waits[2] > waits[0] + 1.5, waits
        assert "http.port = 8000 is taken by another program" in stopped.journal()
    finally:
        stopped.host.run("systemctl", "stop", "taken.service")
    stopped.wait_for_pictures(30)


def _connects(camera: Camera) -> bool:
    try:
        socket.create_connection((camera.host.address, camera.port), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.every_debian
def test_a_power_cut_is_survived(camera: Camera, report: Report) -> None:
    camera.host.run("systemctl", "enable", UNIT)
    camera.host.cut_power()
    seconds = camera.host.boot()
    begun = time.monotonic()
    camera.wait_for_pictures()
    report(f"booted in {seconds:.1f} s, pictures {time.monotonic() - begun:.1f} s later")
    camera.host.run("systemctl", "disable", UNIT)


def test_the_service_starts_without_a_network_and_serves_when_one_comes(camera: Camera) -> None:
    camera.host.run("systemctl", "enable", UNIT)
    camera.host.cut_power()
    camera.host.boot(connected=False)
    until("active", lambda: camera.show("ActiveState") == "active")
    number = camera.show("MainPID")
    assert not _connects(camera)
    camera.host.connect()
    camera.wait_for_pictures()
    assert (camera.show("MainPID"), camera.show("NRestarts")) == (number, "0")
    camera.host.run("systemctl", "disable", UNIT)


def test_a_clock_that_jumps_by_years_ends_neither_a_stream_nor_the_service(stopped: Camera) -> None:
    years = 10 * 365 * 86400

    def jump(seconds: int) -> None:
        stopped.host.run("sh", "-c", f"echo {seconds} >/opt/offset.new; mv /opt/offset.new /opt/offset")

    jump(0)
    stopped.host.run("mkdir", "/opt/clock")
    stopped.host.write("/opt/clock/sitecustomize.py", CLOCK.read_text())
    stopped.drop_in("WatchdogSec=2\nEnvironment=PYTHONPATH=/opt/clock CLOCK_OFFSET_FILE=/opt/offset")
    stopped.start()
    number = stopped.show("MainPID")
    viewer = stopped.watch()
    for wrong in (years, -years, 0):
        jump(wrong)
        until("the jump", lambda wrong=wrong: abs(viewer.parts[-1].timestamp - time.time() - wrong) < 5)
        jumped, count = time.monotonic(), len(viewer.parts)
        until("two of the watchdog's periods", lambda jumped=jumped: time.monotonic() > jumped + 4)
        assert len(viewer.parts) > count + 50
        assert stopped.gives_pictures()
    gaps = [later.arrived - earlier.arrived for earlier, later in itertools.pairwise(viewer.finish())]
    assert max(gaps) < patience(1)
    assert (stopped.show("MainPID"), stopped.show("NRestarts")) == (number, "0")


def test_the_process_metrics_are_right_in_the_sandbox(stopped: Camera) -> None:
    """In the sandbox, /proc shows a process nothing but processes."""

    def scrape() -> dict[str, float]:
        lines = stopped.get("/metrics")[1].decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    before = time.time()
    stopped.start()
    until("frames", lambda: scrape()["pi_cam_frames_captured_total"] > 0)
    samples = scrape()
    # the moment of the boot is known to a second
    assert before - 1 < samples["process_start_time_seconds"] < time.time() + 1
    assert samples['pi_cam_state{state="streaming"}'] == 1
    assert 0 < samples["process_open_fds"] < samples["process_max_fds"]
    assert samples["process_resident_memory_bytes"] > 1e6
    assert samples["process_cpu_seconds_total"] > 0


def test_a_support_bundle_describes_the_service_without_secrets(stopped: Camera) -> None:
    camera = stopped
    camera.configure({"upstream.url": "http://somebody:hunter2@192.168.7.77/video"})
    camera.start()
    viewer = camera.watch()
    until("pictures", lambda: viewer.parts)
    file = "/var/tmp/bundle.tar.gz"
    camera.host.run("/opt/pi-cam-daemon/current/bin/pi-cam-daemon", "support-bundle", file)
    viewer.finish()
    with tarfile.open(camera.host.disk / file[1:]) as tar:
        files = {entry.name.partition("/")[2]: tar.extractfile(entry) for entry in tar}
        parts = {name: file.read().decode() for name, file in files.items() if file}
    state = json.loads(parts["state.json"])
    assert (state["state"], state["viewers"]) == ("streaming", 1)
    assert "Active: active (running)" in parts["unit.txt"]
    assert "Started pi-cam-daemon.service" in parts["journal.txt"]
    assert re.search(r"viewer \[address \d+\] came, 1 now", parts["journal.txt"])
    assert 'kind = "pattern"' in parts["config.toml"] and f"{ETC}/config.toml" in parts["config.toml"]
    assert "a moving test picture" in parts["cameras.txt"]
    assert "uid=0(root)" in parts["devices.txt"]
    assert "Debian GNU/Linux" in parts["versions.txt"] and "prometheus-client" in parts["versions.txt"]
    assert not [name for name in ("power.txt", "kernel.txt") if not parts[name].strip()]
    everything = "".join(parts.values())
    gateway = camera.host.address.rpartition(".")[0]
    assert not [word for word in ("hunter2", "192.168.7.77", gateway) if word in everything]


def test_forbidden_device_nodes_are_named_at_the_start_with_the_remedy(stopped: Camera) -> None:
    host = stopped.host
    nodes = {"/dev/video40": ("video", "660"), "/dev/video41": ("audio", "660"), "/dev/media7": ("root", "600")}
    for node, (group, mode) in nodes.items():
        host.run("mknod", "-m", mode, node, "c", "1", "3")
        host.run("chown", f"root:{group}", node)
    stopped.configure({"source.kind": "usb"})
    since = stopped.now()
    host.run("systemctl", "start", UNIT)
    (warning,) = [line for line in stopped.journal(since).splitlines() if "no permission" in line]
    host.run("rm", *nodes)
    assert warning == (
        "no permission to open /dev/media7 (root only, a udev rule is missing), "
        "/dev/video41 (a group that the sandbox hides, usually video; `ls -l` shows it)"
    )


@pytest.mark.every_debian
def test_the_units_ip_filter_lets_in_only_listed_addresses(camera: Camera) -> None:
    text = (ROOT / "systemd/opt-in/pi-cam-daemon.service.d/networks.conf").read_text()
    camera.host.write(f"{DROP_INS}/networks.conf", text)
    camera.host.run("systemctl", "daemon-reload")
    camera.start()
    camera.drop_in("IPAddressAllow=\nIPAddressAllow=localhost")
    camera.host.run("systemctl", "restart", UNIT)
    inside = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/snapshot', timeout=5).status)"
    until("pictures on the machine itself", lambda: camera.host.try_run("python3", "-c", inside).stdout == "200\n")
    assert not _connects(camera)


# --- several cameras


@pytest.fixture
def two(stopped: Camera) -> Iterator[tuple[Camera, Camera]]:
    cameras = []
    for unit, name, port in ((GARDEN, "garden", 8001), (GATE, "gate", 8002)):
        camera = Camera(stopped.host, unit, port)
        camera.configure({"http.port": port}, f"{ETC}/cameras/{name}.toml")
        camera.start()
        cameras.append(camera)
    yield cameras[0], cameras[1]
    stopped.host.run("systemctl", "stop", GARDEN, GATE)


def test_a_camera_that_dies_repeatedly_does_not_affect_the_other(
    two: tuple[Camera, Camera], soak: bool, report: Report
) -> None:
    victim, other = two
    viewer = other.watch()
    until("pictures", lambda: viewer.parts)
    killed = 0
    deadline = time.monotonic() + (60 if soak else 8)
    first = len(viewer.parts)
    begun = time.monotonic()
    while time.monotonic() < deadline:
        until("the victim runs", lambda: victim.show("ActiveState") == "active", 30)
        os.kill(victim.main_pid(), signal.SIGKILL)
        killed += 1
        until("the victim is dead", lambda: victim.show("MainPID") == "0", 5)
    seconds, frames = time.monotonic() - begun, len(viewer.parts) - first
    gaps = [later.arrived - earlier.arrived for earlier, later in itertools.pairwise(viewer.parts)]
    viewer.finish()
    report(
        f"{frames / seconds:.1f} frames/s while the other died {killed} times, {max(gaps):.2f} s at most between two"
    )
    assert killed >= 2
    assert seconds < patience(frames / 24), f"{frames / seconds:.1f} frames/s of 25"
    assert max(gaps) < patience(1)


# --- the socket unit


@pytest.fixture
def held(stopped: Camera) -> Iterator[Camera]:
    """The service behind the socket unit, on port 80."""
    camera = Camera(stopped.host, port=80)
    camera.host.run("systemctl", "start", "pi-cam-daemon.socket")
    camera.start()
    yield camera
    camera.host.run("systemctl", "stop", "pi-cam-daemon.socket", UNIT)


@pytest.mark.every_debian
def test_the_socket_unit_gives_port_80_and_the_log_says_that_it_wins(held: Camera) -> None:
    assert "listening on pi-cam-daemon.socket; http.listen_address and http.port are ignored" in held.journal()
    assert not _connects(Camera(held.host, port=8000))
    assert b"LISTEN_" not in (Path("/proc") / str(held.camera_pid()) / "environ").read_bytes()


def test_clients_are_answered_while_the_service_behind_the_socket_restarts(
    held: Camera, soak: bool, report: Report
) -> None:
    # all that wait come at once, and from one address
    held.configure({"http.max_connections": 1000, "http.max_connections_per_address": 1000})
    held.start()
    asked: list[socket.socket] = []
    refused: list[OSError] = []
    done = threading.Event()

    def ask() -> None:
        while not done.wait(0.01):
            try:
                asked.append(socket.create_connection((held.host.address, 80), 5))
                asked[-1].sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            except OSError as error:
                refused.append(error)

    client = threading.Thread(target=ask)
    client.start()
    try:
        for _ in range(15 if soak else 3):
            pid = held.main_pid()
            held.start()
            assert held.main_pid() != pid
    finally:
        done.set()
        client.join(10)
    answers = Counter(_answer(sock) for sock in asked)
    report(f"{len(refused)} refused, {len(asked)} answered: {dict(answers)}")
    assert refused == [] and set(answers) == {"HTTP/1.1 200 OK"} and len(asked) > 50


def _answer(sock: socket.socket) -> str:
    """Return the first line of the server's answer, or the error of the connection."""
    with sock:
        try:
            return sock.recv(100).partition(b"\r\n")[0].decode()
        except OSError as error:
            return str(error)
