"""What can be asked of the installer: install, rollback, uninstall, status, build an artefact."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from installer import build, service
from installer.artefact import MANIFEST, Artefact, load
from installer.machine import Failed, apt_install, has_systemd, is_pi, remove, run, say, this_host
from installer.releases import (
    CONFIG,
    CURRENT,
    RELEASES,
    ROOT,
    current,
    history,
    is_older,
    lock,
    make_room,
    scratch,
    smoke,
    stage,
    sweep,
    write_history,
)

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
USER = "pi-cam-daemon"
# what the units make while they run
_LEFTOVERS = ("/var/lib", "/run", "/var/cache", "/var/log", "/var/tmp")
# where `install` and this package are: in a checkout's scripts, in an artefact, or in an installed release
_HERE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Health:
    """A release has to serve within *seconds* for *settle* seconds."""

    seconds: float
    settle: float


def install(source: Path | None, apt: bool, downgrade: bool, health: Health) -> None:
    def admit(artefact: Artefact) -> None:
        if not downgrade and is_older(artefact.release, current()):
            raise Failed(f"{artefact.release} is older than {current()}, which serves; nothing was changed")
        make_room(artefact.size)

    with lock():
        RELEASES.mkdir(exist_ok=True)
        sweep()
        if apt and is_pi():
            apt_install("python3-picamera2")
        before, services = history(), service.units()
        with scratch() as folder:
            artefact = _obtain(source, apt, folder, admit)
            stage(artefact)
        release = artefact.release
        others = [entry for entry in before if entry != release]
        # a release that was made current by an installation that was killed has yet to prove itself
        proven = bool(before) and before[-1] == current() == release
        say(f"checking {release}" if proven else f"switching to {release}")
        try:
            service.activate(release, services, health.seconds, health.settle, force=not proven)
            write_history([*others, release])
        except (Failed, OSError, KeyboardInterrupt) as error:
            if proven:
                raise
            _fall_back(others, services, health, error)
        finally:
            sweep()
    say(f"{release} serves" if has_systemd() else f"{release} is installed")


def _obtain(source: Path | None, apt: bool, folder: Path, admit: Callable[[Artefact], None]) -> Artefact:
    """The artefact *source*, or one made of the wheel or checkout *source*, in *folder*, if *admit* lets it in."""
    if source is None:
        source = _HERE if (_HERE / MANIFEST).exists() else _HERE.parent
        if not build.is_checkout(source) and source != _HERE:
            raise Failed("name what to install: --from ARTEFACT")
    if not source.exists():
        raise Failed(f"{source}: no such file")
    wheel = source.suffix == ".whl"
    if (source / MANIFEST).exists() or (source.is_file() and not wheel):
        return load(source, this_host(), folder, admit)
    if not wheel and source.resolve() != _HERE.parent:
        raise Failed(f"{source}: neither an artefact nor the checkout that this installer belongs to")
    host = this_host()
    wanted = (host.python, host.architecture)
    targets = [name for name, to in build.TARGETS.items() if (to.python, to.architecture) == wanted]
    if not targets:
        raise Failed(f"Python {host.python} on {host.architecture} is not supported, only {', '.join(build.TARGETS)}")
    if apt:
        apt_install("python3-venv")
    built = folder / "built"
    build.build(built, targets, source if wheel else None)
    return load(built, host, folder, admit)


def _fall_back(releases: list[str], services: list[str], health: Health, error: BaseException) -> NoReturn:
    """Let the last of *releases* serve again, and tell why."""
    # a terminal that is closed sends more than one
    for number in INTERRUPTIONS:
        signal.signal(number, signal.SIG_IGN)
    reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
    if not releases:
        service.withdraw()
        CURRENT.unlink(missing_ok=True)
        raise Failed(f"{reason}\ninstall: there is no release before it to go back to; the service is stopped")
    say(f"going back to {releases[-1]}")
    try:
        service.activate(releases[-1], services, max(health.seconds, 30.0), health.settle, force=True)
    except (Failed, OSError) as other:
        raise Failed(f"{reason}\ninstall: {releases[-1]}, which served before, does not either: {other}") from None
    raise Failed(f"{reason}\ninstall: went back to {releases[-1]}, which serves")


def rollback(health: Health) -> None:
    if not ROOT.exists():
        raise Failed("pi-cam-daemon is not installed")
    with lock():
        sweep()
        releases, services = history(), service.units()
        # what is current after an installation was killed has not served
        earlier = releases[: releases.index(current())] if current() in releases else releases
        if not earlier:
            raise Failed("there is no release before this one to go back to")
        smoke(RELEASES / earlier[-1])
        say(f"going back to {earlier[-1]}")
        try:
            service.activate(earlier[-1], services, health.seconds, health.settle, force=True)
            write_history(earlier)
        except (Failed, OSError, KeyboardInterrupt) as error:
            if releases == earlier:
                raise
            _fall_back(releases, services, health, error)
        sweep()
    say(f"{earlier[-1]} serves")


def uninstall(purge: bool) -> None:
    # whatever is left: an uninstallation that was killed is carried on with
    with lock():
        service.withdraw()
        for parent in _LEFTOVERS:
            for path in Path(parent).glob("pi-cam-daemon*"):
                remove(path)
        if run("getent", "passwd", USER, check=False).returncode == 0:
            run("userdel", USER)
        if purge:
            for path in [CONFIG, *Path("/etc/systemd/system").glob("pi-cam-daemon*.d")]:
                remove(path)
        # what uninstalls goes last: with it, somebody carries on where this one was killed
        release = RELEASES / current()
        needed = [release / "install", release / "installer", release, RELEASES, CURRENT]
        for path in [*release.glob("*"), *RELEASES.glob("*"), *ROOT.glob("*")]:
            if path not in needed:
                remove(path)
        remove(ROOT)
    say("uninstalled" if purge or not CONFIG.exists() else f"uninstalled; {CONFIG} is left")


def status() -> bool:
    """Print what is installed; whether it serves."""
    releases = history()
    if not current():
        print("not installed")
        return False
    print(f"release   {current()}")
    if current() not in releases:
        print("          the installation of it was interrupted: install again, or --rollback")
    print(f"before    {' '.join(name for name in reversed(releases) if name != current()) or 'none'}")
    if not has_systemd():
        print("unit      systemd does not run here")
        return False
    problems = []
    for unit in service.units() or [service.UNIT]:
        state = service.show(unit)
        print(f"unit      {unit} {state['ActiveState']} ({state['SubState']}) {state['StatusText']}".rstrip())
        problems.append(service.problem_of(unit, state))
    print(f"health    {'; '.join(filter(None, problems)) or 'ok'}")
    return not any(problems)


def build_artefact(out: Path, targets: Sequence[str]) -> None:
    targets = targets or list(build.TARGETS)
    if unknown := set(targets) - set(build.TARGETS):
        raise Failed(f"{', '.join(sorted(unknown))}: no such target; there are {', '.join(build.TARGETS)}")
    if not out.parent.is_dir():
        raise Failed(f"{out.parent}: no such folder")
    with tempfile.TemporaryDirectory(prefix="pi-cam-daemon-") as folder:
        build.build(Path(folder) / "artefact", targets, None)
        say("packing")
        build.pack(Path(folder) / "artefact", out)
    say(f"{out}: {out.stat().st_size / 1e6:.1f} MB for {', '.join(targets)}")
