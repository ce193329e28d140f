"""Payloads of the messages between the camera process and the server; protocol.py frames them.

The server does not trust the camera process: `from_json` and `from_message` raise ProtocolError for an invalid payload.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from pi_cam_daemon.config.text import Value
from pi_cam_daemon.errors import Cause, ProtocolError, SourceError
from pi_cam_daemon.ipc.controls import Control, Group, Kind
from pi_cam_daemon.ipc.protocol import COUNT, Message

# limit of a text in characters: an error message of a camera library may hold a whole dump
_LONGEST = 2000
_LONGEST_VALUE = 500  # of an error; /state has all of them

Box = tuple[float, float, float, float]  # x, y, width, height, in fractions of the upright picture


@dataclass(frozen=True)
class CameraInfo:
    """HELLO: the settings that the camera really uses, read back after it was opened.

    *framerate* is in frames per second. *reason* says why this camera was chosen, if there was a choice.
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
        try:
            found: dict[str, Any] = json.loads(text)
            found = {name: plain(value) if isinstance(value, str) else value for name, value in found.items()}
            info = cls(**found)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ProtocolError(f"not a camera's description: {error}") from None
        fields = vars(info)
        wrong = [name for name, value in fields.items() if type(value).__name__ != cls.__annotations__[name]]
        if wrong or not 0 < info.framerate < float("inf"):
            raise ProtocolError(f"not a camera's description: {fields}")
        return info


@dataclass(frozen=True)
class Report:
    """CONTROLS: the answer to the SetControls with this *number*, which is 0 when the camera opens.

    *applied* includes controls that had to change with another one. *refused* gives the reason for each control.
    """

    number: int
    applied: dict[str, Value]
    refused: dict[str, str]
    controls: tuple[Control, ...]

    def to_json(self) -> bytes:
        return _json(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> Report:
        try:
            fields = json.loads(text)
            controls = tuple(
                Control(
                    **{
                        **entry,
                        "kind": Kind(entry["kind"]),
                        "choices": tuple(entry["choices"]),
                        "group": Group(entry["group"]),
                    }
                )
                for entry in fields["controls"]
            )
            return cls(int(fields["number"]), dict(fields["applied"]), dict(fields["refused"]), controls)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ProtocolError(f"not a report on controls: {error!r}") from None


@dataclass(frozen=True)
class Still:
    """STILL: the answer to the TakeStill with this *number*: one whole JPEG, or in *refused* the reason for none.

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
        if len(message.view) <= COUNT.size:
            raise ProtocolError("a STILL message without content")
        (number,) = COUNT.unpack_from(message.view)
        answer = bytes(message.view[COUNT.size :])
        if answer.startswith(b"\xff\xd8"):
            return cls(number, answer, message.captured_ns)
        return cls(number, refused=plain(answer.decode("utf-8", "replace")))


@dataclass(frozen=True)
class Motion:
    """MOTION: something began to move in the picture, or with *ends* it is still again.

    *peak* is the largest share of the picture that moved at once so far, 0 to 1. *box* is the rectangle around that, as
    (x, y, width, height) in fractions of the upright picture. The time of the message is that of the picture.
    """

    ends: bool
    peak: float
    box: Box

    def to_json(self) -> bytes:
        return _json(vars(self))

    @classmethod
    def from_json(cls, text: bytes) -> Motion:
        try:
            fields = json.loads(text)
            motion = cls(bool(fields["ends"]), float(fields["peak"]), _box(fields["box"]))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ProtocolError(f"not a report on motion: {error!r}") from None
        if not all(0 <= share <= 1 for share in (motion.peak, *motion.box)):
            raise ProtocolError(f"not a report on motion: {fields}")
        return motion


@dataclass(frozen=True)
class Look:
    """LOOKED: the answer to the LOOK with this *number*: what the newest look for motion has seen.

    *share* of the looked-at area moves, 0 to 1, within *boxes*. *moving* is True while a motion has begun and is not
    over. *suspended* is a word for why nothing is judged now, or "".
    """

    number: int
    share: float = 0.0
    moving: bool = False
    suspended: str = ""
    boxes: tuple[Box, ...] = ()

    def to_json(self) -> bytes:
        return _json(vars(self))

    @classmethod
    def from_json(cls, text: bytes) -> Look:
        try:
            fields = json.loads(text)
            boxes = tuple(_box(box) for box in fields["boxes"])
            suspended = plain(str(fields["suspended"]))
            look = cls(int(fields["number"]), float(fields["share"]), bool(fields["moving"]), suspended, boxes)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ProtocolError(f"not a look for motion: {error!r}") from None
        if not all(0 <= share <= 1 for share in (look.share, *(side for box in boxes for side in box))):
            raise ProtocolError(f"not a look for motion: {fields}")
        return look


def _box(sides: Any) -> Box:
    x, y, width, height = (float(side) for side in sides)
    return x, y, width, height


@dataclass(frozen=True)
class ErrorMessage:
    """ERROR and STAND_IN: the *error* that ends the camera process, or that keeps `auto` from using a camera."""

    error: SourceError

    def to_json(self) -> bytes:
        error = self.error
        values = {name: value[:_LONGEST_VALUE] for name, value in error.values.items()}
        texts = {"message": error.message[:_LONGEST], "hint": error.hint[:_LONGEST]}
        return _json({"cause": error.cause, **texts, "values": values})

    @classmethod
    def from_json(cls, text: bytes) -> ErrorMessage:
        try:
            fields = json.loads(text)
            error = SourceError(plain(str(fields["message"])), Cause(fields["cause"]), plain(str(fields["hint"])))
            error.values = {plain(name): plain(str(value)) for name, value in fields["values"].items()}
            return cls(error)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ProtocolError(f"not an error message of the camera process: {error!r}") from None


@dataclass(frozen=True)
class SetControls:
    """SET: the command to set these *values*, which the server has checked."""

    number: int
    values: dict[str, Value]

    def to_json(self) -> bytes:
        return _json(vars(self))

    @classmethod
    def from_json(cls, text: bytes) -> SetControls:
        return cls(**json.loads(text))


def plain(text: str) -> str:
    """Return *text* with a space for each character that cannot be printed, shortened if it is very long.

    The web page of an upstream, a camera library or a device's name may send the escape sequences of a terminal.
    """
    return "".join(c if c.isprintable() else " " for c in text[:_LONGEST])


def text_payload(text: str) -> bytes:
    """Return *text*, shortened if it is very long, as the payload of a message."""
    return text[:_LONGEST].encode("utf-8", "replace")


def _json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")
