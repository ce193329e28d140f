"""The service of the current release: its files in the system, its units, and their health."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import shutil
import time
from pathlib import Path

from installer.machine import Failed, has_systemd, run, say
from installer.releases import CURRENT, RELEASES, current, history, switch

UNIT = "pi-cam-daemon.service"
COMMAND = Path("/usr/local/bin/pi-cam-daemon")
# systemd and udev look here for local packages; files in /etc override these
_LIB = Path("/usr/local/lib")
UNITS = _LIB / "systemd" / "system"
_FOLDERS = {name: _LIB / name for name in ("sysusers.d", "tmpfiles.d", "modules-load.d", "udev/rules.d")}
_ETC = Path("/etc/systemd/system")


def _place(source: Path, target: Path) -> bool:
    """Copy *source* to *target* in one step. Return False if it is there already."""
    content = source.read_bytes()
    if target.exists() and target.read_bytes() == content:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.new")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.chmod(0o644)
    part.replace(target)
    return True


def places(systemd: Path) -> dict[Path, Path]:
    """Return the files of a release's folder *systemd* by the paths to which they are copied."""
    units = {UNITS / path.name: path for path in systemd.glob("pi-cam-daemon*.*") if path.is_file()}
    others = {
        folder / path.name: path
        for name, folder in _FOLDERS.items()
        for path in systemd.glob(f"{name}/*pi-cam-daemon*")
    }
    return units | others


def _integrate() -> bool:
    """Install the files of the current release. Return False if all were there already."""
    files = places(CURRENT / "systemd")
    changed = [target for target, source in files.items() if _place(source, target)]
    for folder in (UNITS, *_FOLDERS.values()):
        for path in folder.glob("*pi-cam-daemon*"):
            if path not in files:
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


def activate(release: str, services: list[str], seconds: float, settle: float, force: bool = False) -> None:
    """Let *release* serve. Raises Failed unless each of *services* serves within *seconds*, for *settle* seconds."""
    if current() != release:
        switch(release)
    changed = _integrate()
    if not history():
        run("systemctl", "enable", UNIT)
    if not has_systemd():
        say("systemd does not run here; the service starts at the next boot")
        return
    for unit in services:
        if changed or force or problem_of(unit):
            # --no-block: systemctl would wait as long as systemd does, not *seconds*
            run("systemctl", "reset-failed", unit, check=False)
            run("systemctl", "--no-block", "restart", unit)
        _check_health(unit, seconds, settle)


def show(unit: str) -> dict[str, str]:
    """Return properties of *unit* as `systemctl show` has them."""
    names = "ActiveState,SubState,Job,MainPID,NRestarts,StatusText"
    lines = run("systemctl", "show", "-p", names, unit).stdout.splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def _listening(pid: int) -> list[tuple[str, int]]:
    """Return the addresses at which a process can be reached. The kernel knows them, even with a socket unit."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(str(link.readlink()))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
            # 0A: listening
            if state == "0A" and f"socket:[{inode}]" in sockets:
                digits, _, port = local.partition(":")
                # 32-bit words in the machine's byte order
                words = [bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8)]
                address = ipaddress.ip_address(b"".join(words))
                if address.is_unspecified:
                    address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
                found.append((str(address), int(port, 16)))
    return found


def _answers(pid: int) -> str:
    """Ask the server for /livez. Return what is wrong, empty if it answers."""
    problem = "it does not listen"
    for address, port in _listening(pid):
        connection = http.client.HTTPConnection(address, port, timeout=5)
        try:
            connection.request("GET", "/livez")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            problem = f"http://{address}:{port}/livez: {error or type(error).__name__}"
        else:
            # 403: this address of the machine is not allowed, but the server answers
            if status in (http.HTTPStatus.OK, http.HTTPStatus.FORBIDDEN):
                return ""
            problem = f"http://{address}:{port}/livez answers {status}"
        finally:
            connection.close()
    return problem


def problem_of(unit: str, state: dict[str, str] | None = None) -> str:
    """Return why *unit* does not serve the current release, empty if it does. Only root can ask the server itself."""
    state = state or show(unit)
    if state["ActiveState"] != "active":
        return f"{unit} is {state['ActiveState']} ({state['SubState']})"
    if state["Job"] not in ("", "0"):
        return f"{unit} is about to be restarted"
    pid = int(state["MainPID"])
    try:
        program = Path(Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0])
        if program.is_relative_to(RELEASES) and program.relative_to(RELEASES).parts[0] != current():
            return f"{unit} runs {program.relative_to(RELEASES).parts[0]}"
        return _answers(pid) if os.geteuid() == 0 else ""
    except OSError:
        return f"{unit} has ended"


def _check_health(unit: str, seconds: float, settle: float) -> None:
    """Wait until *unit* has served for *settle* seconds. It serves if it answers, even without a camera.

    Raises Failed if it ends, or does not serve within *seconds*.
    """
    deadline = time.monotonic() + seconds
    restarts = int(show(unit)["NRestarts"])
    served: tuple[str, float] | None = None
    while True:
        state = show(unit)
        problem = problem_of(unit, state)
        if problem:
            served = None
        elif served is None or served[0] != state["MainPID"]:
            served = state["MainPID"], time.monotonic()
        elif time.monotonic() - served[1] >= settle:
            return
        if state["ActiveState"] == "failed" or int(state["NRestarts"]) > restarts:
            raise Failed(f"{unit} ended by itself{_last_log_lines(unit)}")
        if problem and time.monotonic() > deadline:
            raise Failed(f"{unit} does not serve after {seconds:.0f} s: {problem}{_last_log_lines(unit)}")
        time.sleep(0.25)


def _last_log_lines(unit: str) -> str:
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
    for folder in (UNITS, *_FOLDERS.values()):
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
