"""What a camera says of itself, on both sides of the process boundary."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from pi_cam_daemon.errors import ProtocolError


@dataclass(frozen=True)
class CameraInfo:
    """What the camera really gives, read back after it was opened.

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
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> CameraInfo:
        """The other side's word for it; ProtocolError when it is not a camera's."""
        try:
            info = cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise ProtocolError(f"not a camera's description: {error}") from None
        fields = dataclasses.asdict(info)
        wrong = [name for name, value in fields.items() if type(value).__name__ != cls.__annotations__[name]]
        if wrong or not 0 < info.framerate < float("inf"):
            raise ProtocolError(f"not a camera's description: {fields}")
        return info
