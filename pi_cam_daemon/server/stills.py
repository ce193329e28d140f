"""Pictures of the sensor's full size: one at a time, with a pause after each one."""

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
from pi_cam_daemon.server.limits import held
from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.server.report import Observer

# a Zero 2 W needs more only with a slow SD card
_START_SECONDS = 15.0
# time that exposure and white balance need after the start of a sensor
_SETTLE_SECONDS = 1.0
# Two changes of mode, one second to encode 12 megapixels, and the same again for a slow Pi; three frames come on top.
_TAKE_SECONDS = 12.0
_LONGEST_SECONDS = 60.0
# The stream may stop meanwhile, so a pause follows: 9 times as long as the picture took, within these seconds.
_PAUSE_SHARE = 9
_PAUSES = 1.0, 60.0


class Stills:
    """Takes pictures with *supervisor*'s camera. Thread-safe."""

    def __init__(self, supervisor: Supervisor, latest: LatestFrame, observer: Observer) -> None:
        self._supervisor = supervisor
        self._latest = latest
        self._observer = observer
        self._numbers = itertools.count(1)
        self._next_at = 0.0
        self._turn = threading.Lock()  # for the two above

    def take(self) -> Still:
        """Return a picture that is taken now. Raises Refused if that is not possible, or not yet."""
        busy = "A picture of full size is being taken for somebody else; try again in a moment"
        with held(self._turn, 0, HTTPStatus.SERVICE_UNAVAILABLE, busy):
            pause = math.ceil(self._next_at - time.monotonic())
            if pause > 0:
                text = f"The stream comes first: the next picture of full size may be taken in {pause} s"
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, text, seconds=pause)
            with self._supervisor.demand.waiting():
                self._wake()
                return self._ask(min(_TAKE_SECONDS + 3 * self._observer.camera().period, _LONGEST_SECONDS))

    def _wake(self) -> None:
        """Wait until a camera that sleeps or starts gives good pictures. Raises Refused if it is missing."""
        state = self._observer.camera().state
        if state in (State.IDLE, State.STARTING) and (first := self._latest.wait(time.monotonic(), _START_SECONDS)):
            self._latest.wait(first.captured + _SETTLE_SECONDS, 2 * _SETTLE_SECONDS)
        elif state is not State.STREAMING:
            raise Refused(Reason.PICTURE, self._observer.no_picture())

    def _ask(self, seconds: float) -> Still:
        begun = time.monotonic()
        try:
            link = self._supervisor.link()
            still = link.take_still(next(self._numbers), seconds)
        except TimeoutError:
            text = f"The camera gave no picture of full size within {seconds:.0f} s and is started again"
            raise Refused(HTTPStatus.GATEWAY_TIMEOUT, text) from None
        except EOFError:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "The camera was lost; /state tells why") from None
        finally:
            now = time.monotonic()
            shortest, longest = _PAUSES
            self._next_at = now + min(max(_PAUSE_SHARE * (now - begun), shortest), longest)
        if link.masks != self._observer.config.video.masks:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "The masks were changed meanwhile; try again")
        if still.refused:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, still.refused)
        return still
