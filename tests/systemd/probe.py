"""Run in the service's sandbox, beside the daemon, and print what was refused there: {question: answer}."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWUSER = 0x10000000
_ST_RDONLY = 1


def _error(attempt: Callable[[], object]) -> str:
    """Return the name of the error that *attempt* raises, "" for none."""
    try:
        attempt()
    except OSError as error:
        return os.strerror(error.errno or 0)
    return ""


def _call(name: str, *arguments: int | bytes | None) -> None:
    if getattr(_libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def _status(field: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(f"{field}:"))


def _read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & _ST_RDONLY)


def _suid() -> None:
    Path("suid").touch()
    Path("suid").chmod(0o4755)


def _open(path: str) -> None:
    os.close(os.open(path, os.O_RDWR))


answers = {
    "uid": os.getuid(),
    "gid": os.getgid(),
    "runtime directory": str(Path.cwd()),
    "capabilities": sorted({_status(f"Cap{kind}") for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}),
    "no new privileges": _status("NoNewPrivs"),
    "umask": _status("Umask"),
    "core limit": resource.getrlimit(resource.RLIMIT_CORE),
    "writable": [path for path in ("/", "/usr", "/etc", "/opt", "/var", "/sys/fs/cgroup") if not _read_only(path)],
    "state directory": _error(lambda: Path(os.environ["STATE_DIRECTORY"], "probe").touch()),
    "seen": [
        path for path in ("/home/somebody", "/tmp/somebody", "/proc/1", "/proc/cpuinfo") if not _error(Path(path).stat)
    ],
    "modules": _error(Path("/usr/lib/modules/somebody").stat),
    "own namespaces": {name: str(Path(f"/proc/self/ns/{name}").readlink()) for name in ("mnt", "user", "uts")},
    "camera device": _error(lambda: _open("/dev/somebodys-camera")),
    "other device": _error(lambda: _open("/dev/somebodys-disk")),
    "AF_INET": _error(lambda: socket.socket(socket.AF_INET).close()),
    "AF_INET6": _error(lambda: socket.socket(socket.AF_INET6).close()),
    "AF_UNIX": _error(lambda: socket.socket(socket.AF_UNIX).close()),
    "AF_NETLINK": _error(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15).close()),
    "AF_VSOCK": _error(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()),
    "AF_ALG": _error(lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).close()),
    "a namespace": _error(lambda: _call("unshare", _CLONE_NEWUSER)),
    "a personality": _error(lambda: _call("personality", 8)),
    "memory to write and run": _error(lambda: mmap.mmap(-1, 4096, prot=7)),
    "a set-uid file": _error(_suid),
    "real time": _error(lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))),
    "another niceness": _error(lambda: os.nice(1)),
    "to be traced": _error(lambda: _call("ptrace", 0, 0, None, None)),
    "the kernel's log": _error(lambda: _call("klogctl", 3, b"", 0)),
}
json.dump(answers, sys.stdout)
