import grp
import os
from pathlib import Path

import pytest

from pi_cam_daemon.devices import needed_groups

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, as only root may")


@needs_root
def test_each_node_is_named_with_the_group_that_opens_it(tmp_path: Path) -> None:
    video = grp.getgrnam("video").gr_gid
    nodes = []
    for name, mode, gid in (
        ("media0", 0o660, video),
        ("video0", 0o660, 54321),
        ("system", 0o600, video),
        ("linux,cma", 0o660, 0),
        ("video1", 0o640, video),
        ("video2", 0o660, 65534),
    ):
        nodes.append(tmp_path / name)
        nodes[-1].touch()
        os.chown(nodes[-1], 0, gid)
        nodes[-1].chmod(mode)
    keys = [part.partition(" (")[2] for part in needed_groups(nodes).split("), ")]
    root_only = "root only, a udev rule is missing"
    hidden = "a group that the sandbox hides, usually video; `ls -l` shows it)"
    assert keys == ["group video", "group 54321", root_only, root_only, root_only, hidden]
    assert all(str(node) in needed_groups(nodes) for node in nodes)


def test_a_node_that_is_gone_by_now_is_no_error(tmp_path: Path) -> None:
    assert needed_groups([tmp_path / "video0"]) == f"{tmp_path / 'video0'} (no such file or directory)"
