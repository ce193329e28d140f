"""The command `support-bundle`: what somebody far away needs to help, each part with a deadline."""

from __future__ import annotations

import argparse
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

from pi_cam_daemon import __version__
from pi_cam_daemon.boot import status_file
from pi_cam_daemon.commands.config import settings
from pi_cam_daemon.commands.output import OK, save
from pi_cam_daemon.config import loading
from pi_cam_daemon.errors import ConfigError
from pi_cam_daemon.system import children, machine
from pi_cam_daemon.system.redaction import Redactor

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


def run(options: argparse.Namespace) -> int:
    """Write the bundle to a file."""
    code = save(options.out, lambda: bundle(options))
    if code == OK and options.out != "-":
        print(f"{options.out}: please look through it before you hand it on")
    return code


def bundle(options: argparse.Namespace) -> bytes:
    """Return a gzipped tar archive, without secrets and addresses."""
    parts: dict[str, Callable[[], str]] = {
        "config.toml": lambda: settings(options, with_origin=True),
        "state.json": lambda: _state(options),
        "unit.txt": lambda: _output_of(["systemctl", "status", "--no-pager", "--lines=0", _UNITS]),
        "journal.txt": lambda: _output_of(
            ["journalctl", "--no-pager", f"--lines={_JOURNAL_LINES}", "--output=short-precise", f"--unit={_UNITS}"]
        ),
        "cameras.txt": lambda: _output_of([*children.command("__main__"), "list-cameras"], _CAMERAS_SECONDS),
        "devices.txt": lambda: _output_of(["sh", "-c", f"id; ls -ld {_NODES}"]),
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
            except (Unavailable, ConfigError, OSError, http.client.HTTPException) as error:
                text = f"not available: {error}"
            _add(tar, name, redactor.redact(text))
    return archive.getvalue()


def _add(tar: tarfile.TarFile, name: str, text: str) -> None:
    data = text.rstrip("\n").encode("utf-8", "replace") + b"\n"
    entry = tarfile.TarInfo(f"{_FOLDER}/{name}")
    entry.size = len(data)
    entry.mtime = int(time.time())
    tar.addfile(entry, io.BytesIO(data))


def _output_of(argv: Sequence[str], seconds: float = _COMMAND_SECONDS) -> str:
    """Return what a command says, also where it fails. One that a driver holds is left behind: nothing ends it."""
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


def _state(options: argparse.Namespace) -> str:
    try:
        asked = loading.load(options.config, options.settings).http
    except ConfigError as error:
        raise Unavailable("the configuration is wrong") from error
    return status_file.state(asked.listen_address or "127.0.0.1", asked.port, _STATE_SECONDS).decode("utf-8", "replace")


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
        "model": machine.model() or "not a Pi",
        "system": system,
        "kernel": f"{platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "libcamera": machine.libcamera() or "not installed",
        **{name: installed(name) for name in _DISTRIBUTIONS},
    }
    return "\n".join(f"{name}: {version}" for name, version in versions.items())


def _power() -> str:
    celsius, undervoltage = machine.temperature(), machine.undervoltage()
    lines = [f"temperature: {celsius}", f"undervoltage within the last seconds: {undervoltage}"]
    for question in ("get_throttled", "measure_temp", "measure_volts"):
        try:
            lines.append(f"vcgencmd {question}: {_output_of(['vcgencmd', question]).strip()}")
        except (Unavailable, OSError) as error:
            lines.append(f"vcgencmd {question}: not available: {error}")
    return "\n".join(lines)


def _kernel() -> str:
    lines = _output_of(["dmesg"]).splitlines()
    return "\n".join(line for line in lines if _KERNEL.search(line) or "dmesg" in line) or "nothing of interest"
