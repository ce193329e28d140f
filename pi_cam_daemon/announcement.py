"""The camera in the lists of network browsers: a file that tells avahi, which speaks mDNS, under what port its page is.

It says no more than what everybody on the network may know: neither a serial number nor who may look. *root* is where
the file system begins.
"""

from __future__ import annotations

from pathlib import Path

from pi_cam_daemon import __version__, files, layers
from pi_cam_daemon.config import HttpConfig
from pi_cam_daemon.errors import ConfigError

_FILE = Path("etc/avahi/services/pi-cam-daemon.service")
_TEXTS = ("txtvers=1", f"version={__version__}", "path=/", "stream=/stream", "snapshot=/snapshot", "health=/healthz")


def in_force(root: Path) -> HttpConfig:
    try:
        return layers.load(etc=root / layers.ETC.relative_to("/")).http
    except ConfigError:
        # the daemon says what is wrong
        return layers.load(layers.DEFAULTS).http


def announce(root: Path, http: HttpConfig) -> None:
    """Tell avahi, which looks at its folder all the time; nothing happens where there is no avahi."""
    if not (root / _FILE).parent.is_dir():
        return
    records = "".join(f"    <txt-record>{text}</txt-record>\n" for text in (*_TEXTS, f"scheme={http.scheme}"))
    services = "".join(
        f"  <service>\n    <type>{kind}</type>\n    <port>{http.port}</port>\n{records}  </service>\n"
        for kind in (f"_{http.scheme}._tcp", "_pi-cam._tcp")
    )
    text = (
        '<?xml version="1.0" standalone="no"?>\n<!DOCTYPE service-group SYSTEM "avahi-service.dtd">\n'
        f'<service-group>\n  <name replace-wildcards="yes">Camera %h</name>\n{services}</service-group>\n'
    )
    files.replace(root / _FILE, text.encode())


def withdraw(root: Path) -> None:
    (root / _FILE).unlink(missing_ok=True)
