"""The supervisor's deadlines, with a clock and processes that the test controls."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, cast

import pytest

from pi_cam_daemon.config import loading
from pi_cam_daemon.config.schema import Config
from pi_cam_daemon.core import supervisor
from pi_cam_daemon.core.health import Failure, State
from pi_cam_daemon.core.last_camera import LastCamera
from pi_cam_daemon.core.link import CameraLink
from pi_cam_daemon.core.supervisor import Supervisor
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.ipc.messages import CameraInfo

NOW = 1e6  # later than every real CLOCK_MONOTONIC of a test, so that nothing real counts
NO_CAMERA_YET = LastCamera(Path("/dev/null"))
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
        popen = cast(Callable[..., subprocess.Popen[bytes]], self._spawn)
        self.supervisor = Supervisor(config, config.camera, last, lambda: None, popen=popen)
        self.supervisor._watch = self.links.append

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
    link.unusable = "its end is missing"
    assert rig.turn(NOW + STALL + 0.01)
    status = rig.supervisor.status()
    assert status.failure
    assert status.failure.message == "The camera has given no usable picture for 5 s: its end is missing"


def test_words_on_unusable_pictures_are_reported_before_a_first_picture(rig: Rig) -> None:
    _, link = rig.started()
    link.unusable = "its end is missing"
    assert rig.turn(NOW + 1)
    status = rig.supervisor.status()
    assert (status.state, status.unusable) == (State.STARTING, "its end is missing")
