"""Finds USB cameras and other cameras with a V4L2 node, and explains why one cannot be used."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pi_cam_daemon.camera import raw_pictures, v4l2_device
from pi_cam_daemon.camera.source import VIDEO_GROUP_HINT
from pi_cam_daemon.errors import Cause, SourceError

log = logging.getLogger(__name__)

DEV = Path("/dev")
SYSFS = Path("/sys/class/video4linux")

# The kernel has two codes for JPEGs: UVC cameras use MJPG, drivers of older cameras JPEG.
JPEGS = ("MJPG", "JPEG")
FORMATS = {"MJPG": JPEGS, "YUYV": ("YUYV",), "auto": (*JPEGS, *raw_pictures.FORMATS)}

_LIST = "pi-cam-daemon list-cameras"
_LIST_HINT = f"`{_LIST}` shows those that can be used"


@dataclass(frozen=True)
class Camera:
    """A USB camera, or another one with a V4L2 node. *path* is a link that stays with it, if it has one.

    The *node* may change.
    """

    path: Path
    node: Path
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.path})"


def cameras(dev: Path = DEV, sysfs: Path = SYSFS) -> list[Camera]:
    """Return the cameras: those on USB first, grey ones last, otherwise in the kernel's order.

    SourceError if none is found, but a node that may not be opened, or one whose pictures cannot be used.
    """
    found: dict[Path, v4l2_device.Device] = {}
    refusal = None
    numbers = (path.name[5:] for path in sysfs.glob("video*"))
    for number in sorted(int(number) for number in numbers if number.isdecimal()):
        node = dev / f"video{number}"
        try:
            device = v4l2_device.device(node)
        except PermissionError as error:
            refusal = explain(error, node)
        except OSError as error:  # it was just unplugged, or its driver is broken; others may work
            log.debug("%s: %s", node, error.strerror)
        else:
            if device.part_of_board or not (device.captures or device.planes):
                continue
            if set(FORMATS["auto"]).isdisjoint(device.pixel_formats):  # such as a depth camera's, which is no picture
                refusal = refusal or useless(Camera(node, node, device.name), device)
            else:
                found[node] = device
    if refusal and not found:
        raise refusal
    # a depth or face camera has a grey infrared picture beside its coloured one
    nodes = sorted(found, key=lambda node: (found[node].pixel_formats == ("GREY",), not found[node].on_usb))
    return [Camera(_stable_path(node, dev, found), node, found[node].name) for node in nodes]


def find_camera(wanted: str, dev: Path = DEV, sysfs: Path = SYSFS) -> Camera:
    """Return the camera at the path *wanted*, or the first one if that is empty; SourceError if there is none."""
    if not wanted:
        if found := cameras(dev, sysfs):
            return found[0]
        hint = "Plug one in; `lsusb` shows what the Pi sees"
        raise SourceError("There is no USB camera", Cause.MISSING, hint, command="lsusb")
    path = Path(wanted)
    try:
        device = v4l2_device.device(path)
    except OSError as error:
        raise explain(error, path) from error
    if not device.captures:
        if device.planes:
            raise useless(Camera(path, path, device.name), device)
        values = {"setting": "usb.device", "device": str(path), "command": _LIST}
        raise SourceError(f"{path} ({device.name}) is no camera", Cause.SETTINGS, _LIST_HINT, **values)
    node = path.resolve()
    if not path.is_symlink():
        with contextlib.suppress(SourceError):
            if found := [camera for camera in cameras(dev, sysfs) if camera.node.resolve() == node]:
                return found[0]
        path = _stable_path(path, dev, {path: device})
    return Camera(path, node, device.name)


def useless(camera: Camera, device: v4l2_device.Device, wanted: str = "auto") -> SourceError:
    """Return the SourceError for a *camera* that offers none of the formats that are *wanted*."""
    values = {"camera": camera.name, "device": str(camera.path)}
    if device.planes:
        message = f"{camera} has only V4L2's multi-planar API, which is not supported"
        return SourceError(message, Cause.SETTINGS, _LIST_HINT, **values, command=_LIST)
    offers = ", ".join(name.strip() for name in device.pixel_formats)
    has = offers or "nothing"
    values |= {"setting": "usb.pixel_format", "offers": offers}
    if wanted != "auto":
        return SourceError(f"{camera} has no {wanted}", Cause.SETTINGS, f"It has {has}", **values, wanted=wanted)
    usable = ", ".join(FORMATS["auto"])
    message = f"{camera} has no pictures in a format that can be used"
    return SourceError(message, Cause.SETTINGS, f"It has {has}; usable are {usable}", **values, wanted=usable)


def _stable_path(node: Path, dev: Path, cameras: Mapping[Path, v4l2_device.Device]) -> Path:
    """Return udev's link to *node* with the camera's serial number, else that with its USB port, else *node* itself.

    *cameras* are all that there are. Those of one model without a serial number, or with the same one, share ONE link,
    which leads to any of them. So it is not used if another camera of the same name has none.
    """
    links = {link: link.resolve() for kind in ("by-id", "by-path") for link in sorted((dev / "v4l" / kind).glob("*"))}
    by_id = {target for link, target in links.items() if link.parent.name == "by-id"}
    twins = [other for other, device in cameras.items() if device.on_usb and device.name == cameras[node].name]
    shared = any(twin.resolve() not in by_id for twin in twins)
    own = [link for link, target in links.items() if target == node.resolve()]
    own.sort(key=lambda link: (link.parent.name == "by-id") is shared)
    return own[0] if own else node


def explain(error: OSError, path: Path) -> SourceError:
    """Return the SourceError for the kernel's *error* about the camera at *path*."""
    device = str(path)
    match error.errno:
        case errno.EACCES | errno.EPERM:
            message = f"No permission to open {path}"
            return SourceError(message, Cause.PERMISSION, VIDEO_GROUP_HINT, device=device, group="video")
        case errno.EBUSY:
            command = f"sudo fuser {path}"
            hint = f"`{command}` tells which"
            return SourceError(f"Another program uses {path}", Cause.BUSY, hint, device=device, command=command)
        case errno.ENOENT | errno.ENOTDIR | errno.ENXIO:
            hint = f"Plug it in. {_LIST_HINT}"
            return SourceError(f"There is no camera at {path}", Cause.MISSING, hint, device=device, command=_LIST)
        case errno.ENODEV:
            return SourceError(f"The camera was unplugged ({path})", Cause.LOST, "Plug it in again", device=device)
        case errno.ENOTTY | errno.EISDIR:
            values = {"setting": "usb.device", "device": device, "command": _LIST}
            return SourceError(f"{path} is no camera", Cause.SETTINGS, _LIST_HINT, **values)
        case errno.ENOSPC:
            hint = "Lower video.width, video.height or video.framerate, or use another USB bus than the other cameras"
            values = {"setting": "video.width, video.height, video.framerate", "device": device}
            return SourceError(f"The USB bus has no bandwidth left for {path}", Cause.SETTINGS, hint, **values)
    values = {"device": device, "error": errno.errorcode.get(error.errno or 0, str(error.strerror))}
    message = f"The camera failed: {error.strerror} ({path})"
    return SourceError(message, Cause.LOST, "Check its cable and its power", **values)
