"""The commands `add-user` and `remove-user`, which change the file of users."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import shlex
import sys
from functools import partial
from pathlib import Path

from pi_cam_daemon.commands.output import FAILED, USAGE, complain, written
from pi_cam_daemon.config import loading, text, users

# systemd.unit(5); scripts/install has the unit in the second, the Debian package in one of the others
_UNIT_FOLDERS = "etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"


def add(options: argparse.Namespace) -> int:
    """Add a user, or change a user's password and role. Return the exit status."""
    path, hint = _users_file(options)
    role = users.Role.ADMIN if options.admin else users.Role.VIEWER
    if not users.is_name(options.name):
        complain(f"{text.short(options.name)} cannot be a name; accepted: {users.NAMES_ACCEPTED}")
        return USAGE
    password = _password()
    if not users.is_password(password):
        complain(f"this cannot be a password; accepted: {users.PASSWORDS_ACCEPTED}")
        return FAILED
    message = f"{path}: {options.name} can log in as {role}; {hint}"
    return written(partial(users.add, path, options.name, role, password), str(path), message)


def remove(options: argparse.Namespace) -> int:
    """Remove a user. Return the exit status."""
    path, hint = _users_file(options)
    if users.normal(options.name) not in users.read(path):
        complain(f"{path}: there is no user {text.short(options.name)}")
        return FAILED
    message = f"{path}: {options.name} can no longer log in; {hint}"
    return written(partial(users.remove, path, options.name), str(path), message)


def _users_file(options: argparse.Namespace) -> tuple[Path, str]:
    """Return the path of the file of users, and a hint on how to apply a change of it."""
    file = loading.load(options.config, options.settings).http.users_file
    how = "to apply it" if file else f'set http.users_file = "{users.USUAL_FILE}" in the configuration, then'
    return Path(file or users.USUAL_FILE), f"{how}: {reload_command(options.config)}"


def reload_command(config: Path | None, root: Path = Path("/")) -> str:
    """Return the command that reloads the daemon whose configuration is the file *config*, or else that in /etc.

    *root* is the root directory. Where it has no unit of systemd, somebody runs the daemon by hand.
    """
    if config is None and not any((root / folder / "pi-cam-daemon.service").exists() for folder in _UNIT_FOLDERS):
        return "send SIGHUP to pi-cam-daemon, or start it again"
    if config is None:
        return "sudo systemctl reload pi-cam-daemon"
    if config.absolute().parent == loading.ETC / "cameras":
        return f"sudo systemctl reload pi-cam-daemon@{shlex.quote(config.stem)}"
    return f"send SIGHUP to the daemon that reads {config}, or restart it"


def _password() -> str:
    """Return a password typed twice at the terminal, or the first line of standard input; empty if there is none."""
    if not sys.stdin.isatty():
        return sys.stdin.buffer.readline().decode("utf-8", "surrogateescape").rstrip("\r\n")
    with contextlib.suppress(EOFError):
        while (password := getpass.getpass("Password: ")) != getpass.getpass("Once more: "):
            print("the passwords differ", file=sys.stderr)
        return password
    return ""
