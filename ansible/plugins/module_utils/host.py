"""The state of a host: its files, its cameras as the installed release tells of them, and who is connected."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import grp
import ipaddress
import json
import os
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OPT = Path("/opt/pi-cam-daemon")
CURRENT = OPT / "current"
ETC = Path("/etc/pi-cam-daemon")
# what was deployed and verified: the artefact's sha256, its release, and the files in ETC
DEPLOYED = OPT / "deployed.json"
UNIT = "pi-cam-daemon.service"
GROUP = "pi-cam-daemon"
# the lock of a run of the role
LOCK = Path("/run/pi-cam-daemon-deploy.lock")
# an installation on a Zero 2 W with a slow card takes some minutes
ALONE_SECONDS = 900.0
PYTHON = "/usr/bin/python3"
# the meaning of "local" in http.allowed_networks, besides the networks of the host's interfaces
LOCAL = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fe80::/10", "fc00::/7")
POLL_SECONDS = 0.5
# the kinds of camera that `auto` finds
OF_THIS_HOST = ("csi", "usb")
# the time that `look` gives a camera to start
START_SECONDS = 15.0
# a unit of which nothing is told
UNKNOWN = {"active": "unknown", "pid": 0, "restarts": 0, "port": 0, "asleep": "", "state": None}


class Failed(Exception):
    """An expected failure. The message is for the user."""


def run(*argv: str) -> str:
    """Run a command and return its output. Raises Failed with its last lines if it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-8:]
        raise Failed("\n".join([f"{' '.join(argv)}: exit status {done.returncode}", *said]))
    return done.stdout.strip()


# -- the state of the host


def release() -> str:
    """Return the release that the link points to, empty if none is installed."""
    return CURRENT.readlink().name if CURRENT.is_symlink() else ""


def status(wake: bool = False) -> dict[str, Any]:
    """Return what `install --status --json` tells; no units if no release is installed, or one that cannot tell.

    With *wake* cameras that sleep are asked for a picture.
    """
    installer, nothing = CURRENT / "install", {"release": release(), "history": [], "units": {}}
    if not installer.exists():
        return nothing
    try:
        told: dict[str, Any] = json.loads(
            run(PYTHON, str(installer), "--status", "--json", *(["--wake"] if wake else []))
        )
    except Failed as error:
        if "unrecognized arguments" in str(error):
            return nothing
        raise
    return told


def deployed() -> dict[str, Any]:
    """Return what was recorded last."""
    with contextlib.suppress(OSError, ValueError):
        table: dict[str, Any] = json.loads(DEPLOYED.read_text())
        return table
    return {"artefact": "", "release": "", "files": {}}


def files() -> dict[str, Any]:
    """Return the files in ETC by their names there: content in base64, mode, user and group."""
    found = {}
    for path in sorted(ETC.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            status = path.stat()
            content = base64.b64encode(path.read_bytes()).decode()
            found[str(path.relative_to(ETC))] = [content, status.st_mode & 0o7777, status.st_uid, status.st_gid]
    return found


def is_right(path: Path, mode: int, group: str) -> bool:
    """Return whether root owns *path*, and *mode* and *group* are as given."""
    with contextlib.suppress(FileNotFoundError, KeyError):
        status = path.lstat()
        return (status.st_uid, status.st_gid, status.st_mode) == (0, grp.getgrnam(group).gr_gid, mode)
    return False


def has_group() -> bool:
    """Return whether the service's group exists."""
    with contextlib.suppress(KeyError):
        return bool(grp.getgrnam(GROUP))
    return False


def wanted_units() -> dict[str, list[str]]:
    """Return the units of the cameras, each with the daemon's arguments for its configuration."""
    instances = {f"pi-cam-daemon@{path.stem}.service": ["--config", str(path)] for path in ETC.glob("cameras/*.toml")}
    return {UNIT: [], **dict(sorted(instances.items()))}


def config_sha256(arguments: list[str]) -> str | None:
    """Return the hash of the configuration in the files, None if the release is too old to tell."""
    try:
        return run(f"{CURRENT}/bin/pi-cam-daemon", "config", "--sha256", *arguments)
    except Failed as error:
        if "unrecognized arguments" in str(error):
            return None
        raise


def camera(unit: str, told: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a unit's camera, from what the installer *told*. *problem* is empty if the server answers.

    *stand_in*: the test picture is shown in place of a camera. *had_one*: a camera of this host has given pictures.
    """
    if unit not in told["units"]:
        told = {"units": {unit: {**UNKNOWN, "problem": f"{unit}: its release does not tell how it is"}}}
    found = told["units"][unit]
    table: dict[str, Any] = {
        **{key: found[key] for key in ("pid", "restarts", "port", "problem", "asleep")},
        "ok": False, "state": found["active"], "rate": 0.0, "captured": 0, "kind": "", "release": None,
        "config_sha256": None, "stand_in": False, "had_one": False, "note": "", "refused": "", "detail": "",
    }  # fmt: skip
    if found["problem"]:
        return table
    try:
        state = found["state"]
        source, frames, refused = state["source"], state["frames"], state.get("config_refused")
        # also true for a release that takes the test picture for healthy
        stand_in = source["kind"] == "pattern" != source["configured"]
        return {
            **table, "state": state["state"], "ok": state["ok"] and not stand_in,
            "detail": ". ".join(filter(None, (state["detail"], state["hint"]))),
            "rate": frames["rate"], "captured": frames["captured"], "kind": source["kind"], "stand_in": stand_in,
            "had_one": source.get("last") in OF_THIS_HOST, "release": state.get("release"),
            "config_sha256": state.get("config_sha256"), "refused": "; ".join(refused["problems"] if refused else ()),
        }  # fmt: skip
    except (TypeError, LookupError) as error:
        return {**table, "problem": f"{unit} does not tell how it is: {error!r}"}


def cameras(wake: bool = False) -> dict[str, dict[str, Any]]:
    """Return the state of each camera by its unit. With *wake* those that sleep are asked for a picture first."""
    told = status(wake)
    return {unit: camera(unit, told) for unit in wanted_units()}


def giving(told: dict[str, Any]) -> dict[str, bool]:
    """Return for each unit if it gives pictures of a camera of this host, from what the installer *told*.

    Those are left out that do not tell in time, and those that give other pictures: they may become a stand-in.
    """
    deadline = time.monotonic() + START_SECONDS
    while True:
        found = {unit: camera(unit, told) for unit in wanted_units()}
        if all(table["state"] != "starting" for table in found.values()) or time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
        told = status(wake=True)
    known = {unit: t for unit, t in found.items() if not t["problem"] and t["state"] not in ("idle", "starting")}
    return {unit: t["ok"] for unit, t in known.items() if not t["ok"] or t["kind"] in OF_THIS_HOST}


def overridden(text: str) -> list[str]:
    """Return what files in conf.d set to other values than *text*, the main configuration: a sentence for each key."""
    ours: dict[str, Any] = {}
    theirs: dict[str, tuple[Any, Path]] = {}
    # the daemon tells what is wrong with a file
    with contextlib.suppress(ValueError):
        ours = settings(text)
    for path in sorted((ETC / "conf.d").glob("[!.]*.toml")):
        with contextlib.suppress(OSError, ValueError):
            theirs |= {key: (value, path) for key, value in settings(path.read_text()).items()}
    return [
        f"{path} overrides {key}" for key, (value, path) in sorted(theirs.items()) if key in ours and value != ours[key]
    ]


def settings(text: str) -> dict[str, Any]:
    """Return the values in a configuration file by section.key. Raises ValueError."""
    return {
        f"{section}.{key}": value
        for section, table in tomllib.loads(text).items()
        if isinstance(table, dict)
        for key, value in table.items()
    }


def controller() -> str:
    """Return the address from which this ssh session comes, empty if there is none.

    sudo removes the variable, so the parent processes' environments are searched.
    """
    pid = os.getpid()
    while pid > 1:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if entry.startswith(b"SSH_CONNECTION="):
                    return entry.partition(b"=")[2].split()[0].decode()
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return ""


def admitted(address: str, networks: list[str]) -> bool:
    """Return whether the daemon would let *address* in, if *networks* is its http.allowed_networks."""
    peer = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped:
        peer = peer.ipv4_mapped
    entries = [entry for entry in networks if entry != "local"]
    if "local" in networks:
        entries += LOCAL
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            digits, _, length, *_ = line.split()
            entries.append(f"{ipaddress.IPv6Address(bytes.fromhex(digits))}/{int(length, 16)}")
    return peer.is_loopback or any(peer in ipaddress.ip_network(entry, strict=False) for entry in entries)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait for the end of other runs, also of processes that a killed run left, and of an installer."""
    with LOCK.open("w") as lock:
        wait_for(lock.fileno())
        if OPT.is_dir():
            folder = os.open(OPT, os.O_RDONLY)
            try:
                wait_for(folder)
            finally:
                # released: the installer that this run starts takes the lock itself
                os.close(folder)
        yield


def wait_for(lock: int) -> None:
    """Lock the open file *lock*. Raises Failed if that takes longer than ALONE_SECONDS."""
    deadline = time.monotonic() + ALONE_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Failed(f"another run or installation has not ended for {ALONE_SECONDS:.0f} s") from None
            time.sleep(0.2)
