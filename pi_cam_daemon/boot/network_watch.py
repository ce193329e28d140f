"""The command `watch-network`, run every two minutes: mend a network that worked once and is lost.

NetworkManager itself tries for ever to connect. Where that does not help, it is started anew, and the radio with it.
Where that does not help either, a reboot is asked for, if its owner has switched that on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pi_cam_daemon.system import files, network

# in memory: the loss that lasts, and in words the one that is over
_FOLDER = Path("run/pi-cam-daemon-network")
_LOSS, _OVER = _FOLDER / "loss.json", _FOLDER / "over"
# pi-cam-daemon-network-reboot.path obeys it
_REBOOT = _FOLDER / "reboot-requested"
_REBOOT_UNIT = "pi-cam-daemon-network-reboot.path"
# it was there once, maybe at an earlier boot
_WORKED = Path("var/lib/pi-cam-daemon-network/worked")

# of a loss, and then between two attempts
MEND_SECONDS = 600.0
REBOOT_SECONDS = 1800.0
# a second each
_QUESTIONS = 3
_COMMAND_SECONDS = 120.0
_INTERFACES, _ROUTES = Path("/sys/class/net"), Path("/proc/net/route")
_NOBODY = bytes(4)
# linux/if_ether.h, if_arp.h, sockios.h and if.h; struct arphdr with the addresses of who asks and who is asked for
_ARP, _ETHERNET = 0x0806, 1
_ARP_PACKET = struct.Struct("!HHBBH6s4s6s4s")
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
# whichever of them run here
_SERVICES = ("wpa_supplicant.service", "NetworkManager.service", "systemd-networkd.service")


@dataclass(frozen=True)
class Loss:
    """A loss of the network. *since* and *mended*, the last attempt, are seconds since the boot; *at* is for people."""

    since: float
    at: str
    problem: str
    mended: float | None = None


def run(
    root: Path,
    look: Callable[[], str] | None = None,
    mend: Callable[[], None] | None = None,
    may_reboot: Callable[[], bool] | None = None,
    now: Callable[[], float] | None = None,
) -> None:
    """Look at the network, and do what is due. Tests pass functions of their own. Raises OSError."""
    seconds = (now or _now)()
    problem = (look or _problem)()
    loss = _read(root)
    if not problem:
        if loss:
            _end(root, loss, seconds)
        files.replace(root / _WORKED, b"")
    elif loss is None:
        # where there never was a network, nobody waits for one
        if (root / _WORKED).exists():
            _write(root, Loss(seconds, _clock(), problem))
            print(f"the network is lost: {problem}", flush=True)
    else:
        mended = loss.mended
        if seconds - (loss.since if mended is None else mended) >= MEND_SECONDS:
            print(f"no network for {_minutes(loss, seconds)}: {problem}; it is started anew", flush=True)
            (mend or _mend)()
            mended = seconds
        _write(root, Loss(loss.since, loss.at, problem, mended))
        if seconds - loss.since >= REBOOT_SECONDS and (may_reboot or _may_reboot)() and not (root / _REBOOT).exists():
            print(f"no network for {_minutes(loss, seconds)}: {problem}; a reboot is asked for", flush=True)
            files.replace(root / _REBOOT, b"")


def report(root: Path) -> str:
    """Return a sentence about the loss that lasts, or the last one since the boot; "" if there was none."""
    loss = _read(root)
    if loss is None:
        return files.text(root / _OVER)
    mended = "" if loss.mended is None else "; it was started anew"
    reboot = "; a reboot is asked for" if (root / _REBOOT).exists() else ""
    return f"lost since {loss.at}: {loss.problem}{mended}{reboot}"


def _end(root: Path, loss: Loss, seconds: float) -> None:
    how = "by itself" if loss.mended is None else "after it was started anew"
    text = f"was lost at {loss.at} for {_minutes(loss, seconds)}, and came back {how}"
    print(f"the network {text}", flush=True)
    files.replace(root / _OVER, f"{text}\n".encode())
    files.remove(root / _REBOOT)
    files.remove(root / _LOSS)


def _minutes(loss: Loss, seconds: float) -> str:
    return f"{(seconds - loss.since) / 60:.0f} minutes"


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _clock() -> str:
    return time.strftime("%Y-%m-%d %H:%M %Z")


def _read(root: Path) -> Loss | None:
    try:
        return Loss(**json.loads((root / _LOSS).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _write(root: Path, loss: Loss) -> None:
    files.replace(root / _LOSS, json.dumps(asdict(loss)).encode())


# -- the machine itself


def _problem() -> str:
    """Return what is wrong with the network, "" if nothing is."""
    addresses = [found for found in network.read() if not (found.address.is_loopback or found.address.is_link_local)]
    own = {found.name: found.address.packed for found in reversed(addresses) if found.address.version == 4}
    routers = default_routers(files.text(_ROUTES))
    # a route without a router is a modem's
    if any(router == _NOBODY or (name in own and _answers(name, own[name], router)) for name, router in routers):
        return ""
    if routers:
        return f"the router {socket.inet_ntoa(routers[0][1])} does not answer"
    # IPv6 alone, or no router; what has no device is a bridge of containers and the like
    for name in {found.name for found in addresses}:
        if (_INTERFACES / name / "device").exists() and files.text(_INTERFACES / name / "operstate") != "down":
            return ""
    return "no address"


def default_routers(table: str) -> list[tuple[str, bytes]]:
    """Return interface and address of each router in *table*, which is /proc/net/route."""
    lines = [line.split() for line in table.splitlines()[1:]]
    # columns: interface, destination, router, flags, three counters, mask; numbers are hexadecimal, in the CPU's order
    return [(line[0], struct.pack("=L", int(line[2], 16))) for line in lines if line[1] == line[7] == "00000000"]


def _answers(name: str, own: bytes, router: bytes) -> bool:
    """Return whether *router* answers by ARP on the interface *name*, whose address is *own*. It may ignore pings."""
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ARP)) as link:
            link.bind((name, _ARP))
            _, _, _, kind, mac = link.getsockname()
            if kind != _ETHERNET:
                return True
            question = _ARP_PACKET.pack(_ETHERNET, 0x0800, 6, 4, 1, mac, own, bytes(6), router)
            for _ in range(_QUESTIONS):
                link.sendto(question, (name, _ARP, 0, 0, b"\xff" * 6))
                if _hears(link, router, time.monotonic() + 1):
                    return True
    except OSError:
        pass
    return False


def _hears(link: socket.socket, router: bytes, deadline: float) -> bool:
    """Return whether *router* says something by ARP before *deadline*."""
    while (left := deadline - time.monotonic()) > 0:
        link.settimeout(left)
        try:
            data = link.recv(_ARP_PACKET.size)
        except TimeoutError:
            return False
        if len(data) == _ARP_PACKET.size and _ARP_PACKET.unpack(data)[6] == router:
            return True
    return False


def _mend() -> None:
    """Disconnect and take down the interfaces that NetworkManager manages, and start it and its like anew."""
    for name in _managed():
        _run("nmcli", "--wait", "30", "device", "disconnect", name)
    for name, state in _managed().items():
        # it takes these up again; one that is still connected it would leave as it is, which is down
        if state in ("disconnected", "unavailable"):
            with contextlib.suppress(OSError):
                _take_down(name)
    _run("systemctl", "try-restart", *_SERVICES)


def _managed() -> dict[str, str]:
    """Return the states of the interfaces that NetworkManager manages, by name."""
    lines = _run("nmcli", "-t", "-f", "DEVICE,TYPE,STATE", "device").splitlines()
    found = [line.split(":") for line in lines if line.count(":") == 2]
    return {name: state for name, kind, state in found if kind in ("ethernet", "wifi") and state != "unmanaged"}


def _take_down(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        # struct ifreq: a name of 16 bytes, and its flags in a union of 24
        _, flags = struct.unpack_from("16sH", fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16s24x", name.encode())))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags & ~_IFF_UP))


def _may_reboot() -> bool:
    return _run("systemctl", "is-active", _REBOOT_UNIT).strip() == "active"


def _run(*argv: str) -> str:
    """Return the output of a command, "" if it is not there or takes too long. What it complains of is in the log."""
    try:
        return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False, timeout=_COMMAND_SECONDS).stdout
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
