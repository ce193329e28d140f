"""The commands of the installer: install, rollback, watch, uninstall, status, build-artefact."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from installer import build, camera, card, offer, repair, server, service, soak
from installer.artefact import MANIFEST, Artefact, load
from installer.machine import (
    Failed,
    apt_install,
    has_systemd,
    is_packaged,
    is_pi,
    not_installed,
    remove,
    run,
    say,
    this_host,
)
from installer.releases import (
    CONFIG,
    CURRENT,
    RELEASES,
    ROOT,
    current,
    history,
    is_older,
    lock,
    remember_keys,
    scratch,
    smoke,
    stage,
    sweep,
    write_history,
)
from installer.saved import leftovers

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
USER = "pi-cam-daemon"
# the units write pi-cam-daemon* in these folders
_LEFTOVERS = ("/var/lib", "/run", "/var/cache", "/var/log", "/var/tmp")
# the folder with `install` and this package: a checkout's scripts, an artefact, or an installed release
_HERE = Path(__file__).resolve().parent.parent


def install(source: Path | None, apt: bool, downgrade: bool, health: service.Health) -> None:
    """Install *source* and let it serve. If it does not pass the health check, go back to the previous release.

    *apt* installs missing Debian packages. Without *downgrade* a version older than the current one is refused.
    """

    if is_packaged():
        raise Failed(
            "apt has installed pi-cam-daemon as a package on this host, and one host has one of them. To update the "
            "package: sudo apt install ./FILE.deb. To have releases instead, first run: sudo apt remove pi-cam-daemon"
        )
    with lock():
        RELEASES.mkdir(exist_ok=True)
        _sweep()
        if is_pi() and apt:
            apt_install("python3-picamera2")
        elif is_pi() and not_installed("python3-picamera2"):
            say("python3-picamera2 is missing, which a CSI camera needs: once it is there, install this release again")
        past, services = history(), service.units()
        with scratch() as folder:
            artefact = _obtain(source, apt, folder, partial(offer.admit, downgrade=downgrade))
            if is_older(artefact.release, current()):
                remember_keys()
            stage(artefact, service.refused_before)
        release = artefact.release
        others = [entry for entry in past if entry != release]
        # if a killed installation made the release current, it has not passed its health check yet
        proven = bool(past) and past[-1] == current() == release
        before = service.look(services, health, current() in past)
        say(f"checking {release}" if proven else f"switching to {release}")
        if proven:
            service.activate(release, services, health, before)
            _sweep()
        else:
            _switch(soak.Change(release, others, [*others, release], services, health, before))
    _report(release, services, health)


def _switch(change: soak.Change) -> None:
    """Let the new release serve. If it does not, go back."""
    try:
        soak.begin(change)
        service.activate(change.release, change.services, change.health, change.before, force=True)
        write_history(change.after)
        remove(soak.TAKEN_BACK)
    except (Failed, OSError, KeyboardInterrupt) as error:
        try:
            _fall_back(change, error)
        finally:
            soak.end()
    finally:
        _sweep()


def _sweep() -> None:
    """Remove what is not needed any more. A release that is watched may have to be gone back from."""
    change = soak.recorded()
    sweep(change.back if change else ())


def _obtain(source: Path | None, apt: bool, folder: Path, admit: Callable[[Artefact], None]) -> Artefact:
    """Return the artefact *source*, or build one in *folder* from the wheel or checkout *source*."""
    if source is None:
        if repair.is_needed(_HERE):
            return _repair(apt, folder, admit)
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


def _repair(apt: bool, folder: Path, admit: Callable[[Artefact], None]) -> Artefact:
    """Return an artefact in *folder* of the release that this installer belongs to, for the Python of now."""
    host = this_host()
    say(f"{_HERE.name} was made for Python {repair.python_of(_HERE)}; making it fit Python {host.python}")
    if apt and not host.has_numpy:
        apt_install("python3-numpy")
        host = this_host()
    if not host.has_numpy:
        raise Failed("numpy is missing; sudo apt install --no-install-recommends python3-numpy, and run this again")
    kept = folder / "kept"
    repair.rebuild(_HERE, host, kept)
    return load(kept, host, folder, admit)


def _report(release: str, services: list[str], health: service.Health) -> None:
    """Say that *release* serves, and which of *services* give no pictures of a camera."""
    if not has_systemd():
        say(f"{release} is installed")
        return
    # none serves if none did before
    idle = services and all(map(service.problem_of, services))
    say(f"{release} is installed" if idle else f"{release} serves")
    if watched := soak.start():
        say(watched)
    for unit in services:
        found = camera.known(unit, health.seconds)
        if found and not found.gives:
            what = "but no camera was ever found" if found.never else "but gives no pictures of its camera"
            say(f"{unit} serves, {what}: {found.words}")


def _fall_back(change: soak.Change, error: BaseException) -> NoReturn:
    """Let the last of the releases before serve again. Raise Failed with the reason, *error*, and how that went.

    All services have to serve before one of those that gave pictures is asked for them.
    """
    # a terminal that is closed sends more than one signal
    for number in INTERRUPTIONS:
        signal.signal(number, signal.SIG_IGN)
    reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
    if not change.back:
        service.withdraw()
        CURRENT.unlink(missing_ok=True)
        raise Failed(f"{reason}\ninstall: there is no release before it to go back to; the service is stopped")
    back = change.back[-1]
    say(f"going back to {back}")
    # a full disk keeps nobody from going back
    with contextlib.suppress(OSError):
        soak.TAKEN_BACK.write_text(f"{change.release} was taken back: {reason.splitlines()[0]}\n")
        remember_keys()
    try:
        patient = service.Health(max(change.health.seconds, 30.0), change.health.settle)
        before = replace(change.before, gave={})
        # without force where a power cut has broken off what this does
        service.activate(back, change.services, patient, before, force=current() != back)
    except (Failed, OSError) as other:
        raise Failed(f"{reason}\ninstall: {back}, which served before, does not serve either: {other}") from None
    try:
        for unit, found in change.before.gave.items():
            camera.check(unit, found, change.health.seconds)
    except (Failed, OSError) as other:
        raise Failed(f"{reason}\ninstall: went back to {back}, but still: {other}") from None
    raise Failed(f"{reason}\ninstall: went back to {back}, which serves")


def rollback(health: service.Health) -> None:
    """Let the previous release serve again."""
    if not ROOT.exists():
        raise Failed("pi-cam-daemon is not installed")
    with lock():
        _sweep()
        releases, services = history(), service.units()
        # after a killed installation the current release is not in the history
        earlier = releases[: releases.index(current())] if current() in releases else releases
        if not earlier:
            raise Failed("there is no release before this one to go back to")
        remember_keys()
        smoke(RELEASES / earlier[-1], service.refused_before)
        before = service.look(services, health, current() in releases)
        say(f"going back to {earlier[-1]}")
        if current() in releases:
            _switch(soak.Change(earlier[-1], releases, earlier, services, health, before))
        else:
            # the way back from a killed installation; there is none back from here
            soak.end()
            service.activate(earlier[-1], services, health, before, force=True)
            write_history(earlier)
            _sweep()
    _report(earlier[-1], services, health)


def watch() -> None:
    """Watch the new release in the background, and go back if it does not last."""
    change = soak.recorded()
    if not change:
        soak.end()
        return
    error: Failed | None = None
    try:
        soak.watch(change)
    except Failed as found:
        error = found
    with lock(wait=True):
        # what ran until now may have changed it
        if soak.recorded() != change:
            return
        try:
            write_history(change.back if error else change.after)
            if error:
                _fall_back(change, error)
            say(f"{change.release} has lasted for {change.health.soak:.0f} s")
        except Failed as outcome:
            # the unit has done its work, so it does not fail
            say(str(outcome))
        finally:
            soak.end()
            _sweep()


def uninstall(purge: bool) -> None:
    """Remove everything but the configuration and the user that may read it, and with *purge* those too.

    It may run again after it was killed.
    """
    with lock():
        soak.end()
        service.withdraw()
        for parent in _LEFTOVERS:
            for path in leftovers(Path(parent), purge):
                remove(path)
        for path in card.WRITTEN:
            remove(path)
        if purge:
            for path in [CONFIG, *Path("/etc/systemd/system").glob("pi-cam-daemon*.d"), *card.SETTINGS]:
                remove(path)
        # not as long as files are for its group: the next user that a package makes would have its number
        if not CONFIG.exists() and run("getent", "passwd", USER, check=False).returncode == 0:
            run("userdel", USER)
        # the installer goes last: it is needed to run again
        release = RELEASES / current()
        needed = [release / "install", release / "installer", release, RELEASES, CURRENT]
        for path in [*release.glob("*"), *RELEASES.glob("*"), *ROOT.glob("*")]:
            if path not in needed:
                remove(path)
        remove(ROOT)
    left = [f"{CONFIG} and the user {USER}, who may read it"] if CONFIG.exists() else []
    left += [f"the Wi-Fi of pi-cam.toml, {path}" for path in card.NETWORK if purge and path.exists()]
    say("; left: ".join(["uninstalled", *filter(None, [", ".join(left)])]))


def status() -> bool:
    """Print what is installed, and return whether it serves."""
    releases = history()
    if not current():
        print("not installed")
        return False
    print(f"release   {current()}")
    if current() not in releases:
        print("          its installation was interrupted: install again, or --rollback")
    if told := soak.told():
        print(f"soak      {told}")
    print(f"before    {' '.join(name for name in reversed(releases) if name != current()) or 'none'}")
    if not has_systemd():
        print("unit      systemd does not run here")
        return False
    problems, missing = [], False
    for unit in service.units() or [service.UNIT]:
        state = server.show(unit)
        print(f"unit      {unit} {state['ActiveState']} ({state['SubState']})")
        # only root can ask the server itself; the others read what it told systemd
        found = camera.look(unit) if os.geteuid() == 0 else None
        words = f"{found.state}: {found.words}" if found else state["StatusText"]
        print(f"camera    {words or 'unknown'}")
        for problem in found.refused if found else ():
            print(f"settings  refused: {problem}")
        missing = missing or (found is not None and found.never)
        lost = found and not (found.gives or found.never or found.unknown)
        problems.append(service.problem_of(unit, state) or (f"{unit} gives no pictures of its camera" if lost else ""))
    if repair.is_needed(RELEASES / current()):
        problems.append(f"the release was made for another Python; run: sudo {CURRENT / 'install'}")
    ok = "ok, but no camera was ever found" if missing else "ok"
    print(f"health    {'; '.join(filter(None, problems)) or ok}")
    return not any(problems)


def build_artefact(out: Path, targets: Sequence[str]) -> None:
    """Build an artefact of this checkout for *targets*, or for all, and pack it into the file *out*."""
    targets = targets or list(build.TARGETS)
    if unknown := set(targets) - set(build.TARGETS):
        raise Failed(f"{', '.join(sorted(unknown))}: no such target; accepted: {', '.join(build.TARGETS)}")
    if not out.parent.is_dir():
        raise Failed(f"{out.parent}: no such folder")
    with tempfile.TemporaryDirectory(prefix="pi-cam-daemon-") as folder:
        build.build(Path(folder) / "artefact", targets, None)
        say("packing")
        build.pack(Path(folder) / "artefact", out)
    say(f"{out}: {out.stat().st_size / 1e6:.1f} MB for {', '.join(targets)}")
