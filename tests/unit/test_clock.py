from pathlib import Path

from pi_cam_daemon import clock


def test_timesyncds_file_tells_whether_the_clock_was_set(tmp_path: Path) -> None:
    assert clock.synced(tmp_path) is None, "another time service, or none"
    folder = tmp_path / "systemd/timesync"
    folder.mkdir(parents=True)
    assert clock.synced(tmp_path) is False
    (folder / "synchronized").touch()
    assert clock.synced(tmp_path) is True
