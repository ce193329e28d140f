"""Starts, times, kills and restarts the camera process: the only place with back-off."""

from __future__ import annotations

import dataclasses
import logging
import random
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from pi_cam_daemon import children
from pi_cam_daemon.camera_info import CameraInfo
from pi_cam_daemon.config import CameraConfig, SourceConfig
from pi_cam_daemon.controls import Control, Report, Value
from pi_cam_daemon.errors import Cause
from pi_cam_daemon.health import Facts, Failure, Limits, State, explained_until, judge, needs_reboot, silent
from pi_cam_daemon.hub import Audience
from pi_cam_daemon.link import CameraLink
from pi_cam_daemon.protocol import Kind
from pi_cam_daemon.status import CameraStatus, framerate
from pi_cam_daemon.still import Still
from pi_cam_daemon.watchdog import Probe

log = logging.getLogger(__name__)

CAMERA_ARGV = children.command("camera")

# waits before the first, second, … attempt after a failure, in seconds; the last one goes on for ever
_BACK_OFF = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
# a camera that gave pictures for this long has earned an attempt at once
_LASTED_SECONDS = 5.0
# a process that was asked to end gets this long before SIGKILL
_STOP_SECONDS = 1.0
# One that lives on this long after SIGKILL is held by the kernel: a driver that sleeps uninterruptibly.
_KILL_SECONDS = 2.0
# what a dead one has said reaches the stream loop in far less
_LAST_WORDS_SECONDS = 0.5
# never blind for longer: what has changed meanwhile is seen; without a process there is nothing to look at
_LOOK_SECONDS = 1.0
# while one is dying; SIGCHLD cannot be waited for in a thread
_REAP_SECONDS = 0.02

Watch = Callable[[CameraLink], None]


class _Camera:
    """One camera process and how far its end has come."""

    def __init__(self, process: subprocess.Popen[bytes], link: CameraLink, now: float) -> None:
        self.process = process
        self.link = link
        self.started_at = now
        self.live: bool | None = None
        self.greeted = False
        # when it is killed if it has not ended by itself; None while it is wanted
        self.kill_at: float | None = None
        # it was asked to end, or was found silent: its end is no news then
        self.stopped = False
        self.stalled = False
        self.killed = False
        self.unkillable = False
        self.died_at: float | None = None


class Supervisor:
    """Keeps a camera process running while pictures are wanted.

    *changed* is called when the state does. *popen* starts a process; tests hand in one that no signal reaches.
    """

    def __init__(
        self,
        source: SourceConfig,
        config: CameraConfig,
        log_level: str,
        changed: Callable[[], None],
        argv: Sequence[str] = CAMERA_ARGV,
        popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
    ) -> None:
        self.probe = Probe("supervisor", self.wake)
        self.audience = Audience(self.wake)
        self.reboot_after_seconds = 0.0
        self._changed = changed
        self._argv = argv
        self._popen = popen
        self._wakeup = threading.Event()
        # guards the settings, which a reload replaces, and the sum of frames, which must not count any twice
        self._lock = threading.Lock()
        self._source = source
        self._config = config
        self._log_level = log_level
        self._restart = False
        self._closing = False
        self._watch: Watch
        self._camera: _Camera | None = None
        self._info: CameraInfo | None = None
        self._controls: tuple[Control, ...] = ()  # of the process that ended last
        self._failure: Failure | None = None
        self._failures = 0
        self._next_start = 0.0
        self._starts = 0
        self._restarts = Counter(dict.fromkeys(Cause, 0))
        self._captured_before = 0  # by the processes that have ended
        self._state = State.STARTING
        self._since = self._well_at = time.monotonic()
        self._needs_reboot = False
        self._told: tuple[State, Failure | None, bool] = (State.STARTING, None, False)
        # It lives as long as the daemon does: PR_SET_PDEATHSIG fires when the THREAD that spawned a process ends.
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    # -- from any thread

    def start(self, watch: Watch) -> None:
        """Begin; *watch(link)* hands a camera's socket to the stream loop."""
        self._watch = watch
        self._thread.start()

    def wake(self) -> None:
        self._wakeup.set()

    def close(self, timeout: float) -> None:
        """Stop the camera process, by force if need be, and the loop."""
        self._closing = True
        self.wake()
        self._thread.join(timeout)

    def configure(self, source: SourceConfig, config: CameraConfig, log_level: str) -> None:
        """Settings from now on; a camera process that runs with others is started anew."""
        with self._lock:
            self._restart = self._restart or (config, log_level) != (self._config, self._log_level)
            self._source, self._config, self._log_level = source, config, log_level
        self.wake()

    def adopt(self, config: CameraConfig) -> None:
        """The settings that the camera process has already, for the next one."""
        with self._lock:
            self._config = dataclasses.replace(self._config, controls=config.controls, usb=config.usb)

    def controls(self) -> tuple[str, tuple[Control, ...]]:
        """The kind of the camera and what can be set on it, as it was when it ran last; "" and nothing before that."""
        with self._lock:
            camera, info, controls = self._camera, self._info, self._controls
        if camera and camera.link.info:
            return camera.link.info.kind, camera.link.controls
        return (info.kind, controls) if info else ("", ())

    def adjust(self, number: int, values: dict[str, Value], seconds: float) -> Report:
        """Have the camera set these *values*: CameraLink.adjust. EOFError without a camera."""
        camera = self._camera
        if camera is None or not camera.link.info:
            raise EOFError
        return camera.link.adjust(number, values, seconds)

    def take_still(self, number: int, seconds: float) -> Still:
        """Have the camera take a picture of full size: CameraLink.take_still. EOFError without a camera."""
        camera = self._camera
        if camera is None or not camera.link.info:
            raise EOFError
        return camera.link.take_still(number, seconds)

    def status(self) -> CameraStatus:
        with self._lock:
            camera, captured = self._camera, self._captured_before
        return CameraStatus(
            state=self._state,
            since=self._since,
            needs_reboot=self._needs_reboot,
            failure=self._failure,
            info=self._info,
            captured=captured + (camera.link.captured if camera else 0),
            rate=camera.link.rate(time.monotonic()) if camera else 0.0,
            pid=camera.process.pid if camera else None,
            starts=self._starts,
            restarts=dict(self._restarts),
            takes_still=bool(camera and camera.link.excused_until),
        )

    # -- the loop

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            self._step(now)
            if self._closing and self._camera is None:
                return
            # A loop that turns and gets nowhere is no more alive than one that stands.
            if now <= explained_until(self._facts(now), self._limits()):
                self.probe.answer()
            self._wakeup.wait(self._patience(now))
            self._wakeup.clear()

    def _patience(self, now: float) -> float | None:
        camera = self._camera
        if camera is None:
            return max(0.0, self._next_start - now) if self._wanted(now) else None
        if (camera.kill_at or camera.died_at or camera.link.ended) and not camera.unkillable:
            return _REAP_SECONDS
        silent_in = explained_until(self._facts(now), self._limits()) - now
        return min(_LOOK_SECONDS, max(_REAP_SECONDS, silent_in))

    def _wanted(self, now: float) -> bool:
        if self._closing:
            return False
        # A camera that failed is tried until it works again, also when nobody looks: asleep it would pass for well.
        return self._source.capture == "always" or self._failure is not None or self._watched(now)

    def _watched(self, now: float) -> bool:
        return self.audience.wanted_until(self._source.idle_seconds) > now

    def _step(self, now: float) -> None:
        camera = self._camera
        if camera is None:
            if self._restart:  # other settings may cure what failed
                self._failures, self._next_start, self._failure = 0, now, None
            if self._wanted(now) and now >= self._next_start:
                self._spawn(now)
        elif camera.process.poll() is not None:
            # Its last words are read by the stream loop: they are all known when that has come to their end, which
            # something that the camera stack left behind may hold open.
            camera.died_at = camera.died_at or now
            if camera.link.ended or now - camera.died_at > _LAST_WORDS_SECONDS:
                self._ended(camera, now)
        elif camera.kill_at is not None:
            self._insist(camera, camera.kill_at, now)
        else:
            self._look_after(camera, now)
        self._judge(now)

    def _spawn(self, now: float) -> None:
        with self._lock:
            if self._restart:  # what was said of the camera before does not hold
                self._info = None
            config, level, self._restart = self._config, self._log_level, False
        if config.kind == "auto" and self._info and self._info.kind != "pattern":
            # A camera that was found is waited for: a test picture in its place would pass for well.
            config = dataclasses.replace(config, kind=self._info.kind)
        try:
            process, link = start_camera(config, level, self.wake, self._argv, self._popen)
        except OSError as error:
            self._fail(Failure(State.NO_CAMERA, Cause.CRASHED, f"The camera process cannot be started: {error}"))
            self._back_off(now)
            return
        self._camera = _Camera(process, link, now)
        self._starts += 1
        self._watch(link)

    def _look_after(self, camera: _Camera, now: float) -> None:
        link = camera.link
        if link.info and not camera.greeted:
            camera.greeted = True
            before, self._info = self._info, link.info
            if before and before.kind == link.info.kind:  # `auto` chose it once, and for this reason still
                self._info = dataclasses.replace(link.info, reason=link.info.reason or before.reason)
            log.info("camera: %s%s", link.info, f" ({link.info.reason})" if link.info.reason else "")
        if link.progressed_at is not None and self._failure:
            log.info("pictures again")
            self._failure = None
        watched = self._watched(now)
        if watched != camera.live:
            camera.live = watched
            link.tell(Kind.LIVE if watched else Kind.QUIET)
        # A camera that was started for somebody gives its first picture, however late: the next one to ask is sooner.
        if (not self._wanted(now) and link.first_at) or self._restart or self._closing:
            camera.stopped = True
            link.tell(Kind.STOP)
            camera.kill_at = now + _STOP_SECONDS
        elif link.error or link.ended:
            camera.kill_at = now + _STOP_SECONDS
        elif silent(now, self._facts(now), self._limits()):
            camera.stalled = True
            seconds = now - (link.progressed_at or camera.started_at)
            message = f"The camera has given no picture for {seconds:.0f} s and is started again"
            self._fail(Failure(State.STALLED, Cause.STALLED, message))
            camera.process.terminate()
            camera.kill_at = now + _STOP_SECONDS

    def _insist(self, camera: _Camera, kill_at: float, now: float) -> None:
        if now < kill_at or camera.unkillable:
            return
        if not camera.killed:
            camera.killed = True
            camera.process.kill()
        if now >= kill_at + _KILL_SECONDS:
            camera.unkillable = True
            message = "The camera process cannot be killed: a driver holds it, and only a reboot frees it"
            self._fail(Failure(State.WEDGED, Cause.WEDGED, message, "Restart the Pi"))

    def _ended(self, camera: _Camera, now: float) -> None:
        link = camera.link
        with self._lock:
            self._camera = None
            self._captured_before += link.captured
            if link.info:
                self._controls = link.controls
        # SIGINT is Ctrl-C at the terminal, met before the new process was in its own group: the server stops, too
        if camera.stopped or camera.process.returncode == -signal.SIGINT:
            self._failures, self._next_start = 0, now
            return
        if link.error:
            self._fail(Failure(State.NO_CAMERA, link.error.cause, link.error.message, link.error.hint))
        elif not camera.stalled or camera.unkillable:
            # the first time it may be back before anybody notices
            state = State.NO_CAMERA if self._failures else State.STARTING
            what = link.nonsense or f"The camera process died ({_manner(camera.process.returncode)})"
            self._fail(Failure(state, Cause.CRASHED, f"{what} and is started again"))
        if link.first_at and link.progressed_at and link.progressed_at - link.first_at >= _LASTED_SECONDS:
            self._failures = 0
        self._back_off(now)

    def _back_off(self, now: float) -> None:
        wait = _BACK_OFF[min(self._failures, len(_BACK_OFF) - 1)]
        self._failures += 1
        if self._failure:
            self._restarts[self._failure.cause] += 1
        # jitter, so that many Pis at one power strip do not all ask the same upstream at the same moment
        self._next_start = now + wait * random.uniform(0.8, 1.2)  # nosec B311  # no secret

    def _fail(self, failure: Failure) -> None:
        if failure != self._failure:
            log.warning("%s%s", failure.message, f" ({failure.hint})" if failure.hint else "")
            self._failure = failure

    def _facts(self, now: float) -> Facts:
        camera = self._camera
        return Facts(
            wanted=self._wanted(now),
            running=camera is not None,
            started_at=camera.started_at if camera else 0.0,
            progressed_at=camera.link.progressed_at if camera else None,
            failure=self._failure,
            excused_until=camera.link.excused_until if camera else 0.0,
            unkillable=camera is not None and camera.unkillable,
            act_by=self._act_by(),
        )

    def _act_by(self) -> float | None:
        camera = self._camera
        if camera is None:
            return self._next_start
        if camera.died_at is not None:
            return camera.died_at + _LAST_WORDS_SECONDS
        return None if camera.kill_at is None else camera.kill_at + _KILL_SECONDS

    def _limits(self) -> Limits:
        limits = Limits(self._source.start_timeout_seconds, self._source.stall_timeout_seconds)
        return limits.at_rate(self._camera.link.framerate if self._camera else framerate(self._info))

    def _judge(self, now: float) -> None:
        state = judge(now, self._facts(now), self._limits())
        if self._closing:
            return
        if state is not self._state:
            log.info("%s", state)
            self._state, self._since = state, now
        if state.ok:
            self._well_at = now
        kind = self._info.kind if self._info else self._config.kind
        cause = self._failure.cause if self._failure else Cause.STARTING
        self._needs_reboot = needs_reboot(now, self._well_at, cause, kind, self.reboot_after_seconds)
        news = (state, self._failure, self._needs_reboot)
        if news != self._told:
            self._told = news
            self._changed()


def start_camera(
    config: CameraConfig,
    log_level: str,
    changed: Callable[[], None],
    argv: Sequence[str] = CAMERA_ARGV,
    popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
) -> tuple[subprocess.Popen[bytes], CameraLink]:
    """A new camera process and the server's end of its socket. Raises OSError when none can be started."""
    ours, theirs = socket.socketpair()
    with theirs:
        fd = theirs.fileno()
        try:
            process = popen([*argv, str(fd), log_level], pass_fds=(fd,), stdin=subprocess.DEVNULL, **children.options())
        except OSError:
            ours.close()
            raise
    link = CameraLink(ours, config.video.framerate, changed)
    link.tell(Kind.CONFIGURE, config.to_json())
    return process, link


def _manner(returncode: int) -> str:
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"
