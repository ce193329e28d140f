"""The commands `add-user` and `remove-user`."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import sys
from functools import partial
from pathlib import Path

from pi_cam_daemon.commands.output import FAILED, OK, USAGE, complain, written
from pi_cam_daemon.config import loading, text, users


def add(options: argparse.Namespace) -> int:
    """Add a user, or change the password and role of one."""
    path, in_force = _users_file(options)
    role = users.Role.ADMIN if options.admin else users.Role.VIEWER
    if not users.is_name(options.name):
        complain(f"{text.short(options.name)} cannot be a name; accepted: {users.NAMES_ACCEPTED}")
        return USAGE
    password = _password()
    if not users.is_password(password):
        complain(f"this cannot be a password; accepted: {users.PASSWORDS_ACCEPTED}")
        return FAILED
    code = written(partial(users.add, path, options.name, role, password))
    if code == OK:
        print(f"{path}: {options.name} can log in as {role}; {in_force}")
    return code


def remove(options: argparse.Namespace) -> int:
    """Remove a user."""
    path, in_force = _users_file(options)
    if users.normal(options.name) not in users.read(path):
        complain(f"{path}: there is no {text.short(options.name)}")
        return FAILED
    code = written(partial(users.remove, path, options.name))
    if code == OK:
        print(f"{path}: {options.name} can no longer log in; {in_force}")
    return code


def _users_file(options: argparse.Namespace) -> tuple[Path, str]:
    """Return the file of users, and how a change of it is put in force."""
    reload = "sudo systemctl reload pi-cam-daemon puts that in force"
    if file := loading.load(options.config, options.settings).http.users_file:
        return Path(file), reload
    return users.USUAL_FILE, f'with users_file = "{users.USUAL_FILE}" under [http] in the configuration, {reload}'


def _password() -> str:
    """Read it from the terminal, twice and hidden, or from the first line of standard input; empty if there is none."""
    if not sys.stdin.isatty():
        return sys.stdin.buffer.readline().decode("utf-8", "surrogateescape").rstrip("\r\n")
    with contextlib.suppress(EOFError):
        while (password := getpass.getpass("Password: ")) != getpass.getpass("Once more: "):
            print("these differ", file=sys.stderr)
        return password
    return ""
