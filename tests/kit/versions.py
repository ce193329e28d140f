"""Versions of releases after this checkout, so that no test needs a change when a release is made."""

from __future__ import annotations

from pi_cam_daemon import __version__


def later(steps: int = 1) -> str:
    """Return the version that is *steps* releases after this checkout."""
    rest, _, last = __version__.rpartition(".")
    return f"{rest}.{int(last) + steps}"
