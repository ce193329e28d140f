"""The sensors of the rig's cameras: their modes and the controls that libcamera lists for them on a Raspberry Pi.

The numbers are those that a Pi prints for `rpicam-hello --list-cameras` and picamera2's camera_controls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pi_camera import CAMERA_MODULE_3

Rectangle = tuple[int, int, int, int]


@dataclass(frozen=True)
class Mode:
    """One way to read the sensor: size of the raw picture, the region of the sensor it shows, shortest frame in µs."""

    size: tuple[int, int]
    crop: Rectangle
    shortest_us: int


@dataclass(frozen=True)
class Sensor:
    """A sensor. *controls* are (least, most, default) by libcamera's names, without those that depend on the mode."""

    model: str
    modes: tuple[Mode, ...]
    longest_us: int
    controls: dict[str, tuple[Any, Any, Any]]
    raw_format: str = "SRGGB10_CSI2P"
    bit_depth: int = 10

    @property
    def size(self) -> tuple[int, int]:
        return max(mode.size for mode in self.modes)

    def limits(self, mode: Mode, cropped: list[tuple[int, int]]) -> dict[str, tuple[Any, Any, Any]]:
        """Return all controls in *mode*, as ipa_base.cpp and pipeline_base.cpp make them.

        *cropped* are width and height of the pictures that have a region of their own.
        """
        usual = [widest(mode.crop, *size) for size in cropped]
        return {
            **self.controls,
            "FrameDurationLimits": (mode.shortest_us, self.longest_us, 33_333),
            "ExposureTime": (26, self.longest_us - 1_000, 20_000),
            "ScalerCrop": ((0, 0, 64, 64), mode.crop, usual[0]),
            **({"ScalerCrops": (usual[0], usual[1], usual[0])} if len(usual) == 2 else {}),
        }


def widest(whole: Rectangle, width: int, height: int) -> Rectangle:
    """Return the largest region in the middle of *whole* that has the aspect ratio of a picture of this size."""
    left, top, wide, high = whole
    if wide * height > high * width:
        used = high * width // height
        return left + (wide - used) // 2, top, used, high
    used = wide * height // width
    return left, top + (high - used) // 2, wide, used


_BY_MODE = ("FrameDurationLimits", "ExposureTime", "ScalerCrop")
_ALL = {name: limits for name, limits in CAMERA_MODULE_3.items() if name not in _BY_MODE}
_WITHOUT_LENS = {name: limits for name, limits in _ALL.items() if not name.startswith(("Af", "Lens"))}

IMX708 = Sensor(
    "imx708",
    (
        Mode((1536, 864), (768, 432, 3072, 1728), 8_324),
        Mode((2304, 1296), (0, 0, 4608, 2592), 17_849),
        Mode((4608, 2592), (0, 0, 4608, 2592), 69_669),
    ),
    220_417_486,
    _ALL,
)
IMX219 = Sensor(
    "imx219",
    (
        Mode((640, 480), (1000, 752, 1280, 960), 9_677),
        Mode((1640, 1232), (0, 0, 3280, 2464), 23_894),
        Mode((1920, 1080), (680, 692, 1920, 1080), 21_021),
        Mode((3280, 2464), (0, 0, 3280, 2464), 47_183),
    ),
    11_767_556,
    {**_WITHOUT_LENS, "AnalogueGain": (1.0, 10.666667, 1.0)},
)
# by the ids of virtual.yaml
SENSORS = {"/base/soc/i2c0mux/i2c@1/imx708@1a": IMX708, "/base/soc/i2c0mux/i2c@0/imx219@10": IMX219}
