"""A camera that refuses the viewer whom it has served."""

from __future__ import annotations

import itertools
import re

from tests.browser.wire import Wire
from tests.kit.daemon import Daemon
from tests.kit.wire import basic

NAME, PASSWORD = "alice", "correct horse battery"


class Refused:
    """A camera that is watched through a relay, and then refuses its viewer."""

    def __init__(self, daemon: Daemon, wire: Wire) -> None:
        self.daemon, self.wire = daemon, wire
        self._guesses = itertools.count()
        self.send()

    def send(self, host: str = "", address: str = "192.168.1.5", password: str = PASSWORD) -> None:
        """Send requests on as if they came from *address*, with this password and, where it is given, for *host*."""
        lines = [f"X-Forwarded-For: {address}", password and f"Authorization: {basic(NAME, password)}"]
        more = "".join(f"{line}\r\n" for line in lines if line).encode()

        def change(data: bytes) -> bytes:
            data = re.sub(rb"( HTTP/1.1\r\n)", rb"\1" + more, data)
            return re.sub(rb"\r\nHost: [^\r]*", b"\r\nHost: " + host.encode(), data) if host else data

        self.wire.change = change

    def network(self) -> None:
        self.send(address="203.0.113.5")

    def host(self) -> None:
        self.send(host="attacker.example")

    def password(self) -> None:
        self.send(password="")

    def lockout(self) -> int:
        """Guess a password, and return for how many seconds the address is locked out already."""
        guess = basic("bob", str(next(self._guesses)))
        lines = f"Host: localhost\r\nX-Forwarded-For: 192.168.1.5\r\nAuthorization: {guess}"
        with self.daemon.connect(f"GET / HTTP/1.1\r\n{lines}\r\n\r\n") as sock:
            answer = sock.recv(2000)
        wait = re.search(rb"\r\nRetry-After: (\d+)", answer)
        return int(wait[1]) if wait else 0
