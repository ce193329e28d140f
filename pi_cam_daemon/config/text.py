"""Values of the configuration, as text for a person."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pi_cam_daemon.system.redaction import without_secrets

# of a control; a list is a rectangle [x, y, width, height] in fractions of the whole; None is the camera's default
Value = bool | int | float | str | list[float] | None
DEFAULT = "default"  # the word for None in TOML


def toml(value: bool | int | float | str | Sequence[Any] | Mapping[str, Any] | None) -> str:
    """Return *value* in TOML; None, which TOML lacks, becomes "default"."""
    if value is None:
        return f'"{DEFAULT}"'
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{toml(name)} = {toml(entry)}' for name, entry in value.items())}}}"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float):
        return str(value)
    return f"[{', '.join(toml(entry) for entry in value)}]"


def shown(raw: Any) -> str:
    """Return any value of a TOML file as short text on one line."""
    if isinstance(raw, dict):
        return "a table"
    if isinstance(raw, list):
        nested = any(isinstance(entry, list | dict) for entry in raw)
        return "a list" if nested else short(f"[{', '.join(map(shown, raw))}]")
    if isinstance(raw, bool | int | float | str):
        try:
            return short(toml(raw))
        except ValueError:  # str() refuses thousands of digits
            return "a number with too many digits"
    return str(raw)  # a date or a time


def short(text: str) -> str:
    """Return *text* without secrets, cut to 60 characters, printable."""
    text = without_secrets(text)
    shortened = text if len(text) <= 60 else f"{text[:57]}..."
    return shortened if shortened.isprintable() else ascii(shortened)
