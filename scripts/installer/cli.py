"""The command line of `install`."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from pathlib import Path

from installer import commands, offer, report, service
from installer.machine import PYTHON, Failed, say
from installer.releases import CONFIG

# a Zero 2 W needs long to start
_HEALTH_SECONDS = 90.0
_SETTLE_SECONDS = 3.0
_SOAK_SECONDS = 60.0


def main(doc: str) -> int:
    """Run the command line and return the exit status. *doc* is the text for --help."""
    summary, _, usage = doc.partition("\n")
    parser = argparse.ArgumentParser(
        "install", description=summary, epilog=usage, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="install [OPTION...]", allow_abbrev=False,
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--from", metavar="SOURCE", type=Path, dest="source", help="an artefact, a wheel or a checkout")
    what.add_argument("--rollback", action="store_true", help="go back to the previous release")
    what.add_argument("--uninstall", action="store_true", help=f"remove everything but {CONFIG} and saved settings")
    what.add_argument("--status", action="store_true", help="show the releases, the units and their health")
    what.add_argument("--build-artefact", metavar="OUT.tar.zst", type=Path, dest="out", help="build an artefact")
    parser.add_argument("--json", action="store_true", help="with --status: for programs, everything as JSON")
    parser.add_argument("--wake", action="store_true", help="with --json: ask cameras that sleep for a picture")
    parser.add_argument("--purge", action="store_true", help=f"with --uninstall: {CONFIG} and saved settings, too")
    parser.add_argument("--for", metavar="TARGET,...", dest="targets", help="with --build-artefact: only for these")
    parser.add_argument("--no-apt", action="store_true", help="do not install Debian packages")
    parser.add_argument("--dry-run", action="store_true", help="with --from ARTEFACT: only print the release's name")
    parser.add_argument("--no-downgrade", action="store_true", help="refuse a version older than the current one")
    parser.add_argument(
        "--health-seconds", metavar="N", type=float, default=_HEALTH_SECONDS,
        help=f"seconds for a release to serve, and to give pictures if there were any; default {_HEALTH_SECONDS:.0f}",
    )  # fmt: skip
    parser.add_argument(
        "--settle-seconds", metavar="N", type=float, default=_SETTLE_SECONDS,
        help=f"seconds for which it then has to go on serving; default {_SETTLE_SECONDS:.0f}",
    )  # fmt: skip
    parser.add_argument(
        "--soak-seconds", metavar="N", type=float, default=_SOAK_SECONDS,
        help="seconds for which it is watched after that, in the background: if it ends by itself or loses its camera, "
        f"the previous release comes back; 0: not at all; default {_SOAK_SECONDS:.0f}",
    )  # fmt: skip
    # the unit that watches a new release runs this
    what.add_argument("--soak", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if (options.purge and not options.uninstall) or (options.targets and not options.out):
        parser.error("--purge goes with --uninstall, and --for with --build-artefact")
    if options.dry_run and not options.source:
        parser.error("--dry-run goes with --from")
    if (options.json and not options.status) or (options.wake and not options.json):
        parser.error("--json goes with --status, and --wake with --json")
    # after a broken connection or a shutdown the previous release serves again, as after Ctrl-C
    for number in commands.INTERRUPTIONS:
        signal.signal(number, signal.default_int_handler)
    os.umask(0o022)
    try:
        return _dispatch(options)
    except Failed as error:
        say(str(error))
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        hint = "; make room, and install again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        say(reason + hint)
    except KeyboardInterrupt:
        say("interrupted; --status shows which release is current")
    return 1


def _dispatch(options: argparse.Namespace) -> int:
    if options.out:
        commands.build_artefact(options.out, options.targets.split(",") if options.targets else [])
        return 0
    if options.dry_run:
        offer.show(options.source, not options.no_downgrade)
        return 0
    if options.json:
        report.write(options.wake)
        return 0
    if options.status:
        return 0 if commands.status() else 1
    again = " ".join(sys.argv)
    if os.geteuid() != 0:
        raise Failed(f"run it as root: sudo {again}")
    if not Path("/etc/debian_version").exists():
        raise Failed("this is neither Debian nor Raspberry Pi OS; on other systems use scripts/run")
    if os.path.realpath(sys.executable) != os.path.realpath(PYTHON):
        raise Failed(f"run it with the system's Python: sudo {PYTHON} {again}")
    health = service.Health(options.health_seconds, options.settle_seconds, options.soak_seconds)
    if options.soak:
        commands.watch()
    elif options.uninstall:
        commands.uninstall(options.purge)
    elif options.rollback:
        commands.rollback(health)
    else:
        commands.install(options.source, not options.no_apt, not options.no_downgrade, health)
    return 0
