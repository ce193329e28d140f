"""The service of the current release: its files in the system, its units, and their health."""

from __future__ import annotations

import contextlib
import http
import os
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from installer import camera, card, presets, server
from installer.machine import Failed, has_systemd, put, run, say
from installer.releases import CONFIG, CURRENT, RELEASES, current, history, switch

UNIT = "pi-cam-daemon.service"
COMMAND = Path("/usr/local/bin/pi-cam-daemon")
# systemd and udev look here for local packages; files in /etc override these
_LIB = Path("/usr/local/lib")
UNITS = _LIB / "systemd" / "system"
_FOLDERS = {
    **{name: _LIB / name for name in ("sysusers.d", "tmpfiles.d", "modules-load.d", "udev/rules.d")},
    # which does not look for local packages; its owner's files are in /etc
    "NetworkManager/conf.d": Path("/usr/lib/NetworkManager/conf.d"),
}
_ETC = presets.ETC
_RUN = Path("/run")
_FAILURES_SECONDS = 600.0


def places(systemd: Path, on_card: bool) -> dict[Path, Path]:
    """Return the files of a release's folder *systemd* by the paths to which they are copied."""
    units = {
        UNITS / path.name: path
        for path in systemd.glob("pi-cam-daemon*.*")
        if path.is_file() and (on_card or path.name not in card.UNITS)
    }
    others = {
        folder / path.name: path
        for name, folder in _FOLDERS.items()
        for path in systemd.glob(f"{name}/*pi-cam-daemon*")
    }
    return units | others


def _integrate() -> bool:
    """Install the files of the current release. Return False if all were there already."""
    files = places(CURRENT / "systemd", card.is_card())
    changed = [target for target, source in files.items() if put(target, source.read_bytes())]
    for folder in (UNITS, *_FOLDERS.values()):
        for path in folder.glob("*pi-cam-daemon*"):
            if path not in files:
                if path.name in card.UNITS:
                    run("systemctl", "disable", path.name, check=False)
                path.unlink()
                changed.append(path)
    if not (COMMAND.exists() or COMMAND.is_symlink()):
        COMMAND.parent.mkdir(parents=True, exist_ok=True)
        COMMAND.symlink_to(CURRENT / "bin" / "pi-cam-daemon")
    elif not _command_is_ours():
        say(f"{COMMAND} is not this program's; it is not replaced")
    for path in files:
        if path.parent == _FOLDERS["sysusers.d"]:
            run("systemd-sysusers", path)
        # a link is a masked unit, which stays masked
        if path.parent == UNITS and (_ETC / path.name).is_file() and not (_ETC / path.name).is_symlink():
            say(f"{_ETC / path.name} overrides the release's own unit; remove it unless that is intended")
    if has_systemd():
        # also if nothing has changed: a killed installation may not have reached this
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "systemd-modules-load.service", check=False)
        if shutil.which("udevadm"):
            run("udevadm", "control", "--reload", check=False)
            run("udevadm", "trigger", "--subsystem-match=dma_heap", check=False)
    return bool(changed)


def _command_is_ours() -> bool:
    return COMMAND.is_symlink() and COMMAND.readlink() == CURRENT / "bin" / "pi-cam-daemon"


def units() -> list[str]:
    """Return the services that an installation keeps running: those that run, and the main one if it is enabled."""
    chosen = []
    # a disabled unit stays disabled, for instance if there are only instances
    if not history() or run("systemctl", "is-enabled", UNIT, check=False).returncode == 0:
        chosen.append(UNIT)
    if has_systemd():
        wanted = ("systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating,reloading")
        running = run(*wanted, "--type=service", UNIT, "pi-cam-daemon@*").stdout.splitlines()
        chosen += [unit for unit in (line.split()[0] for line in running) if unit not in chosen]
    return chosen


@dataclass(frozen=True)
class Health:
    """The health check: a release has to serve within *seconds*, and then for *settle* seconds.

    After that it is watched for *soak* seconds in the background.
    """

    seconds: float
    settle: float
    soak: float = 0.0


@dataclass(frozen=True)
class Before:
    """The units before anything is touched, because a release is judged by what it changes.

    *gave* has the cameras of those that give pictures, *ailing* why others do not serve. *unsteady* are those that
    ended by themselves more than once in the last ten minutes.
    """

    gave: Mapping[str, camera.Camera]
    ailing: Mapping[str, str]
    unsteady: Collection[str]


def look(services: list[str], health: Health, proven: bool) -> Before:
    """Return how *services* are. Unless the current release is *proven*, what is wrong with them may be its fault."""
    gave = camera.giving(services, health.seconds, proven)
    if not proven or not has_systemd():
        return Before(gave, {}, [])
    ailing, unsteady = {}, []
    for unit in services:
        failures = _failures(unit)
        if failures > 1:
            unsteady.append(unit)
        state = server.show(unit)
        # one that is stopped has no problem; one that starts again and again may serve for a moment
        if state["ActiveState"] == "inactive" or not (failures or problem_of(unit, state, RELEASES)):
            continue
        try:
            check_health(unit, health, RELEASES)
        except Failed as error:
            ailing[unit] = str(error)
    return Before(gave, ailing, unsteady)


def _failures(unit: str) -> int:
    """Return how often *unit* has ended by itself in the last ten minutes. It counts that itself, in this file."""
    file = _RUN / unit.removesuffix(".service") / "failures"
    try:
        recent = time.time() - file.stat().st_mtime < _FAILURES_SECONDS
        return len(file.read_text().splitlines()) if recent else 0
    except OSError:
        return 0


def refused_before(file: Path) -> bool:
    """Return whether the unit of the configuration *file* does not run by it, and the current release refuses it."""
    if not has_systemd() or not current():
        return False
    is_main = file.parent == CONFIG
    unit = UNIT if is_main else f"pi-cam-daemon@{file.stem}.service"
    found = camera.look(unit)
    if server.show(unit)["ActiveState"] == "active" and not (found and found.refused):
        return False
    files = [] if is_main else [file]
    return run(CURRENT / "bin" / "pi-cam-daemon", "check-config", *files, check=False).returncode != 0


def activate(release: str, services: list[str], health: Health, before: Before, force: bool = False) -> None:
    """Let *release* serve. Raises Failed unless each of *services* passes *health*.

    A unit that gave pictures of its camera *before* has to give them again. One that did not serve before is started,
    and reported if it still does not.
    """
    if current() != release:
        switch(release)
    changed = _integrate()
    if not history():
        units_here = (path.name for path in UNITS.glob("pi-cam-daemon*"))
        run("systemctl", *(["preset", *units_here] if card.is_card() else ["enable", UNIT]))
    presets.write()
    if not has_systemd():
        say("systemd does not run here; the service starts at the next boot")
        return
    for unit in services:
        if changed or force or problem_of(unit):
            # --no-block: systemctl would wait as long as systemd does, not *seconds*
            run("systemctl", "reset-failed", unit, check=False)
            run("systemctl", "--no-block", "restart", unit)
        try:
            check_health(unit, health)
        except Failed as error:
            if unit not in before.ailing:
                raise
            say(f"{unit} did not serve before, and still does not; that is not the release's fault: {error}")
        if unit in before.gave:
            camera.check(unit, before.gave[unit], health.seconds)


def _answers(pid: int) -> str:
    """Ask the server for /livez. Return what is wrong, empty if it answers."""
    try:
        status, _ = server.get(pid, "/livez")
    except Failed as error:
        return str(error)
    # 403: this address of the machine is not allowed, but the server answers
    return "" if status in (http.HTTPStatus.OK, http.HTTPStatus.FORBIDDEN) else f"/livez answers {status}"


def problem_of(unit: str, state: dict[str, str] | None = None, folder: Path | None = None) -> str:
    """Return why *unit* does not serve the current release, empty if it does. Only root can ask the server itself.

    *folder* takes the place of the current release's folder: RELEASES stands for any release.
    """
    state = state or server.show(unit)
    folder = folder or RELEASES / current()
    if state["ActiveState"] != "active":
        return f"{unit} is {state['ActiveState']} ({state['SubState']})"
    if state["Job"] not in ("", "0"):
        return f"{unit} is about to be restarted"
    pid = int(state["MainPID"])
    try:
        program = Path(Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0])
        if program.is_relative_to(RELEASES) and not program.is_relative_to(folder):
            return f"{unit} runs {program.relative_to(RELEASES).parts[0]}"
        return _answers(pid) if os.geteuid() == 0 else ""
    except OSError:
        return f"{unit} has ended"


def check_health(unit: str, health: Health, folder: Path | None = None) -> None:
    """Wait until *unit* has served for its time. It serves if it answers, even without a camera.

    *folder* is as for `problem_of`. Raises Failed if the unit ends, or does not serve in time.
    """
    deadline = time.monotonic() + health.seconds
    restarts = int(server.show(unit)["NRestarts"])
    served: tuple[str, float] | None = None
    while True:
        state = server.show(unit)
        problem = problem_of(unit, state, folder)
        if problem:
            served = None
        elif served is None or served[0] != state["MainPID"]:
            served = state["MainPID"], time.monotonic()
        elif time.monotonic() - served[1] >= health.settle:
            return
        if state["ActiveState"] == "failed" or int(state["NRestarts"]) > restarts:
            raise Failed(f"{unit} ended by itself{last_log_lines(unit)}")
        if problem and time.monotonic() > deadline:
            raise Failed(f"{unit} does not serve after {health.seconds:.0f} s: {problem}{last_log_lines(unit)}")
        time.sleep(0.25)


def last_log_lines(unit: str) -> str:
    """Return the last lines that the service logged, without those of systemd about it."""
    done = run("journalctl", "-q", f"_SYSTEMD_UNIT={unit}", "-n", "5", "-o", "cat", check=False)
    return "".join(f"\n    {line}" for line in done.stdout.splitlines())


def withdraw() -> None:
    """Stop the service, and remove what `activate` installed."""
    wants = _ETC.glob("*.wants/pi-cam-daemon*")
    for unit in sorted({UNIT, *(link.name for link in wants)}):
        run("systemctl", "disable", unit, check=False)
    if has_systemd():
        run("systemctl", "stop", "pi-cam-daemon*", check=False)
    for folder in (UNITS, presets.FOLDER, *_FOLDERS.values()):
        for path in folder.glob("*pi-cam-daemon*"):
            path.unlink()
        # also the folder, if it is empty now
        with contextlib.suppress(OSError):
            folder.rmdir()
            if folder.parent != _LIB:
                folder.parent.rmdir()
    if _command_is_ours():
        COMMAND.unlink()
    if has_systemd():
        run("systemctl", "daemon-reload")
        run("systemctl", "reset-failed", "pi-cam-daemon*", check=False)
