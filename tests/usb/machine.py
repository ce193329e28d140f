"""A machine with V4L2 cameras that the test plugs, unplugs and breaks: its /dev and its /sys/class/video4linux."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pi-cam-daemon"
_COMPILE = ("cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")


def compiled(source: Path, *options: str) -> Path:
    """Return the compiled C program *source*, built once for each version; *options* are the compiler's."""
    command = [*_COMPILE, str(source), *options]
    digest = hashlib.sha256(source.read_bytes() + repr((_COMPILE, options)).encode()).hexdigest()
    built = CACHE / f"{source.stem}-{digest[:16]}" / source.stem
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        new = built.with_suffix(f".{os.getpid()}")
        subprocess.run([*command, "-o", new], check=True, timeout=120)
        new.rename(built)
    return built


def fake_v4l2() -> Path:
    """Return rig/fakev4l.c compiled for LD_PRELOAD."""
    source = Path(__file__).parent / "rig" / "fakev4l.c"
    return compiled(source, "-shared", "-fPIC", "-ldl", "-lpthread")


class Machine:
    """Nodes are files that rig/fakev4l.c serves; it documents the words in them."""

    def __init__(self, folder: Path, library: Path, frames: Path) -> None:
        self.dev = folder / "dev"
        self.sysfs = folder / "sys"
        self.by_id = self.dev / "v4l" / "by-id"
        self.by_path = self.dev / "v4l" / "by-path"
        for made in (self.by_id, self.by_path, self.sysfs):
            made.mkdir(parents=True)
        self.frames = frames
        self.env = {"LD_PRELOAD": str(library), "FAKEV4L_DEV": str(self.dev)}
        self._words: dict[str, dict[str, str]] = {}

    def plug(self, name: str = "video0", serial: str = "", port: str = "", **words: str) -> Path:
        """Make a node. With a *serial* udev makes a link to it, and with a USB *port*; return the first of these paths.

        Two nodes with one *serial* share the link: it leads to the one that was plugged in last.
        """
        (self.sysfs / name).mkdir()
        self._words[name] = {"frames": str(self.frames), **words}
        self._write(name)
        paths = [self.dev / name]
        if port:
            paths.insert(0, self.by_path / f"platform-fd500000.pcie-pci-0000:01:00.0-usb-0:{port}:1.0-video-index0")
        if serial:
            paths.insert(0, self.by_id / f"usb-{serial}-video-index0")
        for link in paths[:-1]:
            link.unlink(missing_ok=True)
            link.symlink_to(f"../../{name}")
        return paths[0]

    def change(self, name: str = "video0", **words: str) -> None:
        self._words[name] |= words
        self._write(name)

    def unplug(self, name: str = "video0") -> None:
        (self.dev / name).unlink()
        (self.sysfs / name).rmdir()
        for link in [*self.by_id.iterdir(), *self.by_path.iterdir()]:
            if not link.exists():
                link.unlink()

    def _write(self, name: str) -> None:
        """Write the file in one step, since the camera reads it at any time."""
        new = self.dev / f".{name}"
        new.write_text(" ".join(f"{key}={value}" for key, value in self._words[name].items()))
        new.rename(self.dev / name)


def draw_frames(folder: Path, width: int, height: int, count: int = 12) -> Path:
    """Make a folder of JPEGs, each with a mark at a different place."""
    folder.mkdir(parents=True)
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    for number in range(count):
        pixels = np.repeat(np.broadcast_to(ramp, (height, width))[:, :, np.newaxis], 3, axis=2)
        cv2.circle(pixels, (width * number // count, height // 2), height // 5, (0, 0, 255), -1)
        assert cv2.imwrite(str(folder / f"{number:03}.jpg"), pixels)
    return folder


def without_huffman_tables(jpeg: bytes) -> bytes:
    """Return *jpeg* without its DHT segments, as many webcams send it."""
    kept, at = jpeg[:2], 2
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4])
        if jpeg[at + 1] != 0xC4:
            kept += jpeg[at:end]
        at = end
    return kept + jpeg[at:]
