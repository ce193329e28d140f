"""Controls of a CSI camera: libcamera's controls, under the names of rpicam-apps' options.

libcamera's numbers are those of its control_ids_core.yaml and control_ids_draft.yaml.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pi_cam_daemon.config.text import Value
from pi_cam_daemon.ipc.controls import Control, Group, Kind, check
from pi_cam_daemon.ipc.messages import Report

Limits = Mapping[str, tuple[Any, Any, Any]]
Rectangle = tuple[int, int, int, int]

_NUMBERS = {
    "ev": "ExposureValue",
    "brightness": "Brightness",
    "contrast": "Contrast",
    "saturation": "Saturation",
    "sharpness": "Sharpness",
}
# without the custom modes: they need parameters of their own
_CHOICES = {
    "awb": (
        "AwbMode",
        {"auto": 0, "incandescent": 1, "tungsten": 2, "fluorescent": 3, "indoor": 4, "daylight": 5, "cloudy": 6},
    ),
    "exposure": ("AeExposureMode", {"normal": 0, "sport": 1, "long": 2}),
    "metering": ("AeMeteringMode", {"centre": 0, "spot": 1, "average": 2}),
    "denoise": ("NoiseReductionMode", {"off": 0, "cdn_off": 3, "cdn_fast": 1, "cdn_hq": 2}),
    "autofocus_mode": ("AfMode", {"manual": 0, "auto": 1, "continuous": 2}),
    "autofocus_range": ("AfRange", {"normal": 0, "macro": 1, "full": 2}),
    "autofocus_speed": ("AfSpeed", {"normal": 0, "fast": 1}),
    # the ISP's HDR; a sensor's own has to be switched on before the camera is opened
    "hdr": ("HdrMode", {"off": 0, "single-exp": 3}),
}
# rpicam-vid's defaults where they differ from libcamera's, which would leave the lens where it is
_DEFAULTS = {"autofocus_mode": "continuous", "denoise": "cdn_fast"}
# the limits of ScalerCrop in a camera that lacks it
_NO_CROP = (None, (0, 0, 0, 0), None)
_GROUPS = {
    Group.EXPOSURE: ("shutter", "gain", "ev", "exposure", "metering", "flicker_period", "hdr"),
    Group.COLOUR: ("awb", "saturation"),
    Group.IMAGE: ("brightness", "contrast", "sharpness", "denoise"),
    Group.FOCUS: (
        "autofocus_mode", "autofocus_trigger", "autofocus_window", "autofocus_range", "autofocus_speed", "lens_position"
    ),
    Group.FRAMING: ("roi",),
}  # fmt: skip
_FOCUSED_BY_ITSELF = {"autofocus_range", "autofocus_speed", "autofocus_window"}
_EXPOSED_BY_ITSELF = {"ev", "exposure", "metering", "flicker_period"}
# 0 makes exposure or gain automatic; newer versions of libcamera have a mode for that (0 automatic, 1 manual)
_AUTOMATIC = {"shutter": ("ExposureTime", "ExposureTimeMode"), "gain": ("AnalogueGain", "AnalogueGainMode")}


class CsiControls:
    """Lists, sets and remembers the controls of a camera with these *limits* (picamera2's camera_controls).

    *frame_us* is the length of a frame. *apply* sets libcamera's controls; RuntimeError for unknown ones.
    """

    def __init__(self, limits: Limits, frame_us: int, apply: Callable[[dict[str, Any]], None]) -> None:
        self._limits = limits
        self._whole: Rectangle = limits.get("ScalerCrop", _NO_CROP)[1]
        self._apply = apply
        offered = {control.name: control for control in _offered(limits, frame_us)}
        self._controls = {
            name: dataclasses.replace(offered[name], group=group, under=_under(name, offered))
            for group, names in _GROUPS.items()
            for name in names
            if name in offered
        }
        self._touched: set[str] = set()  # names of controls that were set since the start

    @property
    def controls(self) -> tuple[Control, ...]:
        """Return the controls; those without effect at present are inactive. Setting these counts later."""
        idle = self._without_effect()
        return tuple(dataclasses.replace(one, inactive=name in idle) for name, one in self._controls.items())

    def _without_effect(self) -> set[str]:
        idle: set[str] = set()
        mode = self._value("autofocus_mode")
        if mode == "manual":
            idle |= _FOCUSED_BY_ITSELF
        if mode != "auto":
            idle.add("autofocus_trigger")
        if self._value("shutter") and self._value("gain"):
            idle |= _EXPOSED_BY_ITSELF
        return idle

    def start(self, wanted: Mapping[str, object]) -> Report:
        """Set the values *wanted*, and those of our defaults that differ from libcamera's."""
        own = {name: None for name in _DEFAULTS if name in self._controls}
        if wanted.get("lens_position") is not None:
            own.pop("autofocus_mode", None)
        report = self.set(0, {**own, **wanted})
        applied = {name: value for name, value in report.applied.items() if name in wanted}
        return dataclasses.replace(report, applied=applied)

    def set(self, number: int, wanted: Mapping[str, object]) -> Report:
        """Set every value *wanted* that is accepted; none if picamera2 refuses one of these."""
        taken, wrong = check(self.controls, wanted)
        wrong |= self._contradictions(taken)
        values = {name: self._resolved(name, value) for name, value in taken.items() if name not in wrong}
        values |= self._focus_changes(values)
        try:
            translated: dict[str, Any] = {}
            for name, value in values.items():
                translated |= self._translated(name, value)
            if translated:
                self._apply(translated)
        except RuntimeError as error:
            wrong |= dict.fromkeys(values, f"The camera refuses it: {error}")
            values = {}
        for name, value in values.items():
            if self._controls[name].kind is not Kind.ACTION:
                self._controls[name] = dataclasses.replace(self._controls[name], value=value)
                self._touched.add(name)
        return Report(number, values, wrong, self.controls)

    def in_force(self, still: bool = False) -> dict[str, Any]:
        """Return libcamera's controls for all that was set, for a camera that is configured anew.

        A region that was given back is not among them: each of the sensor's modes has its own whole view. A *still* has
        time for the best noise reduction, as rpicam-still uses, unless another than the default is set.
        """
        found: dict[str, Any] = {}
        for name in sorted(self._touched):
            if name != "roi" or self._value(name) != self._default(name):
                found |= self._translated(name, self._value(name))
        if still and "ScalerCrops" in found:  # a still is the only stream
            found["ScalerCrop"] = found.pop("ScalerCrops")[0]
        denoise = self._controls.get("denoise")
        if still and denoise and denoise.value == denoise.default and "cdn_hq" in denoise.choices:
            found |= self._translated("denoise", "cdn_hq")
        return found

    def _contradictions(self, taken: Mapping[str, Value]) -> dict[str, str]:
        wrong = {}
        mode = taken.get("autofocus_mode", self._value("autofocus_mode")) or self._default("autofocus_mode")
        if taken.get("lens_position") is not None and taken.get("autofocus_mode", "manual") != "manual":
            wrong["lens_position"] = 'It goes with autofocus_mode "manual" only'
        if "autofocus_trigger" in taken and mode != "auto":
            wrong["autofocus_trigger"] = f'It works in autofocus_mode "auto" only, and that is "{mode}"'
        return wrong

    def _focus_changes(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Return the focus control that changes with *values*: the lens is moved either by the autofocus or by hand."""
        if "lens_position" in values and "autofocus_mode" not in values and "autofocus_mode" in self._controls:
            if values["lens_position"] is not None:
                return {"autofocus_mode": "manual"}
            if self._value("lens_position") is not None:
                return {"autofocus_mode": self._default("autofocus_mode")}
        if values.get("autofocus_mode", "manual") != "manual" and self._value("lens_position") is not None:
            return {"lens_position": None}
        return {}

    def _value(self, name: str) -> Value:
        return self._controls[name].value if name in self._controls else None

    def _default(self, name: str) -> Value:
        return self._controls[name].default if name in self._controls else None

    def _resolved(self, name: str, value: Value) -> Value:
        """Return the value that is really set: the default for None, and a region in whole pixels of the sensor."""
        if value is None:
            return self._default(name)
        if name == "roi":
            return _fractions(self._pixels(value, self._limits["ScalerCrop"][0]), self._whole)
        return value

    def _translated(self, name: str, value: Value) -> dict[str, Any]:
        """Return libcamera's controls for one of ours."""
        if name in _NUMBERS:
            return {_NUMBERS[name]: value}
        if name in _CHOICES:
            control, numbers = _CHOICES[name]
            return {control: numbers[str(value)]}
        if name in _AUTOMATIC:
            control, mode = _AUTOMATIC[name]
            if mode not in self._limits:
                return {control: value}
            # the 0 replaces a value that picamera2 has not passed on yet, and which would make it manual again
            return {mode: 1 if value else 0, control: value}
        if name == "flicker_period":
            return {"AeFlickerMode": 1, "AeFlickerPeriod": value} if value else {"AeFlickerMode": 0}
        if name == "roi":
            smallest, _, usual = self._limits["ScalerCrop"]
            region = usual if value == self._default("roi") else self._pixels(value, smallest)
            # Each stream of a Pi 5 has its own region. picamera2 sets both, and then libcamera ignores ScalerCrop.
            return {"ScalerCrops": [region] * 2} if "ScalerCrops" in self._limits else {"ScalerCrop": region}
        if name == "autofocus_window":
            return {"AfMetering": 1, "AfWindows": [self._pixels(value)]} if value else {"AfMetering": 0}
        if name == "lens_position":
            return {} if value is None else {"LensPosition": value}
        assert name == "autofocus_trigger"
        return {"AfTrigger": 0}

    def _pixels(self, fractions: Value, smallest: Rectangle = (0, 0, 1, 1)) -> Rectangle:
        """Convert *fractions* of the whole sensor to pixels, not smaller than libcamera accepts."""
        assert isinstance(fractions, list)
        left, top, width, height = self._whole
        wide = min(max(round(fractions[2] * width), smallest[2]), width)
        high = min(max(round(fractions[3] * height), smallest[3]), height)
        x = min(round(fractions[0] * width), width - wide)
        y = min(round(fractions[1] * height), height - high)
        return left + x, top + y, wide, high


def _fractions(pixels: Rectangle, whole: Rectangle) -> list[float]:
    """Convert *pixels* to fractions of the *whole* sensor."""
    left, top, width, height = whole
    x, y, wide, high = pixels
    shares = ((x - left) / width, (y - top) / height, wide / width, high / height)
    return [round(share, 6) for share in shares]


def _offered(limits: Limits, frame_us: int) -> Iterator[Control]:
    """Yield the controls that a camera with these *limits* has."""
    if "ExposureTime" in limits:
        shortest, longest, _ = limits["ExposureTime"]
        # an exposure cannot be longer than a frame
        longest = max(min(longest, frame_us), shortest) if longest else frame_us
        yield _zero("shutter", Kind.INTEGER, max(1, shortest), longest, "automatic", "µs")
    if "AnalogueGain" in limits:
        least, most, _ = limits["AnalogueGain"]
        yield _zero("gain", Kind.NUMBER, float(least), float(most), "automatic")
    if "AeFlickerPeriod" in limits and "AeFlickerMode" in limits:
        shortest, longest, _ = limits["AeFlickerPeriod"]
        yield _zero("flicker_period", Kind.INTEGER, max(1, shortest), longest, "off", "µs")
    for name, control in _NUMBERS.items():
        if control in limits:
            least, most, default = limits[control]
            default = float(default or 0)
            yield Control(name, Kind.NUMBER, default, default, float(least), float(most))
    for name, (control, numbers) in _CHOICES.items():
        if control in limits:
            least, most, default = (int(limit or 0) for limit in limits[control])
            words = tuple(word for word, number in numbers.items() if least <= number <= most)
            theirs = next((word for word in words if numbers[word] == default), words[0] if words else "")
            ours = _DEFAULTS.get(name)
            start = ours if ours in words else theirs
            if len(words) > 1:
                yield Control(name, Kind.CHOICE, start, start, choices=words)
    _, whole, usual = limits.get("ScalerCrop", _NO_CROP)
    if whole[2] and whole[3]:
        region = _fractions(usual, whole)
        yield Control("roi", Kind.RECTANGLE, region, region)
        if "AfWindows" in limits and "AfMetering" in limits:
            yield Control("autofocus_window", Kind.RECTANGLE)
    if "LensPosition" in limits:
        least, most, _ = limits["LensPosition"]
        yield Control("lens_position", Kind.NUMBER, None, None, float(least), float(most), unit="dioptres")
    if "AfMode" in limits and "AfTrigger" in limits:
        yield Control("autofocus_trigger", Kind.ACTION)


def _under(name: str, offered: Mapping[str, Control]) -> str:
    focus = name in (*_FOCUSED_BY_ITSELF, "autofocus_trigger", "lens_position")
    return "autofocus_mode" if focus and "autofocus_mode" in offered else ""


def _zero(name: str, kind: Kind, minimum: float, maximum: float, zero: str, unit: str = "") -> Control:
    """Return a control that accepts 0 outside its limits and has it as default; *zero* says what 0 means."""
    off = 0 if kind is Kind.INTEGER else 0.0
    return Control(name, kind, off, off, minimum, maximum, zero=zero, unit=unit)
