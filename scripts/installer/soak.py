"""The soak: a release that has begun to serve is watched for some time, and taken back if it does not last.

A unit does this in the background, with a copy of this installer. It is started at each boot until that is done, so a
power cut takes nothing away. What it needs to know is in a record that is there from before the switch.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from installer import camera, server, service
from installer.machine import PYTHON, Failed, has_systemd, remove, run, say
from installer.releases import ROOT, current

FOLDER = ROOT / "soak"
# which release was taken back, and why
TAKEN_BACK = ROOT / "taken-back"
UNIT = "pi-cam-daemon-soak.service"
_RECORD = FOLDER / "record.json"
_FILE = Path("/etc/systemd/system") / UNIT
_LINK = _FILE.parent / "multi-user.target.wants" / UNIT
_POLL_SECONDS = 2.0


def boot() -> str:
    """Return a name of this boot of the machine, "" in a chroot without /proc."""
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text().strip() if file.exists() else ""


@dataclass(frozen=True)
class Change:
    """A change to *release*. *back* is the history before it, to go back to, and *after* the one when it is proven.

    *services* are its units, *before* is how they were. *boot* is the boot in which it began.
    """

    release: str
    back: list[str]
    after: list[str]
    services: list[str]
    health: service.Health
    before: service.Before
    boot: str = field(default_factory=boot)

    @property
    def judged(self) -> list[str]:
        """Return the units that ran well before."""
        return [unit for unit in self.services if unit not in (*self.before.ailing, *self.before.unsteady)]


def begin(change: Change) -> None:
    """Record *change*, so that a boot watches its release. Do nothing without a release to go back to."""
    end()
    if not (change.health.soak and change.back and change.judged and has_systemd()):
        return
    for unit in change.before.unsteady:
        say(f"{unit} ended by itself again and again before, so it is not watched")
    FOLDER.mkdir()
    program = Path(__file__).resolve().parent.parent
    # all of it may be one zip
    shutil.copyfile(program if program.is_file() else program / "install", FOLDER / "install")
    if program.is_dir():
        shutil.copytree(program / "installer", FOLDER / "installer", ignore=shutil.ignore_patterns("__pycache__"))
    part = _RECORD.with_suffix(".new")
    part.write_text(json.dumps(asdict(change)))
    part.replace(_RECORD)
    _FILE.write_text(_unit(change.services))
    _LINK.parent.mkdir(exist_ok=True)
    _LINK.symlink_to(_FILE)


def _unit(services: list[str]) -> str:
    return f"""# Written by the installer, which removes it when the new release has lasted.
[Unit]
Description=Watch the new release of the Pi camera daemon
After={" ".join(services)}

[Service]
Type=exec
ExecStart={PYTHON} -B {FOLDER}/install --soak
Nice=10
"""


def start() -> str:
    """Start to watch, and return a sentence about it. Return "" if nothing is to be watched."""
    change = recorded()
    if not change or change.release != current():
        return ""
    run("systemctl", "--no-block", "start", UNIT)
    return f"it is watched for {change.health.soak:.0f} s more; if it does not last, {change.back[-1]} comes back"


def end() -> None:
    """Remove the record and the unit. Stop the unit, unless this process is the unit's own."""
    present = _FILE.exists() or FOLDER.exists()
    if present and has_systemd() and server.show(UNIT)["MainPID"] != str(os.getpid()):
        run("systemctl", "stop", UNIT, check=False)
        # one that is stopped while it watches has failed for systemd
        run("systemctl", "reset-failed", UNIT, check=False)
    # the record first: without it the unit does nothing
    for path in (_RECORD, _LINK, _FILE, FOLDER):
        remove(path)
    if present and has_systemd():
        run("systemctl", "daemon-reload")


def recorded() -> Change | None:
    """Return the soak that goes on, None if none does."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        table = json.loads(_RECORD.read_text())
        gave = {unit: camera.Camera(**found) for unit, found in table["before"]["gave"].items()}
        before = service.Before(**{**table["before"], "gave": gave})
        return Change(**{**table, "health": service.Health(**table["health"]), "before": before})
    return None


def told() -> str:
    """Return what `--status` says of the last soak, empty if there is nothing to say."""
    change = recorded()
    if change and change.release == current():
        return f"{change.release} is new and watched; if it does not last, {change.back[-1]} comes back"
    return TAKEN_BACK.read_text().strip() if TAKEN_BACK.exists() else ""


def watch(change: Change) -> None:
    """Watch the release. Raises Failed if it ends by itself, or gives no pictures where it gave them."""
    if current() != change.release:
        raise Failed("interrupted")
    restarts = dict.fromkeys(change.judged, 0)
    if change.boot != boot():
        restarts = {unit: _served_since_boot(unit, change.health) for unit in change.judged}
    say(f"watching {change.release} for {change.health.soak:.0f} s")
    deadline = time.monotonic() + change.health.soak
    while time.monotonic() < deadline:
        for unit in change.judged:
            state = server.show(unit)
            if state["ActiveState"] == "failed" or int(state["NRestarts"]) > restarts[unit]:
                raise Failed(f"{unit} ended by itself{service.last_log_lines(unit)}")
            # a restart by hand begins again at 0
            restarts[unit] = int(state["NRestarts"])
            _check_camera(unit, change)
        time.sleep(_POLL_SECONDS)
    for unit in change.judged:
        # its owner may have stopped it
        if server.show(unit)["ActiveState"] != "inactive":
            service.check_health(unit, service.Health(change.health.seconds, 0.0))


def _served_since_boot(unit: str, health: service.Health) -> int:
    """Wait until *unit* serves, and return how often it was restarted until then. Raises Failed.

    Right after a boot it may end by itself, for instance while its address is not there yet.
    """
    deadline = time.monotonic() + health.seconds
    while server.show(unit)["ActiveState"] != "inactive":
        try:
            service.check_health(unit, health)
            break
        except Failed:
            if time.monotonic() > deadline or server.show(unit)["ActiveState"] == "failed":
                raise
    return int(server.show(unit)["NRestarts"])


def _check_camera(unit: str, change: Change) -> None:
    """Raise Failed if *unit* gives no pictures any more, and does not give them again in time."""
    before = change.before.gave.get(unit)
    now = camera.look(unit) if before else None
    if before and now and not (now.gives or now.unknown):
        camera.check(unit, before, change.health.seconds)
