"""The commands `config` and `check-config`."""

from __future__ import annotations

import argparse

from pi_cam_daemon.commands.output import OK
from pi_cam_daemon.config import broker, loading, saved, text
from pi_cam_daemon.server import credentials
from pi_cam_daemon.system import redaction

_REDACTED = {"upstream.url": redaction.without_secrets, "events.webhook_url": redaction.host_only}


def check(options: argparse.Namespace) -> int:
    """Print that a configuration is correct. Raises ConfigError with everything that is wrong in it."""
    config = loading.load(options.file)
    credentials.read(config.http)
    credentials.webhook(config.events)
    broker.read(config.mqtt)
    is_default = options.file is None and not loading.files_in(loading.ETC)
    found = "there is no configuration file, so the defaults are in force" if is_default else "ok"
    print(f"{options.file or loading.ETC}: {found}")
    return OK


def show(options: argparse.Namespace) -> int:
    """Print the configuration in use as TOML, or its hash."""
    if options.sha256:
        print(loading.load(options.config, options.settings).sha256)
    else:
        print(settings(options, options.origin))
    return OK


def settings(options: argparse.Namespace, with_origin: bool) -> str:
    """Return the configuration in use as TOML, if *with_origin* each line with its layer. Raises ConfigError."""
    lines: list[str] = []
    for name, (value, layer) in loading.origins(options.config, options.settings, saved=saved.both_files()).items():
        section, _, key = name.partition(".")
        if f"[{section}]" not in lines:
            lines += ["", f"[{section}]"]
        if redact := _REDACTED.get(name):
            value = redact(value)
        line = f"{key} = {text.toml(value)}"
        lines.append(f"{line:<40}  # {layer}" if with_origin else line)
    return "\n".join(lines[1:])
