"""Guess which section or key somebody meant who wrote an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

_Known = Mapping[str, Collection[str]]  # the keys of each section

# names that other programs use
_SECTIONS = {
    **dict.fromkeys(("camera", "picture", "image", "display", "output", "stream"), "video"),
    **dict.fromkeys(("server", "web", "network", "security", "auth"), "http"),
    **dict.fromkeys(("picamera", "picamera2", "libcamera", "rpicam"), "csi"),
    **dict.fromkeys(("webcam", "v4l2", "uvc"), "usb"),
    **dict.fromkeys(("mjpeg", "rtsp", "remote"), "upstream"),
}
_KEYS = {
    **dict.fromkeys(("resolution", "size"), "video.width and video.height"),
    "fps": "video.framerate",
    **dict.fromkeys(("flip", "mirror"), "video.hflip or video.vflip"),
    **dict.fromkeys(("timestamp", "text"), "video.overlay"),
    **dict.fromkeys(("privacy", "privacy_mask", "privacy_masks"), "video.masks"),
    **dict.fromkeys(("type", "source"), "source.kind"),
    **dict.fromkeys(("host", "bind", "address", "ip"), "http.listen_address"),
    **dict.fromkeys(("user", "username", "password"), "http.users_file"),
    **dict.fromkeys(("cert", "certificate"), "http.tls_certificate"),
    **dict.fromkeys(("debug", "verbose"), "log.level"),
    "iso": "controls.gain",
    **dict.fromkeys(("exposure_time", "shutter_speed"), "controls.shutter"),
    "zoom": "controls.roi",
    "focus": "controls.lens_position",
}


def section(name: str, table: Mapping[str, Any], known: _Known) -> str:
    """Return a hint for the unknown section *name*, which holds *table*."""
    # also for `section.video.width`, as in the manual
    homes = (key if key in known else _home(key, known) for key in table)
    guess = " and ".join(dict.fromkeys(filter(None, homes))) or _SECTIONS.get(name.lower()) or _near(name, known)
    return _meant(guess) if guess else f"accepted: {', '.join(known)}"


def key(name: str, home: str, known: _Known) -> str:
    """Return a hint for the unknown key *name* of the section *home*; "" for a key outside of all sections."""
    if guess := _guess(name, home, known):
        return _meant(guess)
    return f"accepted: {', '.join(known[home]) if home else 'section.key, such as video.width'}"


def full_key(name: str, known: _Known) -> str:
    """Return the one `section.key` that is meant by *name*, which may lack the section; "" if none is like it."""
    name = name.replace("-", "_")
    for full in (f"{section}.{key}" for section, keys in known.items() for key in keys):
        if name in (full, full.replace(".", "_")):
            return full
    section, _, bare = name.rpartition(".")
    guess = _guess(bare, section if section in known else "", known)
    if guess and "." not in guess:
        guess = f"{section}.{guess}"
    return "" if " " in guess else guess  # several keys


def _guess(name: str, home: str, known: _Known) -> str:
    """Return what the unknown key *name* of the section *home* may mean: a key of it, or with its section; or ""."""
    other = _home(name, known)
    guess = f"{other}.{name}" if other else _KEYS.get(name.lower()) or _near(name, known.get(home, ()))
    nearest = _near(name, [key for keys in known.values() for key in keys])
    return guess or (nearest and f"{_home(nearest, known)}.{nearest}")


def _home(key: str, known: _Known) -> str:
    """Return the section that has *key*, or ""."""
    return next((section for section, keys in known.items() if key in keys), "")


def _near(name: str, names: Collection[str]) -> str:
    """Return the one of *names* that is spelled most like *name*, or ""."""
    return next(iter(difflib.get_close_matches(name.lower(), names, n=1)), "")


def _meant(guess: str) -> str:
    return f"did you mean {guess}?"
