import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from pi_cam_daemon.config import saved
from pi_cam_daemon.system import files


def test_reading_does_not_change_the_access_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("content")
    # not read since it was written: then the kernel notes the next reading, relatime or not
    os.utime(path, (1, 2))
    assert files.read(path) == b"content"
    assert not files.replace(path, b"content")
    assert path.stat().st_atime == 1


def test_an_endless_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1024))
    assert files.read(path, 1024) == bytes(1024)
    for endless in (path, Path("/dev/zero")):
        with pytest.raises(ValueError, match="larger than 0 KiB; this is not a configuration"):
            files.read(endless, 1023, "configuration")


def test_a_file_of_another_owner_is_read_too() -> None:
    path, me = Path("/etc/passwd"), os.geteuid()
    os.seteuid(me or 65534)
    try:
        assert files.read(path) == path.read_bytes()
    finally:
        os.seteuid(me)


def test_a_file_that_may_not_be_read_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: Path) -> bytes:
        raise PermissionError

    path = tmp_path / "file"
    path.write_text("of another owner")
    monkeypatch.setattr(files, "read", forbidden)
    assert files.replace(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("before", [b"", b"before"])
def test_a_file_that_cannot_be_written_stays_and_leaves_nothing_else(before: bytes, tmp_path: Path) -> None:
    path = tmp_path / "controls.toml"
    if before:
        path.write_bytes(before)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as on a full card
    try:
        with pytest.raises(OSError) as full:
            files.replace(path, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert full.value.filename == str(path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([before] if before else [])


def test_replacing_and_removing_a_file_syncs_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    monkeypatch.setattr(os, "fsync", fsync)
    path = tmp_path / "controls.toml"
    saved.write(path, "csi", {"brightness": 0.5})
    assert synced == [str(tmp_path / ".controls.toml.new"), str(tmp_path)]
    saved.forget(path, "csi")
    assert synced[2:] == [str(tmp_path)]
    saved.forget(path, "csi")
    assert len(synced) == 3


def why(path: Path) -> str:
    with pytest.raises(PermissionError) as refused:
        files.read(path)
    return files.explain(refused.value, path)


def owner(path: Path) -> str:
    return f"{path.owner()}:{path.group()}"


def test_a_forbidden_file_is_told_with_owner_and_mode(public: Path, somebody: Callable[[str], None]) -> None:
    path = public / "its secrets"
    path.touch(0o000)
    ours = owner(path)
    somebody("alice")
    told = f"Permission denied for alice: it belongs to {ours}, mode 0000"
    assert why(path) == f"{told}; run it with sudo"
    somebody("pi-cam-daemon")  # nobody can run the service with sudo
    command = f"sudo chgrp pi-cam-daemon '{path}' && sudo chmod g+r '{path}'"
    assert why(path) == f"{told.replace('alice', 'pi-cam-daemon')}; {command}"


def test_a_folder_that_is_closed_is_named_and_not_opened(public: Path, somebody: Callable[[str], None]) -> None:
    home = public / "home"
    home.mkdir()
    (home / "config.toml").touch()
    ours = owner(home)
    home.chmod(0o000)
    somebody("pi-cam-daemon")
    told = (
        f"Permission denied for pi-cam-daemon: {home} belongs to {ours}, mode 0000; move the file to /etc/pi-cam-daemon"
    )
    assert why(home / "config.toml") == told
