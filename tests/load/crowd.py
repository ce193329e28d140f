"""Viewers in a process of their own: `crowd.py PORT COUNT`. For each line on standard input it tells how many pictures
each of them has got so far, as a JSON list; a picture that is repeated counts once, a card does not."""

from __future__ import annotations

import json
import re
import select
import socket
import sys

STAMP = re.compile(rb"\r\nX-Timestamp: (\d+\.\d{6})\r\n(X-No-Picture)?")
OVERLAP = 100  # bytes, more than the longest match


class Viewer:
    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0), timeout=10)
        self.sock.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.pictures = 0
        self._last = b""
        self._kept = b""

    def read(self) -> None:
        received = self.sock.recv(1 << 20)
        if not received:
            sys.exit("a viewer was shown out")
        data = self._kept + received
        for stamp in STAMP.finditer(data):
            # one that was seen already is found again in the overlap
            if not stamp[2] and stamp[1] > self._last:
                self._last = stamp[1]
                self.pictures += 1
        self._kept = data[-OVERLAP:]


def main(port: int, count: int) -> None:
    viewers = {viewer.sock.fileno(): viewer for viewer in (Viewer(port) for _ in range(count))}
    epoll = select.epoll()
    for fd in viewers:
        epoll.register(fd, select.EPOLLIN)
    epoll.register(sys.stdin.fileno(), select.EPOLLIN)
    while True:
        for fd, _ in epoll.poll():
            if fd in viewers:
                viewers[fd].read()
            elif not sys.stdin.readline():
                return
            else:
                print(json.dumps([viewer.pictures for viewer in viewers.values()]), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
