"""The commands of the module host. Each takes the module's options, and *dry*: in Ansible's check mode nothing changes.

One command replaces about ten tasks, each of which takes a second or two on a Zero 2 W.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

from ansible_collections.pi_cam.daemon.plugins.module_utils.host import (
    CURRENT,
    DEPLOYED,
    ETC,
    GROUP,
    OPT,
    POLL_SECONDS,
    PYTHON,
    Failed,
    admitted,
    camera,
    cameras,
    config_sha256,
    controller,
    deployed,
    files,
    giving,
    has_group,
    is_right,
    overridden,
    release,
    run,
    status,
    wanted_units,
)
from ansible_collections.pi_cam.daemon.plugins.module_utils.zstd import ZstdReader

# the folder of the installer while it runs
CACHE = Path("/var/cache/pi-cam-daemon")
# what the installer writes when a release that it watched did not last
TAKEN_BACK = OPT / "taken-back"
# a camera counts as serving after this time in the same process
SETTLE_SECONDS = 3.0
# what a host may have for all its cameras: units to enable
UNITS = {
    "avahi": "pi-cam-daemon-announce.service",
    "boot_status": "pi-cam-daemon-boot-status.timer",
    "network_watch": "pi-cam-daemon-network.timer",
    "network_reboot": "pi-cam-daemon-network-reboot.path",
    "push": "pi-cam-daemon-push.service",
    "recorder": "pi-cam-daemon-record.service",
    "update_timer": "pi-cam-daemon-update.timer",
}
# and files to place: the file, where its content is in a release, and the service that reads it
_NAME = "pi-cam-daemon.conf"
PLACED = {
    # an empty file takes the place of the release's own, which switches power saving off
    "wifi_power_saving": (Path("/etc/NetworkManager/conf.d") / _NAME, "", "NetworkManager.service"),
    "journal_in_memory": (
        Path("/etc/systemd/journald.conf.d") / _NAME, f"systemd/opt-in/journald.conf.d/{_NAME}",
        "systemd-journald.service",
    ),
}  # fmt: skip


def look(options: dict[str, Any]) -> dict[str, Any]:
    """Return the state of the host, from which the role decides what to do."""
    address = controller()
    record = deployed()
    present = release()
    told = status(wake=True)
    # after a killed installation the release has not passed the installer's health check
    proven = record["release"] == present and told["history"][-1:] == [present]
    return {
        "changed": False,
        "controller": address,
        "locked_out": bool(address) and not admitted(address, options["networks"]),
        "overridden": overridden(options["configuration"]),
        "release": present,
        "prepared": has_group()
        and all(is_right(path, stat.S_IFDIR | 0o755, "root") for path in (ETC, ETC / "cameras")),
        "right": {
            str(path.relative_to(ETC)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (ETC / "config.toml", *ETC.glob("cameras/*.toml"))
            if is_right(path, stat.S_IFREG | 0o640, GROUP)
        },
        "cameras": [str(path.relative_to(ETC)) for path in ETC.glob("cameras/*.toml")],
        "recorded": bool(record["release"]),
        # empty unless that release is current and has passed its health check
        "artefact": record["artefact"] if proven else "",
        "gave": giving(told) if present else {},
    }


def install(options: dict[str, Any]) -> dict[str, Any]:
    """Run the artefact's own installer on it, then remove both."""
    if options["dry"]:
        return {"changed": True}
    artefact = Path(options["artefact"])
    apt = [] if options["apt"] else ["--no-apt"]
    try:
        shutil.rmtree(CACHE, ignore_errors=True)
        unpack_installer(artefact)
        done = subprocess.run(
            [
                PYTHON, str(CACHE / "install"), "--from", str(artefact), "--health-seconds", str(options["seconds"]),
                "--soak-seconds", str(options["soak"]), *apt,
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    finally:
        # they must not stay on a card that may be full
        shutil.rmtree(CACHE, ignore_errors=True)
        artefact.unlink(missing_ok=True)
    if done.returncode:
        # the last two lines are the reason, and what the installer did then
        said = [line.removeprefix("install: ") for line in done.stdout.splitlines() if line.startswith("install: ")]
        raise Failed(f"{'; '.join(said[-2:])}\n{done.stdout}")
    return {"changed": True}


def unpack_installer(artefact: Path) -> None:
    """Write the installer in *artefact* into CACHE. Raises Failed if it is not an artefact."""
    try:
        with (
            artefact.open("rb") as file,
            ZstdReader(file) as stream,
            tarfile.open(fileobj=stream, mode="r|") as archive,
        ):
            for member in archive:
                if member.name.startswith("wheels/"):
                    break
                content = archive.extractfile(member) if member.isfile() else None
                if content and re.fullmatch(r"install|installer/\w+\.py", member.name):
                    path = CACHE / member.name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content.read())
    except (ValueError, EOFError, tarfile.TarError) as error:
        raise Failed(f"{artefact}: not an artefact, or damaged: {error}") from None
    if not (CACHE / "install").exists():
        raise Failed(f"{artefact}: no installer is in it, so it is not an artefact")


def serve(options: dict[str, Any]) -> dict[str, Any]:
    """Apply the configuration, and verify that all cameras serve. Record it if that is asked for. Return the steps."""
    done = apply(options["dry"]) + switch(options["switches"], options["dry"])
    if options["dry"]:
        return {"changed": bool(done)}
    found = verify(options)
    differs = not found["problem"] and record({**options, "dry": not options["record"]})["changed"]
    return {**found, "done": done, "changed": bool(done) or differs}


def apply(dry: bool) -> list[str]:
    """Reload or restart each unit that does not run with its files and its release. Return the steps."""
    done: list[str] = []

    def systemctl(verb: str, unit: str, *more: str) -> None:
        done.append(f"{verb} {unit}")
        if not dry:
            run("systemctl", verb, *more, unit)

    if not release():
        return done
    differ = deployed()["files"] != files()
    told = status()
    # instances that are enabled or run, but have no configuration any more
    for unit in sorted(set(told["units"]) - set(wanted_units())):
        if told["units"][unit]["enabled"] or told["units"][unit]["active"] != "inactive":
            systemctl("disable", unit, "--now")
            # systemd remembers a failed unit; it has forgotten any other, so reset-failed fails
            if not dry:
                with contextlib.suppress(Failed):
                    run("systemctl", "reset-failed", unit)
    for unit, arguments in wanted_units().items():
        if not told["units"].get(unit, {"enabled": False})["enabled"]:
            systemctl("enable", unit)
        found = camera(unit, told)
        wanted = config_sha256(arguments)
        if not found["problem"] and found["release"] == release():
            if found["config_sha256"] == wanted and not differ and not found["refused"]:
                continue
            systemctl("reload", unit)
            deadline = time.monotonic() + 5
            # a reload applies everything but the address and port; these need a restart
            while not dry and cameras()[unit]["config_sha256"] != wanted and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            if dry or cameras()[unit]["config_sha256"] == wanted:
                continue
        systemctl("restart", unit)
    return done


def switch(wanted: dict[str, Any], dry: bool) -> list[str]:
    """Enable or disable units, and place or remove files, that the host has for all its cameras. Return the steps.

    What is "keep" stays as the host has it.
    """
    done: list[str] = []
    if not release():
        return done
    on = {name: str(value).lower() == "true" for name, value in wanted.items() if str(value) != "keep"}
    for name in sorted(on.keys() & UNITS.keys()):
        unit = UNITS[name]
        if (subprocess.run(["systemctl", "is-enabled", "--quiet", unit], check=False).returncode == 0) != on[name]:
            verb = "enable" if on[name] else "disable"
            done.append(f"{verb} {unit}")
            if not dry:
                run("systemctl", verb, "--now", unit)
    for name in sorted(on.keys() & PLACED.keys()):
        path, source, service = PLACED[name]
        content = (CURRENT / source).read_bytes() if source else b""
        there = path.read_bytes() if path.exists() else None
        if there == (content if on[name] else None):
            continue
        done.append(f"{'write' if on[name] else 'remove'} {path}")
        if dry:
            continue
        if on[name]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        else:
            path.unlink()
        # a host may be without it
        with contextlib.suppress(Failed):
            run("systemctl", "try-reload-or-restart", service)
    return done


def verify(options: dict[str, Any]) -> dict[str, Any]:
    """Wait until all cameras serve, at most *seconds*. Return their states, and the problem if they do not.

    *restarts* are those of each unit when it was verified before, if it was: it must not have more now.
    """
    deadline = time.monotonic() + options["seconds"]
    units = wanted_units()
    if not release():
        return {"changed": False, "release": "", "cameras": {}, "problem": "pi-cam-daemon is not installed"}
    if options["expected"] not in ("", release()):
        reason = TAKEN_BACK.read_text().strip() if TAKEN_BACK.exists() else f"{options['expected']} was taken back"
        problem = f"{reason}; {release()} is there now"
        return {"changed": False, "release": release(), "cameras": cameras(), "problem": problem}
    wanted = {unit: config_sha256(arguments) for unit, arguments in units.items()}
    first = cameras(wake=True)
    since, problem = time.monotonic(), ""
    while True:
        # each question is a Python that starts on a Zero 2 W, so none is asked before the answer counts
        time.sleep(POLL_SECONDS if problem else max(POLL_SECONDS, since + SETTLE_SECONDS - time.monotonic()))
        now = cameras(wake=True)
        if any(now[unit][key] != first[unit][key] for unit in units for key in ("pid", "restarts")):
            first, since = now, time.monotonic()
        problems = [fault(unit, first[unit], now[unit], wanted[unit], options["gave"].get(unit)) for unit in units]
        problem = "; ".join(filter(None, problems))
        settled = time.monotonic() - since >= SETTLE_SECONDS
        if (settled and not problem) or time.monotonic() > deadline:
            break
    if not problem and not settled:
        problem = "a camera restarts again and again"
    for table in now.values():
        table["note"] = note(table)
    more = [
        f"{unit} has ended by itself since it was deployed"
        for unit in units
        if now[unit]["restarts"] > options["restarts"].get(unit, now[unit]["restarts"])
    ]
    if options["drift"] != "allow" and (ETC / "config.toml").exists():
        more += overridden((ETC / "config.toml").read_text(errors="replace"))
    problem = "; ".join(filter(None, [problem, *more]))
    return {"changed": False, "release": release(), "cameras": now, "problem": problem}


def fault(unit: str, first: dict[str, Any], now: dict[str, Any], wanted: str | None, gave: bool | None) -> str:
    """Return what is wrong with a camera, empty if it gives pictures, or *gave* none before.

    *gave* is None if nobody knows. Then a camera that this host has never had is not missed.
    """
    if now["problem"]:
        return str(now["problem"])
    if now["release"] != release():
        return f"{unit} runs {now['release']} and not {release()}"
    if now["refused"]:
        return f"{unit} refuses its files: {now['refused']}"
    if now["config_sha256"] != wanted:
        return f"{unit} does not use its new configuration"
    if not now["stand_in"] and now["captured"] > first["captured"]:
        return ""
    if now["state"] == "idle":
        return f"{now['asleep']} (the camera is idle)" if now["asleep"] else ""
    if not now["ok"] and (gave is False or (now["stand_in"] and not now["had_one"] and not gave)):
        return ""
    return f"{unit} gives no pictures: {now['detail']}"


def note(now: dict[str, Any]) -> str:
    """Return what the report tells of a camera that gives no pictures, whether that is a fault or not."""
    if now["problem"] or now["ok"] or now["state"] == "starting":
        return ""
    detail = str(now["detail"]).removeprefix("No camera: ")
    return f"no camera, test picture: {detail}" if now["stand_in"] and not now["had_one"] else detail


def record(options: dict[str, Any]) -> dict[str, Any]:
    """Keep the artefact, the release and the files as the state to go back to."""
    table = {"artefact": options["artefact"], "release": release(), "files": files()}
    if deployed() == table:
        return {"changed": False}
    if options["dry"]:
        return {"changed": True}
    part = DEPLOYED.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        part.unlink()
    # it contains the files, and so their passwords
    part.touch(mode=0o600)
    part.write_text(json.dumps(table))
    os.sync()
    part.replace(DEPLOYED)
    return {"changed": True}


def restore(options: dict[str, Any]) -> dict[str, Any]:
    """Go back to the recorded state. Return the steps, how it went, and the journal from before."""
    if options["dry"]:
        return {"changed": False, "outcome": "nothing was changed", "journal": ""}
    # read the journal first: going back writes to it, too
    words = subprocess.run(
        ["journalctl", "--quiet", "--no-pager", "--lines=30", "--output=cat", "--unit=pi-cam-daemon*"],
        capture_output=True, text=True, errors="replace", check=False,
    ).stdout  # fmt: skip
    done: list[str] = []
    try:
        outcome = go_back(options, done)
    except (Failed, OSError) as error:
        outcome = f"could not go back: {error}"
    return {"changed": bool(done), "done": done, "outcome": outcome, "journal": words}


def go_back(options: dict[str, Any], done: list[str]) -> str:
    """Restore the recorded files and the release. Append each step to *done* and return how it went."""
    before = deployed()["files"]
    if not before:
        return "there was nothing to go back to"
    # also the cameras that this run has removed
    for name in sorted({*options["names"], *(name for name in before if name.startswith("cameras/"))}):
        path = ETC / name
        if name not in before and path.exists():
            path.unlink()
            done.append(f"remove {path}")
        elif name in before and files().get(name) != before[name]:
            content, mode, user, group = before[name]
            part = path.with_name(f".{path.name}.new")
            part.write_bytes(base64.b64decode(content))
            os.chown(part, user, group)
            part.chmod(mode)
            part.replace(path)
            done.append(f"restore {path}")
    if options["release"] and release() != options["release"]:
        run(f"{CURRENT}/install", "--rollback")
        done.append(f"roll back to {release()}")
    done += apply(dry=False)
    # what conf.d overrides is no reason to say that it does not serve
    problem = verify({**options, "drift": "allow", "expected": "", "restarts": {}})["problem"]
    if problem:
        return f"went back to {release()}, but still: {problem}"
    return f"went back to {release()}, which serves" if done else f"{release()} serves as before"


COMMANDS = {
    "look": look, "install": install, "serve": serve, "verify": verify, "record": record, "restore": restore,
}  # fmt: skip
