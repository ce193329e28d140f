"""Stream loop: ONE thread reads frames from the camera's socket and sends the newest one to every viewer.

It reads the socket itself, because a hand-over between threads would cost more than all else with one viewer. A viewer
has no queue: after each part it gets the newest one. So a slow viewer sees fewer pictures, but no older ones. It is
disconnected only if it takes no byte for `http.viewer_timeout_seconds` or under a kilobyte a second, or if it is the
slowest client while pictures of more than `http.max_pending_bytes` wait for slow clients.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain

from pi_cam_daemon.config.schema import HttpConfig
from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.link import CameraLink
from pi_cam_daemon.server.access import Client
from pi_cam_daemon.server.audience import REPEAT_SECONDS, Audience
from pi_cam_daemon.server.limits import LEAVING_SECONDS, Quota, hung_up
from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.server.sending import Answer, Answers, longest_seconds, too_many
from pi_cam_daemon.server.viewer import Viewer
from pi_cam_daemon.system.logs import LogThrottle
from pi_cam_daemon.system.watchdog import Probe

log = logging.getLogger(__name__)

# arrivals of one client are logged once in this time, and those of all clients so often
_ARRIVAL_SECONDS = 60.0
_MOST_ARRIVALS = 20
# the loop needs milliseconds
_FORGET_SECONDS = 5.0

_Gone = list[tuple[Viewer, OSError]]


class Streams:
    """All viewers of the stream: those of the pictures of full size (*big*), and those of the *small* ones."""

    def __init__(self, big: Audience, small: Audience) -> None:
        self.probe = Probe("stream loop", self._wake)
        self.quota = Quota("viewer", Reason.MAX_VIEWERS, Reason.MAX_VIEWERS_PER_ADDRESS, self._leaving)
        most = Reason.MAX_TLS_VIEWERS
        self._tls_quota = Quota("encrypted viewer", most, most, self._leaving)
        self.answers = Answers(self._wake)
        self._viewer_timeout_seconds = 0.0
        self._big, self._small = big, small
        self._arrivals_logged = LogThrottle(_ARRIVAL_SECONDS, _MOST_ARRIVALS)
        self._slow_logged = LogThrottle(_ARRIVAL_SECONDS, _MOST_ARRIVALS)
        self._may_stay: Callable[[Client], bool] = lambda _: True
        self._lock = threading.Lock()  # for the five below
        self._reviewed = True
        self._arrivals: list[Viewer] = []
        self._next_camera: CameraLink | None = None
        self._forgotten: threading.Event | None = None
        self._masks: list[list[float]] = []  # those of the pictures that may be shown
        self._closing = False
        self._camera: CameraLink | None = None
        self._camera_fd = -1
        self._stalled_check_at = 0.0
        self._epoll = select.epoll()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)

    # -- from any thread

    def configure(self, limits: HttpConfig, may_stay: Callable[[Client], bool]) -> None:
        """Disconnect viewers that *may_stay* rejects, and later those that are too slow for *limits*."""
        self._viewer_timeout_seconds = limits.viewer_timeout_seconds
        self.answers.most_bytes = limits.max_pending_bytes
        with self._lock:
            self._may_stay, self._reviewed = may_stay, False
        self._wake()

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float) -> None:
        """End all streams and the loop; wait up to *timeout* seconds."""
        self._closing = True
        self._wake()
        self._thread.join(timeout)

    def take_place(self, client: Client, limits: HttpConfig) -> None:
        """Take a place for *client*; the caller has to give it back, or to call `add`. Raises Refused."""
        # a full house does not keep out our own recorder
        self.quota.take(str(client), limits.max_viewers + client.is_ours, limits.max_viewers_per_address)
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

    def _leaving(self) -> bool:
        """Return whether a viewer closed its side just now, and may have hung up."""
        since = time.monotonic() - LEAVING_SECONDS
        viewers = [*self._viewers(), *self._arrivals]
        return hung_up(one.sock.fileno() for one in viewers if one.closed_at is None or one.closed_at > since)

    def add(self, sock: socket.socket, client: Client, opening: bytes, interval: float, small: bool = False) -> None:
        """Take over *sock*, whose *client* has taken a place, and stream to it. Raises OSError.

        *opening* is the HTTP answer up to the first boundary, *interval* the seconds between two pictures, on average.
        """
        viewer = Viewer(sock, client, opening, interval, time.monotonic(), small)
        with self._lock:
            self._arrivals.append(viewer)
        self._wake()

    def watch(self, camera: CameraLink) -> None:
        """Read frames from *camera* until it ends or is replaced; then close it."""
        with self._lock:
            self._next_camera = camera
        self._wake()

    def show_only(self, masks: list[list[float]]) -> None:
        """Show only pictures with these *masks* from now on. When this returns, none of before is left."""
        forgotten = threading.Event()
        with self._lock:
            self._masks, self._forgotten = masks, forgotten
        self._wake()
        if self._thread.is_alive():
            forgotten.wait(_FORGET_SECONDS)

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    # -- the loop

    def _run(self) -> None:
        poll, timeout, big, small = self._epoll.poll, -1.0, self._big, self._small
        while not self._closing:
            fresh = None
            for fd, event in poll(timeout, 64):
                if fd == self._camera_fd:
                    fresh = self._read_camera()
                elif fd == self._wake_fd:
                    os.eventfd_read(fd)
                    self._handle_wake()
                    self.probe.answer()
                elif viewer := big.viewers.get(fd) or small.viewers.get(fd):
                    self._serve(viewer, event)
            now = time.monotonic()
            timeout = -1.0
            if fresh:
                self._show(big, big.publish, fresh, now)
                timeout = REPEAT_SECONDS if big.viewers else -1.0
            elif big.viewers:
                timeout = self._keep_up(big, now)
            if self._camera is not None and (frame := self._camera.small):
                self._camera.small = None
                self._show(small, small.publish, frame, now)
            if small.viewers:
                wait = self._keep_up(small, now)
                timeout = wait if timeout < 0 else min(timeout, wait)
            if now >= self._stalled_check_at:
                self._drop_stalled(now)
        for viewer in list(self._viewers()):
            self._drop(viewer, "the daemon stops")
        for viewer in self._arrivals:
            viewer.sock.close()
        self._epoll.close()

    def _viewers(self) -> Iterator[Viewer]:
        return chain(self._big.viewers.values(), self._small.viewers.values())

    def by_size(self) -> dict[str, int]:
        """Return how many viewers there are of each size. Any thread may call it."""
        return {"big": len(self._big.viewers), "small": len(self._small.viewers)}

    def _audience(self, viewer: Viewer) -> Audience:
        return self._small if viewer.small else self._big

    def _keep_up(self, audience: Audience, now: float) -> float:
        """Show the last picture again if it is time to; return for how many seconds that is not needed again."""
        if now >= audience.due():
            self._drop_gone(audience.repeat(now))
        return max(0.0, audience.due() - now)

    def _handle_wake(self) -> None:
        with self._lock:
            arrivals, self._arrivals = self._arrivals, []
            camera, self._next_camera = self._next_camera, None
            may_stay, reviewed, self._reviewed = self._may_stay, self._reviewed, True
            forgotten, self._forgotten = self._forgotten, None
        if camera is not None and camera is not self._camera:
            self._close_camera()
            self._camera, self._camera_fd = camera, camera.fileno()
            self._epoll.register(self._camera_fd, select.EPOLLIN)
        now = time.monotonic()
        if forgotten:
            for audience in (self._big, self._small):
                audience.forget(now)
            for viewer in [one for one in self._viewers() if one.client.is_ours]:
                self._drop(viewer, "has older pictures")  # the recorder forgets them then
            forgotten.set()
        for viewer in arrivals:
            self._welcome(viewer, now)
        # Clients admitted by the old policy may arrive after the new one. `_welcome` may have dropped some of them.
        for viewer in arrivals if reviewed else list(self._viewers()):
            if viewer.sock.fileno() in self._audience(viewer).viewers and not may_stay(viewer.client):
                self._drop(viewer, "no longer allowed")
        self._drop_slowest(now)
        if arrivals:
            self._big.count()
            self._small.count()

    def _welcome(self, viewer: Viewer, now: float) -> None:
        fd, audience = viewer.sock.fileno(), self._audience(viewer)
        if not audience.viewers:
            audience.expect(now)
        audience.viewers[fd] = viewer
        if not viewer.client.encrypted and self._tls_quota.taken:
            audience.in_order()
        self._epoll.register(fd, select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET)
        viewer.told = self._arrivals_logged.due(str(viewer.client), now)
        if viewer.told:
            log.info("viewer %s came, %d now", viewer.client, len(list(self._viewers())))
        try:
            viewer.welcome(audience.shown, now)
        except OSError as error:
            self._drop(viewer, _reason(error))

    def _read_camera(self) -> Frame | None:
        camera = self._camera
        assert camera is not None
        try:
            frame = camera.read()
        except EOFError:
            self._close_camera()
            return None
        if camera.masks == self._masks:
            return frame
        for old in filter(None, (frame, camera.small)):
            old.free()
        camera.small = None
        return None

    def _close_camera(self) -> None:
        if self._camera is not None:
            # Only this thread closes it. Otherwise a new viewer could get the number of a descriptor still in use here.
            self._epoll.unregister(self._camera_fd)
            self._camera.close()
            self._camera, self._camera_fd = None, -1

    def _show(self, audience: Audience, show: Callable[[Frame, float], _Gone], frame: Frame, now: float) -> None:
        before = audience.shown
        if before and before.copy is not None:  # it counts from now on
            audience.shown = frame
            self._drop_slowest(now)
        del before  # its copy, if nobody needs it, makes room for the new one
        self._drop_gone(show(frame, now))

    def _drop_gone(self, gone: _Gone) -> None:
        for viewer, error in gone:
            self._drop(viewer, _reason(error))

    def _drop_slowest(self, now: float) -> None:
        """Disconnect the slowest clients if too many pictures wait in memory for slow ones.

        There has to be room for a copy of the picture that is shown now, too.
        """
        waiting: list[Viewer | Answer] = [*self._big.waiting(), *self._small.waiting(), *self.answers.under_way()]
        shown = [frame for frame in (self._big.shown, self._small.shown) if frame]
        newest, room = [frame.copy for frame in shown], sum(len(frame.part) for frame in shown)
        for slow in too_many(waiting, newest, self.answers.most_bytes - room, now):
            if self._slow_logged.due(str(slow.client), now):
                log.warning("%s is disconnected: over http.max_pending_bytes wait, and it is the slowest", slow.client)
            self.answers.count_dropped("max_pending_bytes")
            if isinstance(slow, Viewer):
                self._drop(slow, "too slow")
            else:
                self.answers.cut(slow)

    def _drop_stalled(self, now: float) -> None:
        """Disconnect viewers that have taken nothing for the configured time, or too little of a part in all."""
        self._stalled_check_at = now + REPEAT_SECONDS
        timeout = self._viewer_timeout_seconds
        for viewer in [*self._big.waiting(), *self._small.waiting()]:
            assert viewer.part is not None
            if now - viewer.moved_at > timeout:
                why = f"took nothing for {timeout:g} s"
            elif now - viewer.begun_at > longest_seconds(len(viewer.part), timeout):
                why = f"took {viewer.offset} bytes in {now - viewer.begun_at:.0f} s"
            else:
                continue
            self.answers.count_dropped("timeout")
            self._drop(viewer, why)

    def _serve(self, viewer: Viewer, event: int) -> None:
        if event & (select.EPOLLERR | select.EPOLLHUP):
            self._drop(viewer, "hung up")
            return
        now, audience = time.monotonic(), self._audience(viewer)
        try:
            viewer.push(now)
            if event & select.EPOLLRDHUP and viewer.closed_at is None:
                viewer.closed_at = now
                shown = audience.shown or audience.no_signal()
                if viewer.part is None and shown is not None:  # one that has hung up answers this with a reset
                    viewer.begin(shown, now)
            elif viewer.part is None and audience.shown not in (None, viewer.last) and now >= viewer.due:
                viewer.begin(audience.shown, now)
        except OSError as error:
            self._drop(viewer, _reason(error))

    def _drop(self, viewer: Viewer, why: str) -> None:
        self.give_back_place(viewer.client)  # first: a viewer that is neither here nor gone would take a place
        fd = viewer.sock.fileno()
        self._epoll.unregister(fd)
        audience = self._audience(viewer)
        del audience.viewers[fd]
        viewer.sock.close()
        viewer.part = viewer.last = None  # the loop remembers the viewer that it served last
        if viewer.told:
            log.info(
                "viewer %s left (%s): %d parts in %.0f s, %d now",
                viewer.client, why, viewer.pictures, time.monotonic() - viewer.since,
                len(list(self._viewers())),
            )  # fmt: skip
        audience.count()


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
