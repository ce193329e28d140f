import grp
import os
from pathlib import Path

import pytest

from pi_cam_daemon.system import machine

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, as only root may")


def write(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_a_pi_reports_its_model_libcamera_temperature_and_voltage(tmp_path: Path) -> None:
    write(tmp_path, "sys/firmware/devicetree/base/model", "Raspberry Pi 4 Model B Rev 1.5\0")
    write(tmp_path, "usr/lib/aarch64-linux-gnu/libcamera.so.0.5.2", "")
    write(tmp_path, "usr/lib/aarch64-linux-gnu/libcamera.so.0.5", "")
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48312\n")
    write(tmp_path, "sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n")
    assert machine.model(tmp_path) == "Raspberry Pi 4 Model B Rev 1.5"
    assert machine.libcamera(tmp_path) == "0.5.2"
    assert machine.temperature(tmp_path) == 48.312
    assert machine.undervoltage(tmp_path) is False
    write(tmp_path, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    assert machine.undervoltage(tmp_path) is True


def test_the_version_of_the_loaded_libcamera_is_reported(tmp_path: Path) -> None:
    write(tmp_path, "usr/lib/aarch64-linux-gnu/libcamera.so.0.5.2", "")
    write(tmp_path, "usr/local/lib/aarch64-linux-gnu/libcamera.so.0.6.0", "")
    assert machine.libcamera(tmp_path) == "0.6.0"


def test_a_machine_that_is_no_pi_reports_nothing(tmp_path: Path) -> None:
    assert (machine.model(tmp_path), machine.libcamera(tmp_path)) == ("", "")
    assert (machine.temperature(tmp_path), machine.undervoltage(tmp_path)) == (None, None)


def test_the_clock_is_set_if_timesyncds_file_says_so(tmp_path: Path) -> None:
    assert machine.clock_synced(tmp_path) is None, "another time service, or none"
    folder = tmp_path / "run/systemd/timesync"
    folder.mkdir(parents=True)
    assert machine.clock_synced(tmp_path) is False
    (folder / "synchronized").touch()
    assert machine.clock_synced(tmp_path) is True


@needs_root
def test_each_forbidden_node_is_named_with_its_group(tmp_path: Path) -> None:
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
    keys = [part.partition(" (")[2] for part in machine.needed_groups(nodes).split("), ")]
    root_only = "root only, a udev rule is missing"
    hidden = "a group that the sandbox hides, usually video; `ls -l` shows it)"
    assert keys == ["group video", "group 54321", root_only, root_only, root_only, hidden]
    assert all(str(node) in machine.needed_groups(nodes) for node in nodes)


def test_a_node_that_has_vanished_is_no_error(tmp_path: Path) -> None:
    assert machine.needed_groups([tmp_path / "video0"]) == f"{tmp_path / 'video0'} (no such file or directory)"


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, ""),
        ({"LANG": "C.UTF-8"}, "c"),
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "ko"}, "ko"),
        ({"LANG": "ko.UTF-8"}, "ko"),
        ({"LANG": "en_GB.UTF-8", "LC_MESSAGES": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "LC_MESSAGES": "ko_KR.UTF-8", "LC_ALL": "en_GB.UTF-8"}, "en"),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": ""}, "ko"),
        ({"LANG": "kok_IN"}, "kok"),
    ],
)
def test_the_language_is_that_of_the_locale(environ: dict[str, str], language: str) -> None:
    assert machine.language(environ) == language
