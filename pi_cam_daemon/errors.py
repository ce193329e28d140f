"""Expected failures. Every other exception is a bug."""

from __future__ import annotations

import enum


class Cause(enum.StrEnum):
    """The reason why there is no picture. Each has a no-signal picture of its own."""

    STARTING = "starting"
    MISSING = "missing"
    BROKEN = "broken"
    BUSY = "busy"
    PERMISSION = "permission"
    SETTINGS = "settings"
    LOST = "lost"
    CRASHED = "crashed"
    STILL = "still"
    STALLED = "stalled"
    WEDGED = "wedged"


class ConfigError(ValueError):
    """The configuration is wrong. *problems* lists each mistake: `file: key: what is wrong; what is accepted`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class CredentialsError(ConfigError):
    """A file that the configuration names cannot be used: users, certificate or key. It may be corrected later."""


class SourceError(OSError):
    """A camera is missing, lost or refuses its settings. *message* says so to a person, *hint* what to do, if known.

    *values* are the names, numbers and commands in both texts. With them and the cause, the page says the same in
    another language. docs/integrations.md lists their names.
    """

    def __init__(self, message: str, cause: Cause = Cause.LOST, hint: str = "", **values: str) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.hint = hint
        self.values = values


class ProtocolError(ValueError):
    """The other process sent an invalid message."""


class JpegError(ValueError):
    """These bytes are not one whole JPEG picture."""
