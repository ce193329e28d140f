"""Exit statuses, messages on standard error, and files that appear only when they are complete."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pi_cam_daemon.errors import SourceError

OK = 0
FAILED = 1
USAGE = 2
# trying again helps nothing, so the unit has it in RestartPreventExitStatus
BAD_CONFIG = os.EX_CONFIG
# as the shell has it for a command that SIGINT ended
INTERRUPTED = 130


def complain(problem: str) -> None:
    """Print *problem* on standard error."""
    print(f"pi-cam-daemon: {problem}", file=sys.stderr)


def sentence(error: SourceError) -> str:
    """Return the message of *error* with its hint."""
    return f"{error.message}; {error.hint}" if error.hint else error.message


def save(out: str, make: Callable[[], bytes]) -> int:
    """Write what *make* returns to the file *out*, `-` for standard output; return the exit status.

    The file is opened first, so that a place that cannot be written is told before the camera is waited for.
    """
    try:
        with _opened(out) as file:
            file.write(make())
    except (SourceError, BrokenPipeError):
        raise
    except OSError as error:
        complain(f"{out}: {error.strerror}")
        return FAILED
    return OK


def written(write: Callable[[], None]) -> int:
    """Call *write* and return the exit status; tell which file could not be written, and why."""
    try:
        write()
    except OSError as error:  # a full card, one that can only be read, no root
        complain(f"{error.filename}: {error.strerror}")
        return FAILED
    return OK


@contextlib.contextmanager
def _opened(out: str) -> Iterator[BinaryIO]:
    """Open standard output for `-`, else a file that replaces *out* when it is complete: nobody reads half of it."""
    path = Path(out)
    if out == "-":
        with open(sys.stdout.fileno(), "wb", closefd=False) as file:
            yield file
    elif path.exists() and not path.is_file():  # a device must not be replaced; a folder is refused by open()
        with path.open("wb") as file:
            yield file
    else:
        path = path.resolve()  # a link stays, what it points to is replaced
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with part.open("xb") as file:
                yield file
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
