"""As much of libcamera's binding as csi.py names."""

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
