"""The supervisor's deadlines, with a clock and processes that the test controls."""

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, cast

import pytest

from pi_cam_daemon.config import loading
from pi_cam_daemon.config.schema import CameraConfig, Config
from pi_cam_daemon.core import supervisor
from pi_cam_daemon.core.health import CameraStatus, Failure, State
from pi_cam_daemon.core.last_camera import LastCamera
from pi_cam_daemon.core.link import CameraLink
from pi_cam_daemon.core.spawn import start_camera
from pi_cam_daemon.core.supervisor import Supervisor
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.ipc import controls, pace
from pi_cam_daemon.ipc.messages import CameraInfo
from pi_cam_daemon.ipc.protocol import Kind
from tests.kit.lateness import patience
from tests.kit.wait import until

NOW = 1e6  # later than every real CLOCK_MONOTONIC of a test, so that nothing real counts
NO_CAMERA_YET = LastCamera(Path("/dev/null"))
CONTROLS = (controls.Control("gain", controls.Kind.INTEGER, 0, 1),)
INFO = CameraInfo("test", "Test", 16, 16, 100.0, "", "")
START, STALL = 30.0 + 2 / 100, 5.0  # seconds: the limits below, at the rate of INFO


class Process:
    """A camera process that ends only when a test says so."""

    pid = 1

    def __init__(self) -> None:
        self.returncode: int | None = None
        self.signals: list[signal.Signals] = []

    def poll(self) -> int | None:
        return self.returncode

    def terminate(self) -> None:
        self.signals.append(signal.SIGTERM)

    def kill(self) -> None:
        self.signals.append(signal.SIGKILL)


class Rig:
    """A supervisor whose turns the test makes, and the process that it started last."""

    def __init__(self, config: Config, last: LastCamera = NO_CAMERA_YET) -> None:
        self.processes: list[Process] = []
        self.links: list[CameraLink] = []
        self.spawn_error: OSError | None = None
        self.changes = 0
        popen = cast(Callable[..., subprocess.Popen[bytes]], self._spawn)
        self.supervisor = Supervisor(config, config.camera, last, self._changed, popen=popen)
        self.supervisor._watch = self.links.append

    def _changed(self) -> None:
        self.changes += 1

    def _spawn(self, *_: Any, **__: Any) -> Process:
        if self.spawn_error:
            raise self.spawn_error
        self.processes.append(Process())
        return self.processes[-1]

    def turn(self, now: float) -> bool:
        """Make one turn at *now*; return whether the probe was answered."""
        self.supervisor.probe.ask()
        self.supervisor.step(now)
        return self.supervisor.probe.answered

    @property
    def state(self) -> State:
        return self.supervisor.status().state

    @property
    def deadline(self) -> float:
        """Return the time of the next step."""
        return self.supervisor._deadline(NOW)

    def started(self) -> tuple[Process, CameraLink]:
        """Return a camera process that was started at NOW."""
        assert self.turn(NOW)
        self.links[-1].info = INFO
        self.links[-1].pace.announced = 1 / INFO.framerate
        return self.processes[-1], self.links[-1]

    def streaming(self) -> tuple[Process, CameraLink]:
        """Return a camera process that was started and gave a picture at NOW."""
        process, link = self.started()
        link.first_at = link.progressed_at = NOW
        for number in range(1, 4):
            link.pace.report(number, NOW - 1 + number / 100)
        assert self.turn(NOW)
        assert self.state is State.STREAMING
        return process, link


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = loading.load(etc=tmp_path)
    return replace(config, source=replace(config.source, start_timeout_seconds=30.0, stall_timeout_seconds=STALL))


@pytest.fixture
def rig(config: Config) -> Iterator[Rig]:
    rig = Rig(config)
    yield rig
    for link in rig.links:
        link.close()


def test_a_sleeping_camera_has_no_deadline(config: Config) -> None:
    rig = Rig(replace(config, source=replace(config.source, kind="usb", capture="on-demand")))
    assert rig.turn(NOW)
    assert (rig.state, rig.deadline, rig.processes) == (State.IDLE, inf, [])


def test_a_camera_that_watches_for_motion_runs_though_nobody_looks(config: Config) -> None:
    source = replace(config.source, kind="usb", capture="on-demand", idle_seconds=0.0)
    rig = Rig(replace(config, source=source, motion=replace(config.motion, enabled=True)))
    _, link = rig.streaming()
    assert rig.turn(NOW + 1)
    assert link.first_at
    assert rig.deadline > NOW + 1 + supervisor._STOP_SECONDS, "it is not stopped"
    rig.supervisor.configure(new := replace(rig.supervisor._config, motion=config.motion), new.camera)
    assert rig.turn(NOW + 2)
    assert rig.deadline == NOW + 2 + supervisor._STOP_SECONDS


def test_a_camera_to_be_found_is_looked_for_once_before_it_sleeps(config: Config) -> None:
    rig = Rig(replace(config, source=replace(config.source, kind="auto", capture="on-demand")))
    process, link = rig.started()
    link.first_at = link.progressed_at = NOW
    assert rig.turn(NOW + 1)
    process.returncode, link.ended = 0, True
    for later in (2, 3, 1000):
        assert rig.turn(NOW + later)
        assert (rig.state, rig.deadline, len(rig.processes)) == (State.IDLE, inf, 1)


def test_a_camera_that_nobody_waits_for_any_more_still_gives_its_first_picture(config: Config) -> None:
    rig = Rig(replace(config, source=replace(config.source, kind="usb", capture="on-demand", idle_seconds=0.0)))
    rig.supervisor.demand.viewers(1)
    _, link = rig.started()
    rig.supervisor.demand.viewers(0)
    assert rig.turn(NOW + 1)
    assert rig.deadline == NOW + START, "it goes on"
    link.first_at = link.progressed_at = NOW + 20
    assert rig.turn(NOW + 20)
    assert rig.deadline == NOW + 20 + supervisor._STOP_SECONDS, "it is stopped"


def test_a_camera_that_is_opened_again_tells_its_new_reason_alone(rig: Rig) -> None:
    process, link = rig.started()
    link.info = replace(INFO, reason="It is the first of 2")
    assert rig.turn(NOW)
    process.returncode, link.ended = 1, True
    assert rig.turn(NOW)
    assert rig.supervisor.status().info == link.info
    rig.started()
    assert rig.turn(NOW)
    assert rig.supervisor.status().info == INFO


def test_a_camera_that_starts_has_until_the_start_limit(rig: Rig) -> None:
    process, _ = rig.started()
    assert rig.turn(NOW + START)
    assert (rig.state, rig.deadline, process.signals) == (State.STARTING, NOW + START, [])
    assert rig.turn(NOW + START + 0.01)
    assert (rig.state, process.signals) == (State.STALLED, [signal.SIGTERM])


def test_a_camera_that_streams_has_until_the_stall_limit(rig: Rig) -> None:
    process, link = rig.streaming()
    assert rig.deadline == NOW + STALL
    link.progressed_at = NOW + 4
    assert rig.turn(NOW + STALL + 1)
    assert (rig.state, rig.deadline, process.signals) == (State.STREAMING, NOW + 4 + STALL, [])
    assert rig.turn(NOW + 4 + STALL)
    assert (rig.state, process.signals) == (State.STALLED, []), "it is silent, and may go on"
    assert rig.turn(NOW + 4 + STALL + 0.01)
    assert (rig.state, process.signals) == (State.STALLED, [signal.SIGTERM])


def test_a_still_gives_a_camera_longer(rig: Rig) -> None:
    process, link = rig.streaming()
    link.stall_grace_until = NOW + 12
    assert rig.turn(NOW + 12)
    assert (rig.state, rig.deadline, process.signals) == (State.STREAMING, NOW + 12, [])
    link.stall_grace_until = 0.0
    assert rig.turn(NOW + 12.01)
    assert (rig.state, process.signals) == (State.STALLED, [signal.SIGTERM])


def test_a_silent_camera_is_asked_to_stop_then_killed_then_given_up(rig: Rig) -> None:
    process, _ = rig.streaming()
    now = NOW + STALL + 0.01
    assert rig.turn(now)
    for step, signals, state in (
        (supervisor._STOP_SECONDS, [signal.SIGTERM, signal.SIGKILL], State.STALLED),
        (supervisor._KILL_SECONDS, [signal.SIGTERM, signal.SIGKILL], State.WEDGED),
    ):
        before = list(process.signals)
        now += step
        assert rig.deadline == pytest.approx(now)
        assert rig.turn(now - 0.01)
        assert (process.signals, rig.state) == (before, State.STALLED)
        now = rig.deadline
        assert rig.turn(now)
        assert (process.signals, rig.state) == (signals, state)
    assert rig.deadline == inf
    assert rig.turn(now + 1e5), "a driver is waited for without end"
    assert len(rig.processes) == 1


@pytest.mark.parametrize(("kind", "seconds"), [("csi", 4.0), ("usb", 1.0)])
def test_a_camera_that_answers_has_the_time_that_its_kind_needs_to_close(
    rig: Rig, caplog: pytest.LogCaptureFixture, kind: str, seconds: float
) -> None:
    process, link = rig.streaming()
    link.info = replace(INFO, kind=kind)
    rig.supervisor._closing = True
    assert rig.turn(NOW + 1)
    assert rig.deadline == NOW + 1 + seconds
    assert rig.turn(NOW + 1 + seconds - 0.01)
    assert process.signals == [] and "is killed" not in caplog.text
    assert rig.turn(NOW + 1 + seconds)
    assert process.signals == [signal.SIGKILL] and "is killed" in caplog.text


def test_the_last_messages_of_a_dead_camera_are_awaited_for_a_moment(rig: Rig) -> None:
    process, link = rig.streaming()
    process.returncode = 1
    assert rig.turn(NOW + 1)
    assert rig.deadline == NOW + 1 + supervisor._LAST_WORDS_SECONDS
    assert rig.turn(NOW + 1.4)
    assert rig.supervisor.status().failure is None
    link.ended = True
    assert rig.turn(NOW + 1.4)
    assert rig.supervisor.status().failure is not None
    assert rig.turn(NOW + 1.4)
    assert len(rig.processes) == 2, "the first attempt comes at once"
    rig.processes[-1].returncode = 1
    assert rig.turn(NOW + 2)
    assert rig.supervisor._camera
    assert rig.turn(NOW + 2 + supervisor._LAST_WORDS_SECONDS)
    assert rig.supervisor._camera is None, "they are not awaited any longer"


def test_a_late_turn_catches_up_and_is_not_taken_for_a_stall(rig: Rig) -> None:
    process, _ = rig.streaming()
    for at in range(1, 4):
        assert rig.turn(NOW + 100 * at)
    assert process.signals == [signal.SIGTERM, signal.SIGKILL]
    process.returncode = -signal.SIGKILL
    assert rig.turn(NOW + 400)
    assert rig.turn(NOW + 500)
    assert rig.turn(NOW + 600)
    assert len(rig.processes) == 2


def test_between_two_attempts_the_deadline_is_the_next_one(rig: Rig) -> None:
    rig.spawn_error = FileNotFoundError(2, "No such file or directory")
    now = NOW
    for wait in supervisor._BACK_OFF:
        assert rig.turn(now)
        assert 0.8 * wait - 1e-6 <= rig.deadline - now <= 1.2 * wait + 1e-6
        now = rig.deadline
    rig.spawn_error = None
    assert rig.turn(now)
    assert len(rig.processes) == 1


# --- a supervisor that turns and gets nowhere


def test_a_supervisor_that_does_not_see_silence_answers_no_probe(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.streaming()
    monkeypatch.setattr(rig.supervisor, "_look_after", lambda *_: None)
    assert rig.turn(NOW + STALL)
    assert not rig.turn(NOW + STALL + 0.01)
    assert not rig.turn(NOW + STALL + 60)


def test_a_supervisor_that_does_not_kill_answers_no_probe(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.streaming()
    monkeypatch.setattr(rig.supervisor, "_insist", lambda *_: None)
    assert rig.turn(NOW + STALL + 1)
    assert rig.turn(NOW + STALL + 1 + supervisor._STOP_SECONDS)
    assert not rig.turn(NOW + STALL + 1 + supervisor._STOP_SECONDS + 0.01)
    assert not rig.turn(NOW + 60)


def test_a_supervisor_that_does_not_replace_a_dead_camera_answers_no_probe(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, _ = rig.streaming()
    monkeypatch.setattr(rig.supervisor, "_ended", lambda *_: None)
    process.returncode = 1
    assert rig.turn(NOW + 1)
    assert not rig.turn(NOW + 1 + supervisor._LAST_WORDS_SECONDS + 0.01)


def test_a_supervisor_that_does_not_start_a_camera_answers_no_probe(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.supervisor, "_spawn", lambda *_: None)
    rig.supervisor._next_start = NOW + 30
    assert rig.turn(NOW + 30)
    assert not rig.turn(NOW + 30.01)


def standing_in(rig: Rig, error: SourceError) -> Failure | None:
    """Let the camera process show the test picture because of *error*; return the failure that is reported."""
    _, link = rig.started()
    link.stands_in_for = error
    link.info = replace(INFO, kind="pattern")
    link.first_at = link.progressed_at = NOW
    assert rig.turn(NOW)
    return rig.supervisor.status().failure


def test_a_test_picture_in_place_of_a_camera_is_no_camera(rig: Rig) -> None:
    failure = standing_in(rig, SourceError("None is there", Cause.MISSING, "Plug one in"))
    assert failure == Failure(State.NO_CAMERA, Cause.MISSING, "No camera: None is there", "Plug one in")
    assert (rig.state, rig.supervisor.status().stands_in) == (State.NO_CAMERA, True)
    assert not rig.processes[-1].signals, "the test picture goes on"


def test_a_test_picture_in_place_of_a_camera_is_shown_even_if_nobody_watches(config: Config) -> None:
    rig = Rig(replace(config, source=replace(config.source, capture="on-demand", idle_seconds=5.0)))
    standing_in(rig, SourceError("None is there", Cause.MISSING))
    rig.links[-1].progressed_at = NOW + 100
    rig.turn(NOW + 100)
    assert rig.state is State.NO_CAMERA, "idle, it would be reported healthy"


@pytest.mark.parametrize(
    ("cause", "told"),
    [(Cause.MISSING, Cause.LOST), (Cause.PERMISSION, Cause.PERMISSION), (Cause.BROKEN, Cause.BROKEN)],
)
def test_a_camera_that_served_before_is_missed(config: Config, tmp_path: Path, cause: Cause, told: Cause) -> None:
    (tmp_path / "last").write_text('{"kind": "csi", "name": "imx708"}')
    rig = Rig(config, LastCamera(tmp_path / "last"))
    failure = standing_in(rig, SourceError("None is there", cause, "Plug one in", command="lsusb"))
    values = {"camera": "imx708", "command": "lsusb"}
    message = "The camera imx708 (csi) is gone: None is there"
    assert failure == Failure(State.NO_CAMERA, told, message, "Plug one in", values)
    assert rig.supervisor.status().last == "csi"


def test_a_stall_is_told_with_the_cameras_words_on_its_pictures(rig: Rig) -> None:
    _, link = rig.streaming()
    link.unusable, link.progressed_at = "its end is missing", NOW + 7
    assert rig.turn(NOW + 7 + STALL + 0.01)
    status = rig.supervisor.status()
    assert status.failure
    assert status.failure.message == "The camera has given no usable picture for 5 s: its end is missing"
    assert status.failure.values == {"seconds": "5", "error": "its end is missing"}


def test_words_on_unusable_pictures_are_reported_before_a_first_picture(rig: Rig) -> None:
    _, link = rig.started()
    link.unusable = "its end is missing"
    assert rig.turn(NOW + 1)
    status = rig.supervisor.status()
    assert (status.state, status.unusable) == (State.STARTING, "its end is missing")


# --- what it tells


def test_before_a_camera_is_started_everything_is_unknown(rig: Rig) -> None:
    status = rig.supervisor.status()
    assert status == CameraStatus(
        state=State.STARTING,
        failure=None,
        info=None,
        captured=0,
        rate=0.0,
        period=1.0,
        measured=None,
        pid=None,
        starts=0,
        restarts=dict.fromkeys(Cause, 0),
        since=status.since,
        needs_reboot=False,
        takes_still=False,
        stands_in=False,
        unusable="",
        last="",
    )
    assert rig.supervisor.controls() == ("", ())
    with pytest.raises(EOFError):
        rig.supervisor.link()


def test_a_camera_without_a_description_has_no_controls_and_no_link(rig: Rig) -> None:
    assert rig.turn(NOW)
    assert rig.changes == 0, "it starts, as before"
    assert rig.supervisor.controls() == ("", ())
    with pytest.raises(EOFError):
        rig.supervisor.link()


def test_a_camera_that_streams_is_described(rig: Rig) -> None:
    process, link = rig.streaming()
    link.captured, link.controls = 7, CONTROLS
    assert not rig.supervisor.status().takes_still
    link.stall_grace_until = NOW + 1
    status = rig.supervisor.status()
    assert (status.since, status.info, status.pid, status.starts, status.captured) == (NOW, INFO, 1, 1, 7)
    assert (status.measured, status.period, status.takes_still) == (pytest.approx(0.01), pytest.approx(0.01), True)
    assert not status.needs_reboot and not status.stands_in
    assert rig.supervisor.controls() == ("test", CONTROLS)
    assert rig.supervisor.link() is link
    process.returncode, link.ended = 1, True
    assert rig.turn(NOW + 1)
    assert (rig.supervisor.status().captured, rig.supervisor.status().pid) == (7, None)
    assert rig.supervisor._told[3] == 0.0, "the rate without a camera"
    assert rig.supervisor.controls() == ("test", CONTROLS), "those of the last one"
    assert rig.turn(NOW + 1)
    rig.links[-1].captured = 5
    assert (rig.supervisor.status().captured, rig.supervisor.status().starts) == (12, 2)


def test_silence_is_told_before_the_next_step(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.supervisor.demand.viewers(1)
    rig.streaming()
    silent_at = NOW + pace.SILENT_SECONDS
    for now, state, since in ((silent_at, State.STREAMING, NOW), (silent_at + 0.01, State.STALLED, silent_at)):
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        status = rig.supervisor.status()
        assert (status.state, status.since) == (state, since)


def test_a_camera_that_is_silent_before_it_streams_is_not_stalled_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing_in(rig, SourceError("None is there", Cause.MISSING))
    monkeypatch.setattr(time, "monotonic", lambda: NOW + START + 0.01)
    assert (rig.state, rig.supervisor.status().since) == (State.NO_CAMERA, NOW)


def test_the_rate_is_announced_when_it_changes_by_a_fifth(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    _, link = rig.streaming()
    for rate, news in ((50.0, 1), (41.0, 0), (40.0, 0), (39.0, 1), (48.0, 0), (49.0, 1), (0.0, 1), (0.0, 0)):
        monkeypatch.setattr(link.pace, "rate", lambda _, rate=rate: rate)
        before = rig.changes
        assert rig.turn(NOW)
        assert rig.changes - before == news, rate


def test_each_failure_is_announced_and_logged_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    _, link = rig.started()
    link.info = replace(INFO, reason="It is the only one")
    assert rig.turn(NOW)
    link.stands_in_for = SourceError("None is there", Cause.MISSING, "Plug one in")
    before = rig.changes
    for _ in range(3):
        assert rig.turn(NOW)
    assert rig.changes == before + 1
    link.stands_in_for = None
    assert rig.turn(NOW)
    assert rig.supervisor.status().failure, "until there is a picture"
    link.first_at = link.progressed_at = NOW
    assert rig.turn(NOW)
    assert rig.turn(NOW)
    assert [record.getMessage() for record in caplog.records] == [
        f"camera: {INFO} (It is the only one)",
        "No camera: None is there (Plug one in)",
        "state: no-camera",
        "the camera gives pictures again",
        "state: streaming",
    ]
    assert rig.supervisor.status().failure is None


# --- the end of a process, and the next one


def ended(rig: Rig, now: float, returncode: int = 1) -> Failure | None:
    """Let the camera process end at *now*; return the failure that is reported."""
    rig.processes[-1].returncode, rig.links[-1].ended = returncode, True
    assert rig.turn(now)
    return rig.supervisor.status().failure


def test_a_camera_that_dies_is_a_failure_only_the_second_time(rig: Rig) -> None:
    rig.started()
    message = "The camera process died (exit status 1) and is started again"
    values = {"ended": "exit status 1"}
    assert ended(rig, NOW) == Failure(State.STARTING, Cause.CRASHED, message, values=values)
    assert rig.turn(NOW)
    assert ended(rig, NOW) == Failure(State.NO_CAMERA, Cause.CRASHED, message, values=values)
    assert rig.supervisor.status().restarts == {**dict.fromkeys(Cause, 0), Cause.CRASHED: 2}


def test_a_camera_that_ends_with_words_is_a_failure_by_its_words(rig: Rig) -> None:
    _, link = rig.started()
    link.error = SourceError("It is taken", Cause.BUSY, "Close it")
    assert rig.turn(NOW)
    assert rig.deadline == NOW + supervisor._STOP_SECONDS, "it ends by itself, or is killed"
    assert ended(rig, NOW) == Failure(State.NO_CAMERA, Cause.BUSY, "It is taken", "Close it")


def test_an_invalid_message_is_named(rig: Rig) -> None:
    _, link = rig.started()
    link.protocol_error = "no JSON"
    link.ended = True
    assert rig.turn(NOW)
    assert rig.deadline == NOW + supervisor._STOP_SECONDS
    message = "The camera process sent an invalid message (no JSON) and is started again"
    assert ended(rig, NOW) == Failure(State.STARTING, Cause.CRASHED, message, values={"error": "no JSON"})


def test_a_camera_that_stalled_has_stalled_however_it_ends(rig: Rig) -> None:
    rig.started()
    assert rig.turn(NOW + START + 0.01)
    message = "The camera has given no picture for 30 s and is started again"
    stalled = Failure(State.STALLED, Cause.STALLED, message, values={"seconds": "30"})
    assert rig.supervisor.status().failure == stalled
    assert ended(rig, NOW + 40, -signal.SIGTERM) == stalled


def test_a_camera_that_hung_in_a_driver_and_is_free_again_has_died(rig: Rig) -> None:
    rig.streaming()
    now = NOW + STALL + 0.01
    for _ in range(3):
        assert rig.turn(now)
        now = min(rig.deadline, now + 60)
    wedged = rig.supervisor.status().failure
    assert wedged and (wedged.cause, wedged.hint) == (Cause.WEDGED, "Restart the Pi")
    failure = ended(rig, now, -signal.SIGKILL)
    assert failure and (failure.cause, failure.values) == (Cause.CRASHED, {"ended": "SIGKILL"})


def test_ctrl_c_at_the_terminal_is_no_failure_of_the_camera(rig: Rig) -> None:
    rig.started()
    assert ended(rig, NOW, -signal.SIGINT) is None
    assert rig.supervisor._next_start == NOW


@pytest.mark.parametrize(("seconds", "waits"), [(supervisor._LASTED_SECONDS, False), (4.99, True)])
def test_a_camera_that_lasted_is_restarted_without_a_wait(rig: Rig, seconds: float, waits: bool) -> None:
    for _ in range(3):
        rig.started()
        ended(rig, NOW)
        rig.supervisor._next_start = NOW
    _, link = rig.streaming()
    link.progressed_at = NOW + seconds
    ended(rig, NOW + seconds)
    assert (rig.deadline > NOW + seconds) == waits


def test_a_program_that_does_not_start_is_a_failure_with_the_words_of_the_system(rig: Rig) -> None:
    rig.spawn_error = FileNotFoundError(2, "No such file or directory")
    assert rig.turn(NOW)
    error = "[Errno 2] No such file or directory"
    message = f"The camera process cannot be started: {error}"
    assert rig.supervisor.status().failure == Failure(State.NO_CAMERA, Cause.CRASHED, message, values={"error": error})


@pytest.mark.parametrize(("minutes", "needed"), [(10, True), (0, False), (11, False)])
def test_a_reboot_is_needed_after_the_set_minutes_without_a_picture(config: Config, minutes: int, needed: bool) -> None:
    rig = Rig(replace(config, health=replace(config.health, reboot_after_minutes=minutes)))
    rig.streaming()
    rig.links[-1].info = replace(INFO, kind="usb")
    ended(rig, NOW + 1)
    rig.spawn_error = OSError("none")
    for now, wanted in ((NOW + 599.9, False), (NOW + 600, needed)):
        rig.turn(now)
        assert rig.supervisor.status().needs_reboot == wanted, now


# --- commands to the camera, and new settings


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Kind]:
    """The commands that camera processes are sent."""
    kinds: list[Kind] = []
    monkeypatch.setattr(CameraLink, "tell", lambda _, kind, *__: kinds.append(kind))
    return kinds


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[CameraConfig, str]]:
    """The settings and the log level of each camera process."""
    started: list[tuple[CameraConfig, str]] = []

    def noted(settings: CameraConfig, level: str, *rest: Any) -> Any:
        started.append((settings, level))
        return start_camera(settings, level, *rest)

    monkeypatch.setattr(supervisor, "start_camera", noted)
    return started


def test_a_camera_is_told_whether_somebody_watches(rig: Rig, told: list[Kind]) -> None:
    process, link = rig.streaming()
    rig.supervisor.demand.viewers(1)
    assert rig.turn(NOW + 1)
    rig.supervisor.demand.viewers(0)
    assert rig.turn(NOW + 1)
    assert rig.turn(NOW + 1)
    assert told == [Kind.CONFIGURE, Kind.QUIET, Kind.LIVE, Kind.QUIET]
    # an unwatched one reports once a second, so it is silent later
    assert link.progressed_at == NOW and process.signals == []
    assert rig.supervisor._deadlines(rig.supervisor._camera).silent_at == NOW + 3  # type: ignore[arg-type]


@pytest.mark.parametrize("what", ["camera", "level", "nothing"])
def test_a_change_of_its_settings_restarts_a_camera(
    rig: Rig, config: Config, told: list[Kind], spawned: list[tuple[CameraConfig, str]], what: str
) -> None:
    rig.streaming()
    camera = config.camera
    new = replace(config, log=replace(config.log, level="debug")) if what == "level" else config
    if what == "camera":
        camera = replace(camera, video=replace(camera.video, quality=camera.video.quality - 1))
    rig.supervisor.configure(new, camera)
    rig.supervisor.configure(new, camera)
    assert rig.turn(NOW + 1)
    assert (Kind.STOP in told) == (what != "nothing")
    if what != "nothing":
        assert ended(rig, NOW + 1) is None, "it was stopped"
        assert rig.turn(NOW + 1)
        assert spawned == [(config.camera, config.log.level), (camera, new.log.level)]
        assert rig.supervisor.status().info is None, "the description is outdated"
        told.clear()
        assert rig.turn(NOW + 2)
        assert Kind.STOP not in told


def test_new_masks_are_told_once_and_the_next_camera_draws_them(rig: Rig, config: Config) -> None:
    told: list[object] = []
    rig.supervisor.on_masks = told.append
    _, before = rig.streaming()
    masks = [[0.0, 0.0, 0.5, 0.5]]
    masked = replace(config.camera, video=replace(config.camera.video, masks=masks))
    for camera in (replace(config.camera, kind="usb"), masked, masked):
        rig.supervisor.configure(config, camera)
    assert told == [masks]
    assert rig.turn(NOW + 1)
    assert ended(rig, NOW + 1) is None
    assert rig.turn(NOW + 1)
    assert (before.masks, rig.links[-1].masks) == ([], masks)


def test_new_settings_are_tried_at_once_and_end_the_failure(rig: Rig, config: Config) -> None:
    rig.spawn_error = OSError("none")
    for _ in range(4):
        rig.supervisor._next_start = NOW
        assert rig.turn(NOW)
    assert rig.deadline > NOW + 1
    rig.spawn_error = None
    camera = replace(config.camera, video=replace(config.camera.video, quality=1))
    rig.supervisor.configure(config, camera)
    assert rig.turn(NOW + 1)
    assert len(rig.processes) == 1
    assert rig.supervisor.status().failure is None
    rig.spawn_error = OSError("none")
    ended(rig, NOW + 1)
    assert rig.deadline == NOW + 1, "the first wait is none"


def test_controls_that_the_camera_has_already_restart_nothing(
    rig: Rig, config: Config, spawned: list[tuple[CameraConfig, str]]
) -> None:
    rig.streaming()
    other = config.camera.with_settings("csi", {"brightness": 0.5}).with_settings("usb", {"gain": 3})
    rig.supervisor.adopt(replace(other, video=replace(other.video, quality=1)))
    assert rig.turn(NOW + 1)
    ended(rig, NOW + 1)
    assert rig.turn(NOW + 1)
    assert [settings for settings, _ in spawned] == [config.camera, replace(other, kind=INFO.kind)]


@pytest.mark.parametrize(("found", "kind"), [("usb", "usb"), ("pattern", "auto")])
def test_auto_waits_for_the_camera_that_it_found_before(
    config: Config, spawned: list[tuple[CameraConfig, str]], found: str, kind: str
) -> None:
    rig = Rig(replace(config, source=replace(config.source, kind="auto")))
    _, link = rig.started()
    link.info = replace(INFO, kind=found)
    assert rig.turn(NOW)
    ended(rig, NOW)
    assert rig.turn(NOW)
    assert [settings.kind for settings, _ in spawned] == ["auto", kind]


# --- the waits of its thread


def test_it_wakes_up_for_its_next_step_and_looks_each_second(config: Config) -> None:
    rig = Rig(replace(config, source=replace(config.source, kind="usb", capture="on-demand")))
    asleep = rig.supervisor._patience
    assert rig.turn(NOW)
    assert asleep(NOW) is None
    rig.supervisor.demand.viewers(1)
    rig.supervisor._next_start = NOW + 7
    assert (asleep(NOW), asleep(NOW + 8)) == (7.0, 0.0)
    rig.supervisor._next_start = NOW
    rig.streaming()
    assert asleep(NOW) == supervisor._LOOK_SECONDS
    assert asleep(NOW + STALL - 0.5) == pytest.approx(0.5)
    assert asleep(NOW + STALL + 9) == supervisor._REAP_SECONDS
    now = NOW + STALL + 0.01
    for _ in range(2):
        assert rig.turn(now)
        assert asleep(now) == supervisor._REAP_SECONDS
        now = rig.deadline
    assert rig.turn(now)
    assert asleep(now) == supervisor._LOOK_SECONDS, "a driver holds it"


def test_a_supervisor_that_closes_stops_its_camera_and_starts_none(rig: Rig, told: list[Kind]) -> None:
    rig.started()
    rig.supervisor._closing = True
    assert rig.turn(NOW + 1)
    assert told[-1] is Kind.STOP, "also before its first picture"
    before = rig.changes
    assert ended(rig, NOW + 1) is None
    assert rig.turn(NOW + 100)
    assert (len(rig.processes), rig.changes) == (1, before)
    assert rig.state is State.STARTING, "its end is no news"


def test_its_thread_sleeps_until_it_is_woken_and_ends_with_its_camera(config: Config) -> None:
    rig = Rig(replace(config, source=replace(config.source, kind="usb", capture="on-demand")))
    links: list[CameraLink] = []
    rig.supervisor.start(links.append)
    thread = rig.supervisor._thread
    assert (thread.name, thread.daemon) == ("supervisor", True)
    rig.supervisor.demand.viewers(1)
    until("a camera is started", lambda: links)
    rig.supervisor.close(0.0)
    assert thread.is_alive(), "its camera has not ended"
    rig.processes[0].returncode, links[0].ended = 0, True
    rig.supervisor.close(patience(10))
    assert not thread.is_alive()
    links[0].close()


def test_a_supervisor_without_a_camera_closes_at_once(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    rig = Rig(replace(config, source=replace(config.source, kind="usb", capture="on-demand")))
    monkeypatch.setattr(rig.supervisor, "_patience", waits.append)
    rig.supervisor.start(lambda _: None)
    until("it waits", lambda: waits)
    rig.supervisor.probe.ask()
    until("it waits again", lambda: rig.supervisor.probe.answered and not rig.supervisor._wakeup.is_set())
    rig.supervisor.close(patience(10))
    assert not rig.supervisor._thread.is_alive()


def test_a_kind_that_is_configured_stays(config: Config, spawned: list[tuple[CameraConfig, str]]) -> None:
    rig = Rig(replace(config, source=replace(config.source, kind="usb")))
    rig.started()
    assert rig.turn(NOW)
    ended(rig, NOW)
    assert rig.turn(NOW)
    assert [settings.kind for settings, _ in spawned] == ["usb", "usb"]


def test_a_failed_camera_is_tried_although_nobody_watches_but_not_before_its_time(config: Config) -> None:
    rig = Rig(replace(config, source=replace(config.source, kind="usb", capture="on-demand", idle_seconds=0.0)))
    rig.supervisor.demand.viewers(1)
    rig.started()
    rig.supervisor.demand.viewers(0)
    ended(rig, NOW)
    assert rig.turn(NOW)
    ended(rig, NOW)
    assert 0.8 <= rig.deadline - NOW <= 1.2
    assert rig.turn(NOW + 0.7)
    assert len(rig.processes) == 2
    assert rig.turn(NOW + 1.2)
    assert len(rig.processes) == 3


def test_demand_ends_at_its_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.supervisor.demand, "wanted_until", lambda _: NOW)
    assert [rig.supervisor._watched(NOW - 0.01), rig.supervisor._watched(NOW)] == [True, False]


def test_a_camera_that_was_just_started_has_a_deadline(rig: Rig) -> None:
    rig.supervisor._spawn(NOW)
    announced = rig.links[-1].pace.announced
    assert rig.deadline == NOW + 30 + 2 * announced


def test_after_a_stop_the_waits_begin_anew(rig: Rig) -> None:
    rig.started()
    for _ in range(3):
        ended(rig, NOW)
        rig.supervisor._next_start = NOW
        rig.started()
    rig.supervisor._camera.stopped = True  # type: ignore[union-attr]
    ended(rig, NOW)
    rig.started()
    ended(rig, NOW)
    assert rig.deadline == NOW, "the first wait is none"


@pytest.mark.parametrize("share", [0.8, 1.2])
def test_the_longest_wait_repeats_and_is_spread(rig: Rig, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda *limits: share if limits == (0.8, 1.2) else 0)
    rig.spawn_error = OSError("none")
    for number in range(len(supervisor._BACK_OFF) + 3):
        now = NOW + 100 * number
        assert rig.turn(now)
        wait = supervisor._BACK_OFF[min(number, len(supervisor._BACK_OFF) - 1)]
        assert rig.deadline == pytest.approx(now + wait * share, abs=1e-6)
        rig.supervisor._next_start = now
