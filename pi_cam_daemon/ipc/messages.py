"""Payloads of the messages between the camera process and the server; protocol.py frames them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from pi_cam_daemon.config.text import Value
from pi_cam_daemon.errors import Cause, ProtocolError, SourceError
from pi_cam_daemon.ipc.controls import Control, Kind
from pi_cam_daemon.ipc.protocol import COUNT, Message

# characters of a sentence for a person; a camera stack's message may hold a whole dump
_LONGEST = 2000


@dataclass(frozen=True)
class CameraInfo:
    """HELLO: the settings that the camera really uses, read back after it was opened.

    *framerate* is in frames a second; *encoder* names who makes the JPEGs; *reason* says why this camera was taken,
    empty where the configuration names it.
    """

    kind: str
    name: str
    width: int
    height: int
    framerate: float
    pixel_format: str
    encoder: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name}, {self.width}x{self.height} at {self.framerate:g} frames/s, {self.encoder}"

    def to_json(self) -> bytes:
        return _json({**vars(self), "name": self.name[:_LONGEST], "reason": self.reason[:_LONGEST]})

    @classmethod
    def from_json(cls, text: bytes) -> CameraInfo:
        """Parse the message of the camera process; ProtocolError if it is invalid."""
        try:
            info = cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise ProtocolError(f"not a camera's description: {error}") from None
        fields = vars(info)
        wrong = [name for name, value in fields.items() if type(value).__name__ != cls.__annotations__[name]]
        if wrong or not 0 < info.framerate < float("inf"):
            raise ProtocolError(f"not a camera's description: {fields}")
        return info


@dataclass(frozen=True)
class Report:
    """CONTROLS: the answer to the SetControls of that *number*; 0 when the camera opens.

    *applied* is what is set now, also where that took along another control; *refused* says why something is not.
    """

    number: int
    applied: dict[str, Value]
    refused: dict[str, str]
    controls: tuple[Control, ...]

    def to_json(self) -> bytes:
        return _json(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> Report:
        """Parse the message of the camera process; ProtocolError if it is invalid."""
        try:
            said = json.loads(text)
            controls = tuple(_control(entry) for entry in said["controls"])
            return cls(int(said["number"]), dict(said["applied"]), dict(said["refused"]), controls)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ProtocolError(f"no report on controls: {error!r}") from None


@dataclass(frozen=True)
class Still:
    """STILL: the answer to the TakeStill of that *number*: one whole JPEG, or in *refused* why there is none.

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
        """Parse the message of the camera process; ProtocolError if it is invalid."""
        if len(message.view) <= COUNT.size:
            raise ProtocolError("an answer without a still")
        (number,) = COUNT.unpack_from(message.view)
        answer = bytes(message.view[COUNT.size :])
        if answer.startswith(b"\xff\xd8"):
            return cls(number, answer, message.captured_ns)
        return cls(number, refused=answer.decode("utf-8", "replace"))


@dataclass(frozen=True)
class ErrorMessage:
    """ERROR: the *error* that ends the camera process."""

    error: SourceError

    def to_json(self) -> bytes:
        error = self.error
        return _json({"cause": error.cause, "message": error.message[:_LONGEST], "hint": error.hint[:_LONGEST]})

    @classmethod
    def from_json(cls, text: bytes) -> ErrorMessage:
        """Parse the message of the camera process; ProtocolError if it is invalid."""
        try:
            said = json.loads(text)
            return cls(SourceError(str(said["message"]), Cause(said["cause"]), str(said["hint"])))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ProtocolError(f"no reason for the end of the camera process: {error!r}") from None


@dataclass(frozen=True)
class SetControls:
    """SET: a command to set these *values*, which the server has checked."""

    number: int
    values: dict[str, Value]

    def to_json(self) -> bytes:
        return _json(vars(self))

    @classmethod
    def from_json(cls, text: bytes) -> SetControls:
        return cls(**json.loads(text))


def _json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _control(entry: dict[str, Any]) -> Control:
    return Control(**{**entry, "kind": Kind(entry["kind"]), "choices": tuple(entry["choices"])})
