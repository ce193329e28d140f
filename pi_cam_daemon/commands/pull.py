"""The command `update` without a file: install the release at update.url, unless this machine has it.

The signature beside the release tells one release from another. It is a few hundred bytes, and the release itself is
fetched only when it has changed.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from pi_cam_daemon.commands import download
from pi_cam_daemon.commands.download import CutError, UpdateError
from pi_cam_daemon.commands.output import USAGE, complain
from pi_cam_daemon.commands.update import (
    INSTALLER,
    MOST_BYTES,
    MOST_SIGNATURE_BYTES,
    SIGNERS,
    as_root,
    check_installer,
    check_signers,
    verify,
)
from pi_cam_daemon.config import last_good
from pi_cam_daemon.system import files, pulled, setup
from pi_cam_daemon.system.pulled import Record, Result

_ROOT = Path("/")
# how often one run goes on with a connection that is cut again and again
_TRIES = 10
_CURRENT = "{} is what is offered"


def run(options: argparse.Namespace) -> int:
    """Install the release at update.url and return the exit status."""
    if options.allow_downgrade:
        complain("--allow-downgrade needs FILE|URL: what update.url offers is never older than what serves")
        return USAGE
    return as_root(partial(pull, last_good.in_force(_ROOT).update.url, options.scheduled))


def pull(url: str, scheduled: bool, root: Path = _ROOT) -> None:
    """Install the release at *url*, unless the machine below *root* has it. Raises UpdateError, and OSError.

    *scheduled*: for the timer, which may run without an address, and leaves runs out after failures.
    """
    check_installer(root / INSTALLER.relative_to("/"))
    if url:
        with _alone(root):
            _Channel(url, root).pull(scheduled)
    elif scheduled:
        pulled.remove(root)  # else /state would tell of a check that is no longer made
        print("update.url is not set, so there is nothing to do")
    else:
        raise UpdateError("name what to install: FILE or URL, or update.url in the configuration, see docs/image.md")


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Let one such update run at a time."""
    path = root / pulled.FOLDER
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o755)  # the daemon reads the record, whatever the umask of who was first
    folder = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UpdateError("another update is running; wait until it has ended") from None
    finally:
        os.close(folder)


class _Channel:
    """The release that is offered at *url*, and what the machine below *root* knows of it."""

    def __init__(self, url: str, root: Path) -> None:
        self._url = url
        self._root = root
        self._signers = root / SIGNERS.relative_to("/")
        self._installer = root / INSTALLER.relative_to("/")
        self._artefact = root / pulled.FOLDER / "artefact.tar.zst"
        self._signature = root / pulled.FOLDER / "artefact.tar.zst.sig"
        before = pulled.read(root)
        self._record = before if before.url == url else Record(url=url)

    def pull(self, scheduled: bool) -> None:
        """Install the release, unless it is installed, or this run is to be left out. Raises UpdateError."""
        left_out = scheduled and self._record.left_out > 0
        if left_out and self._record.result == Result.UNREACHABLE:
            self._leave_out()
            return
        with self._recorded(Result.FAILED):
            check_signers(self._signers)
        with self._recorded(Result.UNREACHABLE):
            self._ask()
        if self._record.outcome == Result.INSTALLED:
            self._tell_what_serves()
        elif left_out and self._record.outcome:
            self._leave_out()
        else:
            self._take()

    @contextlib.contextmanager
    def _recorded(self, result: Result) -> Iterator[None]:
        """Record *result* where the block raises UpdateError."""
        try:
            yield
        except UpdateError as error:
            self._keep(self._record.checked(result, str(error), time.time()))
            raise

    def _keep(self, record: Record) -> None:
        pulled.write(record, self._root)
        self._record = record

    def _leave_out(self) -> None:
        """Do nothing in this run, because so many before it failed."""
        record = replace(self._record, left_out=self._record.left_out - 1)
        print(f"{record.failures} failures in a row, so this run is left out, and {record.left_out} more")
        self._keep(record)

    def _ask(self) -> None:
        """Fetch the signature if it has changed. Raises UpdateError."""
        new = self._signature.with_suffix(".new")
        known = self._signature.exists() and _hash(self._signature) == self._record.signature
        address = f"{self._url}.sig"
        etag = download.fetch_changed(address, new, MOST_SIGNATURE_BYTES, self._record.etag if known else "")
        if etag is None:
            return
        if not files.read(new).startswith(b"-----BEGIN SSH SIGNATURE-----"):  # such as a hotel's page
            raise UpdateError(f"{address}: this is no signature")
        signature = _hash(new)
        new.replace(self._signature)
        if signature != self._record.signature:
            self._artefact.unlink(missing_ok=True)
            self._keep(replace(self._record, signature=signature, offered="", outcome="", failures=0, left_out=0))
        self._record = replace(self._record, etag=etag)

    def _tell_what_serves(self) -> None:
        """Record that the release was installed before, and whether it still is what serves."""
        self._artefact.unlink(missing_ok=True)
        offered, serves = self._record.offered, _serves(self._root)
        if offered == serves:
            result, detail = Result.CURRENT, _CURRENT.format(offered)
        else:
            result = Result.REPLACED
            detail = f"{offered} was installed, and {serves} serves now; {offered} is not installed again"
        print(detail)
        self._keep(self._record.checked(result, detail, time.time()))

    def _take(self) -> None:
        """Fetch the release, verify and install it. Raises UpdateError."""
        try:
            with self._recorded(Result.FAILED):
                self._fetch()
            try:
                self._try()
            finally:
                self._artefact.unlink(missing_ok=True)
        except UpdateError:
            self._keep(replace(self._record, outcome=self._record.result))
            raise

    def _try(self) -> None:
        """Verify and install the release that was fetched. Raises UpdateError."""
        with self._recorded(Result.REFUSED):
            print(f"signed by {verify(self._artefact, self._signature, self._signers)}")
            offered = self._name()
        self._record = replace(self._record, offered=offered)
        before = _serves(self._root)
        with self._recorded(Result.FAILED):
            self._install()
        result, detail = Result.INSTALLED, f"{offered} was installed"
        if before == offered:
            result, detail = Result.CURRENT, _CURRENT.format(offered)
        self._keep(replace(self._record, outcome=Result.INSTALLED).checked(result, detail, time.time()))
        # else a first boot that still waits for the network would install the image's older artefact
        waiting = self._root / setup.ARTEFACT
        if waiting.exists():
            shutil.move(self._artefact, waiting)

    def _fetch(self) -> None:
        """Fetch the release, from where an earlier run came to. Raises UpdateError."""
        begun_at = _size(self._artefact)
        for left in reversed(range(_TRIES)):
            before = _size(self._artefact)
            try:
                download.resume(self._url, self._artefact, MOST_BYTES)
            except CutError:
                size = _size(self._artefact)
                if left and size != before:
                    continue
                if size > begun_at:  # a weak network is slow, and not a failure that repeats
                    self._record = replace(self._record, failures=0)
                raise
            return

    def _name(self) -> str:
        """Return the release that was fetched. Raises UpdateError if it is older, or not for this machine."""
        argv: list[str | Path] = [self._installer, "--dry-run", "--no-downgrade", "--from", self._artefact]
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise UpdateError(f"refused: {_reason(done.stderr.splitlines())}")
        return done.stdout.strip()

    def _install(self) -> None:
        """Install the release that was fetched, and show the installer's output. Raises UpdateError."""
        # no apt: an update works without internet
        argv: list[str | Path] = [self._installer, "--no-apt", "--no-downgrade", "--from", self._artefact]
        lines = []
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, errors="replace") as process:
            for line in process.stderr or ():
                sys.stderr.write(line)
                lines.append(line)
        if process.returncode:
            raise UpdateError(f"not installed: {_reason(lines)}")


def _reason(lines: list[str]) -> str:
    """Return the end of the installer's output: its last two messages, without the lines of a log between them."""
    said = [line.strip().removeprefix("install: ") for line in lines if line.startswith("install: ")]
    return "; ".join(said[-2:]) or "the installer says nothing"


def _serves(root: Path) -> str:
    """Return the current release."""
    return (root / setup.CURRENT).readlink().name


def _hash(file: Path) -> str:
    return hashlib.sha256(files.read(file)).hexdigest()


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
