"""The causes for which there is no camera, or files that are not in force, and the word for each of them everywhere.

Tests of several tiers bring each cause about and look for its words: the page in tests/browser, and /healthz, /state,
the metrics, the status of the unit, `install --status` and the role's verify in tests/systemd.
"""

from __future__ import annotations

from dataclasses import dataclass

# programs that take the place of picamera2
MISSING = "raise ModuleNotFoundError(\"No module named 'picamera2'\", name='picamera2')\n"
BROKEN = "raise ImportError('_libcamera.so: undefined symbol: _ZN9libcamera8controls3HdrE')\n"
BAD_NUMPY = "raise ValueError('numpy.dtype size changed, may indicate binary incompatibility')\n"
EMPTY = """
class Picamera2:
    class _cm:
        reset = staticmethod(lambda: None)
    global_camera_info = staticmethod(lambda: [])
"""

IMX708 = '{"kind": "csi", "name": "imx708"}'  # the state file of a daemon whose last camera this was
NOT_IN_FORCE = "video.rotation: 45 cannot be used; accepted: 0 or 90 or 180 or 270"


@dataclass(frozen=True)
class Cause:
    """One cause, and the words for it.

    *picamera2* is the program in its place, and *last* the content of the state file. *event* happens after the start:
    "lost" takes the camera away, "reload" and "start" make the file wrong, before a reload or another start.
    """

    name: str
    page: str  # the headline of the notice
    health: int  # the status of /healthz
    cause: str | None  # in /state
    detail: str  # its beginning, in /state and in the status of the unit
    hint: str
    metric: str
    installer: str  # `install --status`
    verify: str  # of the role; it fails if this begins with the unit's name
    picamera2: str = EMPTY
    last: str = ""
    event: str = ""
    forbidden: bool = False  # a camera's node that the service may not open


NO_CAMERA = 'pi_cam_state{state="no-camera"} 1.0'
STAND_IN = 'pi_cam_source_info{configured="auto",kind="pattern",last="",stand_in="1"} 1.0'
GONE = 'pi_cam_source_info{configured="auto",kind="pattern",last="csi",stand_in="1"} 1.0'
NOT_RELOADED = "pi_cam_config_last_reload_successful 0.0"
NEVER = "ok, but no camera was ever found"
LOST = "pi-cam-daemon.service gives no pictures of its camera"
UNIT_LOST = "pi-cam-daemon.service gives no pictures: "

CAUSES = [
    Cause(
        "no picamera2", "No camera found", 503, "missing", "No camera: picamera2 is not installed.",
        "Only a Raspberry Pi", STAND_IN, NEVER, "no camera, test picture: picamera2 is not installed.",
        picamera2=MISSING,
    ),
    Cause(
        "broken picamera2", "The camera's software does not work", 503, "broken",
        "No camera: picamera2 cannot be loaded: _libcamera.so: undefined symbol", "sudo apt full-upgrade", STAND_IN,
        NEVER, "no camera, test picture: picamera2 cannot be loaded: _libcamera.so", picamera2=BROKEN,
    ),
    Cause(
        "bad numpy", "The camera's software does not work", 503, "broken",
        "No camera: picamera2 cannot be loaded: numpy.dtype size changed", "numpy", STAND_IN, NEVER,
        "no camera, test picture: picamera2 cannot be loaded: numpy.dtype size changed", picamera2=BAD_NUMPY,
    ),
    Cause(
        "no camera", "No camera found", 503, "missing", "No camera: picamera2 finds no CSI camera.",
        "Check the ribbon cable", STAND_IN, NEVER, "no camera, test picture: picamera2 finds no CSI camera.",
    ),
    Cause(
        "camera without permission", "The camera may not be opened", 503, "permission",
        "No camera: No permission to open /dev/video0.", "group `video`", STAND_IN, NEVER,
        "no camera, test picture: No permission to open /dev/video0.", forbidden=True,
    ),
    Cause(
        "camera lost at boot", "The camera was lost", 503, "lost",
        "The camera imx708 (csi) is gone: picamera2 finds no CSI camera.", "Check the ribbon cable", GONE, LOST,
        f"{UNIT_LOST}The camera imx708 (csi) is gone", last=IMX708,
    ),
    Cause(
        "camera lost later", "No camera found", 503, "missing", "picamera2 finds no CSI camera",
        "Check the ribbon cable", NO_CAMERA, LOST, f"{UNIT_LOST}picamera2 finds no CSI camera", event="lost",
    ),
    Cause(
        "bad file at start", "The files on disk have not been in force since", 200, None, "Streaming", "",
        NOT_RELOADED, f"settings  refused: /etc/pi-cam-daemon/config.toml: {NOT_IN_FORCE}",
        f"/etc/pi-cam-daemon/config.toml: {NOT_IN_FORCE}", event="start",
    ),
    Cause(
        "bad file at reload", "The files on disk have not been in force since", 200, None, "Streaming", "",
        NOT_RELOADED, f"settings  refused: /etc/pi-cam-daemon/config.toml: {NOT_IN_FORCE}",
        f"/etc/pi-cam-daemon/config.toml: {NOT_IN_FORCE}", event="reload",
    ),
]  # fmt: skip
