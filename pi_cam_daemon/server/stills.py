"""Pictures of the sensor's full size for whoever asks: one at a time, and so seldom that the stream lives on."""

from __future__ import annotations

import itertools
import math
import threading
import time
from http import HTTPStatus

from pi_cam_daemon.core.health import State
from pi_cam_daemon.core.latest import LatestFrame
from pi_cam_daemon.core.supervisor import Supervisor
from pi_cam_daemon.ipc.messages import Still
from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.server.report import Observer

# a Zero 2 W loads picamera2 for longer than this only when its card is slow
_START_SECONDS = 15.0
# exposure and white balance need about this long to settle on a sensor that was just started
_SETTLE_SECONDS = 1.0
# Twice to another mode, a second to encode twelve million pixels, and as much again for a slow Pi; then three frames.
_TAKE_SECONDS = 12.0
_LONGEST_SECONDS = 60.0
# To take one may stop the stream: whoever asks without end gets a tenth of the camera's time.
_PAUSE_SHARE = 9
_PAUSES = 1.0, 60.0


class Stills:
    """Has *supervisor*'s camera take them. Any thread may call."""

    def __init__(self, supervisor: Supervisor, latest: LatestFrame, observer: Observer) -> None:
        self._supervisor = supervisor
        self._latest = latest
        self._observer = observer
        self._numbers = itertools.count(1)
        self._next_at = 0.0
        self._turn = threading.Lock()  # for the two above

    def take(self) -> Still:
        """A picture of full size, taken now. Raises Refused when there can be none, or not yet."""
        if not self._turn.acquire(blocking=False):
            text = "A picture of full size is being taken for somebody else; try again in a moment"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, text)
        try:
            pause = math.ceil(self._next_at - time.monotonic())
            if pause > 0:
                text = f"The stream comes first: the next picture of full size may be taken in {pause} s"
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, text, seconds=pause)
            self._supervisor.demand.want(_START_SECONDS)
            self._wake()
            seconds = self._seconds()
            self._supervisor.demand.want(seconds)
            return self._ask(seconds)
        finally:
            self._turn.release()

    def _seconds(self) -> float:
        """How long the camera may take."""
        return min(_TAKE_SECONDS + 3 / self._observer.camera().framerate, _LONGEST_SECONDS)

    def _wake(self) -> None:
        """Let a camera that sleeps or starts come to good pictures; Refused when it is away."""
        state = self._observer.camera().state
        if state is State.STREAMING:
            return
        if state in (State.IDLE, State.STARTING):
            first = self._latest.wait(time.monotonic(), _START_SECONDS)
            if first:
                self._latest.wait(first.captured + _SETTLE_SECONDS, 2 * _SETTLE_SECONDS)
                return
        raise Refused(Reason.PICTURE, self._observer.no_picture())

    def _ask(self, seconds: float) -> Still:
        begun = time.monotonic()
        try:
            still = self._supervisor.link().take_still(next(self._numbers), seconds)
        except TimeoutError:
            text = f"The camera gave no picture of full size within {seconds:.0f} s and is started again"
            raise Refused(HTTPStatus.GATEWAY_TIMEOUT, text) from None
        except EOFError:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "The camera was lost meanwhile; /state tells why") from None
        finally:
            now = time.monotonic()
            least, most = _PAUSES
            self._next_at = now + min(max(_PAUSE_SHARE * (now - begun), least), most)
        if still.refused:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, still.refused)
        return still
