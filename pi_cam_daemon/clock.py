"""Whether the wall clock is right: a Pi without a battery starts with the time at which it was last shut down.

Asked of systemd-timesyncd, which Raspberry Pi OS and Debian have, by the file it touches when it has set the clock.
The kernel would know for every time service, but the unit's ProtectClock=yes closes adjtimex(2), for reading too.
"""

from __future__ import annotations

from pathlib import Path


def synced(run: Path = Path("/run")) -> bool | None:
    """Whether the clock was set since the boot; None where systemd-timesyncd does not run. *run* is for tests."""
    folder = run / "systemd/timesync"
    return (folder / "synchronized").exists() if folder.is_dir() else None
