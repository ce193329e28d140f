"""Other hosts on the camera's network: network namespaces, and sockets of this process inside them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.lateness import patience

_CLONE_NEWNET = 0x40000000


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=60)


@dataclass(frozen=True)
class Host:
    """The network namespace *name*; the empty name is that of the calling thread."""

    name: str

    def socket(self, family: socket.AddressFamily) -> socket.socket:
        """Return a TCP socket that stays on this host, whichever thread uses it."""
        if not self.name:
            return socket.socket(family)

        def make() -> socket.socket:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path(f"/run/netns/{self.name}").open() as namespace:
                # of this thread alone, which ends with it
                if libc.setns(namespace.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            return socket.socket(family)

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(make).result()

    def connect(self, there: str, port: int, source: str = "", receive_buffer: int = 0) -> socket.socket:
        """Return a connection from this host's address *source* to *there*; both may have a zone."""
        family = socket.AF_INET6 if ":" in there else socket.AF_INET
        sock = self.socket(family)
        sock.settimeout(patience(10))
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            sock.bind(self._with_zone(source, 0))
        sock.connect(self._with_zone(there, port))
        return sock

    def _with_zone(self, address: str, port: int) -> tuple[str | int, ...]:
        bare, _, zone = address.partition("%")
        if not zone:
            return bare, port
        # not in /sys, which may be of another namespace
        script = f"import socket; print(socket.if_nametoindex({zone!r}))"
        return bare, port, 0, int(self.run(sys.executable, "-c", script))

    def run(self, *argv: str) -> str:
        """Run *argv* on this host and return its output."""
        inside = ["ip", "netns", "exec", self.name] if self.name else []
        return subprocess.run([*inside, *argv], check=True, capture_output=True, text=True, timeout=60).stdout


CAMERA = Host("")


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """Move this thread, and everything that it starts, to a network namespace of its own.

    The addresses of the tests then cannot collide with this machine's or with those of another run.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as namespace:
        if libc.unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            ip("link", "set", "lo", "up")
            yield
        finally:
            libc.setns(namespace.fileno(), _CLONE_NEWNET)


@contextlib.contextmanager
def hosts(count: int, beside_us: bool = False) -> Iterator[list[Host]]:
    """Make *count* hosts without links between them; skip the test if that is not possible.

    With *beside_us* they may be linked to `CAMERA`, which has no other network meanwhile.
    """
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root and iproute2 for network namespaces of its own")
    made = [Host(f"picam{os.getpid()}-{number}") for number in range(count)]
    with elsewhere() if beside_us else contextlib.nullcontext():
        try:
            for host in made:
                ip("netns", "add", host.name)
                ip("-n", host.name, "link", "set", "lo", "up")
            yield made
        finally:
            for host in made:
                subprocess.run(["ip", "netns", "delete", host.name], check=False, capture_output=True, timeout=60)


def open_ports(host: Host) -> set[tuple[str, int]]:
    """Return all open ports of *host*: listening TCP sockets and all UDP sockets, as (table, port)."""
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6", "udplite", "raw", "raw6", "icmp", "packet"):
        for line in host.run("sh", "-c", f"cat /proc/net/{table} || true").splitlines()[1:]:
            if table == "packet":
                found.add((table, 0))
                continue
            _, local, _, state, *_ = line.split()
            if state == "0A" or not table.startswith("tcp"):  # TCP_LISTEN
                found.add((table, int(local.rpartition(":")[2], 16)))
    return found


def wire(one: Host, other: Host, ones: dict[str, str], others: dict[str, str]) -> None:
    """Connect two hosts; *ones* and *others* map an interface's name to its addresses, separated by spaces."""
    ((name, addresses),) = ones.items()
    ((other_name, other_addresses),) = others.items()
    at = ["-n", one.name] if one.name else []
    ip(*at, "link", "add", name, "type", "veth", "peer", "name", other_name, "netns", other.name)
    for host, device, entries in ((one, name, addresses), (other, other_name, other_addresses)):
        at = ["-n", host.name] if host.name else []
        # addresses that are there at once: nobody else can have them here
        host.run("sh", "-c", f"echo 0 >/proc/sys/net/ipv6/conf/{device}/accept_dad")
        for entry in entries.split():
            ip(*at, "address", "add", entry, "dev", device, *(["nodad"] if ":" in entry else []))
        ip(*at, "link", "set", device, "up")


class Proxy:
    """A reverse proxy on *host* that forwards each connection and adds the client's address to its request.

    *say* returns the header lines to send, from the client's address and the lines that the client sent.
    """

    def __init__(
        self, host: Host, there: tuple[str, int], source: str, say: Callable[[str, list[str]], list[str]]
    ) -> None:
        self._host, self._there, self._source, self._say = host, there, source, say
        self._listener = host.socket(socket.AF_INET)
        self._listener.bind(("0.0.0.0", 0))
        self._listener.listen()
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(patience(5))
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, address = self._listener.accept()
                threading.Thread(target=self._serve, args=(client, address[0]), daemon=True).start()

    def _serve(self, client: socket.socket, address: str) -> None:
        with client, self._host.connect(*self._there, self._source) as camera, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536)
            request, *fields = head.partition(b"\r\n\r\n")[0].decode().split("\r\n")
            camera.sendall("\r\n".join([request, *self._say(address, fields), "", ""]).encode())
            while chunk := camera.recv(65536):
                client.sendall(chunk)


def appends(name: str) -> Callable[[str, list[str]], list[str]]:
    """Return a function that appends the address to the client's header, as nginx's $proxy_add_x_forwarded_for does."""

    def say(address: str, fields: list[str]) -> list[str]:
        value = f"for={address}" if name == "Forwarded" else address
        told = [field.partition(":")[2].strip() for field in fields if field.lower().startswith(f"{name.lower()}:")]
        kept = [field for field in fields if not field.lower().startswith(f"{name.lower()}:")]
        return [*kept, f"{name}: {', '.join([*told, value])}"]

    return say


def replaces(name: str) -> Callable[[str, list[str]], list[str]]:
    """Return a function that replaces the header, as `proxy_set_header X-Real-IP $remote_addr` does."""

    def say(address: str, fields: list[str]) -> list[str]:
        return [*(field for field in fields if not field.lower().startswith(f"{name.lower()}:")), f"{name}: {address}"]

    return say
