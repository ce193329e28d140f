"""Framing of the messages between the camera process and the server, over one socketpair.

    kind (u8), 3 zero bytes, payload length (u32), time (i64), payload; all little-endian

The time is CLOCK_MONOTONIC in nanoseconds: the capture time of a picture, for a BEAT the time at which its last frame
came, else 0.

    camera → server   HELLO        JSON: CameraInfo, the settings that the camera really uses
                      FRAME        one whole JPEG, as a part in shared memory: its slot and lengths (ipc/slots.py)
                      BEAT         u64: number of frames captured so far; sent once a second
                      CONTROLS     JSON: Report; sent when the camera opens, and as the answer to each SET
                      STILL        u64: number of the TAKE_STILL, then one whole JPEG or the reason for none
                      MOTION       JSON: Motion; sent when something begins to move in the picture, and when it ends
                      LOOKED       JSON: Look, the newest one; the answer to each LOOK
                      UNUSABLE     UTF-8: the reason why the newest picture cannot be used; at most once a second
                      STAND_IN     JSON: ErrorMessage, the reason why a test picture stands in; sent before HELLO
                      ERROR        JSON: ErrorMessage; the process ends after it
    server → camera   CONFIGURE    JSON: CameraConfig; the first message of all
                      LIVE, QUIET  send every frame (somebody watches), send one frame a second (nobody does)
                      SMALL        u64: 1 to send small frames as well (somebody watches them), 0 to send none
                      SET          JSON: SetControls
                      TAKE_STILL   u64: its number; take one picture of the sensor's full size
                      LOOK         u64: its number; tell what the newest look for motion has seen
                      STOP         close the camera and exit
"""

from __future__ import annotations

import enum
import socket
import struct
from typing import NamedTuple

from pi_cam_daemon.errors import ProtocolError

HEADER = struct.Struct("<B3xIq")
COUNT = struct.Struct("<Q")


class Kind(enum.IntEnum):
    """Kind of a message. The table above says who sends it."""

    HELLO = 1
    FRAME = 2
    BEAT = 3
    ERROR = 4
    CONTROLS = 5
    STILL = 6
    UNUSABLE = 7
    STAND_IN = 8
    MOTION = 9
    LOOKED = 10
    CONFIGURE = 16
    LIVE = 17
    QUIET = 18
    STOP = 19
    SET = 20
    TAKE_STILL = 21
    SMALL = 22
    LOOK = 23


# A still of 64 megapixels in good quality is smaller. Anything longer comes from a broken sender.
LONGEST_FRAME = 32 * 1024 * 1024
# The longest are the menus of a USB camera's controls.
LONGEST_OTHER = 256 * 1024
# limits of how much one recv() asks for
_MIN_RECEIVE = 16 * 1024
_MAX_RECEIVE = 1024 * 1024
_KINDS = {kind.value: kind for kind in Kind}  # five times as fast as Kind(number)


class Message(NamedTuple):
    """One message. *view* is its payload, in the buffer that it was received into."""

    kind: Kind
    captured_ns: int
    view: memoryview

    @property
    def payload(self) -> bytes:
        return bytes(self.view)


def pack(kind: Kind, payload: bytes = b"", captured_ns: int = 0) -> bytes:
    """Return one whole message, header included."""
    return HEADER.pack(kind, len(payload), captured_ns) + payload


class Reader:
    """Reads messages from a socket, which may be blocking or not. One recv() usually returns all that has arrived."""

    def __init__(self, sock: socket.socket) -> None:
        self.drained = False  # every message that had arrived has been returned
        self.pending = False  # something was received and not returned yet
        self._sock = sock
        self._chunks: list[bytes] = []
        self._at = 0  # offset of the next message in the first chunk
        self._have = 0  # number of bytes from that offset on
        self._needed = HEADER.size
        self._emptied = False  # the last recv() left nothing in the socket

    def feed(self, data: bytes) -> None:
        """Take *data*, which was received elsewhere while nothing was pending."""
        self._chunks, self._at, self._have = [data], 0, len(data)
        self._emptied = self.pending = True

    def read(self) -> Message | None:
        """Return the next message, or None if the socket does not block and the message is not complete yet.

        Raises ProtocolError for an invalid message and EOFError when the other side has closed the socket.
        """
        self.drained = False
        while True:
            while self._have < self._needed:
                room = max(_MIN_RECEIVE, min(self._needed - self._have, _MAX_RECEIVE))
                try:
                    chunk = self._sock.recv(room)
                except BlockingIOError:
                    return None
                except ConnectionError as error:
                    raise EOFError from error
                if not chunk:
                    raise EOFError
                if not self._have:
                    self._chunks.clear()
                    self._at = 0
                self._chunks.append(chunk)
                self._have += len(chunk)
                self.pending, self._emptied = True, len(chunk) < room
            if len(self._chunks) > 1:
                self._chunks = [b"".join(self._chunks)[self._at :]]
                self._at = 0
            (data,) = self._chunks
            number, length, captured_ns = HEADER.unpack_from(data, self._at)
            kind = _KINDS.get(number)
            if kind is None:
                raise ProtocolError(f"message of unknown kind {number}")
            longest = LONGEST_FRAME if kind is Kind.STILL else LONGEST_OTHER
            if length > longest:
                raise ProtocolError(f"{kind.name} of {length} bytes; at most {longest} are accepted")
            self._needed = HEADER.size + length
            if self._have >= self._needed:
                begin, self._at = self._at + HEADER.size, self._at + self._needed
                self._have -= self._needed
                self._needed = HEADER.size
                self.pending = self._have > 0
                self.drained = self._emptied and not self.pending
                return Message(kind, captured_ns, memoryview(data)[begin : self._at])
