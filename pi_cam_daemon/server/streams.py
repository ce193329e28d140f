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
from collections.abc import Callable

from pi_cam_daemon.config.schema import HttpConfig
from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.latest import Demand, LatestFrame
from pi_cam_daemon.core.link import CameraLink
from pi_cam_daemon.ipc.pace import SILENT_SECONDS
from pi_cam_daemon.server.access import Client
from pi_cam_daemon.server.limits import LEAVING_SECONDS, Quota, hung_up
from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.server.sending import Answer, Answers, longest_seconds, too_many
from pi_cam_daemon.server.viewer import Viewer
from pi_cam_daemon.system.logs import LogThrottle
from pi_cam_daemon.system.watchdog import Probe

log = logging.getLogger(__name__)

# The last picture is shown for at least so long.
HOLD_SECONDS = SILENT_SECONDS
# Without a new frame the last part is sent again after this time; Home Assistant hangs up after 10 s without a byte.
REPEAT_SECONDS = 1.0
# arrivals of one client are logged once in this time, and those of all clients so often
_ARRIVAL_SECONDS = 60.0
_MOST_ARRIVALS = 20


class Streams:
    """All viewers of the stream.

    *no_signal* returns what to show after HOLD_SECONDS without a new picture, so that nobody takes an old picture for a
    live one; None while no other picture is overdue.
    """

    def __init__(self, latest: LatestFrame, demand: Demand, no_signal: Callable[[], Frame | None]) -> None:
        self.probe = Probe("stream loop", self._wake)
        self.quota = Quota("viewer", Reason.MAX_VIEWERS, Reason.MAX_VIEWERS_PER_ADDRESS, self._leaving)
        most = Reason.MAX_TLS_VIEWERS
        self._tls_quota = Quota("encrypted viewer", most, most, self._leaving)
        self.answers = Answers(self._wake)
        self._viewer_timeout_seconds = 0.0
        self._latest = latest
        self._demand = demand
        self._no_signal = no_signal
        self._viewers: dict[int, Viewer] = {}
        self._arrivals_logged = LogThrottle(_ARRIVAL_SECONDS, _MOST_ARRIVALS)
        self._slow_logged = LogThrottle(_ARRIVAL_SECONDS, _MOST_ARRIVALS)
        self._may_stay: Callable[[Client], bool] = lambda _: True
        self._lock = threading.Lock()  # for the three below
        self._reviewed = True
        self._arrivals: list[Viewer] = []
        self._next_camera: CameraLink | None = None
        self._closing = False
        self._camera: CameraLink | None = None
        self._camera_fd = -1
        # the frame shown now (None: none yet), when it was sent, and when the last new picture was
        self._shown: Frame | None = None
        self._shown_at = 0.0
        self._fresh_at = float("-inf")
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

    def _leaving(self) -> bool:
        """Return whether a viewer closed its side just now, and may have hung up."""
        since = time.monotonic() - LEAVING_SECONDS
        viewers = [*self._viewers.values(), *self._arrivals]
        return hung_up(one.sock.fileno() for one in viewers if one.closed_at is None or one.closed_at > since)

    def add(self, sock: socket.socket, client: Client, opening: bytes, interval: float) -> None:
        """Take over *sock*, whose *client* has taken a place, and stream to it. Raises OSError.

        *opening* is the HTTP answer up to the first boundary, *interval* the seconds between two pictures, on average.
        """
        viewer = Viewer(sock, client, opening, interval, time.monotonic())
        with self._lock:
            self._arrivals.append(viewer)
        self._wake()

    def watch(self, camera: CameraLink) -> None:
        """Read frames from *camera* until it ends or is replaced; then close it."""
        with self._lock:
            self._next_camera = camera
        self._wake()

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    # -- the loop

    def _run(self) -> None:
        poll, timeout = self._epoll.poll, -1.0
        while not self._closing:
            fresh = None
            for fd, event in poll(timeout, 64):
                if fd == self._camera_fd:
                    fresh = self._read_camera()
                elif fd == self._wake_fd:
                    os.eventfd_read(fd)
                    self._handle_wake()
                    self.probe.answer()
                elif viewer := self._viewers.get(fd):
                    self._serve(viewer, event)
            now = time.monotonic()
            if fresh:
                self._latest.publish(fresh)
                self._fresh_at = now
                self._show(fresh, now)
                timeout = REPEAT_SECONDS if self._viewers else -1.0
            elif not self._viewers:
                timeout = -1.0
            else:
                if now >= self._due():
                    self._repeat(now)
                timeout = max(0.0, self._due() - now)
            if now >= self._stalled_check_at:
                self._drop_stalled(now)
        for viewer in list(self._viewers.values()):
            self._drop(viewer, "the daemon stops")
        for viewer in self._arrivals:
            viewer.sock.close()
        self._epoll.close()

    def _due(self) -> float:
        """Return when `_repeat` is needed if no frame comes: to repeat the picture, or to replace it by no-signal."""
        repeat_at, replace_at = self._shown_at + REPEAT_SECONDS, self._fresh_at + HOLD_SECONDS
        return min(repeat_at, replace_at) if replace_at > self._shown_at else repeat_at

    def _handle_wake(self) -> None:
        with self._lock:
            arrivals, self._arrivals = self._arrivals, []
            camera, self._next_camera = self._next_camera, None
            may_stay, reviewed, self._reviewed = self._may_stay, self._reviewed, True
        if camera is not None and camera is not self._camera:
            self._close_camera()
            self._camera, self._camera_fd = camera, camera.fileno()
            self._epoll.register(self._camera_fd, select.EPOLLIN)
        now = time.monotonic()
        if arrivals and not self._viewers:
            newest = self._latest.frame
            if newest is not None and (now - newest.captured <= HOLD_SECONDS or self._no_signal() is None):
                self._shown = newest
            else:
                # Old pictures are not shown. The camera has some time for a new one before the no-signal picture comes.
                self._shown = None
                self._fresh_at = now
            self._shown_at = now
        for viewer in arrivals:
            self._welcome(viewer, now)
        # Clients admitted by the old policy may arrive after the new one. `_welcome` may have dropped some of them.
        for viewer in arrivals if reviewed else list(self._viewers.values()):
            if viewer.sock.fileno() in self._viewers and not may_stay(viewer.client):
                self._drop(viewer, "no longer allowed")
        self._drop_slowest(now)
        if arrivals:
            self._demand.viewers(len(self._viewers))

    def _welcome(self, viewer: Viewer, now: float) -> None:
        fd = viewer.sock.fileno()
        self._viewers[fd] = viewer
        if not viewer.client.encrypted and self._tls_quota.taken:
            # viewers without TLS are served first, because encryption takes a Pi 4 over a millisecond per picture
            self._viewers = dict(sorted(self._viewers.items(), key=lambda entry: entry[1].client.encrypted))
        self._epoll.register(fd, select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET)
        viewer.told = self._arrivals_logged.due(str(viewer.client), now)
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
            return camera.read()
        except EOFError:
            self._close_camera()
            return None

    def _close_camera(self) -> None:
        if self._camera is not None:
            # Only this thread closes it. Otherwise a new viewer could get the number of a descriptor still in use here.
            self._epoll.unregister(self._camera_fd)
            self._camera.close()
            self._camera, self._camera_fd = None, -1

    def _show(self, frame: Frame, now: float) -> None:
        """Send *frame* to every viewer that is ready for it. This is the hot path."""
        before, self._shown, self._shown_at = self._shown, frame, now
        if before and before.copy is not None:  # it counts from now on
            self._drop_slowest(now)
        del before  # its copy, if nobody needs it, makes room for the new one
        gone = []
        for viewer in self._viewers.values():
            if viewer.part is None and now >= viewer.due:
                try:
                    viewer.begin(frame, now)
                except OSError as error:
                    gone.append((viewer, _reason(error)))
            elif viewer.last is not frame:
                viewer.last = None  # it would keep an old picture in memory
        for viewer, why in gone:
            self._drop(viewer, why)

    def _repeat(self, now: float) -> None:
        """Show the last picture again, or the no-signal picture if it is too old."""
        no_signal = self._no_signal()  # starts the drawing, so that it is ready in the right size when it is needed
        if no_signal is not None and now - self._fresh_at >= HOLD_SECONDS:
            self._show(no_signal, now)
        elif self._shown is not None:
            self._show(self._shown, now)
        else:
            self._shown_at = now

    def _drop_slowest(self, now: float) -> None:
        """Disconnect the slowest clients if too many pictures wait in memory for slow ones.

        There has to be room for a copy of the picture that is shown now, too.
        """
        waiting: list[Viewer | Answer] = [viewer for viewer in self._viewers.values() if viewer.part is not None]
        waiting += self.answers.under_way()
        newest, room = (self._shown.copy, len(self._shown.part)) if self._shown else (None, 0)
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
        for viewer in list(self._viewers.values()):
            if viewer.part is None:
                continue
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
        now = time.monotonic()
        try:
            viewer.push(now)
            if event & select.EPOLLRDHUP and viewer.closed_at is None:
                viewer.closed_at = now
                shown = self._shown or self._no_signal()
                if viewer.part is None and shown is not None:  # one that has hung up answers this with a reset
                    viewer.begin(shown, now)
            elif viewer.part is None and self._shown not in (None, viewer.last) and now >= viewer.due:
                viewer.begin(self._shown, now)
        except OSError as error:
            self._drop(viewer, _reason(error))

    def _drop(self, viewer: Viewer, why: str) -> None:
        self.give_back_place(viewer.client)  # first: a viewer that is neither here nor gone would take a place
        fd = viewer.sock.fileno()
        self._epoll.unregister(fd)
        del self._viewers[fd]
        viewer.sock.close()
        viewer.part = viewer.last = None  # the loop remembers the viewer that it served last
        if viewer.told:
            log.info(
                "viewer %s left (%s): %d parts in %.0f s, %d now",
                viewer.client, why, viewer.pictures, time.monotonic() - viewer.since, len(self._viewers),
            )  # fmt: skip
        self._demand.viewers(len(self._viewers))


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
