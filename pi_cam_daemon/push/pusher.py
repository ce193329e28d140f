"""The map of the pusher: look at the folder, send one file after the other, and tell systemd and the daemon of it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from pi_cam_daemon.config import saved, secret
from pi_cam_daemon.config.last_good import ConfigFiles
from pi_cam_daemon.push.commands import Commands, NotReadyError
from pi_cam_daemon.push.memory import Memory
from pi_cam_daemon.push.outbox import File, Outbox
from pi_cam_daemon.push.sending import Sending, limit
from pi_cam_daemon.system import beside, logs, pushed
from pi_cam_daemon.system.beside import Teller
from pi_cam_daemon.system.logs import LogThrottle
from pi_cam_daemon.system.pushed import Record
from pi_cam_daemon.system.wakeups import Wakeups

log = logging.getLogger(__name__)

MEMORY, LOCK = "pushed.json", "pushed.lock"
_FAILED = 1
_LOOK_SECONDS = 30.0
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 30.0, 3600.0
_TOLD_SECONDS = 6 * 3600.0  # the same problem is logged once in this time


def run(files: ConfigFiles) -> int:
    """Copy recordings until SIGTERM or SIGINT, and return the exit status. Raises ConfigError. SIGUSR1: try at once."""
    teller = Teller(pushed.PLACE, saved.folder())
    config = files.load_any().config
    logs.setup(config.log.level)
    if not config.push.url:
        teller.nothing_to_do("push.url is empty, so nothing is copied")
        return os.EX_OK
    if config.push.credentials_file:  # only whether it can be read: curl or rclone reads what is in it
        secret.read("push.credentials_file", Path(config.push.credentials_file))
    home, folder = saved.folder().absolute(), saved.clips_folder(config.recordings.folder)
    lock = beside.lock(home / LOCK)
    if lock is None:
        log.error("another pusher works here, or what one that was killed had begun; try again later")
        return _FAILED
    wakeups = Wakeups()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(number, lambda number, _: wakeups.put(number))

    if not config.recordings.folder:  # the recorder's own, which it makes, too
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
    outbox = Outbox(folder, Memory(home / MEMORY, config.push.url))
    commands = Commands(config.push.url, config.push.credentials_file, home)
    pusher = Pusher(outbox, commands, config.push.delete_after, lock)
    while True:
        wait = pusher.turn(time.monotonic())
        teller.tell(pusher.record())
        wakeup = wakeups.get(wait)
        if wakeup in (signal.SIGTERM, signal.SIGINT):
            break
        if wakeup == signal.SIGUSR1:
            pusher.hurry()
    teller.stop()
    pusher.close()
    teller.end()
    return os.EX_OK


def wait_seconds(failures: int) -> float:
    """Return how long to wait after so many *failures* in a row."""
    return float(min(_FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 20), _LONGEST_RETRY_SECONDS))


class Pusher:
    """Sends what is in *outbox* with *commands*, one file at a time. *delete_after*: it is removed here afterwards.

    The commands hold the descriptors *lock*.
    """

    def __init__(self, outbox: Outbox, commands: Commands, delete_after: bool, lock: Sequence[int]) -> None:
        self._outbox = outbox
        self._commands = commands
        self._delete_after = delete_after
        self._lock = lock
        self._sending: tuple[File, Sending] | None = None
        self._changed_at: int | None = None  # of the file that is being sent
        self._look_at = self._retry_at = 0.0
        self._failures = self._sent = 0
        self._problem = self._folder_problem = ""
        self._told = LogThrottle(_TOLD_SECONDS, 8)

    def turn(self, now: float) -> float:
        """Do what is due at *now*, CLOCK_MONOTONIC, and return in how many seconds the next turn is due."""
        if self._sending:
            file, sending = self._sending
            ended = sending.ended(now)
            if ended:
                self._sending = None
                self._take(file, self._commands.problem(*ended), now)
        if now >= self._look_at:
            self._look(now)
        if not self._sending and now >= self._retry_at and self._outbox.files:
            self._start(self._outbox.files[0], now)
        return max(0.1, self._look_at - now)

    def hurry(self) -> None:
        """Make a look and an attempt due now."""
        self._look_at = self._retry_at = 0.0

    def _look(self, now: float) -> None:
        self._look_at = now + _LOOK_SECONDS
        self._folder_problem = ""
        try:
            self._outbox.look(now)
            if not self._outbox.files:  # what could not be sent was removed
                self._problem, self._failures = "", 0
            if self._delete_after:
                self._outbox.remove_sent()
        except OSError as error:
            self._folder_problem = f"{error.filename}: {error.strerror}"
            self._tell(self._folder_problem, now)

    def _start(self, file: File, now: float) -> None:
        self._changed_at = _changed_at(file.path)
        if self._changed_at is None:  # removed since the last look
            self._look_at = now
            return
        try:
            argv = self._commands.send(file.path)
            self._sending = file, Sending(argv, self._commands.environment, now, limit(file.size), self._lock)
        except (NotReadyError, OSError) as error:
            self._fail(str(error), now)

    def _take(self, file: File, problem: str, now: float) -> None:
        """Take note of how the sending of *file* ended."""
        self._look_at = now
        changed_at = _changed_at(file.path)
        if problem and changed_at is None:
            return
        if not problem and changed_at not in (None, self._changed_at):
            problem = "it changed while it was copied; is push.url another way to recordings.folder?"
        if problem:
            self._outbox.failed(file)
            self._fail(f"{file.path.name}: {problem}", now, problem)
            return
        if self._problem:
            log.info("copying again")
        self._problem, self._failures = "", 0
        self._sent += 1
        try:
            self._outbox.succeeded(file)
        except OSError as error:
            self._tell(f"what was copied cannot be remembered: {error.filename}: {error.strerror}", now)

    def _fail(self, problem: str, now: float, kind: str = "") -> None:
        """Wait for longer after each failure. A problem of the same *kind* is not logged again."""
        self._failures += 1
        self._problem, self._retry_at = problem, now + wait_seconds(self._failures)
        self._tell(f"nothing is copied to {self._commands.where}: {problem}", now, kind)

    def _tell(self, problem: str, now: float, kind: str = "") -> None:
        if self._told.due(kind or problem, now):
            log.error("%s", problem)

    def record(self) -> Record:
        """Return what the pusher tells of itself."""
        queue = len(self._outbox.files)
        file = self._sending[0].path.name if self._sending else ""
        there = f"{queue} to go, {self._sent} copied"
        if problem := self._folder_problem or self._problem:
            state, detail = "failing", f"{problem} ({there})"
        elif file:
            state, detail = "sending", f"Copying {file} to {self._commands.where}; {there}"
        else:
            state, detail = "waiting", f"Waiting for recordings; {there}"
        return Record(os.getpid(), state, detail, file, queue, self._sent)

    def close(self) -> None:
        """End the sending. The file is sent again another time."""
        if self._sending:
            self._sending[1].kill()


def _changed_at(path: Path) -> int | None:
    """Return when the file at *path* was changed, in ns; None if there is none, and 0 if nobody can tell.

    It is opened for that: a disk of the network may remember the facts of a file that was replaced.
    """
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    except OSError:  # who sends the file says why
        return 0
