"""The messages between the camera process and the server, over one socketpair.

    kind (u8), 3 zero bytes, payload length (u32), capture time (i64), payload; little-endian

The capture time is CLOCK_MONOTONIC in nanoseconds; of a beat, when it was counted; else 0.

    camera → server   HELLO   JSON: CameraInfo, what the camera really gives
                      FRAME   one whole JPEG
                      BEAT    u64: frames captured so far, once a second
                      ERROR   JSON: cause, message, hint; the process ends after it
    server → camera   CONFIGURE  JSON: CameraConfig; the first message of all
                      LIVE, QUIET  somebody watches (every frame), nobody does (one frame a second)
                      STOP    close the camera and exit
"""

from __future__ import annotations

import enum
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from pi_cam_daemon.errors import ProtocolError

HEADER = struct.Struct("<B3xIq")
COUNT = struct.Struct("<Q")


class Kind(enum.IntEnum):
    """What a message is; the names say who sends it in the table above."""

    HELLO = 1
    FRAME = 2
    BEAT = 3
    ERROR = 4
    CONFIGURE = 16
    LIVE = 17
    QUIET = 18
    STOP = 19


# A 64-megapixel still at good quality stays below 32 MiB; anything longer is a broken sender, not a picture.
LONGEST_FRAME = 32 * 1024 * 1024
LONGEST_OTHER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Message:
    """One message; the payload lies in *buffer* from *start*, and to its end unless room was asked for behind it."""

    kind: Kind
    captured_ns: int
    buffer: bytearray
    start: int = 0

    @property
    def payload(self) -> bytes:
        """The payload of a message that was read without extra room."""
        return bytes(self.buffer)


Room = Callable[[int, int], tuple[bytearray, int]]


def pack(kind: Kind, payload: bytes = b"", captured_ns: int = 0) -> bytes:
    """One whole message."""
    return HEADER.pack(kind, len(payload), captured_ns) + payload


class Reader:
    """Puts the messages of one socket together, however they are split; the socket may be blocking or not.

    *frame_room(length, captured_ns)* gives the buffer for a frame of *length* bytes and where in it the frame
    begins, so that a frame is received straight into the place it is sent from.
    """

    def __init__(self, sock: socket.socket, frame_room: Room | None = None) -> None:
        self._sock = sock
        self._frame_room = frame_room
        self._header = bytearray(HEADER.size)
        self._begin()

    def _begin(self) -> None:
        self._message: Message | None = None
        self._rest = memoryview(self._header)

    def read(self) -> Message | None:
        """The next message, or None while it is not there as a whole.

        Raises ProtocolError for what is no message of ours and EOFError when the other side is gone.
        """
        while True:
            while self._rest:
                try:
                    received = self._sock.recv_into(self._rest)
                except BlockingIOError:
                    return None
                except ConnectionError as error:
                    raise EOFError from error
                if not received:
                    raise EOFError
                self._rest = self._rest[received:]
            message = self._message
            if message is not None:
                self._begin()
                return message
            self._open_message()

    def _open_message(self) -> None:
        number, length, captured_ns = HEADER.unpack(self._header)
        try:
            kind = Kind(number)
        except ValueError:
            raise ProtocolError(f"message of unknown kind {number}") from None
        longest = LONGEST_FRAME if kind is Kind.FRAME else LONGEST_OTHER
        if length > longest:
            raise ProtocolError(f"{kind.name} of {length} bytes; at most {longest} are accepted")
        if kind is Kind.FRAME and self._frame_room is not None:
            buffer, start = self._frame_room(length, captured_ns)
        else:
            buffer, start = bytearray(length), 0
        self._message = Message(kind, captured_ns, buffer, start)
        self._rest = memoryview(buffer)[start : start + length]
