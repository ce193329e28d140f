"""Event streams: ONE thread sends what happens to all who listen at /events (Server-Sent Events).

A listener has no queue. When its socket has room it gets what it lacks of the last events, so a slow one costs no more
memory than a fast one. It is disconnected if it takes no byte for `http.viewer_timeout_seconds`.
"""

from __future__ import annotations

import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable

from pi_cam_daemon.config.schema import HttpConfig
from pi_cam_daemon.core.events import Event, Events
from pi_cam_daemon.server.access import Client
from pi_cam_daemon.server.limits import Quota, hung_up
from pi_cam_daemon.server.refused import Reason
from pi_cam_daemon.server.sending import limit_unsent

HEARTBEAT_SECONDS = 15.0
OPENING = b"retry: 5000\n\n"  # milliseconds before a browser connects again
_HEARTBEAT = b":\n\n"


class _Listener:
    """One connection that gets the events after the change *seen*; *unsent* is what its socket had no room for."""

    def __init__(self, sock: socket.socket, client: Client, head: bytes, seen: int) -> None:
        self.sock, self.client, self.unsent, self.seen = sock, client, head, seen
        self.moved_at = time.monotonic()

    def push(self, now: float) -> None:
        """Send as much as the socket takes. Raises OSError if the connection is lost."""
        try:
            sent = self.sock.send(self.unsent)
        except BlockingIOError:
            return
        self.unsent, self.moved_at = self.unsent[sent:], now


class EventStreams:
    """All who listen to *events*. *count_slow* is called with the reason when a slow one is disconnected."""

    def __init__(self, events: Events, count_slow: Callable[[str], None]) -> None:
        self.quota = Quota("event stream", Reason.MAX_EVENT_STREAMS, Reason.MAX_EVENT_STREAMS, self._leaving)
        self._events = events
        self._count_slow = count_slow
        self._timeout_seconds = 0.0
        self._may_stay: Callable[[Client], bool] = lambda _: True
        self._lock = threading.Lock()  # for the two below
        self._arrivals: list[_Listener] = []
        self._thread: threading.Thread | None = None
        self._listeners: dict[int, _Listener] = {}  # by descriptor
        self._epoll = select.epoll()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        events.listen(lambda _: self._wake())

    # -- from any thread

    def configure(self, limits: HttpConfig, may_stay: Callable[[Client], bool]) -> None:
        """Disconnect listeners that *may_stay* rejects, and later those that are too slow for *limits*."""
        self._timeout_seconds, self._may_stay = limits.viewer_timeout_seconds, may_stay
        self._wake()

    def add(self, sock: socket.socket, client: Client, head: bytes, seen: int) -> None:
        """Take over *sock*, whose *client* has taken a place of `quota`, and send it what changed after *seen*.

        *head* is the head of the answer. Raises OSError, and RuntimeError if the system starts no more threads.
        """
        sock.setblocking(False)
        limit_unsent(sock)
        # a peer that vanished is known only by what it does not acknowledge; a slow one is found before
        seconds = self._timeout_seconds + HEARTBEAT_SECONDS
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * seconds))
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="event-streams", daemon=True)
                thread.start()
                self._thread = thread
            self._arrivals.append(_Listener(sock, client, head + OPENING, seen))
        self._wake()

    def _leaving(self) -> bool:
        """Return whether a listener closed its side, and its place is free in a moment."""
        return hung_up([one.sock.fileno() for one in [*self._listeners.values(), *self._arrivals]])

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    # -- the thread

    def _run(self) -> None:
        try:
            while True:
                self._turn()
        finally:  # after a lack of memory, for example: the next listener starts another thread
            with self._lock:
                self._welcome()
                for fd in list(self._listeners):
                    self._drop(fd)
                self._thread = None

    def _turn(self) -> None:
        for fd, event in self._epoll.poll(self._timeout(time.monotonic())):
            if fd == self._wake_fd:
                os.eventfd_read(fd)
            elif event & (select.EPOLLERR | select.EPOLLHUP | select.EPOLLRDHUP):
                self._drop(fd)
        with self._lock:
            self._welcome()
        now = time.monotonic()
        for fd, listener in list(self._listeners.items()):
            try:
                stays = self._may_stay(listener.client) and self._serve(listener, now)
            except OSError:
                stays = False
            if not stays:
                self._drop(fd)

    def _timeout(self, now: float) -> float:
        """Return the seconds until somebody has to be served or given up; -1 for no limit."""
        patience = [self._timeout_seconds if one.unsent else HEARTBEAT_SECONDS for one in self._listeners.values()]
        due = [one.moved_at + seconds for one, seconds in zip(self._listeners.values(), patience, strict=True)]
        return max(0.0, min(due) - now) if due else -1.0

    def _welcome(self) -> None:
        for listener in self._arrivals:
            fd = listener.sock.fileno()
            self._listeners[fd] = listener
            self._epoll.register(fd, select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET)
        self._arrivals.clear()

    def _serve(self, listener: _Listener, now: float) -> bool:
        """Send what *listener* lacks; return False if it has taken nothing for too long. Raises OSError."""
        if listener.unsent:
            listener.push(now)
        if not listener.unsent:
            news = sorted(self._events.since(listener.seen), key=lambda event: event.changed)
            if news:
                listener.unsent, listener.seen = b"".join(map(_message, news)), news[-1].changed
            elif now - listener.moved_at >= HEARTBEAT_SECONDS:
                listener.unsent = _HEARTBEAT
            else:
                return True
            listener.moved_at = now
            listener.push(now)
        if listener.unsent and now - listener.moved_at >= self._timeout_seconds:
            self._count_slow("timeout")
            return False
        return True

    def _drop(self, fd: int) -> None:
        listener = self._listeners[fd]
        self.quota.give_back(str(listener.client))  # first, as for viewers of the stream
        del self._listeners[fd]
        self._epoll.unregister(fd)
        listener.sock.close()


def _message(event: Event) -> bytes:
    return f"id: {event.changed}\ndata: {json.dumps(event.table())}\n\n".encode()
