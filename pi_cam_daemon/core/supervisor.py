"""Supervisor of the camera process: starts it on demand, checks its progress, kills and restarts it with back-off."""

from __future__ import annotations

import dataclasses
import logging
import math
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from pi_cam_daemon.config import kinds
from pi_cam_daemon.config.schema import CameraConfig, Config
from pi_cam_daemon.core.health import CameraStatus, Deadlines, Facts, Failure, State, deadlines, judge, needs_reboot
from pi_cam_daemon.core.last_camera import LastCamera
from pi_cam_daemon.core.latest import Demand
from pi_cam_daemon.core.link import CameraLink
from pi_cam_daemon.core.spawn import CAMERA_ARGV, manner, start_camera
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.ipc.controls import Control
from pi_cam_daemon.ipc.messages import CameraInfo, Motion
from pi_cam_daemon.ipc.protocol import COUNT, Kind
from pi_cam_daemon.system.watchdog import Probe

log = logging.getLogger(__name__)

# seconds before the first, second, … attempt after a failure; the last one repeats
_BACK_OFF = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
_LASTED_SECONDS = 5.0  # a process that gave frames for this long is restarted without a wait
_STOP_SECONDS = 1.0  # from SIGTERM, for a camera that is silent, until SIGKILL
_KILL_SECONDS = 2.0  # a process that lives on this long after SIGKILL hangs in a driver, in uninterruptible sleep
_LAST_WORDS_SECONDS = 0.5  # after the end of a process, for its last messages to be read
_LOOK_SECONDS = 1.0  # between two checks of a process
_RATE_CHANGE = 0.2  # a share of the measured rate; less is not announced
_REAP_SECONDS = 0.02  # the same while it ends; a thread cannot wait for SIGCHLD

Watch = Callable[[CameraLink], None]


class _Camera:
    """One camera process, and the steps towards its end."""

    def __init__(self, process: subprocess.Popen[bytes], link: CameraLink, now: float) -> None:
        self.process = process
        self.link = link
        self.started_at = now
        self.live: bool | None = None
        self.small = False  # small frames were asked for
        self.live_since = math.inf
        self.greeted = False
        self.deadline: float  # of the next step below; each step sets it anew
        self.stopped = self.stalled = False  # its exit is expected, not a failure
        self.ending = self.killed = self.unkillable = self.dead = False


class Supervisor:
    """Keeps a camera process running while there is demand for frames.

    The camera process gets *camera*: the camera's part of *config*, with the controls that were saved or set.
    *changed* is called at each change of the state or the rate. *last* is the camera that served before. *argv* and
    *popen* start the process; tests pass their own. *on_masks* is called with new masks: no older picture may be shown
    after it. *on_motion* is called with what a camera process sees move; see CameraLink.
    """

    def __init__(
        self,
        config: Config,
        camera: CameraConfig,
        last: LastCamera,
        changed: Callable[[], None],
        argv: Sequence[str] = CAMERA_ARGV,
        popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
    ) -> None:
        self.probe = Probe("supervisor", self.wake)
        self.demand, self.small_demand = Demand(self.wake), Demand(self.wake)
        self._changed, self._argv, self._popen = changed, argv, popen
        self.on_motion: Callable[[Motion, float], None] = lambda *_: None
        self.on_masks: Callable[[list[list[float]]], None] = lambda _: None
        self._wakeup = threading.Event()
        # guards the settings, which a reload replaces, and the sum of frames, which must count each once
        self._lock = threading.Lock()
        self._config, self._settings, self._last = config, camera, last
        self._restart = self._closing = False
        self._watch: Watch
        self._camera: _Camera | None = None
        self._info: CameraInfo | None = None
        self._controls: tuple[Control, ...] = ()  # of the process that ended last
        self._failure: Failure | None = None
        self._failures = self._starts = 0
        self._next_start = 0.0
        self._restarts = Counter(dict.fromkeys(Cause, 0))
        self._captured_before = 0  # by the processes that have ended
        self._state = State.STARTING
        self._since = self._well_at = time.monotonic()
        self._needs_reboot = False
        self._told: tuple[State, Failure | None, bool, float] = (State.STARTING, None, False, 0.0)
        # It lives as long as the daemon: PR_SET_PDEATHSIG fires when the THREAD that spawned a process ends.
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    # -- from any thread

    def start(self, watch: Watch) -> None:
        """Start the thread. *watch(link)* gives the socket of each new camera process to the stream loop."""
        self._watch = watch
        self._thread.start()

    def wake(self) -> None:
        self._wakeup.set()

    def close(self, timeout: float) -> None:
        """Stop the camera process, with SIGKILL if need be, and the thread; wait for at most *timeout* seconds."""
        self._closing = True
        self.wake()
        self._thread.join(timeout)

    def configure(self, config: Config, camera: CameraConfig) -> None:
        """Use these settings from now on; restart a camera process that has others."""
        with self._lock:
            self._restart |= (camera, config.log.level) != (self._settings, self._config.log.level)
            before, self._config, self._settings = self._settings, config, camera
        self.wake()
        if camera.video.masks != before.video.masks:
            self.on_masks(camera.video.masks)

    def adopt(self, camera: CameraConfig) -> None:
        """Start the next camera process with the controls of *camera*, which the present one has already."""
        with self._lock:
            self._settings = dataclasses.replace(self._settings, controls=camera.controls, usb=camera.usb)

    def controls(self) -> tuple[str, tuple[Control, ...]]:
        """Return the kind of the camera and its controls, as it last announced them; at first "" and ()."""
        with self._lock:
            camera, info, controls = self._camera, self._info, self._controls
        if camera and camera.link.info:
            return camera.link.info.kind, camera.link.controls
        return (info.kind, controls) if info else ("", ())

    def link(self) -> CameraLink:
        """Return the link to the camera process. Raises EOFError if no camera is open."""
        camera = self._camera
        if camera is None or not camera.link.info:
            raise EOFError
        return camera.link

    def status(self) -> CameraStatus:
        with self._lock:
            camera, captured = self._camera, self._captured_before
        now = time.monotonic()
        state, since = self._state, self._since
        if state is State.STREAMING and camera and now > (silent_at := self._deadlines(camera).silent_at):
            state, since = State.STALLED, silent_at  # the next step comes a moment later
        return CameraStatus(
            state=state,
            since=since,
            needs_reboot=self._needs_reboot,
            failure=self._failure,
            info=self._info,
            captured=captured + (camera.link.captured if camera else 0),
            rate=camera.link.pace.rate(now) if camera else 0.0,
            period=camera.link.pace.period if camera else 1.0,
            measured=camera.link.pace.measured if camera else None,
            pid=camera.process.pid if camera else None,
            starts=self._starts,
            restarts=dict(self._restarts),
            takes_still=bool(camera and camera.link.stall_grace_until),
            stands_in=bool(camera and camera.link.stands_in_for),
            unusable=camera.link.unusable if camera else "",
            last=self._last.kind,
        )

    # -- the loop

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            self.step(now)
            if self._closing and self._camera is None:
                return
            self._wakeup.wait(self._patience(now))
            self._wakeup.clear()

    def _patience(self, now: float) -> float | None:
        camera, rest = self._camera, self._deadline(now) - now
        if camera is None:
            return max(0.0, rest) if rest < math.inf else None
        if camera.ending and not camera.unkillable:
            return _REAP_SECONDS
        return min(_LOOK_SECONDS, max(_REAP_SECONDS, rest))

    def _wanted(self, now: float) -> bool:
        if self._closing:
            return False
        # A camera that failed is tried until it works again, even without demand: idle, it would be reported healthy.
        always = self._config.source.capture == "always" or self._settings.motion.enabled
        if always or self._failure is not None or self._watched(now):
            return True
        return self._settings.kind == "auto" and not self._starts  # one look tells if there is a camera

    def _watched(self, now: float) -> bool:
        linger = self._config.source.idle_seconds
        return max(self.demand.wanted_until(linger), self.small_demand.wanted_until(linger)) > now

    def step(self, now: float) -> None:
        """Do what is due at *now* (CLOCK_MONOTONIC), and answer the probe; tests call it with a clock of their own."""
        camera = self._camera
        if camera is None:
            if self._restart:  # the new settings may cure the failure
                self._failures, self._next_start, self._failure = 0, now, None
            if self._wanted(now) and now >= self._next_start:
                self._spawn(now)
        elif camera.process.poll() is not None:
            # The stream loop reads its last messages, up to the end of the socket. A child that the camera stack left
            # behind may hold the socket open.
            if not camera.dead:
                camera.dead, camera.deadline = True, now + _LAST_WORDS_SECONDS
            if camera.link.ended or now >= camera.deadline:
                self._ended(camera, now)
        elif not camera.ending:
            self._look_after(camera, now)
        elif now >= camera.deadline:
            self._insist(camera, now)
        self._judge(now)
        # A loop that misses its deadlines counts as hanging, even if it turns.
        if now <= self._deadline(now):
            self.probe.answer()

    def _deadline(self, now: float) -> float:
        """Return when the next step is due; infinity if none is."""
        if self._camera:
            return self._camera.deadline
        return self._next_start if self._wanted(now) else math.inf

    def _spawn(self, now: float) -> None:
        with self._lock:
            if self._restart:  # the description of the camera is outdated
                self._info = None
            settings, level, self._restart = self._settings, self._config.log.level, False
        if settings.kind == "auto" and self._info and self._info.kind != "pattern":
            # wait for the camera that was found before, without a test picture in its place
            settings = dataclasses.replace(settings, kind=self._info.kind)
        try:
            process, link = start_camera(settings, level, self.wake, self._argv, self._popen)
        except OSError as error:
            message = f"The camera process cannot be started: {error}"
            self._fail(Failure(State.NO_CAMERA, Cause.CRASHED, message, values={"error": str(error)}))
            self._back_off(now)
            return
        self._camera = _Camera(process, link, now)
        self._camera.deadline = self._deadlines(self._camera).restart_at
        self._starts += 1
        link.on_motion = self.on_motion
        self._watch(link)

    def _look_after(self, camera: _Camera, now: float) -> None:
        link = camera.link
        if link.info and not camera.greeted:
            camera.greeted = True
            self._info = link.info
            log.info("camera: %s%s", link.info, f" ({link.info.reason})" if link.info.reason else "")
        if link.stands_in_for:
            self._fail(self._missing(link.stands_in_for))
        elif link.progressed_at is not None and self._failure:
            log.info("the camera gives pictures again")
            self._failure = None
        watched = self.demand.present
        if watched != camera.live:
            camera.live, camera.live_since = watched, now if watched else math.inf
            link.tell(Kind.LIVE if watched else Kind.QUIET)
        if (watched := self.small_demand.present) != camera.small:
            camera.small = watched
            link.tell(Kind.SMALL, COUNT.pack(watched))
        camera.deadline = self._deadlines(camera).restart_at
        # A camera that was started may give its first frame even if nobody waits any more: the next one may ask soon.
        if (not self._wanted(now) and link.first_at) or self._restart or self._closing:
            camera.stopped = True
            link.tell(Kind.STOP)
            seconds = kinds.of(link.info.kind).stop_seconds if link.info else _STOP_SECONDS
        elif link.error or link.ended:
            seconds = _STOP_SECONDS  # it ends by itself, or is killed then
        elif now > camera.deadline:
            camera.stalled = True
            silence = now - (link.progressed_at or camera.started_at)
            message = f"The camera has given no picture for {silence:.0f} s and is started again"
            values = {"seconds": f"{silence:.0f}"}
            if link.unusable:
                message = f"The camera has given no usable picture for {silence:.0f} s: {link.unusable}"
                values["error"] = link.unusable
            self._fail(Failure(State.STALLED, Cause.STALLED, message, values=values))
            camera.process.terminate()
            seconds = _STOP_SECONDS
        else:
            return
        camera.ending, camera.deadline = True, now + seconds

    def _insist(self, camera: _Camera, now: float) -> None:
        if not camera.killed:
            log.warning("the camera process does not end and is killed")
            camera.killed, camera.deadline = True, now + _KILL_SECONDS
            camera.process.kill()
        else:
            camera.unkillable, camera.deadline = True, math.inf
            message = "The camera process cannot be killed: a driver holds it, and only a reboot frees it"
            self._fail(Failure(State.WEDGED, Cause.WEDGED, message, "Restart the Pi"))

    def _ended(self, camera: _Camera, now: float) -> None:
        link = camera.link
        with self._lock:
            self._camera = None
            self._captured_before += link.captured
            if link.info:
                self._controls = link.controls
        # SIGINT is Ctrl-C at the terminal, before the new process was in its own group: the server stops, too
        code = camera.process.returncode
        if camera.stopped or code == -signal.SIGINT:
            self._failures, self._next_start = 0, now
            return
        if link.error:
            self._fail(Failure.of(link.error))
        elif not camera.stalled or camera.unkillable:
            # after the first failure it may be back before a viewer notices
            state = State.NO_CAMERA if self._failures else State.STARTING
            what, values = f"died ({manner(code)})", {"ended": manner(code)}
            if link.protocol_error:
                what, values = f"sent an invalid message ({link.protocol_error})", {"error": link.protocol_error}
            message = f"The camera process {what} and is started again"
            self._fail(Failure(state, Cause.CRASHED, message, values=values))
        if link.first_at and link.progressed_at and link.progressed_at - link.first_at >= _LASTED_SECONDS:
            self._failures = 0
        self._back_off(now)

    def _back_off(self, now: float) -> None:
        wait = _BACK_OFF[min(self._failures, len(_BACK_OFF) - 1)]
        self._failures += 1
        if self._failure:
            self._restarts[self._failure.cause] += 1
        # jitter: many Pis that were switched on together must not ask the same upstream at the same moment
        self._next_start = now + wait * random.uniform(0.8, 1.2)  # nosec B311  # no secret

    def _missing(self, error: SourceError) -> Failure:
        """Return the failure for a camera that `auto` does not find: a worse one if there was a camera before."""
        if not self._last.real:
            return Failure.of(error, "No camera: ")
        failure = Failure.of(error, f"The camera {self._last.name} ({self._last.kind}) is gone: ")
        values = {**error.values, "camera": self._last.name}
        cause = Cause.LOST if error.cause is Cause.MISSING else error.cause
        return dataclasses.replace(failure, cause=cause, values=values)

    def _fail(self, failure: Failure) -> None:
        if failure != self._failure:
            log.warning("%s%s", failure.message, f" ({failure.hint})" if failure.hint else "")
            self._failure = failure

    def _deadlines(self, camera: _Camera) -> Deadlines:
        link, limits, since = camera.link, self._config.source, camera.live_since
        return deadlines(limits, link.pace, camera.started_at, link.progressed_at, link.stall_grace_until, since)

    def _judge(self, now: float) -> None:
        if self._closing:
            return
        camera = self._camera
        facts = Facts(
            wanted=self._wanted(now),
            running=camera is not None,
            pictures=camera is not None and camera.link.progressed_at is not None,
            stands_in=camera is not None and camera.link.stands_in_for is not None,
            silent_at=self._deadlines(camera).silent_at if camera else math.inf,
            failure=self._failure,
            unkillable=camera is not None and camera.unkillable,
        )
        state = judge(now, facts)
        if state is not self._state:
            log.info("state: %s", state)
            self._state, self._since = state, now
        if state.ok:
            self._well_at = now
        kind = self._info.kind if self._info else self._settings.kind
        cause = self._failure.cause if self._failure else Cause.STARTING
        after_seconds = self._config.health.reboot_after_minutes * 60
        self._needs_reboot = needs_reboot(now, self._well_at, cause, kind, after_seconds)
        rate, told_rate = camera.link.pace.rate(now) if camera else 0.0, self._told[3]
        if abs(rate - told_rate) <= _RATE_CHANGE * max(rate, told_rate):
            rate = told_rate
        news = (state, self._failure, self._needs_reboot, rate)
        if news != self._told:
            self._told = news
            self._changed()
