"""UpstreamSource against every line of the table of oddities, over a socket."""

from __future__ import annotations

import re
import socket
import time

import pytest

from tests.kit.wait import until
from tests.upstream.oddities import TABLE, Oddity
from tests.upstream.servers import Request, serving
from tests.upstream.test_source import Upstream, running

# how long one piece may take to be a picture; most that take none are no picture
_PIECE_SECONDS = 0.3


@pytest.mark.parametrize("oddity", TABLE, ids=lambda oddity: oddity.name)
def test_what_can_be_read_is_read_and_anything_else_is_named(oddity: Oddity) -> None:
    # pictures that come too fast are skipped, so each one waits for the one before
    pieces = re.findall(rb".*?\xff\xd9|.+\Z", oddity.sent, re.DOTALL)
    sources: list[Upstream] = []

    def answer(sock: socket.socket, _: Request) -> None:
        until("the source", lambda: sources)
        for piece in pieces:
            count = len(sources[0].frames)
            sock.sendall(piece)
            given_up = time.monotonic() + _PIECE_SECONDS
            while piece.endswith(b"\xff\xd9") and len(sources[0].frames) == count and time.monotonic() < given_up:
                time.sleep(0.001)

    with serving(answer) as server, running(server.url()) as source:
        sources.append(source)
        if isinstance(oddity.expected, str):
            error = source.failure()
            assert oddity.expected in error.message
            assert not source.frames
        else:
            count = len(oddity.expected)
            until("the pictures, or an end", lambda: len(source.frames) >= count or not source.thread.is_alive())
            if count > 1:  # a single picture is asked for again
                until("the end", lambda: not source.thread.is_alive())
            found = [jpeg for jpeg, _ in source.frames]
            assert found == oddity.expected * (1 if count > 1 else len(found))
