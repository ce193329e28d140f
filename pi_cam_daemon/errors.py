"""The failures we expect. Anything else is a bug and ends the process with a traceback."""

from __future__ import annotations

import enum


class Cause(enum.StrEnum):
    """Why there is no picture, in one word: it chooses the card that viewers see."""

    STARTING = "starting"
    MISSING = "missing"
    BUSY = "busy"
    PERMISSION = "permission"
    SETTINGS = "settings"
    LOST = "lost"
    CRASHED = "crashed"
    STILL = "still"
    STALLED = "stalled"
    WEDGED = "wedged"


class ConfigError(ValueError):
    """The configuration cannot be used.

    *problems* holds every one of them, each a sentence `file: key: what is wrong, what is accepted`.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class SourceError(OSError):
    """A camera is missing, refuses its settings or was lost; trying again later may help.

    *message* is one sentence for a person; *hint*, where there is one, says what that person can do.
    """

    def __init__(self, message: str, cause: Cause = Cause.LOST, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.hint = hint


class ProtocolError(ValueError):
    """What came from the other process is not a message of ours."""


class JpegError(ValueError):
    """These bytes are not one whole JPEG picture."""
