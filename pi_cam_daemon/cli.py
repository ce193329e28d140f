"""The command `pi-cam-daemon`: reads the command line, runs one command and turns errors into lines and exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from pi_cam_daemon import __version__
from pi_cam_daemon.commands import config
from pi_cam_daemon.commands.output import BAD_CONFIG, FAILED, INTERRUPTED, OK, USAGE, complain, sentence, written
from pi_cam_daemon.config import loading, saved
from pi_cam_daemon.errors import ConfigError, SourceError

_AFTER_HELP = f"""\
examples:
  pi-cam-daemon run --set 'source.kind="pattern"'       a test picture, without any camera
  pi-cam-daemon run --set http.port=8080 --set video.rotation=180
  pi-cam-daemon snapshot --config garden.toml garden.jpg
  pi-cam-daemon snapshot - | ssh desk 'cat > now.jpg'
  pi-cam-daemon config --origin
  sudo pi-cam-daemon add-user alice --admin
  pi-cam-daemon check-config /etc/pi-cam-daemon/config.toml

files, later ones win, key by key:
  {loading.DEFAULTS}  every setting, explained
  {loading.ETC}/config.toml
  {loading.ETC}/conf.d/*.toml
  {saved.file()}  the controls that were saved on request

exit status:
  {OK:3}  done
  {FAILED:3}  no camera, a port that is taken, or a file that cannot be written
  {USAGE:3}  wrong command line
  {os.EX_SOFTWARE:3}  a bug; its traceback is in the log
  {BAD_CONFIG:3}  wrong configuration
  {INTERRUPTED:3}  interrupted with Ctrl-C, which ends run with 0
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"pi-cam-daemon: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in *argv*, the process's own unless given, and return the exit code."""
    try:
        code = _run_command(argv)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read has seen enough (head, a closed pager). The interpreter flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _run_command(argv: Sequence[str] | None) -> int:
    parser = _parser()
    try:
        options = parser.parse_args(argv)
    except SystemExit as done:  # --help, --version or a wrong command line
        return int(done.code or OK)
    if options.command is None:
        parser.print_help()
        return USAGE
    try:
        return _dispatch(options)
    except ConfigError as error:
        for problem in error.problems:
            complain(problem)
        return BAD_CONFIG
    except SourceError as error:
        complain(sentence(error))
        return FAILED


def _parser() -> _Parser:
    shared = _Parser(add_help=False)
    group = shared.add_argument_group("configuration")
    group.add_argument("--config", metavar="FILE", type=Path, help=f"read FILE instead of everything in {loading.ETC}")
    group.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="settings",
        help="set one key over all files, the value in TOML: --set video.width=1280; may be repeated",
    )

    parser = _Parser(
        prog="pi-cam-daemon",
        description="Turns a Raspberry Pi with a camera into a camera on the LAN.",
        epilog=_AFTER_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pi-cam-daemon {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", prog="pi-cam-daemon", dest="command")

    def add(name: str, help: str, configured: bool) -> _Parser:
        added: _Parser = commands.add_parser(
            name, help=help, description=help, parents=[shared] if configured else [], allow_abbrev=False
        )
        return added

    add("run", "serve the camera until a signal ends it", configured=True)
    snapshot = add("snapshot", "take one picture and write it to a file", configured=True)
    snapshot.add_argument("out", metavar="OUT.jpg", help="the file, replaced in one step; - is standard output")
    add("list-cameras", "show the cameras that can be used", configured=False)
    check = add("check-config", "tell all that is wrong in a configuration", configured=False)
    check.add_argument("file", metavar="FILE", type=Path, nargs="?", help=f"instead of everything in {loading.ETC}")
    show = add("config", "show the configuration in force, as TOML", configured=True)
    form = show.add_mutually_exclusive_group()
    form.add_argument("--origin", action="store_true", help="also show which layer set each key")
    form.add_argument("--sha256", action="store_true", help="show its hash, by which /healthz names what is in force")
    support = add("support-bundle", "collect what helps others to help, without passwords and addresses", True)
    support.add_argument("out", metavar="OUT.tar.gz", nargs="?", default="pi-cam-daemon-support.tar.gz")
    add_user = add("add-user", "let somebody log in, or give him another password and role", configured=True)
    add_user.add_argument("name", metavar="NAME", help="the password is asked for, or read from standard input")
    add_user.add_argument("--admin", action="store_true", help="also change controls, not only look")
    remove_user = add("remove-user", "let somebody log in no more", configured=True)
    remove_user.add_argument("name", metavar="NAME")
    update = add("update", "install an artefact that somebody trusted has signed", configured=False)
    update.add_argument("source", metavar="FILE|URL", help="the artefact; its signature lies beside it as .sig")
    update.add_argument("--allow-downgrade", action="store_true", help="also one that is older than what serves")
    announce = add("announce", "tell avahi, and so the network, where the page is", configured=False)
    announce.add_argument("--withdraw", action="store_true", help="tell it no more")
    add("boot", "put pi-cam.toml of the boot partition in force, and name the machine", configured=False)
    add("boot-status", "write pi-cam-status.txt beside it", configured=False)
    add("first-boot", "install what a card's image lacks", configured=False)
    return parser


def _dispatch(options: argparse.Namespace) -> int:
    """Run the command. Most are imported only when they are asked for, so that `run` loads no more than it needs."""
    root = Path("/")
    match options.command:
        case "run":
            from pi_cam_daemon import daemon

            return daemon.run(partial(loading.load_both, options.config, options.settings))
        case "snapshot":
            from pi_cam_daemon.commands import snapshot

            return snapshot.run(options)
        case "list-cameras":
            from pi_cam_daemon.commands import cameras

            return cameras.run()
        case "check-config":
            return config.check(options)
        case "config":
            return config.show(options)
        case "support-bundle":
            from pi_cam_daemon.commands import support

            return support.run(options)
        case "add-user" | "remove-user":
            from pi_cam_daemon.commands import users

            return users.add(options) if options.command == "add-user" else users.remove(options)
        case "update":
            from pi_cam_daemon.commands import update

            return update.run(options)
        case "announce":
            from pi_cam_daemon.system import avahi

            if options.withdraw:
                return written(partial(avahi.withdraw, root))
            http = loading.in_force(root).http
            return written(partial(avahi.announce, root, http.scheme, http.port))
        case "boot":
            from pi_cam_daemon.boot import start

            return written(partial(start.run, root))
        case "boot-status":
            from pi_cam_daemon.boot import status_file

            return written(partial(status_file.write, root))
        case _:
            from pi_cam_daemon.boot import first_boot

            return OK if first_boot.run() else FAILED
