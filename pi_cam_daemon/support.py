"""The support bundle: what somebody far away has to know to help, each part with a deadline or the reason it lacks."""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import io
import platform
import re
import subprocess
import tarfile
import time
from collections.abc import Callable, Sequence

from pi_cam_daemon import __version__, board, children
from pi_cam_daemon.redaction import Redactor

_FOLDER = "pi-cam-daemon-support"
_DISTRIBUTIONS = ("numpy", "opencv-python-headless", "picamera2", "simplejpeg", "sdnotify", "prometheus-client")
_UNITS = "pi-cam-daemon*"
_JOURNAL_LINES = 3000
_NODES = "/dev/video* /dev/media* /dev/dma_heap/* /dev/v4l/by-id/* /dev/v4l/by-path/*"
# what the kernel says of power, cameras and memory
_KERNEL = re.compile(
    r"volt|throttl|thermal|camera|csi|unicam|cfe|isp|imx\d|ov\d|v4l2|uvc|video|usb \d|codec|cma|dma_heap|out of memory",
    re.IGNORECASE,
)
_COMMAND_SECONDS = 10.0
_CAMERAS_SECONDS = 20.0  # the camera stack takes seconds to load on a Zero, and may hang
_STATE_SECONDS = 3.0


class Unavailable(Exception):
    """A part cannot be had; the text says why."""


def bundle(configuration: Callable[[], str], address: Callable[[], tuple[str, int]]) -> bytes:
    """A gzipped tar archive, without secrets and addresses.

    *configuration* gives the settings in force, *address* where the daemon listens; both may raise Unavailable.
    """
    parts: dict[str, Callable[[], str]] = {
        "config.toml": configuration,
        "state.json": lambda: _state(*address()),
        "unit.txt": lambda: _run(["systemctl", "status", "--no-pager", "--lines=0", _UNITS]),
        "journal.txt": lambda: _run(
            ["journalctl", "--no-pager", f"--lines={_JOURNAL_LINES}", "--output=short-precise", f"--unit={_UNITS}"]
        ),
        "cameras.txt": lambda: _run([*children.command("__main__"), "list-cameras"], _CAMERAS_SECONDS),
        "devices.txt": lambda: _run(["sh", "-c", f"id; ls -ld {_NODES}"]),
        "power.txt": _power,
        "kernel.txt": _kernel,
    }
    redactor = Redactor()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        # not redacted, for some versions look like addresses
        _add(tar, "versions.txt", _versions())
        for name, part in parts.items():
            try:
                text = part()
            except (Unavailable, OSError, http.client.HTTPException) as error:
                text = f"not available: {error}"
            _add(tar, name, redactor.redact(text))
    return archive.getvalue()


def _add(tar: tarfile.TarFile, name: str, text: str) -> None:
    data = text.rstrip("\n").encode("utf-8", "replace") + b"\n"
    entry = tarfile.TarInfo(f"{_FOLDER}/{name}")
    entry.size = len(data)
    entry.mtime = int(time.time())
    tar.addfile(entry, io.BytesIO(data))


def _run(argv: Sequence[str], seconds: float = _COMMAND_SECONDS) -> str:
    """What a command says, also where it fails. One that a driver holds is left behind: nothing ends it."""
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **children.options()
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=1.0)
        raise Unavailable(f"{argv[0]} took over {seconds:g} s") from None
    text = output.decode("utf-8", "replace")
    return f"{text}(exit status {process.returncode})" if process.returncode else text


def _state(address: str, port: int) -> str:
    connection = http.client.HTTPConnection(address, port, timeout=_STATE_SECONDS)
    try:
        connection.request("GET", "/state")
        return connection.getresponse().read().decode("utf-8", "replace")
    finally:
        connection.close()


def _versions() -> str:
    def installed(name: str) -> str:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"

    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        system = "not known"
    versions = {
        "pi-cam-daemon": __version__,
        "model": board.model() or "not a Pi",
        "system": system,
        "kernel": f"{platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "libcamera": board.libcamera() or "not installed",
        **{name: installed(name) for name in _DISTRIBUTIONS},
    }
    return "\n".join(f"{name}: {version}" for name, version in versions.items())


def _power() -> str:
    celsius, undervoltage = board.temperature(), board.undervoltage()
    lines = [f"temperature: {celsius}", f"undervoltage within the last seconds: {undervoltage}"]
    for question in ("get_throttled", "measure_temp", "measure_volts"):
        try:
            lines.append(f"vcgencmd {question}: {_run(['vcgencmd', question]).strip()}")
        except (Unavailable, OSError) as error:
            lines.append(f"vcgencmd {question}: not available: {error}")
    return "\n".join(lines)


def _kernel() -> str:
    lines = _run(["dmesg"]).splitlines()
    return "\n".join(line for line in lines if _KERNEL.search(line) or "dmesg" in line) or "nothing of interest"
