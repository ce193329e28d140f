"""The controls of a Camera Module 3 on a Pi 5 at 640x480, as picamera2's camera_controls: (least, most, default)."""

from __future__ import annotations

from typing import Any

CAMERA_MODULE_3: dict[str, tuple[Any, Any, Any]] = {
    "AeEnable": (False, True, True),
    "AeConstraintMode": (0, 3, 0),
    "AeExposureMode": (0, 3, 0),
    "AeFlickerMode": (0, 1, 0),
    "AeFlickerPeriod": (100, 1_000_000, None),
    "AeMeteringMode": (0, 3, 0),
    "AfMetering": (0, 1, 0),
    "AfMode": (0, 2, 0),
    "AfPause": (0, 2, 0),
    "AfRange": (0, 2, 0),
    "AfSpeed": (0, 1, 0),
    "AfTrigger": (0, 1, 0),
    "AfWindows": ((0, 0, 0, 0), (65535, 65535, 65535, 65535), (0, 0, 0, 0)),
    "AnalogueGain": (1.0, 16.0, 1.0),
    "AnalogueGainMode": (0, 1, 0),
    "AwbEnable": (False, True, None),
    "AwbMode": (0, 7, 0),
    "Brightness": (-1.0, 1.0, 0.0),
    "ColourGains": (0.0, 32.0, None),
    "Contrast": (0.0, 32.0, 1.0),
    "ExposureTime": (26, 9_508_000, 20_000),
    "ExposureTimeMode": (0, 1, 0),
    "ExposureValue": (-8.0, 8.0, 0.0),
    "HdrMode": (0, 4, 0),
    "LensPosition": (0.0, 15.0, 1.0),
    "NoiseReductionMode": (0, 4, 0),
    "Saturation": (0.0, 32.0, 1.0),
    "ScalerCrop": ((0, 0, 64, 64), (0, 0, 4608, 2592), (576, 0, 3456, 2592)),
    "Sharpness": (0.0, 16.0, 1.0),
}
# beside a second stream, here of the same shape: the regions that both have by default
TWO_STREAMS = {**CAMERA_MODULE_3, "ScalerCrops": ((576, 0, 3456, 2592), (576, 0, 3456, 2592), (576, 0, 3456, 2592))}
# an older libcamera, without a switch for what is automatic, and a camera without a lens that moves and without colours
WITHOUT_SWITCHES = {
    name: limits for name, limits in CAMERA_MODULE_3.items() if not name.endswith(("TimeMode", "GainMode"))
}
MONOCHROME = {
    name: limits
    for name, limits in CAMERA_MODULE_3.items()
    if not name.startswith(("Af", "Lens", "Awb", "Saturation", "Colour", "Hdr"))
}
