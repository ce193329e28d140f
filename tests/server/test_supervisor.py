"""The supervisor with real camera processes, which are small programs of the tests, and the real stream loop."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pi_cam_daemon.config import loading
from pi_cam_daemon.config.schema import Config, HealthConfig
from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.health import CameraStatus, State
from pi_cam_daemon.core.last_camera import LastCamera
from pi_cam_daemon.core.latest import LatestFrame, Pictures
from pi_cam_daemon.core.supervisor import Supervisor
from pi_cam_daemon.errors import Cause
from pi_cam_daemon.server.audience import Audience
from pi_cam_daemon.server.streams import Streams
from tests.kit.lateness import patience
from tests.kit.proc import fields
from tests.kit.wait import until
from tests.rig.daemon import Unkillable

PROGRAM = """
import json, os, select, signal, socket, sys, time
from pathlib import Path
from pi_cam_daemon.ipc.protocol import COUNT, Kind, Reader, pack
from pi_cam_daemon.ipc.slots import SlotWriter

diary, fd, memory, level = sys.argv[1:]
sock = socket.socket(fileno=int(fd))
reader = Reader(sock)
slots = SlotWriter(int(memory))

def note(text):
    with open(diary, "a") as file:
        file.write(text + "\\n")

def diary_lines():
    return Path(diary).read_text().splitlines() if Path(diary).exists() else []

def hello():
    info = dict(kind="test", name="Test", width=16, height=16, framerate=100.0, pixel_format="", encoder="", reason="")
    sock.sendall(pack(Kind.HELLO, json.dumps(info).encode()))

def frame():
    if announcement := slots.write(b"\\xff\\xd8 a picture", time.monotonic_ns()):
        sock.sendall(announcement)

def freeze():
    hello()
    for _ in range(3):
        frame()
        time.sleep(0.01)
    hang()

def fail(cause):
    error = dict(cause=cause, message="It is gone", hint="Plug it in", values={})
    sock.sendall(pack(Kind.ERROR, json.dumps(error).encode()))
    sys.exit(75)

def serve():
    hello()
    while True:
        frame()
        if not reader.drained or select.select([sock], [], [], 0.02)[0]:
            message = reader.read()
            note(message.kind.name)
            if message.kind is Kind.CONFIGURE:
                note(message.payload.decode())
            if message.kind is Kind.STOP:
                sys.exit(0)

def hang():
    signal.signal(signal.SIGTERM, lambda *_: note("SIGTERM"))
    while True:
        time.sleep(60)

"""


def alive(pid: int) -> bool:
    try:
        return fields(pid)[0] != "Z"
    except FileNotFoundError:
        return False


class Rig:
    """A supervisor whose camera runs *program*; *history* has every state that it announced."""

    def __init__(
        self, settings: Config, program: str, diary: Path, popen: type[subprocess.Popen[bytes]], argv: list[str] | None
    ) -> None:
        self.settings = settings
        self.diary_file = diary
        self.history: list[CameraStatus] = []
        self.spawned: list[tuple[float, subprocess.Popen[bytes]]] = []
        self._popen = popen
        self.latest = LatestFrame()
        argv = argv or [sys.executable, "-c", PROGRAM + program, str(diary)]
        self.supervisor = Supervisor(
            settings, settings.camera, LastCamera(Path(os.devnull)), self._changed, argv, self._spawn
        )
        big = Pictures(self.latest, self.supervisor.demand)
        small = Pictures(LatestFrame(), self.supervisor.small_demand, steady=False)
        self.streams = Streams(*(Audience(one, lambda: Frame(b"card", 0, 0)) for one in (big, small)))
        self.streams.start()
        if settings.source.stall_timeout_seconds < 3:  # an unwatched camera has that long
            self.supervisor.demand.viewers(1)
        self.supervisor.start(self.streams.watch)

    def _changed(self) -> None:
        self.history.append(self.supervisor.status())

    def _spawn(self, *args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        now = time.monotonic()
        process = self._popen(*args, **kwargs)
        self.spawned.append((now, process))
        return process

    @property
    def status(self) -> CameraStatus:
        return self.supervisor.status()

    @property
    def states(self) -> list[State]:
        return [state for state, _ in itertools.groupby(status.state for status in self.history)]

    def diary(self) -> list[str]:
        return self.diary_file.read_text().splitlines() if self.diary_file.exists() else []

    def wait_for(self, state: State, within: float = 15.0) -> CameraStatus:
        until(f"{state}", lambda: self.status.state is state, within)
        return self.status

    def close(self) -> None:
        self.supervisor.close(0)
        for _, process in self.spawned:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
        self.supervisor.close(3)
        self.streams.close(3)


Start = Callable[..., Rig]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """start(program, **source settings): run a supervisor."""
    rigs = []

    def start(
        program: str,
        popen: type[subprocess.Popen[bytes]] = subprocess.Popen,
        argv: list[str] | None = None,
        **source: Any,
    ) -> Rig:
        settings = loading.load(etc=tmp_path)
        # shorter than an owner may set: these tests have no time
        settings = replace(settings, source=replace(settings.source, **{"kind": "usb", **source}))
        rigs.append(Rig(settings, program, tmp_path / "diary", popen, argv))
        return rigs[-1]

    yield start
    for rig in rigs:
        rig.close()


def test_a_camera_that_gives_pictures_streams(start: Start) -> None:
    rig = start("serve()")
    status = rig.wait_for(State.STREAMING)
    until("the camera is known", lambda: rig.status.info)
    assert rig.status.info is not None
    assert rig.status.info.name == "Test"
    assert (status.failure, status.starts, status.pid) == (None, 1, rig.spawned[0][1].pid)
    assert rig.latest.frame is not None
    assert rig.states == [State.STREAMING]


def test_the_camera_gets_its_configuration_first(start: Start) -> None:
    rig = start("serve()")
    until("three messages came", lambda: len(rig.diary()) >= 3)
    assert rig.diary()[:3] == ["CONFIGURE", rig.settings.camera.to_json().decode(), "QUIET"]


def test_failures_are_counted_and_the_waits_double(start: Start) -> None:
    rig = start("fail('missing')")
    until("five starts", lambda: len(rig.spawned) >= 5, 15)
    moments = [moment for moment, _ in rig.spawned]
    waits = [after - before for before, after in itertools.pairwise(moments)]
    # each wait follows a process that lived for a moment, and has a fifth of jitter
    for wait, expected in zip(waits, (0, 1, 2, 4), strict=False):
        assert 0.8 * expected <= wait <= 1.2 * expected + patience(0.7)
    status = until("the fifth is counted", lambda: (now := rig.status).starts >= 5 and now)
    assert status.starts == 5
    assert status.state is State.NO_CAMERA
    assert status.failure is not None
    assert (status.failure.message, status.failure.hint) == ("It is gone", "Plug it in")
    assert status.cause is Cause.MISSING
    assert rig.states == [State.NO_CAMERA], "one trouble is one piece of news"


def test_a_crashed_camera_is_back_at_once(start: Start) -> None:
    rig = start("serve()")
    pid = rig.wait_for(State.STREAMING).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until("the second start", lambda: rig.status.starts == 2, 2)
    until("three announcements", lambda: len(rig.states) == 3)
    crashed, back = (next(status for status in rig.history[1:] if status.state is state) for state in rig.states[1:])
    assert (crashed.state, crashed.cause) == (State.STARTING, Cause.CRASHED)
    assert crashed.failure is not None
    assert "SIGKILL" in crashed.failure.message
    assert (back.state, back.failure) == (State.STREAMING, None)


@pytest.mark.parametrize("end", ["sys.exit(3)", "sys.exit(0)", "sock.sendall(b'nonsense' * 9); hang()"])
def test_a_camera_that_ends_without_a_message_has_crashed(end: str, start: Start) -> None:
    rig = start(f"hello(); frame(); {end}")
    until("no camera", lambda: State.NO_CAMERA in rig.states)
    assert rig.status.failure is not None
    assert rig.status.cause is Cause.CRASHED


def test_a_dead_camera_is_noticed_although_a_child_of_it_holds_its_socket(start: Start) -> None:
    rig = start("hello(); frame()\nif os.fork():\n  os._exit(1)\ntime.sleep(4)")
    until("the second start", lambda: rig.status.starts >= 2, 3)
    assert rig.spawned[0][1].poll() == 1
    assert State.WEDGED not in rig.states


@pytest.mark.parametrize("end", ["fail('lost')", "os._exit(1)"])
def test_a_camera_that_ends_after_its_first_message_ends_nothing_else(end: str, start: Start) -> None:
    rig = start(f"hello(); {end}")
    until("the second start", lambda: rig.status.starts >= 2)
    probes = (rig.supervisor.probe, rig.streams.probe)
    for probe in probes:
        probe.ask()
    until("every probe is answered", lambda: all(probe.answered for probe in probes), 3)


def test_a_silent_camera_is_killed_and_started_again(start: Start) -> None:
    rig = start(
        """
if Path(diary).exists():
    serve()
freeze()
""",
        stall_timeout_seconds=patience(1.0),
    )
    status = rig.wait_for(State.STALLED)
    assert status.cause is Cause.STALLED
    first = rig.spawned[0][1]
    until("the second start", lambda: rig.status.starts == 2, 5)
    assert first.poll() == -signal.SIGKILL, "it was asked first, and did not listen"
    assert rig.diary()[0] == "SIGTERM"
    until("the third announcement", lambda: len(rig.states) > 2)
    assert rig.states[:3] == [State.STREAMING, State.STALLED, State.STREAMING]
    until("the failure is over", lambda: rig.status.failure is None)


def test_a_camera_that_never_gives_a_picture_is_killed_and_started_again(start: Start) -> None:
    rig = start("signal.pause()", start_timeout_seconds=0.5)
    assert rig.wait_for(State.STALLED).cause is Cause.STALLED
    until("the second start", lambda: rig.status.starts == 2, 5)
    assert rig.spawned[0][1].poll() == -signal.SIGTERM


def test_silence_is_noticed_at_its_deadline(start: Start) -> None:
    rig = start("freeze()", stall_timeout_seconds=1.3)
    rig.wait_for(State.STREAMING)
    assert rig.latest.frame is not None
    seen = rig.latest.frame.captured
    assert 1.3 <= rig.wait_for(State.STALLED).since - seen < patience(1.8)


def test_an_unkillable_camera_is_wedged_and_no_second_one_is_started(start: Start) -> None:
    rig = start("freeze()", popen=Unkillable, stall_timeout_seconds=0.3)
    status = rig.wait_for(State.WEDGED, within=8)
    assert status.cause is Cause.WEDGED
    assert status.failure is not None
    assert status.failure.hint
    rig.supervisor.demand.viewers(1)
    rig.supervisor.probe.ask()
    until("the probe is answered", lambda: rig.supervisor.probe.answered, 2)
    assert len(rig.spawned) == 1
    rig.supervisor.configure(rig.settings, replace(rig.settings.camera, kind="csi"))
    rig.supervisor.probe.ask()
    until("the probe is answered", lambda: rig.supervisor.probe.answered, 2)
    assert (len(rig.spawned), rig.status.state) == (1, State.WEDGED)
    os.kill(rig.spawned[0][1].pid, signal.SIGKILL)
    until("the second start", lambda: len(rig.spawned) == 2, 5)
    rig.wait_for(State.STREAMING)


def test_a_camera_program_that_does_not_start_counts_as_a_failure(start: Start) -> None:
    rig = start("", argv=["/nonexistent/python"])
    status = rig.wait_for(State.NO_CAMERA)
    assert status.cause is Cause.CRASHED
    assert status.failure is not None
    assert "No such file" in status.failure.message
    rig.supervisor.probe.ask()
    until("the probe is answered", lambda: rig.supervisor.probe.answered)


def test_on_demand_there_is_no_process_while_nobody_watches(start: Start) -> None:
    rig = start("serve()", capture="on-demand", idle_seconds=0.2)
    rig.wait_for(State.IDLE)
    assert (rig.spawned, rig.status.pid) == ([], None)
    with rig.supervisor.demand.waiting():
        pid = rig.wait_for(State.STREAMING).pid
    assert pid is not None
    rig.wait_for(State.IDLE, within=5)
    assert rig.diary()[-1] == "STOP"
    assert rig.spawned[0][1].poll() == 0
    rig.supervisor.demand.viewers(1)
    rig.wait_for(State.STREAMING)
    assert rig.status.starts == 2
    rig.supervisor.demand.viewers(0)
    rig.wait_for(State.IDLE, within=5)
    assert rig.status.failure is None


def test_on_demand_a_failed_camera_is_retried_until_it_works(start: Start) -> None:
    rig = start(
        """
attempt = len(diary_lines())
note("attempt")
if attempt < 2:
    fail("missing")
serve()
""",
        capture="on-demand",
        idle_seconds=0.2,
    )
    rig.wait_for(State.IDLE)
    with rig.supervisor.demand.waiting():
        rig.wait_for(State.NO_CAMERA)
    until("idle after three starts", lambda: rig.states[-1] is State.IDLE and rig.status.starts == 3)
    assert rig.status.failure is None
    assert [state for state in rig.states if state is State.IDLE] == [State.IDLE] * 2, "asleep it would pass for well"


def test_every_frame_is_asked_for_only_while_somebody_watches(start: Start) -> None:
    rig = start("serve()", idle_seconds=0.0)
    rig.wait_for(State.STREAMING)
    rig.supervisor.demand.viewers(1)
    until("LIVE is told", lambda: rig.diary()[-1:] == ["LIVE"])
    rig.supervisor.demand.viewers(0)
    until("QUIET is told", lambda: rig.diary()[-1:] == ["QUIET"])
    assert rig.status.starts == 1


def test_only_changed_camera_settings_restart_the_camera(start: Start) -> None:
    rig = start("serve()")
    rig.wait_for(State.STREAMING)
    other = replace(rig.settings, source=replace(rig.settings.source, idle_seconds=7.0, stall_timeout_seconds=6.0))
    rig.supervisor.configure(other, rig.settings.camera)
    rig.supervisor.probe.ask()
    until("the probe is answered", lambda: rig.supervisor.probe.answered)
    assert (rig.status.starts, "STOP" in rig.diary()) == (1, False)
    camera = replace(rig.settings.camera, video=replace(rig.settings.video, rotation=180))
    rig.supervisor.configure(other, camera)
    until("the second start", lambda: rig.status.starts == 2, 3)
    assert rig.spawned[0][1].poll() == 0, "it was asked to close the camera, and did"
    until("the camera has its settings", lambda: camera.to_json().decode() in rig.diary())
    rig.wait_for(State.STREAMING)
    assert all(status.failure is None for status in rig.history)


def test_new_camera_settings_are_tried_at_once_despite_the_back_off(start: Start) -> None:
    rig = start("fail('settings')")
    until("the second start", lambda: rig.status.starts == 2)
    until("the camera ended", lambda: rig.status.pid is None)  # now it waits for a second
    camera = replace(rig.settings.camera, video=replace(rig.settings.video, width=320))
    rig.supervisor.configure(rig.settings, camera)
    until("the third start", lambda: rig.status.starts == 3, 0.5)


def test_a_second_reload_without_changes_does_not_undo_a_restart(start: Start) -> None:
    rig = start("serve()")
    rig.wait_for(State.STREAMING)
    other = replace(rig.settings.camera, video=replace(rig.settings.video, hflip=True))
    rig.supervisor.configure(rig.settings, other)
    rig.supervisor.configure(rig.settings, other)
    until("the camera has the other settings", lambda: other.to_json().decode() in rig.diary(), 5)


@pytest.mark.parametrize("program", ["serve()", "freeze()"])
def test_closing_leaves_no_process_behind_within_its_time(program: str, start: Start) -> None:
    rig = start(program)
    pid = rig.wait_for(State.STREAMING).pid
    assert pid is not None
    begin = time.monotonic()
    rig.supervisor.close(1.4)  # the daemon's share of the 2 s that a stop may take
    assert time.monotonic() - begin < patience(1.4)
    assert not alive(pid)


def test_an_idle_supervisor_answers_its_probe(start: Start) -> None:
    rig = start("serve()", capture="on-demand")
    rig.wait_for(State.IDLE)
    rig.supervisor.probe.ask()
    until("the probe is answered", lambda: rig.supervisor.probe.answered)


def test_auto_waits_for_the_camera_that_it_found(start: Start) -> None:
    # a test picture in place of a camera that was lost would pass for well
    rig = start("serve()", kind="auto")
    until("the camera is known", lambda: rig.status.info)

    def asked_for() -> list[str]:
        return [json.loads(line)["kind"] for line in rig.diary() if line.startswith("{")]

    # on a busy machine the first one may have needed more than one start
    until("auto is asked for", lambda: set(asked_for()) == {"auto"})
    os.kill(rig.spawned[-1][1].pid, signal.SIGKILL)
    until("the camera that was found is asked for", lambda: asked_for()[-1] == "test")


def test_every_step_of_a_restart_answers_the_probe(start: Start) -> None:
    rig = start("freeze()", popen=Unkillable, stall_timeout_seconds=0.3)
    probe, slowest = rig.supervisor.probe, 0.0
    while rig.status.state is not State.WEDGED:
        asked = time.monotonic()
        probe.ask()
        until("the probe is answered", lambda: probe.answered, 5)
        slowest = max(slowest, time.monotonic() - asked)
        time.sleep(0.01)
    probe.ask()
    until("the probe is answered", lambda: probe.answered, 5)
    assert rig.states == [State.STREAMING, State.STALLED, State.WEDGED]
    assert slowest < 1, "a third of any reasonable WatchdogSec"


def test_a_reboot_is_needed_after_the_set_time_without_a_picture(start: Start) -> None:
    rig = start("freeze()", popen=Unkillable, stall_timeout_seconds=0.3)
    rig.wait_for(State.STREAMING)
    rig.wait_for(State.WEDGED)
    assert not rig.status.needs_reboot, "never, unless switched on"
    other = replace(rig.settings, health=HealthConfig(reboot_after_minutes=0.5 / 60))
    rig.supervisor.configure(other, other.camera)
    until("a reboot is needed", lambda: rig.history[-1].needs_reboot)
    os.kill(rig.spawned[0][1].pid, signal.SIGKILL)
    until("it streams", lambda: rig.history[-1].state is State.STREAMING)
    assert not rig.history[-1].needs_reboot


def test_no_reboot_is_needed_for_a_camera_that_is_not_there(start: Start) -> None:
    rig = start("fail('missing')")
    other = replace(rig.settings, health=HealthConfig(reboot_after_minutes=0.1 / 60))
    rig.supervisor.configure(other, other.camera)
    until("the third start", lambda: rig.status.starts >= 3)
    assert not any(status.needs_reboot for status in [*rig.history, rig.status])
