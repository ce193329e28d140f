"""A device with a hanging driver: open() sleeps in the kernel, even SIGKILL cannot end it, until it is released."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Iterator

from tests.systemd.hosts import Host

# linux/fuse.h
_GETATTR, _INIT = 3, 26
_REQUEST = struct.Struct("<IIQ")  # the length, the operation, and the number that the answer has to bear
_ANSWER = struct.Struct("<IiQ")  # the length, an error, and that number
_VERSION = struct.pack("<II56x", 7, 31)
# a file that everybody may open
_ATTRIBUTES = struct.pack("<16x6Q10I", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o100666, 1, 0, 0, 0, 0, 0)


@contextlib.contextmanager
def stuck_device(host: Host, path: str) -> Iterator[None]:
    """Make a file at *path* in the host whose open() hangs for as long as the block lasts.

    It is in its own FUSE file system that never answers. No signal ends a call that FUSE has taken, as with a call that
    a camera's driver has taken.
    """
    driver = os.open("/dev/fuse", os.O_RDWR)
    thread = threading.Thread(target=_serve, args=(driver,), name="driver", daemon=True)
    host.run("touch", path)
    options = f"fd={driver},rootmode=100000,user_id=0,group_id=0,allow_other"
    host.run("mount", "-i", "-t", "fuse", "-o", options, "stuck", path, pass_fds=[driver])
    thread.start()
    try:
        yield
    finally:
        host.run("umount", "--force", "--lazy", path)  # every call fails from now on
        thread.join(5)
        host.run("rm", path)


def _serve(driver: int) -> None:
    """Answer the requests before open(2), and keep those after it."""
    answers = {_INIT: _VERSION, _GETATTR: _ATTRIBUTES}
    with contextlib.suppress(OSError), open(driver, "r+b", buffering=0) as requests:
        while True:
            _, operation, number = _REQUEST.unpack_from(requests.read(1 << 20))
            if answer := answers.get(operation):
                requests.write(_ANSWER.pack(_ANSWER.size + len(answer), 0, number) + answer)
