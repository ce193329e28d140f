"""Announce the camera by mDNS, with a service file for avahi.

The file holds only what everybody on the network may know: no serial number, no users. *root* is the root directory.
"""

from __future__ import annotations

from pathlib import Path

from pi_cam_daemon import __version__
from pi_cam_daemon.system import files

_FILE = Path("etc/avahi/services/pi-cam-daemon.service")
_TEXTS = ("txtvers=1", f"version={__version__}", "path=/", "stream=/stream", "snapshot=/snapshot", "health=/healthz")


def announce(root: Path, scheme: str, port: int) -> None:
    """Write the file, which avahi notices by itself; do nothing if avahi is not installed."""
    if not (root / _FILE).parent.is_dir():
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
