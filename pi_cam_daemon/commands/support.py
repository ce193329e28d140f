"""The command `support-bundle`: an archive with the state of the machine, for somebody who helps from elsewhere."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import platform
import re
import subprocess
import tarfile
import time
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from pathlib import Path

from pi_cam_daemon import __version__
from pi_cam_daemon.boot import status_file
from pi_cam_daemon.commands.config import settings
from pi_cam_daemon.commands.output import OK, save
from pi_cam_daemon.config import last_good, loading
from pi_cam_daemon.errors import ConfigError
from pi_cam_daemon.system import children, machine
from pi_cam_daemon.system.redaction import Redactor

_FOLDER = "pi-cam-daemon-support"
_DISTRIBUTIONS = (
    "numpy",
    "opencv-python-headless",
    "picamera2",
    "simplejpeg",
    "sdnotify",
    "prometheus-client",
    "paho-mqtt",
)
_UNITS = "pi-cam-daemon*"
_JOURNAL_LINES = 3000
_NODES = "/dev/video* /dev/media* /dev/dma_heap/* /dev/v4l/by-id/* /dev/v4l/by-path/*"
# the kernel's messages about power, cameras and memory
_KERNEL = re.compile(
    r"volt|throttl|thermal|camera|csi|unicam|cfe|isp|imx\d|ov\d|v4l2|uvc|video|usb \d|codec|cma|dma_heap|out of memory",
    re.IGNORECASE,
)
# the last line of a traceback, where a library is missing or was built for another Python
_IMPORT = re.compile(r"^(ModuleNotFound|Import)Error: .*$", re.MULTILINE)
_COMMAND_SECONDS = 10.0
_CAMERAS_SECONDS = 20.0  # on a Zero the camera stack takes seconds to load, and it may hang
_STATE_SECONDS = 3.0


def run(options: argparse.Namespace) -> int:
    """Write the bundle to a file and return the exit status."""
    code = save(options.out, lambda: bundle(options))
    if code == OK and options.out != "-":
        print(f"{options.out}: please read it before you send it to somebody")
    return code


def bundle(options: argparse.Namespace) -> bytes:
    """Return a gzipped tar archive, without secrets and addresses. Each part has a deadline."""
    journal = ("--no-pager", f"--lines={_JOURNAL_LINES}", "--output=short-precise", f"--unit={_UNITS}")
    parts: dict[str, Callable[[], str]] = {
        "config.toml": partial(settings, options, with_origin=True),
        "state.json": partial(_state, options),
        "unit.txt": partial(output_of, "systemctl", "status", "--no-pager", "--lines=0", _UNITS),
        "journal.txt": partial(output_of, "journalctl", *journal),
        "cameras.txt": cameras,
        "devices.txt": partial(output_of, "sh", "-c", f"id; ls -ld {_NODES}"),
        "power.txt": power,
        "kernel.txt": kernel,
    }
    redactor = Redactor()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        # not redacted: some versions look like addresses
        _add(tar, "versions.txt", versions())
        for name, part in parts.items():
            _add(tar, name, redactor.redact(text_of(part)))
    return archive.getvalue()


def text_of(part: Callable[[], str]) -> str:
    """Return the text of *part*, or why it is not available."""
    try:
        return part()
    except (ConfigError, OSError, HTTPException) as error:
        return f"not available: {error}"


def _add(tar: tarfile.TarFile, name: str, text: str) -> None:
    data = text.rstrip("\n").encode("utf-8", "replace") + b"\n"
    entry = tarfile.TarInfo(f"{_FOLDER}/{name}")
    entry.size = len(data)
    entry.mtime = int(time.time())
    tar.addfile(entry, io.BytesIO(data))


def output_of(*argv: str, seconds: float = _COMMAND_SECONDS) -> str:
    """Return the output of a command, even if it fails. Raises OSError, and TimeoutError after *seconds*.

    A command that hangs in a driver is left: no signal ends it.
    """
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **children.options()
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=1.0)
        raise TimeoutError(f"{argv[0]} took over {seconds:g} s") from None
    text = output.decode("utf-8", "replace")
    return f"{text}(exit status {process.returncode})" if process.returncode else text


def _state(options: argparse.Namespace) -> str:
    try:
        http = loading.load(options.config, options.settings).http
    except ConfigError:
        if options.config:
            raise
        http = last_good.in_force(Path("/")).http
    return status_file.state(http.listen_address or "127.0.0.1", http.port, _STATE_SECONDS).decode("utf-8", "replace")


def versions() -> str:
    """Return the versions of the daemon, the board, the system and the libraries, a line each."""

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
        "model": machine.model() or "not a Pi",
        "system": system,
        "kernel": f"{platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "libcamera": machine.libcamera() or "not installed",
        **{name: installed(name) for name in _DISTRIBUTIONS},
    }
    return "\n".join(f"{name}: {version}" for name, version in versions.items())


def cameras() -> str:
    """Return the output of list-cameras, from a process of its own. Raises OSError, also if a package is missing."""
    output = output_of(*children.command("__main__"), "list-cameras", seconds=_CAMERAS_SECONDS)
    if missing := _IMPORT.search(output):
        raise OSError(missing[0])
    return output


def power() -> str:
    """Return the temperature and what the firmware says about the power supply."""
    celsius, undervoltage = machine.temperature(), machine.undervoltage()
    names = ("get_throttled", "measure_temp", "measure_volts")
    lines = [f"vcgencmd {name}: {text_of(partial(output_of, 'vcgencmd', name)).strip()}" for name in names]
    return "\n".join([f"temperature: {celsius}", f"undervoltage within the last seconds: {undervoltage}", *lines])


def kernel() -> str:
    """Return the kernel's messages about power, cameras and memory. Raises OSError."""
    # a line with "dmesg" is its own error message
    lines = [line for line in output_of("dmesg").splitlines() if _KERNEL.search(line) or "dmesg" in line]
    return "\n".join(lines) or "no message about power, cameras or memory"
