"""Replace pykms, which picamera2 imports for its preview on a screen; there is no screen here.

On a Pi it comes from Debian. PyPI's `kms` is an unrelated package: never install that one.
"""

from __future__ import annotations

from typing import NoReturn


class _AnyName(type):
    def __getattr__(cls, name: str) -> str:
        if name.startswith("_"):
            raise AttributeError(name)
        return name


class PixelFormat(metaclass=_AnyName):
    """Has a member for every format that picamera2 may name while it is imported."""


def Card(*_args: object) -> NoReturn:
    raise OSError("no screen: this pykms is a stand-in")
