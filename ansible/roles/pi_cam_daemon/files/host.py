"""The role's commands on a host, run there as `python3 - COMMAND JSON`. The answer is JSON, too.

  look     {"networks": [...]}                   tell what is installed and runs, and if the controller may look
  install  {"artefact": "path", "apt": true, …}  run the installer, then remove the artefact
  serve    {"dry": false, "artefact": "sha256"}  reload or restart what does not run as configured, verify, record
  verify   {"seconds": 90, "gave": {unit: bool}} wait until all cameras serve; which of them gave pictures before
  record   {"artefact": "sha256"}                keep what is deployed as the state to go back to
  restore  {"files": [...], "release": "..."}    go back to that state

One command replaces about ten tasks, each of which takes a second or two on a Zero 2 W.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import grp
import hashlib
import http.client
import ipaddress
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OPT = Path("/opt/pi-cam-daemon")
CURRENT = OPT / "current"
ETC = Path("/etc/pi-cam-daemon")
# what was deployed and verified: the artefact's sha256, its release, and the files in ETC
DEPLOYED = OPT / "deployed.json"
UNIT = "pi-cam-daemon.service"
ANNOUNCER = "pi-cam-daemon-announce.service"
GROUP = "pi-cam-daemon"
# the lock of a run of the role
LOCK = Path("/run/pi-cam-daemon-deploy.lock")
# an installation on a Zero 2 W with a slow card takes some minutes
ALONE_SECONDS = 900.0
# the folder of the installer while it runs
CACHE = Path("/var/cache/pi-cam-daemon")
# filled in by tasks/install.yml: the installer as a zip that Python runs, in base64
INSTALLER = ""
# the meaning of "local" in http.allowed_networks, besides the networks of the host's interfaces
LOCAL = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fe80::/10", "fc00::/7")
# a camera counts as serving after this time in the same process
SETTLE_SECONDS = 3.0
# the kinds of camera that `auto` finds
OF_THIS_HOST = ("csi", "usb")
# the time that `look` gives a camera to start
START_SECONDS = 15.0


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


def proven() -> bool:
    """Return whether that release has passed the installer's health check; after a killed installation it has not."""
    with contextlib.suppress(OSError):
        return (OPT / "history").read_text().split()[-1:] == [release()]
    return False


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


def surplus_units() -> set[str]:
    """Return the instances that are enabled or run, but have no configuration any more."""
    enabled = {link.name for link in Path("/etc/systemd/system").glob("*.wants/pi-cam-daemon@*.service")}
    lines = run("systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating,failed",
                "pi-cam-daemon@*.service").splitlines()  # fmt: skip
    return (enabled | {line.split()[0] for line in lines}) - set(wanted_units())


def show(unit: str) -> dict[str, str]:
    """Return properties of *unit* as `systemctl show` has them."""
    lines = run("systemctl", "show", "-p", "ActiveState,SubState,MainPID,NRestarts,StatusText", unit).splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def listening(pid: str) -> tuple[str, int]:
    """Return an address and port of a process. The kernel knows them, even if the configuration has changed."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(str(link.readlink()))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
            if state == "0A" and f"socket:[{inode}]" in sockets:  # 0A: listening
                digits, _, port = local.partition(":")
                # 32-bit words in the machine's byte order
                words = [bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8)]
                address = ipaddress.ip_address(b"".join(words))
                if address.is_unspecified:
                    address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
                return str(address), int(port, 16)
    raise OSError("it does not listen")


def get(pid: str, path: str) -> tuple[int, bytes, int]:
    """Return the status and the body of the server's answer, and its port. Raises OSError."""
    address, port = listening(pid)
    connection = http.client.HTTPConnection(address, port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(), port
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP: {error!r}") from None
    finally:
        connection.close()


def config_sha256(arguments: list[str]) -> str | None:
    """Return the hash of the configuration in the files, None if the release is too old to tell."""
    try:
        return run(f"{CURRENT}/bin/pi-cam-daemon", "config", "--sha256", *arguments)
    except Failed as error:
        if "unrecognized arguments" in str(error):
            return None
        raise


def camera(unit: str) -> dict[str, Any]:
    """Return the state of a unit's camera. *problem* is empty if the server answers.

    *stand_in*: the test picture is shown in place of a camera. *had_one*: a camera of this host has given pictures.
    """
    status = show(unit)
    table: dict[str, Any] = {
        "pid": status["MainPID"], "restarts": int(status["NRestarts"]), "problem": "", "port": 0, "ok": False,
        "state": status["ActiveState"], "rate": 0.0, "captured": 0, "release": None, "config_sha256": None,
        "stand_in": False, "had_one": False, "note": "", "refused": "",
    }  # fmt: skip
    if status["ActiveState"] != "active":
        return {**table, "problem": f"{unit} is {status['ActiveState']}: {status['StatusText'] or status['SubState']}"}
    try:
        _, body, port = get(status["MainPID"], "/state")
        state = json.loads(body)
        source, frames, refused = state["source"], state["frames"], state.get("config_refused")
        # also true for a release that takes the test picture for healthy
        stand_in = source["kind"] == "pattern" != source["configured"]
        return {
            **table, "port": port, "state": state["state"], "ok": state["ok"] and not stand_in,
            "detail": ". ".join(filter(None, (state["detail"], state["hint"]))),
            "rate": frames["rate"], "captured": frames["captured"], "kind": source["kind"], "stand_in": stand_in,
            "had_one": source.get("last") in OF_THIS_HOST, "release": state.get("release"),
            "config_sha256": state.get("config_sha256"), "refused": "; ".join(refused["problems"] if refused else ()),
        }  # fmt: skip
    except (OSError, ValueError, LookupError) as error:
        return {**table, "problem": f"{unit} does not answer: {error}"}


def awake(unit: str) -> dict[str, Any]:
    """Return the state of a unit's camera after a snapshot if it sleeps. *asleep* says why it still does."""
    found = {**camera(unit), "asleep": ""}
    if found["problem"] or found["state"] != "idle":
        return found
    try:
        status = get(found["pid"], "/snapshot")[0]
    except OSError:
        status = 0
    # a server with users starts the camera for nobody else
    asleep = "" if status in (http.client.OK, http.client.UNAUTHORIZED) else f"{unit} gives no snapshot"
    return {**camera(unit), "asleep": asleep}


def giving(units: list[str]) -> dict[str, bool]:
    """Return for each of *units* if it gives pictures of a camera of this host.

    Those are left out that do not tell in time, and those that give other pictures: they may become a stand-in.
    """
    deadline = time.monotonic() + START_SECONDS
    while True:
        found = {unit: awake(unit) for unit in units}
        if all(table["state"] != "starting" for table in found.values()) or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    known = {unit: t for unit, t in found.items() if not t["problem"] and t["state"] not in ("idle", "starting")}
    return {unit: t["ok"] for unit, t in known.items() if not t["ok"] or t["kind"] in OF_THIS_HOST}


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


# -- the commands


def look(options: dict[str, Any]) -> dict[str, Any]:
    """Return the state of the host, from which the role decides what to do."""
    address = controller()
    record = deployed()
    return {
        "controller": address,
        "locked_out": bool(address) and not admitted(address, options["networks"]),
        "release": release(),
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
        "artefact": record["artefact"] if proven() and record["release"] == release() else "",
        "gave": giving(list(wanted_units())) if release() else {},
    }


def install(options: dict[str, Any]) -> dict[str, Any]:
    """Run the installer on the artefact, then remove both."""
    shutil.rmtree(CACHE, ignore_errors=True)
    CACHE.mkdir()
    program = CACHE / "install"
    program.write_bytes(base64.b64decode(INSTALLER))
    apt = [] if options["apt"] else ["--no-apt"]
    try:
        done = subprocess.run(
            [
                "/usr/bin/python3", str(program), "--from", options["artefact"],
                "--health-seconds", str(options["seconds"]), *apt,
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    finally:
        # they must not stay on a card that may be full
        shutil.rmtree(CACHE, ignore_errors=True)
        Path(options["artefact"]).unlink(missing_ok=True)
    if done.returncode:
        # the last two lines are the reason, and what the installer did then
        said = [line.removeprefix("install: ") for line in done.stdout.splitlines() if line.startswith("install: ")]
        raise Failed(f"{'; '.join(said[-2:])}\n{done.stdout}")
    return {}


def serve(options: dict[str, Any]) -> dict[str, Any]:
    """Apply the configuration, verify that all cameras serve, and record it. With *dry* only tell if it would."""
    done = apply(options["dry"]) + announce(options["avahi"], options["dry"])
    if options["dry"]:
        return {"changed": bool(done)}
    found = verify(options)
    recorded = not found["problem"] and record(options)["changed"]
    return {**found, "done": done, "changed": bool(done) or recorded}


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
    for unit in sorted(surplus_units()):
        systemctl("disable", unit, "--now")
        # systemd remembers a failed unit; it has forgotten any other, so reset-failed fails
        if not dry:
            with contextlib.suppress(Failed):
                run("systemctl", "reset-failed", unit)
    for unit, arguments in wanted_units().items():
        if subprocess.run(["systemctl", "is-enabled", "--quiet", unit], check=False).returncode:
            systemctl("enable", unit)
        found = camera(unit)
        wanted = config_sha256(arguments)
        if not found["problem"] and found["release"] == release():
            if found["config_sha256"] == wanted and not differ and not found["refused"]:
                continue
            systemctl("reload", unit)
            deadline = time.monotonic() + 5
            # a reload applies everything but the address and port; these need a restart
            while not dry and camera(unit)["config_sha256"] != wanted and time.monotonic() < deadline:
                time.sleep(0.2)
            if dry or camera(unit)["config_sha256"] == wanted:
                continue
        systemctl("restart", unit)
    return done


def announce(wanted: bool, dry: bool) -> list[str]:
    """Enable or disable the announcement by avahi. Return the steps."""
    enabled = subprocess.run(["systemctl", "is-enabled", "--quiet", ANNOUNCER], check=False).returncode == 0
    if enabled == wanted:
        return []
    verb = "enable" if wanted else "disable"
    if not dry:
        run("systemctl", verb, "--now", ANNOUNCER)
    return [f"{verb} {ANNOUNCER}"]


def verify(options: dict[str, Any]) -> dict[str, Any]:
    """Wait until all cameras serve, at most *seconds*. Return their states, and the problem if they do not."""
    # before Ansible 2.19 the number is text
    deadline = time.monotonic() + float(options["seconds"])
    units = wanted_units()
    if not release():
        return {"release": "", "cameras": {}, "problem": "pi-cam-daemon is not installed"}
    wanted = {unit: config_sha256(arguments) for unit, arguments in units.items()}
    first = {unit: awake(unit) for unit in units}
    since = time.monotonic()
    while True:
        time.sleep(0.5)
        now = {unit: awake(unit) for unit in units}
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
    return {"release": release(), "cameras": now, "problem": problem}


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
    return {"done": done, "outcome": outcome, "journal": words}


def go_back(options: dict[str, Any], done: list[str]) -> str:
    """Restore the recorded files and the release. Append each step to *done* and return how it went."""
    before = deployed()["files"]
    if not before:
        return "there was nothing to go back to"
    # also the cameras that this run has removed
    for name in sorted({*options["files"], *(name for name in before if name.startswith("cameras/"))}):
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
    problem = verify({"seconds": options["seconds"], "gave": options["gave"]})["problem"]
    if problem:
        return f"went back to {release()}, but still: {problem}"
    return f"went back to {release()}, which serves" if done else f"{release()} serves as before"


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


def main() -> int:
    """Run the command on the command line and return the exit status."""
    commands = {
        "look": look, "install": install, "serve": serve, "verify": verify, "record": record, "restore": restore,
    }  # fmt: skip
    try:
        with alone():
            json.dump(commands[sys.argv[1]](json.loads(sys.argv[2])), sys.stdout)
    except (Failed, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
