"""The command line: parse it, run one command, and turn expected errors into messages and exit statuses."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from pi_cam_daemon import __version__
from pi_cam_daemon.commands import arguments, config
from pi_cam_daemon.commands.output import BAD_CONFIG, FAILED, INTERRUPTED, OK, USAGE, complain, sentence, written
from pi_cam_daemon.config import last_good, loading, saved
from pi_cam_daemon.errors import ConfigError, SourceError
from pi_cam_daemon.system.leaving import leave

_AFTER_HELP = f"""\
examples:
  pi-cam-daemon run --set 'source.kind="pattern"'       a test picture, without a camera
  pi-cam-daemon run --set http.port=8080 --set video.rotation=180
  pi-cam-daemon snapshot --config garden.toml garden.jpg
  pi-cam-daemon snapshot - | ssh desk 'cat > now.jpg'
  pi-cam-daemon config --origin
  sudo pi-cam-daemon add-user alice --admin
  pi-cam-daemon check-config /etc/pi-cam-daemon/config.toml

files; later ones win, key by key:
  {loading.DEFAULTS}  every setting, explained
  {loading.ETC}/config.toml
  {loading.ETC}/conf.d/*.toml
  {saved.settings_file()}  the settings that were saved on the page
  {saved.controls_file()}  the saved controls
  the last two are in another folder if STATE_DIRECTORY names one

exit status:
  {OK:3}  done
  {FAILED:3}  no camera, a port in use, or a file that cannot be read or written
  {USAGE:3}  wrong command line
  {os.EX_SOFTWARE:3}  a bug; its traceback is in the log
  {BAD_CONFIG:3}  wrong configuration
  {INTERRUPTED:3}  interrupted with Ctrl-C, which ends run with 0
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        end = " See" if message.endswith("?") else "; see"
        self.exit(USAGE, f"pi-cam-daemon: {message}{end} {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in *argv*, by default sys.argv, and return the exit status."""
    try:
        code = _run_command(argv)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # the reader has ended, such as head or a pager; the interpreter would flush once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _run_command(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else list(argv)
    parser, commands = _parser()
    try:
        if words and words[0] not in (*commands, "-h", "--help", "--version"):
            parser.error(arguments.unknown_command(words, commands))
        options, rest = parser.parse_known_args(words)
        if rest:
            parser.error(arguments.unknown_arguments(rest, getattr(options, "settings", None)))
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


def _parser() -> tuple[_Parser, Collection[str]]:
    """Return the parser, and the names of the commands."""
    shared = _Parser(add_help=False)
    group = shared.add_argument_group("configuration")
    group.add_argument("--config", metavar="FILE", type=Path, help=f"read FILE instead of everything in {loading.ETC}")
    help = "set one key, such as video.width=1280, stronger than all files; VALUE is TOML; may be repeated"
    group.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="settings", help=help)

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
        parents = [shared] if configured else []
        return commands.add_parser(name, help=help, description=help, parents=parents, allow_abbrev=False)

    add("run", "serve the camera until a signal ends it", configured=True)
    snapshot = add("snapshot", "take one picture and write it to a file", configured=True)
    snapshot.add_argument("out", metavar="OUT.jpg", help="the file, replaced atomically; - is standard output")
    add("list-cameras", "show the cameras that can be used, and which one is", configured=True)
    add("record", "write clips of what happens in front of the camera that serves", configured=True)
    add("push", "copy clips and films to another machine", configured=True)
    check = add("check-config", "report all errors in a configuration", configured=False)
    check.add_argument("file", metavar="FILE", type=Path, nargs="?", help=f"instead of everything in {loading.ETC}")
    show = add("config", "show the configuration in force, as TOML", configured=True)
    form = show.add_mutually_exclusive_group()
    form.add_argument("--origin", action="store_true", help="also show which layer set each key")
    form.add_argument("--sha256", action="store_true", help="show only its hash, which /healthz shows as well")
    support = add("support-bundle", "collect logs and settings for a bug report, without passwords and addresses", True)
    support.add_argument("out", metavar="OUT.tar.gz", nargs="?", default="pi-cam-daemon-support.tar.gz")
    add_user = add("add-user", "add or change a user", configured=True)
    add_user.add_argument("name", metavar="NAME", help="the password is asked for, or read from standard input")
    add_user.add_argument("--admin", action="store_true", help="the user may also change controls and settings")
    remove_user = add("remove-user", "remove a user", configured=True)
    remove_user.add_argument("name", metavar="NAME")
    update = add("update", "install a release with a trusted signature", configured=False)
    which = update.add_mutually_exclusive_group()
    about = "the release; its signature is beside it, with .sig added; by default what update.url offers"
    which.add_argument("source", metavar="FILE|URL", nargs="?", help=about)
    which.add_argument("--scheduled", action="store_true", help="as the timer does: leave runs out after failures")
    update.add_argument("--allow-downgrade", action="store_true", help="also install an older release")
    announce = add("announce", "announce the page on the network by mDNS, with avahi", configured=False)
    announce.add_argument("--withdraw", action="store_true", help="stop announcing it")
    add("boot", "apply pi-cam.toml of the boot partition, and set the host name", configured=False)
    add("boot-status", "write pi-cam-status.txt to the boot partition", configured=False)
    add("watch-network", "mend a network that worked once and is lost", configured=False)
    add("first-boot", "install the packages that the image lacks", configured=False)
    return parser, commands.choices


def _dispatch(options: argparse.Namespace) -> int:
    """Run the command. Imports only what it needs: memory and time are scarce on a Zero."""
    match options.command:
        case "run":
            from pi_cam_daemon import daemon

            leave(daemon.run(last_good.ConfigFiles(options.config, options.settings)))
        case "record":
            from pi_cam_daemon.recording import recorder

            leave(recorder.run(last_good.ConfigFiles(options.config, options.settings)))
        case "push":
            from pi_cam_daemon.push import pusher

            return pusher.run(last_good.ConfigFiles(options.config, options.settings))
        case "snapshot":
            from pi_cam_daemon.commands import snapshot

            return snapshot.run(options)
        case "list-cameras":
            from pi_cam_daemon.commands import cameras

            return cameras.run(options)
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
            from pi_cam_daemon.commands import pull, update

            return update.run(options) if options.source else pull.run(options)
    from pi_cam_daemon.boot import first_boot, network_watch, start, status_file
    from pi_cam_daemon.system import avahi

    root = Path("/")
    match options.command:
        case "announce" if options.withdraw:
            return written(partial(avahi.withdraw, root))
        case "announce" if not avahi.is_installed(root):
            complain("avahi is not installed, and without it nothing is announced; sudo apt install avahi-daemon")
            return FAILED
        case "announce":
            http = last_good.in_force(root).http
            return written(partial(avahi.announce, root, http.scheme, http.port))
        case "boot":
            return written(partial(start.run, root))
        case "boot-status":
            return written(partial(status_file.write, root))
        case "watch-network":
            return written(partial(network_watch.run, root))
    return OK if first_boot.run() else FAILED
