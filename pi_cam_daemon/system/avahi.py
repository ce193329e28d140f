"""Announce the camera by mDNS, with a service file for avahi, and ask avahi for the name of this machine.

The file holds only what everybody on the network may know: no serial number, no users. *root* is the root directory.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from pi_cam_daemon import __version__
from pi_cam_daemon.system import files

_FILE = Path("etc/avahi/services/pi-cam-daemon.service")
_TEXTS = ("txtvers=1", f"version={__version__}", "path=/", "stream=/stream", "snapshot=/snapshot", "health=/healthz")

# where avahi takes the requests that `avahi-resolve --address` and nss-mdns send
_SOCKET = Path("/run/avahi-daemon/socket")
# for all addresses; avahi answers at once for its own, and after 5 s for others
_SECONDS = 1.0
_ADDRESS_SECONDS = 0.3
_ANSWER = re.compile(r"\+\s+\S+\s+\S+\s+([\w-]{1,63}\.local)\s*", re.ASCII)


def host_name(addresses: Iterable[str], path: Path = _SOCKET) -> str:
    """Return the name by which avahi announces this machine, such as camera-2.local; "" if it tells none in a second.

    It is not the machine's own name if another machine has that one. *addresses* are those of this machine.
    """
    deadline = time.monotonic() + _SECONDS
    for address in addresses:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            with socket.socket(socket.AF_UNIX) as asking:
                asking.settimeout(min(left, _ADDRESS_SECONDS))
                asking.connect(str(path))
                asking.sendall(f"RESOLVE-ADDRESS {address}\n".encode())
                answer = asking.recv(4096).decode("utf-8", "replace")
        except TimeoutError:  # an interface that avahi does not serve
            continue
        except OSError:  # no avahi
            break
        if found := _ANSWER.fullmatch(answer):
            return found[1]
    return ""


def is_installed(root: Path) -> bool:
    return (root / _FILE).parent.is_dir()


def announce(root: Path, scheme: str, port: int) -> None:
    """Write the file, which avahi notices by itself; do nothing if avahi is not installed."""
    if not is_installed(root):
        return
    records = "".join(f"    <txt-record>{text}</txt-record>\n" for text in (*_TEXTS, f"scheme={scheme}"))
    services = "".join(
        f"  <service>\n    <type>{kind}</type>\n    <port>{port}</port>\n{records}  </service>\n"
        for kind in (f"_{scheme}._tcp", "_pi-cam._tcp")
    )
    text = (
        '<?xml version="1.0" standalone="no"?>\n<!DOCTYPE service-group SYSTEM "avahi-service.dtd">\n'
        f'<service-group>\n  <name replace-wildcards="yes">Camera %h</name>\n{services}</service-group>\n'
    )
    files.replace(root / _FILE, text.encode())


def withdraw(root: Path) -> None:
    (root / _FILE).unlink(missing_ok=True)
