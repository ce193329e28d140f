"""Guess what somebody meant who typed an unknown command or argument."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from pi_cam_daemon.config import loading
from pi_cam_daemon.config.text import short

# words of other programs
_COMMANDS = {
    **dict.fromkeys(("start", "serve", "server", "stream", "daemon"), "run"),
    **dict.fromkeys(("photo", "picture", "capture", "still"), "snapshot"),
    **dict.fromkeys(("list", "devices"), "list-cameras"),
    **dict.fromkeys(("check", "test", "validate", "verify"), "check-config"),
    **dict.fromkeys(("settings", "show"), "config"),
    **dict.fromkeys(("logs", "support", "report"), "support-bundle"),
    **dict.fromkeys(("user", "adduser", "useradd", "passwd"), "add-user"),
    **dict.fromkeys(("deluser", "userdel"), "remove-user"),
    **dict.fromkeys(("upgrade", "install"), "update"),
    "help": "--help",
}


def unknown_command(words: Sequence[str], commands: Collection[str]) -> str:
    """Return that the first of *words* is not in *commands*, and what may be meant."""
    near = difflib.get_close_matches(words[0].lower(), commands, n=1, cutoff=0.75)
    meant = _COMMANDS.get(words[0].lower()) or next(iter(near), "")
    if not meant and (setting := meant_setting(words)):
        meant = f"run {setting}"
    wrong = f"{short(words[0])}: unknown command"
    return f"{wrong}; did you mean pi-cam-daemon {meant}?" if meant else f"{wrong}; accepted: {', '.join(commands)}"


def unknown_arguments(words: Sequence[str], settings: Sequence[str] | None) -> str:
    """Return that *words* are no arguments, and the setting that may be meant.

    *settings* are those of `--set`, None for a command that takes none.
    """
    wrong = f"unrecognized arguments: {' '.join(map(short, words))}"
    meant = "" if settings is None else meant_setting(words, settings)
    return f"{wrong}; did you mean {meant}?" if meant else wrong


def meant_setting(words: Sequence[str], settings: Sequence[str] = ()) -> str:
    """Return the `--set` for `--port 8080`, `http.port 8080` or `http.port=8080` in *words*; "" if there is none.

    It is also found if the key is in *settings*, those of `--set`, without a value.
    """
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.lstrip("-").partition("=")
        bare = [setting for setting in settings if "=" not in setting]
        if not equals and bare and not word.startswith("-"):
            name, value = bare[0], word
        elif not equals and not following.startswith("-"):
            value = following
        if (word.startswith("-") or equals or "." in name) and (setting := loading.meant(name, value)):
            return f"--set {setting}"
    return ""
