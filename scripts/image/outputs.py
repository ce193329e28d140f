"""The files beside the image: a packed copy, checksums, and the manifest that Raspberry Pi Imager opens."""

from __future__ import annotations

import base64
import json
import time
import urllib.parse
from pathlib import Path

from image.base import Base
from installer.artefact import digest
from installer.machine import run

# Imager's names for the boards that run an arm64 system
_DEVICES = ["pi5-64bit", "pi4-64bit", "pi3-64bit"]
_ICON = Path(__file__).parents[2] / "pi_cam_daemon" / "server" / "web" / "icon.svg"


def write(image: Path, out: Path, url: str, kind: Base, release: str, built: int) -> list[Path]:
    """Write the files beside *image* and return their paths. *image* is renamed to *out* later.

    *url* is the folder from which the files will be fetched, empty for that of *out*. *built* is the Unix time of the
    release date.
    """
    packed = image.with_name(f"{image.name}.xz")
    # -T+0: in blocks even on one core, so that the bytes do not depend on the machine
    with packed.open("wb") as file:
        run("xz", "-c", "-T+0", image, stdout=file, capture_output=False, text=False, timeout=7200)
    sums = image.with_name(f"{image.name}.sha256")
    extracted, download = digest(image), digest(packed)
    sums.write_text(f"{extracted}  {image.name}\n{download}  {packed.name}\n")
    manifest = image.with_suffix(".rpi-imager-manifest")
    # absolute: Imager looks for a relative one nowhere
    folder = url.rstrip("/") if url else out.resolve().parent.as_uri()
    entry = {
        "name": f"Pi camera {release.partition('-')[0]}",
        "description": "A Raspberry Pi with a camera as a camera on the network: plug it in, open a browser",
        "icon": f"data:image/svg+xml;base64,{base64.b64encode(_ICON.read_bytes()).decode()}",
        "url": f"{folder}/{urllib.parse.quote(packed.name)}",
        "extract_size": image.stat().st_size,
        "extract_sha256": extracted,
        "image_download_size": packed.stat().st_size,
        "image_download_sha256": download,
        "release_date": time.strftime("%Y-%m-%d", time.gmtime(built)),
        "init_format": kind.init_format,
        "architecture": "armv8",
        "devices": _DEVICES,
        "capabilities": list(kind.capabilities),
    }
    manifest.write_text(json.dumps({"os_list": [entry]}, indent=2) + "\n")
    return [packed, sums, manifest]
