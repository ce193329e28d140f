"""Imports picamera2 and explains the exceptions that it raises.

It is imported inside a function: it comes from apt, on a Pi only, and loads for seconds on a Zero.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib.metadata
import importlib.util
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pi_cam_daemon.camera.source import VIDEO_GROUP_HINT
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.system import files, machine, setup

log = logging.getLogger(__name__)

_NO_CONNECTOR = "Only a Raspberry Pi has the connector of a CSI camera"
_UPGRADE = "sudo apt update && sudo apt full-upgrade"
# JpegEncoder takes YUV420 since then
_OLDEST_PICAMERA2 = "0.3.26"
# its MappedArray leaves the processor's cache as it is
_STALE_PICAMERA2 = "0.3.32"


def import_picamera2() -> Any:
    """Return the class Picamera2; SourceError if it cannot be imported, or is too old."""
    try:
        from picamera2 import Picamera2
    except Exception as error:  # modules of different dates raise anything
        raise _not_importable(error) from error
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        check_version(importlib.metadata.version("picamera2"))
    return Picamera2


def _not_importable(error: Exception) -> SourceError:
    """Return the SourceError for an *error* of `import picamera2`."""
    missing = isinstance(error, ModuleNotFoundError) and error.name == "picamera2"
    if missing and not machine.model():
        return SourceError("picamera2 is not installed", Cause.MISSING, _NO_CONNECTOR, module="picamera2")
    progress, then = setup.progress(), "then start pi-cam-daemon again"
    if sys.prefix != sys.base_prefix and "include-system-site-packages = true" not in _venv():
        then += f"; make the virtual environment {sys.prefix} anew with --system-site-packages"
    if missing:
        command = "sudo apt install python3-picamera2 --no-install-recommends"
    else:
        command = "sudo apt install --reinstall python3-picamera2 python3-libcamera"
    if "numpy" in str(error):  # "numpy.dtype size changed": pip's numpy does not fit apt's simplejpeg
        numpy = importlib.util.find_spec("numpy")
        own = bool(numpy and numpy.origin and sys.prefix != sys.base_prefix and numpy.origin.startswith(sys.prefix))
        apt = "sudo apt install --reinstall python3-numpy python3-simplejpeg"
        command = f"{sys.prefix}/bin/pip uninstall numpy" if own else apt
    elif "undefined symbol" in str(error):  # packages of different dates
        command, then = _UPGRADE, "and restart the Pi"
    # while the first boot installs it, there is nothing to run
    values = {"module": "picamera2", **({"installing": "picamera2"} if progress else {"command": command})}
    hint = progress or f"Run `{command}`, {then}"
    if missing:
        return SourceError("picamera2 is not installed", Cause.BROKEN, hint, **values)
    return SourceError(f"picamera2 cannot be loaded: {error}", Cause.BROKEN, hint, **values, error=str(error))


def _venv() -> str:
    """Return the description of the virtual environment that Python runs in; "" if it cannot be read."""
    return files.text(Path(sys.prefix, "pyvenv.cfg"))


@functools.cache
def check_version(version: str) -> None:
    """Raise SourceError if picamera2 is of a *version* that is too old; log a warning for one with a visible fault."""

    def numbers(text: str) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", text)[:3]]

    hint = "Run `sudo apt update`, then `sudo apt full-upgrade`"
    if numbers(version) < numbers(_OLDEST_PICAMERA2):
        message = f"picamera2 {version} is too old: {_OLDEST_PICAMERA2} or later is needed"
        values = {"module": "picamera2", "version": version, "wanted": _OLDEST_PICAMERA2, "command": _UPGRADE}
        raise SourceError(message, Cause.BROKEN, hint, **values)
    if numbers(version) == numbers(_STALE_PICAMERA2):
        log.warning("picamera2 %s mixes parts of older pictures into stills and software JPEGs. %s", version, hint)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Convert the exceptions that picamera2 raises for a failed camera to SourceError."""
    try:
        yield
    except SourceError:
        raise
    except (RuntimeError, OSError) as error:
        raise explain(error) from error


def explain(error: BaseException) -> SourceError:
    """Return the SourceError for an exception of picamera2, which may wrap one of libcamera or of the kernel."""
    chain = [error]
    while wrapped := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(wrapped)
    texts = ": ".join(dict.fromkeys(str(link).rstrip(".") for link in chain))
    for link in chain:
        if isinstance(link, PermissionError):
            values = {"group": "video", "error": str(link)}
            return SourceError(f"No permission for the camera: {link}", Cause.PERMISSION, VIDEO_GROUP_HINT, **values)
        # libcamera's binding has the number in the words only
        if getattr(link, "errno", None) == errno.ENOMEM or str(link).endswith(os.strerror(errno.ENOMEM)):
            hint = (
                "They come from CMA memory: lower video.width and video.height or csi.buffer_count. "
                "If CmaTotal in /proc/meminfo is below 256 MB, dtoverlay=vc4-kms-v3d,cma-256 in config.txt gives more; "
                "a Pi 4 has twice as much without it"
            )
            setting = "video.width, video.height, csi.buffer_count"
            message = f"No memory for the camera's buffers: {link}"
            return SourceError(message, Cause.LOST, hint, setting=setting, error=str(link))
    if any(busy in texts for busy in ("resource busy", "in use by another process", "did not complete")):
        command = "sudo fuser /dev/media*"
        hint = f"Another program may use it; `{command}` tells which"
        return SourceError(f"The camera does not open: {texts}", Cause.BUSY, hint, command=command, error=texts)
    if any(refused in texts for refused in ("Invalid camera configuration", "Configuration failed")):
        return SourceError(f"The camera refuses its settings: {texts}", Cause.SETTINGS, error=texts)
    return SourceError(f"The camera failed: {texts}", error=texts)
