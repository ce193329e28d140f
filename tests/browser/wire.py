"""A relay between a browser and the daemon: it counts what is asked for, and breaks streams."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import threading
import time
from collections.abc import Callable

from tests.kit.lateness import patience

_PICTURES = ("/stream", "/snapshot")
_REQUEST = re.compile(rb"(?:GET|HEAD|POST) (/[^ ]*) HTTP/1.1\r\n")


class Wire:
    """A TCP relay before *port*; *asked* lists the paths of all requests.

    `go_silent` stops connections that pictures come on without a packet to either end, as lost Wi-Fi does, and with
    *later* those that are opened afterwards, until `recover` closes them. `hang_up` closes such connections at once.
    *change* is given all that a browser sends. *target* is the port that new connections lead to.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/"
        self.asked: list[str] = []
        self.change: Callable[[bytes], bytes] = lambda data: data
        self._hung_up: set[int] = set()
        self._silent: set[int] = set()
        self._pictures: set[int] = set()
        self._stays_silent = False
        self._closing = False
        self._threads = [threading.Thread(target=self._accept, name="wire", daemon=True)]
        self._threads[0].start()

    def count(self, path: str) -> int:
        """Return how often *path* was asked for, with any query."""
        return sum(one.split("?")[0] == path for one in self.asked)

    def go_silent(self, later: bool = False) -> None:
        self._stays_silent = later
        self._silent |= self._pictures

    def recover(self) -> None:
        self._stays_silent = False
        self._hung_up |= self._silent

    def hang_up(self) -> None:
        self._hung_up |= self._pictures

    def close(self) -> None:
        self._closing = True
        for thread in self._threads:
            thread.join(patience(10))
        self._listener.close()

    def _accept(self) -> None:
        self._listener.settimeout(0.1)
        while not self._closing:
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            number = len(self._threads)
            thread = threading.Thread(target=self._relay, args=(near, number), name=f"wire {number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _relay(self, near: socket.socket, number: int) -> None:
        # an end that has gone is how a connection ends
        with near, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.target), 5) as far:
            while not self._closing and number not in self._hung_up:
                if number in self._silent:
                    time.sleep(0.05)
                    continue
                for end in select.select([near, far], [], [], 0.1)[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    if end is near:
                        self._note(data, number)
                        far.sendall(self.change(data))
                    else:
                        near.sendall(data)

    def _note(self, data: bytes, number: int) -> None:
        paths = [path.decode() for path in _REQUEST.findall(data)]
        self.asked += paths
        if any(path.split("?")[0] in _PICTURES for path in paths):
            self._pictures.add(number)
            if self._stays_silent:
                self._silent.add(number)
