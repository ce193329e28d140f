"""Viewers in a process of their own, of TLS if they are told a CA: `encrypted.py PORT COUNT [CA]`.

They watch until standard input gives a number of seconds; then they tell, of those last seconds, how many pictures a
second the worst of them got, and the pictures' ages, median and 99th percentile, in ms.
"""

from __future__ import annotations

import json
import re
import select
import socket
import ssl
import statistics
import sys
import time

# where a picture begins, and the boundary behind it
MARK = re.compile(rb"\r\nX-Timestamp: (\d+\.\d{6})\r\n\r\n|\r\n--[A-Za-z0-9]{16,40}\r\n")
OVERLAP = 100  # bytes, more than the longest match


class Viewer:
    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.sock = context.wrap_socket(sock, server_hostname="127.0.0.1") if context else sock
        self.sock.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.sock.setblocking(False)
        self.arrivals: list[tuple[float, float]] = []  # when each picture came, and how old it was, in seconds
        self._stamp, self._complete = 0.0, True
        self._kept = b""

    def read(self) -> None:
        while True:
            try:
                received = self.sock.recv(1 << 18)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            if not received:
                sys.exit("a viewer was shown out")
            now = time.time()
            data = self._kept + received
            for mark in MARK.finditer(data):
                # what was seen already is found again in the overlap
                if mark[1] and float(mark[1]) > self._stamp:
                    self._stamp, self._complete = float(mark[1]), False
                elif not mark[1] and not self._complete:
                    self._complete = True
                    self.arrivals.append((time.monotonic(), now - self._stamp))
            self._kept = data[-OVERLAP:]


def main(port: int, count: int, ca: str = "") -> None:
    context = ssl.create_default_context(cafile=ca) if ca else None
    viewers = {viewer.sock.fileno(): viewer for viewer in (Viewer(port, context) for _ in range(count))}
    epoll = select.epoll()
    for fd in (*viewers, sys.stdin.fileno()):
        epoll.register(fd, select.EPOLLIN)
    print("all are here", flush=True)
    while True:
        for fd, _ in epoll.poll():
            if fd in viewers:
                viewers[fd].read()
                continue
            seconds = float(sys.stdin.readline())
            since = time.monotonic() - seconds
            late = [[age for at, age in viewer.arrivals if at >= since] for viewer in viewers.values()]
            ages = statistics.quantiles([age * 1000 for some in late for age in some], n=100)
            print(json.dumps([min(map(len, late)) / seconds, ages[49], ages[98]]), flush=True)
            return


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
