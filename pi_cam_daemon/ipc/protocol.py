"""The messages between the camera process and the server, over one socketpair.

    kind (u8), 3 zero bytes, payload length (u32), capture time (i64), payload; little-endian

The capture time is CLOCK_MONOTONIC in nanoseconds; of a beat, when it was counted; else 0.

    camera → server   HELLO   JSON: CameraInfo, what the camera really gives
                      FRAME   one whole JPEG
                      BEAT    u64: frames captured so far, once a second
                      CONTROLS  JSON: Report, what can be set, when the camera opens and in answer to each SET
                      STILL   u64: the number of the TAKE_STILL answered, then one whole JPEG, or why there is none
                      ERROR   JSON: cause, message, hint; the process ends after it
    server → camera   CONFIGURE  JSON: CameraConfig; the first message of all
                      LIVE, QUIET  somebody watches (every frame), nobody does (one frame a second)
                      SET     JSON: SetControls
                      TAKE_STILL  u64: its number; one picture of the sensor's full size is wanted
                      STOP    close the camera and exit
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
    """What a message is; the names say who sends it in the table above."""

    HELLO = 1
    FRAME = 2
    BEAT = 3
    ERROR = 4
    CONTROLS = 5
    STILL = 6
    CONFIGURE = 16
    LIVE = 17
    QUIET = 18
    STOP = 19
    SET = 20
    TAKE_STILL = 21


# A 64-megapixel still at good quality stays below 32 MiB; anything longer is a broken sender, not a picture.
LONGEST_FRAME = 32 * 1024 * 1024
# most of it would be the menus of a USB camera's controls
LONGEST_OTHER = 256 * 1024
_LEAST_ROOM = 16 * 1024
_MOST_ROOM = 1024 * 1024
_KINDS = {kind.value: kind for kind in Kind}  # looked up five times as fast as Kind(number)


class Message(NamedTuple):
    """One message; *view* is its payload where it was received."""

    kind: Kind
    captured_ns: int
    view: memoryview

    @property
    def payload(self) -> bytes:
        return bytes(self.view)


def pack(kind: Kind, payload: bytes = b"", captured_ns: int = 0) -> bytes:
    """One whole message."""
    return HEADER.pack(kind, len(payload), captured_ns) + payload


class Reader:
    """Puts the messages of one socket together, however they are split; the socket may be blocking or not.

    A frame and its header come in one call, into memory that nobody has to clear before.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.drained = False  # all that had come has been given out
        self._sock = sock
        self._chunks: list[bytes] = []
        self._at = 0  # where in the first chunk the next message begins
        self._have = 0  # bytes from there on
        self._needed = HEADER.size
        self._room = _LEAST_ROOM
        self._emptied = False  # the socket, when it was last received from

    def read(self) -> Message | None:
        """The next message, or None while it is not there as a whole.

        Raises ProtocolError for what is no message of ours and EOFError when the other side is gone.
        """
        self.drained = False
        while True:
            while self._have < self._needed:
                try:
                    chunk = self._sock.recv(self._room)
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
                self._emptied = len(chunk) < self._room
            if len(self._chunks) > 1:
                self._chunks = [b"".join(self._chunks)[self._at :]]
                self._at = 0
            (data,) = self._chunks
            number, length, captured_ns = HEADER.unpack_from(data, self._at)
            kind = _KINDS.get(number)
            if kind is None:
                raise ProtocolError(f"message of unknown kind {number}")
            longest = LONGEST_FRAME if kind in (Kind.FRAME, Kind.STILL) else LONGEST_OTHER
            if length > longest:
                raise ProtocolError(f"{kind.name} of {length} bytes; at most {longest} are accepted")
            self._needed = HEADER.size + length
            if self._have >= self._needed:
                begin, self._at = self._at + HEADER.size, self._at + self._needed
                self._have -= self._needed
                self._needed = HEADER.size
                self.drained = self._emptied and not self._have
                return Message(kind, captured_ns, memoryview(data)[begin : self._at])
            if kind is Kind.STILL:
                continue  # the next one is far off, and all that comes until then far smaller
            # for the rest, and for the next one, which may be somewhat larger
            self._room = max(self._room, min(self._needed + self._needed // 4, _MOST_ROOM))
