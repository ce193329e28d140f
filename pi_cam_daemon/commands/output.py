"""Exit statuses, messages on standard error, and files that appear only when they are complete."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pi_cam_daemon.errors import SourceError

OK = 0
FAILED = 1
USAGE = 2
# a restart does not help, so RestartPreventExitStatus= in the unit has it
BAD_CONFIG = os.EX_CONFIG
# as the shell reports a command that SIGINT ended: 128 + 2
INTERRUPTED = 130


def complain(problem: str) -> None:
    """Print *problem* on standard error."""
    print(f"pi-cam-daemon: {problem}", file=sys.stderr)


def sentence(error: SourceError) -> str:
    """Return the message of *error* with its hint."""
    return f"{error.message}; {error.hint}" if error.hint else error.message


def save(out: str, make: Callable[[], bytes]) -> int:
    """Write what *make* returns to the file *out*, or to standard output for `-`. Return the exit status.

    The file is opened first: if that fails, the user need not wait for the camera to learn of it.
    """

    def write() -> None:
        with _opened(out) as file:
            file.write(make())

    return written(write, out)


def written(write: Callable[[], None], path: str = "", message: str = "") -> int:
    """Call *write*, print *message*, return the exit status. On an OSError print *path* or the error's, and why."""
    try:
        write()
    except (SourceError, BrokenPipeError):
        raise
    except OSError as error:  # such as a full card
        hint = "; run it with sudo" if isinstance(error, PermissionError) and os.geteuid() else ""
        complain(f"{path or error.filename}: {error.strerror}{hint}")
        return FAILED
    if message:
        print(message)
    return OK


@contextlib.contextmanager
def _opened(out: str) -> Iterator[BinaryIO]:
    """Open standard output for `-`, else a temporary file that replaces *out* when it is complete. Raises OSError.

    A new file is for its owner alone. In a folder such as /tmp others may have put a link or a pipe at *out*, which
    would let them choose a file to be overwritten, or read what is written.
    """
    path = Path(out)
    if out == "-":
        with open(sys.stdout.fileno(), "wb", closefd=False) as file:
            yield file
    elif path.is_symlink():
        raise OSError(errno.ELOOP, "this is a symbolic link, which is not followed; name the file itself, or -", out)
    elif path.exists() and not path.is_file():  # a device must not be replaced; a folder is refused by open()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "wb") as file:
            found = os.fstat(file.fileno())
            if stat.S_ISFIFO(found.st_mode) and found.st_uid not in (0, os.geteuid()):
                raise OSError(errno.EACCES, "this pipe belongs to somebody else", out)
            yield file
    else:
        import tempfile  # here, since the daemon loads this module and needs no temporary files

        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        part = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
