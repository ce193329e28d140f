"""Packages installed while the image is made: apt and the installer run in a chroot of it, emulated if need be."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from image import tree
from installer.machine import Failed, run, say

_EMULATOR = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
# linux/sched.h
_CLONE_NEWNS = 0x00020000
# there are hundreds of packages, and their programs are emulated
_SECONDS = 7200.0


def install(root: Path, artefact: Path, additions: tree.Tree, work: Path) -> None:
    """Install picamera2, the release in *artefact* and *additions* into the ext4 file system in the file *root*."""
    if os.geteuid() != 0:
        raise Failed("--packages chroot needs root: sudo, or --packages first-boot")
    with _mounted(root, work / "mnt") as mounted:
        inside = mounted / "tmp" / "pi-cam-daemon"
        inside.mkdir()
        run("tar", "--zstd", "-xf", artefact, "-C", inside)
        # by these the installer sees a card
        tree.stage(additions, mounted)
        # the base has /etc/rpi-issue, so the installer gets picamera2 from apt as on a Pi
        say("installing picamera2 and the release in the image")
        done = run("chroot", mounted, "/usr/bin/python3", "/tmp/pi-cam-daemon/install", check=False, timeout=_SECONDS)
        if done.returncode:
            raise Failed(f"in the image: {done.stderr.strip()[-2000:]}")
        shutil.rmtree(inside)
        run("chroot", mounted, "apt-get", "clean")


@contextlib.contextmanager
def _mounted(root: Path, folder: Path) -> Iterator[Path]:
    folder.mkdir()
    with contextlib.ExitStack() as stack:

        def mount(*arguments: str | Path) -> None:
            run("mount", *arguments)
            stack.callback(run, "umount", "--recursive", arguments[-1])

        _hide_mounts()
        _emulate()
        mount("-o", "loop", root, folder)
        for name in ("proc", "sys", "dev"):
            mount("--bind", f"/{name}", folder / name)
        mount("-t", "tmpfs", "tmpfs", folder / "run")
        mount("-t", "tmpfs", "tmpfs", folder / "tmp")
        resolv = folder / "etc/resolv.conf"
        kept = resolv.readlink() if resolv.is_symlink() else resolv.read_bytes() if resolv.exists() else None
        resolv.unlink(missing_ok=True)
        resolv.write_bytes(Path("/etc/resolv.conf").read_bytes())
        policy = folder / "usr/sbin/policy-rc.d"
        # packages must not start their services here
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        try:
            yield folder
        finally:
            policy.unlink()
            resolv.unlink()
            if isinstance(kept, Path):
                resolv.symlink_to(kept)
            elif kept is not None:
                resolv.write_bytes(kept)


def _hide_mounts() -> None:
    """Hide later mounts from other processes: none can keep them busy, and they end with this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS):
        raise Failed(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    run("mount", "--make-rprivate", "/")


def _emulate() -> None:
    """Have the kernel run arm64 programs by QEMU, unless the machine runs them itself."""
    if platform.machine() == "aarch64":
        return
    if not _BINFMT.joinpath("register").exists():
        run("mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT)
    if not _BINFMT.joinpath("qemu-aarch64").exists():
        if not _EMULATOR.exists():
            raise Failed("arm64 programs cannot run here; sudo apt install qemu-user-static, or --packages first-boot")
        lines = [line for line in _EMULATOR.read_text().splitlines() if line.startswith(":")]
        _BINFMT.joinpath("register").write_text(lines[0])
