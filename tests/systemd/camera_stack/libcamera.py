"""The part of libcamera's binding that the daemon uses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Transform:
    hflip: bool = False
    vflip: bool = False


class ColorSpace:
    @staticmethod
    def Sycc() -> str:
        return "sYCC"
