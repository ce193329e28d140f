"""A picture of the sensor's full size, as it goes from the camera process to the server."""

from __future__ import annotations

from dataclasses import dataclass

from pi_cam_daemon.errors import ProtocolError
from pi_cam_daemon.protocol import COUNT, Message


@dataclass(frozen=True)
class Still:
    """A source's answer to the TakeStill of that *number*: one whole JPEG, or the sentence *refused* on why not.

    *captured_ns* is CLOCK_MONOTONIC in nanoseconds.
    """

    number: int
    jpeg: bytes = b""
    captured_ns: int = 0
    refused: str = ""

    def payload(self) -> bytes:
        return COUNT.pack(self.number) + (self.jpeg or self.refused.encode())

    @classmethod
    def from_message(cls, message: Message) -> Still:
        """The camera process's word; ProtocolError when it is none."""
        if len(message.view) <= COUNT.size:
            raise ProtocolError("an answer without a still")
        (number,) = COUNT.unpack_from(message.view)
        answer = bytes(message.view[COUNT.size :])
        if answer.startswith(b"\xff\xd8"):
            return cls(number, answer, message.captured_ns)
        return cls(number, refused=answer.decode("utf-8", "replace"))
