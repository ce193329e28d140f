"""What the board says of itself, in files of sysfs; None or "" where it says nothing.

Not /proc, of which the service sees only the processes (ProcSubset=pid), nor vcgencmd, whose device it may not open.
*root* is where the file system begins; tests give one of their own.
"""

from __future__ import annotations

from pathlib import Path


def model(root: Path = Path("/")) -> str:
    """The board's name, "Raspberry Pi 4 Model B Rev 1.5"."""
    return _read(root / "sys/firmware/devicetree/base/model").rstrip("\0")


def libcamera(root: Path = Path("/")) -> str:
    """The version of the libcamera that is installed, told by its file's name: to load it would cost megabytes."""
    files = [file for prefix in ("usr", "usr/local") for file in root.glob(f"{prefix}/lib/*/libcamera.so.*.*.*")]
    return files[-1].name.removeprefix("libcamera.so.") if files else ""


def temperature(root: Path = Path("/")) -> float | None:
    """Of the processor, in degrees Celsius."""
    text = _read(root / "sys/class/thermal/thermal_zone0/temp")
    return int(text) / 1000 if text else None


def undervoltage(root: Path = Path("/")) -> bool | None:
    """Whether the supply was below 4.63 V within the last two seconds, in which the kernel looks.

    The firmware's own file, get_throttled, says more, but reading it puts a warning with a stack into the kernel's log.
    """
    for folder in root.glob("sys/class/hwmon/hwmon*"):
        if _read(folder / "name") == "rpi_volt":
            return _read(folder / "in0_lcrit_alarm") == "1"
    return None


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
