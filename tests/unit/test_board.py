from pathlib import Path

from pi_cam_daemon import board


def write(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_a_pi_tells_its_model_libcamera_temperature_and_voltage(tmp_path: Path) -> None:
    write(tmp_path, "sys/firmware/devicetree/base/model", "Raspberry Pi 4 Model B Rev 1.5\0")
    write(tmp_path, "usr/lib/aarch64-linux-gnu/libcamera.so.0.5.2", "")
    write(tmp_path, "usr/lib/aarch64-linux-gnu/libcamera.so.0.5", "")
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48312\n")
    write(tmp_path, "sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n")
    assert board.model(tmp_path) == "Raspberry Pi 4 Model B Rev 1.5"
    assert board.libcamera(tmp_path) == "0.5.2"
    assert board.temperature(tmp_path) == 48.312
    assert board.undervoltage(tmp_path) is False
    write(tmp_path, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    assert board.undervoltage(tmp_path) is True


def test_a_libcamera_built_from_source_is_the_one_that_is_loaded(tmp_path: Path) -> None:
    write(tmp_path, "usr/lib/aarch64-linux-gnu/libcamera.so.0.5.2", "")
    write(tmp_path, "usr/local/lib/aarch64-linux-gnu/libcamera.so.0.6.0", "")
    assert board.libcamera(tmp_path) == "0.6.0"


def test_a_machine_that_is_no_pi_says_nothing(tmp_path: Path) -> None:
    assert (board.model(tmp_path), board.libcamera(tmp_path)) == ("", "")
    assert (board.temperature(tmp_path), board.undervoltage(tmp_path)) == (None, None)
