"""Run one attack from addresses of its own until standard input ends: `attacker.py NAME ADDRESS PORT`.

Then print, as JSON, how often it attacked and how often each answer came, by the answer's first bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import socket
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

STREAM = b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(192)

# what is no request, or one that hardly anybody means
MALFORMED = [
    b"GET /snapshot?max_age_ms HTTP/1.1\r\n\r\n",
    b"GET /? HTTP/1.1\r\n\r\n",
    b"GET /?action=snapshot&action=stream&action=x HTTP/1.1\r\n\r\n",
    b"GET /?action=snapshot?nonce=1 HTTP/1.1\r\n\r\n",
    b"GET /%00 HTTP/1.1\r\n\r\n",
    b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n\r\n",
    b"GET /..%2f..%2fetc/passwd HTTP/1.1\r\n\r\n",
    b"GET //host/ HTTP/1.1\r\n\r\n",
    b"GET http://localhost/livez HTTP/1.1\r\n\r\n",
    b"GET http://attacker.example/livez HTTP/1.1\r\n\r\n",
    b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n",
    b"GET / HTTP/1.1\r\nA: " + b"b" * 70000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nA: " + b" " * 16000 + b"\x01\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: " + b"a." * 8000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"a:\n" * 5000 + b"\r\n",
    b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
    b"GET /livez HTTP/1.1\nHost: localhost\n\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: attacker.example\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n",
    b"GET /\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\r\n" * 100_000 + b"GET /livez HTTP/1.1\r\n\r\n",
    TLS_HELLO,
    b"\x00" * 20000,
    bytes(range(256)) * 100,
]


def _post(body: bytes) -> bytes:
    head = b"POST /controls HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


BODIES = [
    _post(b"{%b}" % b",".join(b'"brightnes%d":1' % number for number in range(3400))),
    _post(b"{%b}" % b",".join(b'"brightnes%d":1' % number for number in range(64))),
    _post(b'{"roi":[%b]}' % b",".join([b"1"] * 32000)),
    _post(b'{"roi":"[%b"}' % (b"1," * 32000)),
    b"POST /state HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 10000 + b"0\r\n\r\n",
    b"HEAD /livez HTTP/1.1\r\n\r\n",
    b"OPTIONS /state HTTP/1.1\r\nOrigin: http://attacker.example\r\nAccess-Control-Request-Method: POST\r\n\r\n",
    b"POST /state HTTP/1.1\r\n\r\n",
    b"POST /state HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    b"PUT /state HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /state HTTP/1.1\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60000,
    b"POST /state HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000,
    b"POST /state HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    b"POST /state HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /state HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    b"POST /state HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /state HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /state HTTP/1.1\r\nContent-Length: 0x3\r\n\r\nabc",
    b"POST /state HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
]

STRANGERS = [
    b"GET /livez HTTP/1.1\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nForwarded: for=127.0.0.1\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nX-Real-IP: 192.168.1.5\r\n\r\n",
    b"GET /snapshot HTTP/1.1\r\nHost: attacker.example\r\n\r\n",
    b"GET /snapshot HTTP/1.1\r\nHost: a\x1b[31m\xff.example\r\n\r\n",
    b"POST /state HTTP/1.1\r\nOrigin: http://attacker.example\r\nContent-Length: 0\r\n\r\n",
    b"POST /state HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nAuthorization: Basic \xff\xff\xff\r\n\r\n",
    b"GET /\x1b]0;title\x07%0d%0arefused HTTP/1.1\r\nUser-Agent: \x1b[2J\r\n\r\n",
]


class Attacker:
    def __init__(self, address: str, port: int) -> None:
        self.there = address, port
        self.attacks = 0
        self.answers: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def connection(self, source: str, receive_buffer: int = 0) -> AsyncIterator[socket.socket]:
        """Open a connection from the address *source*; ignore its errors, since the daemon may refuse it."""
        loop = asyncio.get_running_loop()
        with socket.socket() as sock, contextlib.suppress(OSError):
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source:
                sock.bind((source, 0))
            sock.setblocking(False)
            await loop.sock_connect(sock, self.there)
            self.attacks += 1
            yield sock

    async def say(self, request: bytes, source: str) -> None:
        """Send *request* and return everything that is answered."""
        loop = asyncio.get_running_loop()
        async with self.connection(source) as sock:
            with contextlib.suppress(OSError):
                await loop.sock_sendall(sock, request)
            first = (await loop.sock_recv(sock, 65536))[:12].decode("latin-1")
            self.answers[first] += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):  # some answers keep the connection
                    while await loop.sock_recv(sock, 65536):
                        pass

    async def say_all(self, requests: Sequence[bytes], source: str) -> None:
        for request in itertools.cycle(requests):
            await self.say(request, source)

    # -- attacks, each without end

    async def malformed(self) -> None:
        await together(self.say_all(MALFORMED[turn:] + MALFORMED[:turn], "127.0.3.1") for turn in range(8))

    async def bodies(self) -> None:
        await together(self.say_all(BODIES[turn:] + BODIES[:turn], "127.0.3.1") for turn in range(8))

    async def strangers(self) -> None:
        await together(self.say_all(STRANGERS[turn:] + STRANGERS[:turn], "127.0.3.1") for turn in range(8))

    async def snapshots(self) -> None:
        request = b"GET /snapshot?max_age_ms=0 HTTP/1.1\r\nConnection: close\r\n\r\n"
        await together(self.say_all([request], "127.0.3.1") for _ in range(20))

    async def slowloris(self) -> None:
        """Keep three hundred connections: silent ones, ones that send a byte a second, and ones that only listen."""

        async def silent(sock: socket.socket) -> None:
            await asyncio.get_running_loop().sock_recv(sock, 65536)

        async def slow(sock: socket.socket) -> None:
            for byte in itertools.cycle(b"GET /livez HTTP/1.1\r\nA: " + b"b" * 100):
                await asyncio.get_running_loop().sock_sendall(sock, bytes([byte]))
                await asyncio.sleep(1)

        async def listening(sock: socket.socket) -> None:
            await asyncio.get_running_loop().sock_sendall(sock, b"GET /livez HTTP/1.1\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)
            while await asyncio.get_running_loop().sock_recv(sock, 65536):
                pass

        async def again(what: Callable[[socket.socket], Awaitable[None]], source: str) -> None:
            while True:
                async with self.connection(source) as sock:
                    await what(sock)
                await asyncio.sleep(0.5)

        kinds = (silent, slow, listening)
        await together(again(kinds[number % 3], f"127.0.3.{1 + number // 100}") for number in range(300))

    async def idle(self) -> None:
        """Keep five hundred silent connections from five addresses."""

        async def idle(source: str) -> None:
            while True:
                async with self.connection(source) as sock:
                    await asyncio.get_running_loop().sock_recv(sock, 65536)
                await asyncio.sleep(1)

        await together(idle(f"127.0.3.{1 + number // 100}") for number in range(500))

    async def connects(self) -> None:
        """Open a hundred connections a second; half are reset at once, half after a request."""
        loop = asyncio.get_running_loop()
        background = set()

        async def once(number: int) -> None:
            if number % 2:
                await self.say(b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", "127.0.3.1")
                return
            async with self.connection("127.0.3.1") as sock:
                reset(sock)

        begun = loop.time()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, begun + number / 100 - loop.time()))
            task = asyncio.create_task(once(number))
            background.add(task)
            task.add_done_callback(background.discard)

    async def viewers(self) -> None:
        """Open streams that are not read, read at 10 kB/s, reset inside a picture, or half-closed and read."""
        loop = asyncio.get_running_loop()

        async def unread(_: socket.socket) -> None:
            await asyncio.sleep(3600)

        async def slow(sock: socket.socket) -> None:
            while await loop.sock_recv(sock, 1000):
                await asyncio.sleep(0.1)

        async def vanishing(sock: socket.socket) -> None:
            await loop.sock_recv(sock, 20000)
            reset(sock)

        async def half_closed(sock: socket.socket) -> None:
            sock.shutdown(socket.SHUT_WR)
            while await loop.sock_recv(sock, 65536):
                pass

        async def again(watch: Callable[[socket.socket], Awaitable[None]], source: str) -> None:
            while True:
                async with self.connection(source, receive_buffer=4096) as sock:
                    await loop.sock_sendall(sock, STREAM)
                    await watch(sock)
                await asyncio.sleep(0.1)

        kinds = (unread, slow, vanishing, half_closed)
        await together(again(kinds[number % 4], f"127.0.3.{1 + number // 40}") for number in range(80))

    async def slow_readers(self) -> None:
        """Read 24 streams at 8 kB/s and forty snapshots hardly at all, each in the middle of a large picture."""
        loop = asyncio.get_running_loop()

        async def again(path: str, pause: float, source: str, begin: float) -> None:
            await asyncio.sleep(begin)  # not all in the same picture
            while True:
                async with self.connection(source, receive_buffer=8192) as sock:
                    await loop.sock_sendall(sock, b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
                    head = b""
                    while not (length := re.search(rb"Content-Length: (\d+)\r\n", head)):
                        head += await loop.sock_recv(sock, 512)
                    if int(length[1]) > 1_000_000:
                        self.answers[path] += 1
                        while await loop.sock_recv(sock, 800):
                            await asyncio.sleep(pause)
                await asyncio.sleep(0.05)

        slow = [again("/stream", 0.1, "127.0.3.1", number / 4) for number in range(24)]
        await together([*slow, *(again("/snapshot", 2, "127.0.3.2", number / 7) for number in range(40))])

    async def refused(self) -> None:
        """Send data without end from peers that are not admitted."""
        loop = asyncio.get_running_loop()
        much = bytes(1 << 20)

        async def flood() -> None:
            while True:
                async with self.connection("") as sock:
                    while True:
                        await loop.sock_sendall(sock, much)
                await asyncio.sleep(0.01)

        await together(flood() for _ in range(100))


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def together(tasks: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*tasks)


async def main(name: str, address: str, port: str) -> None:
    attacker = Attacker(address, int(port))
    attack = asyncio.create_task(getattr(attacker, name)())
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait([attack, asyncio.ensure_future(ended)], return_when=asyncio.FIRST_COMPLETED)
    if attack.done():
        attack.result()
    attack.cancel()
    print(json.dumps({"attacks": attacker.attacks, "answers": attacker.answers}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
