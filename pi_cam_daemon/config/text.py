"""Values of the configuration, as text for a person."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pi_cam_daemon.system.redaction import without_secrets

# of a control; a list is a rectangle [x, y, width, height] in fractions of the whole; None is the camera's default
Value = bool | int | float | str | list[float] | None
# of the configuration; a list of lists are rectangles
Setting = Value | list[list[float]]
DEFAULT = "default"  # the word for None in TOML
# of a longer text only the length is shown: to search it for secrets, or to cut it before that, would be a risk
_LONGEST = 2000
# entries of a list: more of them do not fit into a short text
_MOST_ENTRIES = 30
_MOST_BITS = 180  # 55 digits


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
        first = raw[:_MOST_ENTRIES]
        nested = any(isinstance(entry, list | dict) for entry in first)
        return "a list" if nested else short(f"[{', '.join(map(shown, first))}]")
    if isinstance(raw, str):
        return short(toml(raw) if len(raw) <= _LONGEST else raw)
    if isinstance(raw, bool | float):
        return toml(raw)
    if isinstance(raw, int) and raw.bit_length() > _MOST_BITS:
        return "a number with too many digits"
    return str(raw)  # an integer, a date or a time


def short(text: str) -> str:
    """Return *text* without secrets, cut to 60 characters, printable; of a very long one only the length."""
    if len(text) > _LONGEST:
        return f"a text of {len(text)} characters"
    text = without_secrets(text)
    shortened = text if len(text) <= 60 else f"{text[:57]}..."
    return shortened if shortened.isprintable() else ascii(shortened)
