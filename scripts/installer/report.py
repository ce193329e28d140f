"""The report of `--status --json`: the releases, and each unit as systemd and its server tell of it."""

from __future__ import annotations

import http
import json
import os
from pathlib import Path
from typing import Any

from installer import server, service
from installer.machine import Failed, has_systemd, run
from installer.releases import CONFIG, current, history

# a snapshot waits 4 s for the camera
_ANSWER_SECONDS = 10.0
_INSTANCES = "pi-cam-daemon@*.service"


def write(wake: bool) -> None:
    """Print the report as JSON. With *wake* ask cameras that sleep for a picture. Raises Failed unless root asks."""
    if os.geteuid() != 0:
        raise Failed("--json asks the servers themselves: run it as root")
    units = _units() if current() and has_systemd() else []
    report = {
        "release": current(), "history": history(), "units": {unit: _unit(unit, wake) for unit in units},
    }  # fmt: skip
    print(json.dumps(report, indent=2))


def _units() -> list[str]:
    """Return the main service, and the instances that are configured or enabled or known to systemd."""
    enabled = {link.name for link in Path("/etc/systemd/system").glob(f"*.wants/{_INSTANCES}")}
    configured = {f"pi-cam-daemon@{path.stem}.service" for path in CONFIG.glob("cameras/*.toml")}
    lines = run("systemctl", "list-units", "--all", "--plain", "--no-legend", _INSTANCES).stdout.splitlines()
    return [service.UNIT, *sorted(enabled | configured | {line.split()[0] for line in lines})]


def _unit(unit: str, wake: bool) -> dict[str, Any]:
    """Return the report of *unit*. *problem* is empty if its server answers; *asleep* says why a camera still sleeps.

    *state* is what the server answers to /state.
    """
    shown = server.show(unit)
    active, pid = shown["ActiveState"], int(shown["MainPID"])
    report: dict[str, Any] = {
        "active": active, "sub": shown["SubState"], "status": shown["StatusText"],
        "enabled": run("systemctl", "is-enabled", "--quiet", unit, check=False).returncode == 0,
        "pid": pid, "restarts": int(shown["NRestarts"]), "port": 0, "problem": "", "asleep": "", "state": None,
    }  # fmt: skip
    if active != "active":
        return {**report, "problem": f"{unit} is {active}: {shown['StatusText'] or shown['SubState']}"}
    try:
        report["state"] = _state(pid)
        _, report["port"] = server.listening(pid)[0]
        if wake and report["state"]["state"] == "idle":
            report["asleep"] = _wake(unit, pid)
            report["state"] = _state(pid)
    except (Failed, OSError, ValueError, LookupError) as error:
        report["problem"] = f"{unit} does not answer: {error}"
    return report


def _state(pid: int) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(server.get(pid, "/state", _ANSWER_SECONDS)[1])
    return state


def _wake(unit: str, pid: int) -> str:
    """Ask the server for a snapshot. Return what is wrong, empty if the camera gave one."""
    try:
        status = server.get(pid, "/snapshot", _ANSWER_SECONDS)[0]
    except (Failed, OSError):
        status = 0
    # a server with users wakes its camera for nobody else
    return "" if status in (http.HTTPStatus.OK, http.HTTPStatus.UNAUTHORIZED) else f"{unit} gives no snapshot"
