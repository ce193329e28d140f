"""The part of a file that a client asks for (RFC 9110, section 14)."""

from __future__ import annotations

import re

_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII | re.IGNORECASE)


def asked(field: str, size: int) -> tuple[int, int] | None:
    """Return begin and end of what *field*, a Range, asks of *size* bytes. None for all: no range, or more than one.

    Raises ValueError if there is no such part.
    """
    found = _RANGE.fullmatch(field)
    if not found or not (found[1] or found[2]):
        return None
    if not found[1]:  # so many bytes at the end
        begin, end = max(0, size - int(found[2])), size
    else:
        begin, end = int(found[1]), min(size, int(found[2] or size) + 1)
        if found[2] and int(found[2]) < begin:  # malformed
            return None
    if begin >= end:
        raise ValueError
    return begin, end
