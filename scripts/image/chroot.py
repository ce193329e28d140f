"""The packages, installed into the image now: its own apt and installer run in it, emulated where they have to be."""

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
# hundreds of packages, each of whose programs is emulated
_SECONDS = 7200.0


def install(root: Path, artefact: Path, additions: tree.Tree, work: Path) -> None:
    """Into the ext4 file *root*: picamera2 by its own apt, the release by its own installer, and *additions*."""
    if os.geteuid() != 0:
        raise Failed("--packages chroot needs root: sudo, or --packages first-boot")
    with _mounted(root, work / "mnt") as mounted:
        inside = mounted / "tmp" / "pi-cam-daemon"
        inside.mkdir()
        run("tar", "--zstd", "-xf", artefact, "-C", inside)
        # /etc/rpi-issue tells the installer that this is to be a Pi: it gets picamera2 from apt
        say("installing picamera2 and the release in the image")
        done = run("chroot", mounted, "/usr/bin/python3", "/tmp/pi-cam-daemon/install", check=False, timeout=_SECONDS)
        if done.returncode:
            raise Failed(f"in the image: {done.stderr.strip()[-2000:]}")
        shutil.rmtree(inside)
        run("chroot", mounted, "apt-get", "clean")
        tree.stage(additions, mounted)


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
        # no package starts what it brings
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
    """What is mounted from here on is this process's own: nobody else holds it, and it ends with it in any case."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS):
        raise Failed(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    run("mount", "--make-rprivate", "/")


def _emulate() -> None:
    if platform.machine() == "aarch64":
        return
    if not _BINFMT.joinpath("register").exists():
        run("mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT)
    if not _BINFMT.joinpath("qemu-aarch64").exists():
        if not _EMULATOR.exists():
            raise Failed("arm64 programs cannot run here; sudo apt install qemu-user-static, or --packages first-boot")
        lines = [line for line in _EMULATOR.read_text().splitlines() if line.startswith(":")]
        _BINFMT.joinpath("register").write_text(lines[0])
