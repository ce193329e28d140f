"""The stream loop: ONE thread that reads the camera's socket and sends the newest part to every viewer.

It reads the camera's socket itself, since a hand-over between threads costs more than everything else at one viewer.
A viewer has no queue: it finishes the part it began and goes on with the newest one, so a slow one sees fewer
pictures, never older ones, and is dropped only for taking no byte at all.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable

from pi_cam_daemon.config.schema import HttpConfig
from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.latest import Demand, LatestFrame
from pi_cam_daemon.core.link import CameraLink
from pi_cam_daemon.server.access import Client
from pi_cam_daemon.server.limits import Quota
from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.server.viewer import Viewer
from pi_cam_daemon.system.logs import LogThrottle
from pi_cam_daemon.system.watchdog import Probe

log = logging.getLogger(__name__)

# How long the last picture is shown before the card says why there is none: short enough not to deceive.
HOLD_SECONDS = 2.0
# A picture that stands still is sent again this often: Home Assistant hangs up after 10 s without a byte.
REPEAT_SECONDS = 1.0
# somebody who comes and goes without end fills no journal
_TOLD_SECONDS = 10.0


class Streams:
    """All viewers. *card* gives the part to show while there is no picture.

    `watch` and `add` may be called from any thread; everything else happens on the loop's own.
    """

    def __init__(self, latest: LatestFrame, demand: Demand, card: Callable[[], bytes]) -> None:
        self.probe = Probe("stream loop", self._wake)
        self.quota = Quota("viewer", Reason.MAX_VIEWERS, Reason.MAX_VIEWERS_PER_ADDRESS)
        self._tls_quota = Quota("encrypted viewer", Reason.MAX_TLS_VIEWERS, Reason.MAX_TLS_VIEWERS)
        self._viewer_timeout_seconds = 0.0
        self._latest = latest
        self._demand = demand
        self._card = card
        self._viewers: dict[int, Viewer] = {}
        self._comings = LogThrottle(_TOLD_SECONDS)
        self._may_stay: Callable[[Client], bool] = lambda _: True
        self._lock = threading.Lock()  # guards the three below, which other threads write
        self._reviewed = True
        self._arrivals: list[Viewer] = []
        self._next_camera: CameraLink | None = None
        self._closing = False
        self._camera: CameraLink | None = None
        self._camera_fd = -1
        self._hold_seconds = HOLD_SECONDS
        # what everybody is shown now (None: nothing yet), when that was sent, and when it was last a new picture
        self._shown: bytes | None = None
        self._shown_at = 0.0
        self._fresh_at = float("-inf")
        self._sweep_at = 0.0
        self._epoll = select.epoll()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)

    # -- from any thread

    def configure(self, viewer_timeout_seconds: float, may_stay: Callable[[Client], bool]) -> None:
        """End the streams of those who may not stay, and of those who take nothing for so long."""
        self._viewer_timeout_seconds = viewer_timeout_seconds
        with self._lock:
            self._may_stay, self._reviewed = may_stay, False
        self._wake()

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float) -> None:
        """End every stream and the loop."""
        self._closing = True
        self._wake()
        self._thread.join(timeout)

    def take_place(self, client: Client, limits: HttpConfig) -> None:
        """Take a place for *client*, which has to be given back. Raises Refused."""
        self.quota.take(str(client), limits.max_viewers, limits.max_viewers_per_address)
        if client.encrypted:
            try:
                self._tls_quota.take(str(client), limits.max_tls_viewers, limits.max_tls_viewers)
            except Refused:
                self.quota.give_back(str(client))
                raise

    def give_back_place(self, client: Client) -> None:
        self.quota.give_back(str(client))
        if client.encrypted:
            self._tls_quota.give_back(str(client))

    def add(self, sock: socket.socket, client: Client, opening: bytes, interval: float) -> None:
        """Take over *sock*, whose *client* has taken one of the `places`, for good and stream to it.

        *opening* is the HTTP answer up to the first boundary, *interval* the seconds between two pictures, on average.
        """
        viewer = Viewer(sock, client, opening, interval, time.monotonic())
        with self._lock:
            self._arrivals.append(viewer)
        self._wake()

    def watch(self, camera: CameraLink) -> None:
        """Read frames from *camera*, and close it when it ends or another takes its place."""
        with self._lock:
            self._next_camera = camera
        self._wake()

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    # -- the loop

    def _run(self) -> None:
        while not self._closing:
            fresh = None
            for fd, event in self._epoll.poll(self._patience(time.monotonic()), 64):
                if fd == self._wake_fd:
                    os.eventfd_read(fd)
                    self._take_in()
                elif fd == self._camera_fd:
                    fresh = self._read_camera() or fresh
                elif viewer := self._viewers.get(fd):
                    self._serve(viewer, event)
            self.probe.answer()
            now = time.monotonic()
            if fresh:
                self._latest.publish(fresh)
                self._fresh_at = now
                self._show(fresh.part, now)
            elif self._viewers and now >= self._due():
                self._stand_still(now)
            if now >= self._sweep_at:
                self._sweep(now)
        for viewer in list(self._viewers.values()):
            self._drop(viewer, "the daemon stops")
        for viewer in self._arrivals:
            viewer.sock.close()
        self._epoll.close()

    def _patience(self, now: float) -> float:
        return max(0.0, self._due() - now) if self._viewers else -1

    def _due(self) -> float:
        """When something must be sent even if no frame comes: a repetition, or the card in place of the picture."""
        repeat_at, card_at = self._shown_at + REPEAT_SECONDS, self._fresh_at + self._hold_seconds
        return min(repeat_at, card_at) if card_at > self._shown_at else repeat_at

    def _take_in(self) -> None:
        with self._lock:
            arrivals, self._arrivals = self._arrivals, []
            camera, self._next_camera = self._next_camera, None
            may_stay, reviewed, self._reviewed = self._may_stay, self._reviewed, True
        if camera is not None and camera is not self._camera:
            self._forget_camera()
            self._camera, self._camera_fd = camera, camera.fileno()
            self._epoll.register(self._camera_fd, select.EPOLLIN)
        now = time.monotonic()
        if arrivals and not self._viewers:
            newest = self._latest.frame
            if newest is not None and now - newest.captured <= self._hold_seconds:
                self._shown = newest.part
            else:
                # An old picture is shown to nobody; the camera has a moment to give a new one before the card.
                self._shown = None
                self._fresh_at = now
            self._shown_at = now
        for viewer in arrivals:
            self._welcome(viewer, now)
        # who was admitted by the rules of before may arrive behind the new ones, and may have hung up meanwhile
        for viewer in arrivals if reviewed else list(self._viewers.values()):
            if viewer.sock.fileno() in self._viewers and not may_stay(viewer.client):
                self._drop(viewer, "may not look any more")
        if arrivals:
            self._demand.viewers(len(self._viewers))

    def _welcome(self, viewer: Viewer, now: float) -> None:
        fd = viewer.sock.fileno()
        self._viewers[fd] = viewer
        if not viewer.client.encrypted and self._tls_quota.taken:
            # who needs no encryption is served first: it takes a Pi 4 a millisecond and more for each picture
            self._viewers = dict(sorted(self._viewers.items(), key=lambda entry: entry[1].client.encrypted))
        self._epoll.register(fd, select.EPOLLOUT | select.EPOLLET)
        viewer.told = self._comings.due(str(viewer.client), now)
        if viewer.told:
            log.info("viewer %s came, %d now", viewer.client, len(self._viewers))
        try:
            viewer.welcome(self._shown, now)
        except OSError as error:
            self._drop(viewer, _reason(error))

    def _read_camera(self) -> Frame | None:
        camera = self._camera
        assert camera is not None
        try:
            frame = camera.read()
        except EOFError:
            self._forget_camera()
            return None
        # at one frame in 5 s a picture of 5 s is no old one
        self._hold_seconds = max(HOLD_SECONDS, 3 / camera.framerate)
        return frame

    def _forget_camera(self) -> None:
        if self._camera is not None:
            # closed here and nowhere else: a number closed by another thread may be a new viewer's by now
            self._epoll.unregister(self._camera_fd)
            self._camera.close()
            self._camera, self._camera_fd = None, -1

    def _show(self, part: bytes, now: float) -> None:
        """Send *part* to every viewer that is free for it; the hot path."""
        self._shown, self._shown_at = part, now
        gone = []
        for viewer in self._viewers.values():
            if viewer.part is None and now >= viewer.due:
                try:
                    viewer.begin(part, now)
                except OSError as error:
                    gone.append((viewer, _reason(error)))
        for viewer, why in gone:
            self._drop(viewer, why)

    def _stand_still(self, now: float) -> None:
        """Nothing new has come: show the last picture again, or the card."""
        if now - self._fresh_at >= self._hold_seconds:
            self._show(self._card(), now)
            return
        self._card()  # has it drawn, so that it is there in the right size when it is needed
        if self._shown is not None:
            self._show(self._shown, now)
        else:
            self._shown_at = now

    def _sweep(self, now: float) -> None:
        """Drop who takes nothing any more."""
        self._sweep_at = now + REPEAT_SECONDS
        for viewer in list(self._viewers.values()):
            if viewer.part is not None and now - viewer.moved_at > self._viewer_timeout_seconds:
                self._drop(viewer, f"took nothing for {self._viewer_timeout_seconds:g} s")

    def _serve(self, viewer: Viewer, event: int) -> None:
        if event & (select.EPOLLERR | select.EPOLLHUP):
            self._drop(viewer, "hung up")
            return
        now = time.monotonic()
        try:
            viewer.push(now)
            if viewer.part is None and self._shown is not None and viewer.last is not self._shown and now >= viewer.due:
                viewer.begin(self._shown, now)
        except OSError as error:
            self._drop(viewer, _reason(error))

    def _drop(self, viewer: Viewer, why: str) -> None:
        fd = viewer.sock.fileno()
        self._epoll.unregister(fd)
        del self._viewers[fd]
        viewer.sock.close()
        self.give_back_place(viewer.client)
        if viewer.told:
            log.info(
                "viewer %s left (%s): %d parts in %.0f s, %d now",
                viewer.client, why, viewer.pictures, time.monotonic() - viewer.since, len(self._viewers),
            )  # fmt: skip
        self._demand.viewers(len(self._viewers))


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
