import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pi_cam_daemon.system.systemd import Notifier, unit_in
from tests.kit.lateness import patience


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """systemd's end: a datagram socket in the file system or in the abstract namespace."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@pi-cam-daemon-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address.replace("@", "\0", 1))
        sock.settimeout(patience(5))
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield sock


@pytest.fixture(autouse=True)
def no_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    # set first, so that monkeypatch puts back what Notifier takes out
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def heard(sock: socket.socket) -> list[str]:
    return sock.recv(65536).decode("ascii").split("\n")


def test_each_event_is_one_datagram(systemd: socket.socket) -> None:
    notifier = Notifier()
    notifier.ready("Streaming")
    assert heard(systemd) == ["READY=1", "STATUS=Streaming"]
    notifier.status("Nobody watches")
    assert heard(systemd) == ["STATUS=Nobody watches"]
    notifier.watchdog()
    assert heard(systemd) == ["WATCHDOG=1"]
    notifier.stopping()
    assert heard(systemd) == ["STOPPING=1", "STATUS=Stopping"]
    assert notifier.failures == 0


def test_a_reload_has_the_time_of_its_start(systemd: socket.socket) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier().reloading()
    first, second = heard(systemd)
    assert first == "RELOADING=1"
    name, _, moment = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(moment) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_status_is_one_line_of_ascii_for_any_camera_name(systemd: socket.socket) -> None:
    notifier = Notifier()
    notifier.status("Caméra 門\nWATCHDOG=trigger\x1b[2J\x7f")
    assert heard(systemd) == ["STATUS=Cam?ra ? WATCHDOG=trigger [2J "]


def test_the_notify_variables_are_removed_from_the_environment(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    notifier = Notifier()
    assert notifier.watchdog_seconds == 10
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()
    notifier.watchdog()
    assert heard(systemd) == ["WATCHDOG=1"]


def test_a_lost_systemd_is_counted_and_never_raised(systemd: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier()
    systemd.close()
    notifier.status("one")
    notifier.watchdog()
    assert notifier.failures == 2
    assert len(caplog.records) == 1, "a failure is told once, not at every ping"


def test_a_systemd_that_does_not_read_is_not_waited_for(systemd: socket.socket) -> None:
    notifier = Notifier()

    def tell() -> None:
        for _ in range(2000):  # net.unix.max_dgram_qlen is 10 to 512
            notifier.watchdog()

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    thread.join(patience(2))
    blocked = thread.is_alive()
    systemd.close()  # frees a thread that hangs
    thread.join(patience(5))
    assert not blocked, "sd_notify hangs as long as systemd does"
    assert notifier.failures > 0


@pytest.mark.parametrize("address", ["/nonexistent/notify", "x" * 200])
def test_an_address_that_cannot_be_reached_is_a_warning(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    Notifier().ready("Streaming")
    assert len(caplog.records) == 1


@pytest.mark.parametrize("address", [None, ""])
def test_without_systemd_nothing_is_sent(
    address: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "")
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET")
    notifier = Notifier()
    notifier.ready("Streaming")
    notifier.watchdog()
    assert notifier.failures == 0
    assert notifier.watchdog_seconds is None
    assert caplog.records == []


@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        ("30000000", None, 30.0),
        pytest.param("30000000", os.getpid(), 30.0, id="ours"),
        pytest.param("30000000", os.getpid() + 1, None, id="not-ours"),
        ("500000", None, 0.5),
        ("0", None, None),
        ("-5", None, None),
        ("soon", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_the_watchdog_is_used_only_if_it_names_this_process(
    microseconds: str | None, pid: int | None, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if microseconds is not None:
        monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", str(pid))
    assert Notifier().watchdog_seconds == seconds


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set the variable as RuntimeDirectory= does, with a second folder after the first."""
    folder = tmp_path / "pi-cam-daemon"
    folder.mkdir()
    monkeypatch.setenv("NOTIFY_SOCKET", "")
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{folder}:{tmp_path / 'other'}")
    return folder


def test_a_reboot_is_requested_once_and_withdrawn_when_needless(
    runtime: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flag = runtime / "reboot-requested"
    notifier = Notifier()
    notifier.reboot(False)
    assert (flag.exists(), notifier.reboot_requested) == (False, False)
    notifier.reboot(True)
    assert (flag.exists(), notifier.reboot_requested) == (True, True)
    flag.unlink()  # somebody took it away
    notifier.reboot(True)
    assert not flag.exists(), "once"
    notifier.reboot(False)
    assert not notifier.reboot_requested, "though there was nothing to take back"
    notifier.reboot(True)
    assert (flag.exists(), notifier.reboot_requested) == (True, True), "the next time is another one"
    notifier.reboot(False)
    assert (flag.exists(), notifier.reboot_requested) == (False, False)
    assert [record.levelname for record in caplog.records].count("ERROR") == 2


def test_a_request_of_the_previous_process_is_ignored(runtime: Path) -> None:
    (runtime / "reboot-requested").touch()
    notifier = Notifier()
    notifier.reboot(False)
    assert not (runtime / "reboot-requested").exists()


@pytest.mark.parametrize("runtime", ["", "/nonexistent"])
def test_a_flag_that_cannot_be_written_is_logged_once(
    runtime: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "")
    monkeypatch.setenv("RUNTIME_DIRECTORY", runtime)
    notifier = Notifier()
    for _ in range(3):
        notifier.reboot(True)
    assert not notifier.reboot_requested
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/pi-cam-daemon.service\n", "pi-cam-daemon.service"),
        ("0::/system.slice/system-pi\\x2dcam.slice/pi-cam-daemon@garden.service\n", "pi-cam-daemon@garden.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", ""),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/camera.service\n", ""),
        ("0::/\n", ""),
        ("", ""),
    ],
)
def test_the_unit_is_the_last_part_of_the_control_group(cgroup: str, unit: str) -> None:
    assert unit_in(cgroup.strip()) == unit


def test_without_systemd_a_signal_reloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert Notifier().reload_command == f"kill -HUP {os.getpid()}"
