"""Run viewers in a process of their own, over TLS with a CA: `crowd.py PORT COUNT [CA]`.

For each line on standard input, print a line of JSON with, for each viewer, the pictures since the last line: the time
of arrival (CLOCK_MONOTONIC) and the age at that time in seconds. A repeated picture counts once, a no-signal card does
not count.
"""

from __future__ import annotations

import json
import re
import select
import socket
import ssl
import sys
import time

# where a part begins, and the boundary behind it
MARK = re.compile(rb"\r\nX-Timestamp: (\d+\.\d{6})\r\n(X-No-Picture)?|\r\n--[A-Za-z0-9]{16,40}\r\n")
OVERLAP = 100  # bytes, more than the longest match


class Watcher:
    """Read a stream with as little work as possible. The Viewer of tests/kit/wire.py checks the bytes."""

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        sock = socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0), timeout=20)
        self.sock = context.wrap_socket(sock, server_hostname="127.0.0.1") if context else sock
        self.sock.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.sock.setblocking(False)
        self._came: list[tuple[float, float]] = []
        self._stamp, self._complete = 0.0, True
        self._kept = b""

    def read(self) -> None:
        while True:
            try:
                received = self.sock.recv(1 << 20)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            if not received:
                sys.exit("a viewer was shown out")
            now = time.time()
            data = self._kept + received
            for mark in MARK.finditer(data):
                # what was seen already is found again in the overlap
                if mark[1] and not mark[2] and float(mark[1]) > self._stamp:
                    self._stamp, self._complete = float(mark[1]), False
                elif not mark[1] and not self._complete:
                    self._complete = True
                    self._came.append((time.monotonic(), now - self._stamp))
            self._kept = data[-OVERLAP:]

    def take(self) -> list[tuple[float, float]]:
        came, self._came = self._came, []
        return came


def main(port: int, count: int, ca: str = "") -> None:
    context = ssl.create_default_context(cafile=ca) if ca else None
    watchers = {watcher.sock.fileno(): watcher for watcher in (Watcher(port, context) for _ in range(count))}
    epoll = select.epoll()
    for fd in (*watchers, sys.stdin.fileno()):
        epoll.register(fd, select.EPOLLIN)
    while True:
        for fd, _ in epoll.poll():
            if fd in watchers:
                watchers[fd].read()
            elif not sys.stdin.readline():
                return
            else:
                print(json.dumps([watcher.take() for watcher in watchers.values()]), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
