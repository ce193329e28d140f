"""The image of a card with Raspberry Pi OS: an MBR partition table, a FAT partition and an ext4 partition."""

from __future__ import annotations

import os
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from installer.machine import Failed, run

_SECTOR = 512
_TABLE = 446
_ENTRY = struct.Struct("<B3sB3sII")
_FAT32 = (0x0B, 0x0C)
_LINUX = 0x83
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Partition:
    """The place of a partition in an image, in bytes."""

    start: int
    size: int


def unpack(base: Path, out: Path) -> None:
    """Copy the image *base* to *out*, decompressed if it is an .xz."""
    if base.suffix == ".xz":
        with out.open("wb") as file:
            try:
                done = subprocess.run(["xz", "-dc", base], stdout=file, stderr=subprocess.PIPE, text=True, check=False)
            except FileNotFoundError:
                raise Failed("xz is missing; sudo apt install xz-utils") from None
        if done.returncode:
            raise Failed(f"{base}: damaged, fetch it again ({done.stderr.strip()})")
    else:
        run("cp", "--sparse=always", base, out, timeout=3600)


def partitions(image: Path) -> tuple[Partition, Partition]:
    """Return the boot partition and the root partition. Raises Failed if *image* is not like that."""
    with image.open("rb") as file:
        sector = file.read(_SECTOR)
    found = (
        [_ENTRY.unpack_from(sector, _TABLE + number * _ENTRY.size) for number in range(4)] if len(sector) == 512 else []
    )
    kinds = [entry[2] for entry in found]
    if sector[510:] != b"\x55\xaa" or kinds[1:] != [_LINUX, 0, 0] or kinds[0] not in _FAT32:
        raise Failed(
            f"{image.name}: not an image of Raspberry Pi OS, which has a boot and a root partition and no other"
        )
    boot, root = (Partition(entry[4] * _SECTOR, entry[5] * _SECTOR) for entry in found[:2])
    if root.start < boot.start + boot.size or image.stat().st_size < root.start + root.size:
        raise Failed(f"{image.name}: damaged: it ends before its last partition")
    return boot, root


def take(image: Path, partition: Partition, out: Path) -> None:
    """Copy *partition* to *out*, a sparse file."""
    with image.open("rb") as source, out.open("wb") as target:
        source.seek(partition.start)
        _copy(source, target, partition.size)
        target.truncate(partition.size)


def assemble(base: Path, boot: Path, root: Path, out: Path) -> None:
    """Write *out*: the image *base* with *boot* and *root* as its partitions. The root partition may have grown."""
    boot_place, root_place = partitions(base)
    with base.open("rb") as source, out.open("wb") as target:
        _copy(source, target, boot_place.start)
        for content, place in ((boot, boot_place), (root, root_place)):
            target.seek(place.start)
            with content.open("rb") as file:
                _copy(file, target, content.stat().st_size)
        size = root.stat().st_size
        target.truncate(root_place.start + size)
        target.seek(_TABLE + _ENTRY.size + 12)
        target.write(struct.pack("<I", size // _SECTOR))


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    """Copy *size* bytes; seek over blocks of zeros."""
    while size:
        data = source.read(min(size, _CHUNK))
        if not data:
            raise Failed("the image is truncated")
        if data.count(0) == len(data):
            target.seek(len(data), os.SEEK_CUR)
        else:
            target.write(data)
        size -= len(data)
