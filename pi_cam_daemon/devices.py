"""What the device nodes of cameras ask of whoever opens them."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterable
from pathlib import Path

# What stat(2) calls a group that a user namespace does not map, as with the unit's PrivateUsers=. linux/highuid.h
_HIDDEN_GROUP = 65534


def forbidden_nodes(dev: Path) -> list[Path]:
    """The device nodes of cameras in *dev* that this process may not open: libcamera then simply finds no camera."""
    nodes = itertools.chain(dev.glob("media*"), dev.glob("video*"), dev.glob("dma_heap/*"))
    return sorted(node for node in nodes if not os.access(node, os.R_OK | os.W_OK))


def needed_groups(nodes: Iterable[Path]) -> str:
    """*nodes*, which may not be opened, each with the group that opens it: "/dev/video0 (group video), …".

    A node that opens to root alone says so: a udev rule is missing, and nobody should join the group root.
    """
    return ", ".join(f"{node} ({_key(node)})" for node in nodes)


def _key(node: Path) -> str:
    try:
        status = node.stat()
        if status.st_gid == 0 or ~status.st_mode & (stat.S_IRGRP | stat.S_IWGRP):
            return "root only, a udev rule is missing"
        if status.st_gid == _HIDDEN_GROUP:
            return "a group that the sandbox hides, usually video; `ls -l` shows it"
        return f"group {node.group()}"
    except KeyError:
        return f"group {status.st_gid}"
    except OSError as error:  # unplugged since
        return str(error.strerror).lower()
