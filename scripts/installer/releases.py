"""The releases on the disk, side by side, and the link to the current one."""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import os
import py_compile
import re
import shutil
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from installer.artefact import Artefact
from installer.machine import PYTHON, Failed, remove, run, say

ROOT = Path("/opt/pi-cam-daemon")
RELEASES = ROOT / "releases"
CURRENT = ROOT / "current"
CONFIG = Path("/etc/pi-cam-daemon")
# the releases that passed their health check, one a line, oldest first
HISTORY = ROOT / "history"
# the settings that releases know from which this host went back, as section.key, one a line; the daemon reads it
NEWER_KEYS = ROOT / "newer-keys"
KEPT = 3
_SPARE_BYTES = 50_000_000
# long, because in the chroot of an image on a PC every instruction is emulated
_SMOKE_SECONDS = 600.0
# The program of a release. After an upgrade of Debian its Python finds none of its packages.
_COMMAND = """\
#!{final}/bin/python -sP
import os
import sys

if "{{}}.{{}}".format(*sys.version_info) != "{python}":
    print("pi-cam-daemon: this release was made for Python {python}, and this machine has another one now.\\n"
          "To make it fit: sudo {installer}", file=sys.stderr)
    if sys.argv[1:2] != ["support-bundle"]:
        sys.exit(1)
    # the bundle needs no compiled package
    os.environ["PYTHONPATH"] = "{final}/lib/python{python}/site-packages"
    sys.path.append(os.environ["PYTHONPATH"])
try:
    from pi_cam_daemon.cli import main
except ImportError as error:
    sys.exit(f"pi-cam-daemon: this release is damaged ({{error}}). To go back to the one before: "
             "sudo {installer} --rollback")

sys.exit(main())
"""


@contextlib.contextmanager
def lock(wait: bool = False) -> Iterator[None]:
    """Let one installation run at a time. The folder itself is locked, so that no lock file can be left behind.

    Raises Failed if another one runs, or with *wait* waits for its end.
    """
    ROOT.mkdir(exist_ok=True)
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        # an uninstallation may have removed the folder just before it was locked
        if not ROOT.exists() or not os.path.samestat(os.fstat(folder), ROOT.stat()):
            raise BlockingIOError
        yield
    except BlockingIOError:
        raise Failed("another installation is running; wait until it has ended") from None
    finally:
        os.close(folder)


def history() -> list[str]:
    """Return the releases that passed their health check and are still there, oldest first."""
    lines = HISTORY.read_text(errors="replace").split() if HISTORY.exists() else []
    return [release for release in lines if (RELEASES / release).is_dir()]


def write_history(releases: list[str]) -> None:
    """Keep the last of *releases* as the history."""
    part = HISTORY.with_suffix(".new")
    part.write_text("".join(f"{release}\n" for release in releases[-KEPT:]))
    os.sync()
    part.replace(HISTORY)


def current() -> str:
    """Return the release that the link points to, empty if there is none."""
    return CURRENT.readlink().name if CURRENT.is_symlink() else ""


def is_older(release: str, than: str) -> bool:
    """Return whether *release* has a lower version than *than*. The leading numbers count; 1.0 equals 1."""

    def numbers(name: str) -> list[int]:
        found = [int(number) for number in re.split(r"[^0-9.]", name)[0].split(".") if number]
        while found and not found[-1]:
            found.pop()
        return found

    return numbers(release) < numbers(than)


def switch(release: str) -> None:
    """Make *release* current, in one step."""
    part = CURRENT.with_suffix(".new")
    part.unlink(missing_ok=True)
    part.symlink_to(Path("releases") / release)
    # the whole release is on the disk before the link points to it
    os.sync()
    part.replace(CURRENT)


def remember_keys() -> None:
    """Note which settings the current release knows, before an older one takes its place.

    The configuration may have them by now. The daemon of the older release ignores those in this list.
    """
    keys = set(NEWER_KEYS.read_text().split()) if NEWER_KEYS.exists() else set()
    for defaults in (RELEASES / current()).glob("lib/*/site-packages/pi_cam_daemon/config/default.toml"):
        # a release that is damaged is still gone back from
        with contextlib.suppress(OSError, ValueError):
            tables = tomllib.loads(defaults.read_text())
            keys |= {f"{section}.{key}" for section, table in tables.items() for key in table}
    part = NEWER_KEYS.with_suffix(".new")
    part.write_text("".join(f"{key}\n" for key in sorted(keys)))
    part.replace(NEWER_KEYS)


def sweep(kept: Collection[str] = ()) -> None:
    """Remove older releases, those that never served, and what a killed installation left. Leave those *kept*."""
    for release in RELEASES.glob("[!.]*"):
        if release.name not in (*history(), *kept, current()):
            # rename first, in one step: half a release must not be taken for a whole one
            release.rename(RELEASES / f".old-{release.name}")
    parts = [path.with_suffix(".new") for path in (CURRENT, HISTORY, NEWER_KEYS)]
    for stale in [*RELEASES.glob(".*"), *parts]:
        # a process of a killed installation may still write into it; the next sweep removes it
        with contextlib.suppress(OSError):
            remove(stale)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Make a temporary folder on the disk of the releases. `sweep` removes it if this process is killed."""
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=RELEASES, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def room(size: int) -> int:
    """Return the bytes to install wheels of *size* bytes: packed, unpacked, and with their bytecode."""
    return size * 5 // 2 + _SPARE_BYTES


def check_room(size: int) -> None:
    """Raise Failed unless the disk has room for wheels of *size* bytes."""
    need = room(size)
    free = shutil.disk_usage(RELEASES).free
    if free < need:
        raise Failed(f"{RELEASES}: {need / 1e6:.0f} MB of space are needed, {free / 1e6:.0f} MB are free")


def stage(artefact: Artefact, excused: Callable[[Path], bool]) -> None:
    """Make the release of *artefact* beside the others, and test it. Do nothing if it is there and works.

    *excused* is as for `smoke`.
    """
    final = RELEASES / artefact.release
    if final.is_dir():
        try:
            smoke(final, excused)
        except Failed as error:
            say(f"{final.name} is here, but does not work: {error}")
        else:
            return
    say(f"preparing {final.name}")
    artefact.check()
    with scratch() as folder:
        new = folder / final.name
        fill(new, artefact, final)
        smoke(new, excused)
        os.sync()
        if final.exists():
            final.rename(folder / "broken")
        new.rename(final)


def fill(new: Path, artefact: Artefact, final: Path) -> None:
    """Make a virtual environment with the content of *artefact* in *new*, which is renamed to *final* later."""
    packages = new / "lib" / f"python{artefact.host.python}" / "site-packages"
    packages.mkdir(parents=True)
    # a virtual environment needs no more; python3-venv would add pip, and paths that are wrong after the renaming
    (new / "pyvenv.cfg").write_text(f"home = {Path(PYTHON).parent}\ninclude-system-site-packages = true\n")
    (new / "bin").mkdir()
    (new / "bin" / "python").symlink_to(PYTHON)
    for wheel in artefact.wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
    # only if the target has this Python, because the bytecode is for one version
    if artefact.host.python == "{}.{}".format(*sys.version_info):
        # in this process, so that nothing goes on after a kill; without a check, because a release never changes
        compileall.compile_dir(
            packages, quiet=2, rx=re.compile("/tests/"), stripdir=new, prependdir=final,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )  # fmt: skip
    command = new / "bin" / "pi-cam-daemon"
    # -s: no packages from the user's home
    command.write_text(_COMMAND.format(final=final, python=artefact.host.python, installer=CURRENT / "install"))
    command.chmod(0o755)
    for name in artefact.files:
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(artefact.folder / name, new / name)
    (new / "install").chmod(0o755)


def smoke(release: Path, excused: Callable[[Path], bool]) -> None:
    """Test *release* before the service is touched: it starts, accepts the configuration and makes a picture.

    A file that it refuses is a failure, unless the file is *excused*: the current release refuses it, too. That of the
    main service stands for all that this one reads.
    """
    # as in the service: without the Python settings of the person who installs
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with scratch() as folder:

        def attempt(*arguments: str | Path) -> None:
            python = (release / "bin" / "python", "-sP")
            run(*python, *arguments, cwd=folder, env=environment, timeout=_SMOKE_SECONDS)

        def accepts(file: Path, *arguments: str | Path) -> bool:
            try:
                attempt(*daemon, *arguments)
            except Failed as error:
                if not excused(file):
                    raise
                say(f"{release.name} refuses {file}, as the release that serves does: {error}")
                return False
            return True

        daemon = ("-m", "pi_cam_daemon")
        main, empty = CONFIG / "config.toml", folder / "empty.toml"
        empty.touch()
        try:
            attempt("-c", "import pi_cam_daemon.daemon")
            files = [] if accepts(main, "config") else [f"--config={empty}"]
            for camera in sorted(CONFIG.glob("cameras/*.toml")):
                accepts(camera, "check-config", camera)
            settings = ('source.kind="pattern"', f"source.start_timeout_seconds={_SMOKE_SECONDS:g}")
            attempt(*daemon, "snapshot", *files, *(f"--set={setting}" for setting in settings), folder / "picture.jpg")
        except Failed as error:
            raise Failed(f"{release.name} does not work here, nothing was changed: {error}") from None
