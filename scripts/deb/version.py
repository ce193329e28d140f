"""The version of a package."""

from __future__ import annotations

import re


def debian_version(version: str) -> str:
    """Return the Python version *version* as dpkg writes it, so that dpkg sorts it as Python does.

    A release stays as it is. A tilde sorts before everything, also before the end: 1.0~~dev2 < 1.0~rc1 < 1.0.
    """
    epoch, _, rest = version.rpartition("!")
    rest = re.sub(r"\.dev", "~~dev", rest)
    rest = re.sub(r"(?<=\d)(a|b|rc)(?=\d)", r"~\1", rest)
    return f"{epoch}:{rest}" if epoch else rest
