"""The command `pi-cam-daemon`: reads the command line, runs one command and turns errors into lines and exit codes."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn, TypeVar

from pi_cam_daemon import __version__, guard, layers, saved
from pi_cam_daemon.errors import ConfigError, SourceError
from pi_cam_daemon.redaction import without_secrets
from pi_cam_daemon.text import short, toml

if TYPE_CHECKING:
    from pi_cam_daemon.sources.csi import Camera as CsiCamera
    from pi_cam_daemon.sources.usb import Camera as UsbCamera

_Camera = TypeVar("_Camera")

OK = 0
FAILED = 1
USAGE = 2
# trying again helps nothing, so the unit has it in RestartPreventExitStatus
BAD_CONFIG = os.EX_CONFIG
# as the shell has it for a command that SIGINT ended
INTERRUPTED = 130

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
  {layers.DEFAULTS}  every setting, explained
  {layers.ETC}/config.toml
  {layers.ETC}/conf.d/*.toml
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
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except ConfigError as error:
        for problem in error.problems:
            _complain(problem)
        return BAD_CONFIG
    except SourceError as error:
        _complain(_sentence(error))
        return FAILED


def _parser() -> _Parser:
    shared = _Parser(add_help=False)
    group = shared.add_argument_group("configuration")
    group.add_argument("--config", metavar="FILE", type=Path, help=f"read FILE instead of everything in {layers.ETC}")
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
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", prog="pi-cam-daemon")

    def add(name: str, command: Callable[[argparse.Namespace], int], help: str, configured: bool) -> _Parser:
        added: _Parser = commands.add_parser(
            name, help=help, description=help, parents=[shared] if configured else [], allow_abbrev=False
        )
        added.set_defaults(command=command)
        return added

    add("run", _run, "serve the camera until a signal ends it", configured=True)
    snapshot = add("snapshot", _snapshot, "take one picture and write it to a file", configured=True)
    snapshot.add_argument("out", metavar="OUT.jpg", help="the file, replaced in one step; - is standard output")
    add("list-cameras", _list_cameras, "show the cameras that can be used", configured=False)
    check = add("check-config", _check_config, "tell all that is wrong in a configuration", configured=False)
    check.add_argument("file", metavar="FILE", type=Path, nargs="?", help=f"instead of everything in {layers.ETC}")
    show = add("config", _config, "show the configuration in force, as TOML", configured=True)
    form = show.add_mutually_exclusive_group()
    form.add_argument("--origin", action="store_true", help="also show which layer set each key")
    form.add_argument("--sha256", action="store_true", help="show its hash, by which /healthz names what is in force")
    support = add(
        "support-bundle", _support_bundle, "collect what helps others to help, without passwords and addresses", True
    )
    support.add_argument("out", metavar="OUT.tar.gz", nargs="?", default="pi-cam-daemon-support.tar.gz")
    add_user = add("add-user", _add_user, "let somebody log in, or give him another password and role", configured=True)
    add_user.add_argument("name", metavar="NAME", help="the password is asked for, or read from standard input")
    add_user.add_argument("--admin", action="store_true", help="also change controls, not only look")
    remove_user = add("remove-user", _remove_user, "let somebody log in no more", configured=True)
    remove_user.add_argument("name", metavar="NAME")
    update = add("update", _update, "install an artefact that somebody trusted has signed", configured=False)
    update.add_argument("source", metavar="FILE|URL", help="the artefact; its signature lies beside it as .sig")
    update.add_argument("--allow-downgrade", action="store_true", help="also one that is older than what serves")
    announce = add("announce", _announce, "tell avahi, and so the network, where the page is", configured=False)
    announce.add_argument("--withdraw", action="store_true", help="tell it no more")
    add("boot", _boot, "put pi-cam.toml of the boot partition in force, and name the machine", configured=False)
    add("boot-status", _boot_status, "write pi-cam-status.txt beside it", configured=False)
    add("first-boot", _first_boot, "install what a card's image lacks", configured=False)
    return parser


def _run(options: argparse.Namespace) -> int:
    from pi_cam_daemon import daemon

    return daemon.run(partial(layers.load_both, options.config, options.settings))


def _check_config(options: argparse.Namespace) -> int:
    guard.read(layers.load(options.file).http)
    print(f"{options.file or layers.ETC}: ok")
    return OK


def _config(options: argparse.Namespace) -> int:
    if options.sha256:
        print(layers.load(options.config, options.settings).sha256)
    else:
        print(_settings(options, options.origin))
    return OK


def _settings(options: argparse.Namespace, with_origin: bool) -> str:
    """The configuration in force, as TOML. Raises ConfigError."""
    lines: list[str] = []
    for name, (value, layer) in layers.origins(options.config, options.settings, saved=saved.file()).items():
        section, _, key = name.partition(".")
        if f"[{section}]" not in lines:
            lines += ["", f"[{section}]"]
        if name == "upstream.url":
            value = without_secrets(value)
        line = f"{key} = {toml(value)}"
        lines.append(f"{line:<40}  # {layer}" if with_origin else line)
    return "\n".join(lines[1:])


def _list_cameras(_: argparse.Namespace) -> int:
    from pi_cam_daemon.sources import csi, usb

    print(camera_list(_found(csi.cameras), _found(usb.cameras)))
    return OK


def _found(look: Callable[[], list[_Camera]]) -> list[_Camera] | SourceError:
    try:
        return look()
    except SourceError as error:
        return error


def camera_list(csi: Sequence[CsiCamera] | SourceError, usb: Sequence[UsbCamera] | SourceError) -> str:
    """What `list-cameras` prints: a line for each camera, or why there is none; the test picture in any case."""
    if isinstance(csi, SourceError):
        lines = [f"no CSI camera: {_sentence(csi)}"]
    else:
        lines = [f"csi      {camera.index}  {camera.name}  {camera.id}" for camera in csi]
        lines = lines or ["no CSI camera: picamera2 finds none; check the ribbon cable"]
    if isinstance(usb, SourceError):
        lines.append(f"no USB camera: {_sentence(usb)}")
    else:
        lines += [f"usb      {camera.path}  {camera.name}" for camera in usb] or ["no USB camera: none is plugged in"]
    return "\n".join([*lines, "pattern  a moving test picture, always there"])


def _snapshot(options: argparse.Namespace) -> int:
    from pi_cam_daemon import snapshot

    wanted = layers.load(options.config, options.settings, saved=saved.file())
    try:
        with _output(options.out) as file:
            file.write(snapshot.take(wanted))
    except (SourceError, BrokenPipeError):
        raise
    except OSError as error:
        _complain(f"{options.out}: {error.strerror}")
        return FAILED
    return OK


def _support_bundle(options: argparse.Namespace) -> int:
    from pi_cam_daemon import support

    def address() -> tuple[str, int]:
        try:
            http = layers.load(options.config, options.settings).http
        except ConfigError as error:
            raise support.Unavailable("the configuration is wrong") from error
        return http.listen_address or "127.0.0.1", http.port

    def settings() -> str:
        try:
            return _settings(options, with_origin=True)
        except ConfigError as error:
            raise support.Unavailable("\n".join(error.problems)) from error

    try:
        with _output(options.out) as file:
            file.write(support.bundle(settings, address))
    except BrokenPipeError:
        raise
    except OSError as error:
        _complain(f"{options.out}: {error.strerror}")
        return FAILED
    if options.out != "-":
        print(f"{options.out}: please look through it before you hand it on")
    return OK


def _add_user(options: argparse.Namespace) -> int:
    from pi_cam_daemon import users

    path, in_force = _users_file(options)
    role = users.Role.ADMIN if options.admin else users.Role.VIEWER
    if not users.is_name(options.name):
        _complain(f"{short(options.name)} cannot be a name; accepted: {users.NAMES_ACCEPTED}")
        return USAGE
    password = _password()
    if not users.is_password(password):
        _complain(f"this cannot be a password; accepted: {users.PASSWORDS_ACCEPTED}")
        return FAILED
    code = _written(partial(users.add, path, options.name, role, password))
    if code == OK:
        print(f"{path}: {options.name} can log in as {role}; {in_force}")
    return code


def _remove_user(options: argparse.Namespace) -> int:
    from pi_cam_daemon import users

    path, in_force = _users_file(options)
    if users.normal(options.name) not in users.read(path):
        _complain(f"{path}: there is no {short(options.name)}")
        return FAILED
    code = _written(partial(users.remove, path, options.name))
    if code == OK:
        print(f"{path}: {options.name} can no longer log in; {in_force}")
    return code


def _users_file(options: argparse.Namespace) -> tuple[Path, str]:
    """The file of users, and how a change of it is put in force."""
    from pi_cam_daemon import users

    reload = "sudo systemctl reload pi-cam-daemon puts that in force"
    if file := layers.load(options.config, options.settings).http.users_file:
        return Path(file), reload
    return users.USUAL_FILE, f'with users_file = "{users.USUAL_FILE}" under [http] in the configuration, {reload}'


def _password() -> str:
    """From the terminal, twice and without showing it, or the first line of standard input; empty if there is none."""
    if not sys.stdin.isatty():
        return sys.stdin.buffer.readline().decode("utf-8", "surrogateescape").rstrip("\r\n")
    import getpass

    with contextlib.suppress(EOFError):
        while (password := getpass.getpass("Password: ")) != getpass.getpass("Once more: "):
            print("these differ", file=sys.stderr)
        return password
    return ""


def _update(options: argparse.Namespace) -> int:
    from pi_cam_daemon import update

    try:
        update.update(options.source, options.allow_downgrade)
    except update.UpdateError as error:
        _complain(str(error))
        return FAILED
    return OK


def _announce(options: argparse.Namespace) -> int:
    from pi_cam_daemon import announcement

    root = Path("/")
    if options.withdraw:
        return _written(partial(announcement.withdraw, root))
    http = layers.in_force(root).http
    return _written(partial(announcement.announce, root, http.scheme, http.port))


def _boot(_: argparse.Namespace) -> int:
    from pi_cam_daemon.boot import start

    return _written(partial(start.run, Path("/")))


def _boot_status(_: argparse.Namespace) -> int:
    from pi_cam_daemon.boot import status_file

    return _written(partial(status_file.write, Path("/")))


def _written(write: Callable[[], None]) -> int:
    try:
        write()
    except OSError as error:  # a full card, one that can only be read, no root
        _complain(f"{error.filename}: {error.strerror}")
        return FAILED
    return OK


def _first_boot(_: argparse.Namespace) -> int:
    from pi_cam_daemon.boot import first_boot

    return OK if first_boot.run() else FAILED


@contextlib.contextmanager
def _output(out: str) -> Iterator[BinaryIO]:
    """Standard output for `-`, else a file that takes the place of *out* when it is complete: nobody reads half of it.

    Open from the start, so that a place that cannot be written is told before the camera is waited for.
    """
    path = Path(out)
    if out == "-":
        with open(sys.stdout.fileno(), "wb", closefd=False) as file:
            yield file
    elif path.exists() and not path.is_file():  # a device must not be replaced; a folder is refused by open()
        with path.open("wb") as file:
            yield file
    else:
        path = path.resolve()  # a link stays, what it points to is replaced
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with part.open("xb") as file:
                yield file
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _sentence(error: SourceError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message


def _complain(problem: str) -> None:
    print(f"pi-cam-daemon: {problem}", file=sys.stderr)
