"""The rig is a Pi to picamera2: what no test of the source asks of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pi_memory import MemfdAllocator, memory
from picamera2 import Picamera2
from virtual_pi import PiCamera

from tests.kit.wait import until

FULL = {"output_size": (3280, 2464)}


@pytest.fixture
def picam2() -> Iterator[Any]:
    """Return picamera2's own object for the imx219."""
    with Picamera2(1, allocator=MemfdAllocator()) as opened:
        yield opened


def test_picamera2_takes_it_for_a_pis_camera_with_its_modes(picam2: Any) -> None:
    assert picam2._is_rpi_camera()
    assert picam2.sensor_resolution == (3280, 2464)
    modes = [(mode["size"], mode["fps"], mode["crop_limits"]) for mode in picam2.sensor_modes]
    assert modes[1:3] == [((1640, 1232), 41.85, (0, 0, 3280, 2464)), ((1920, 1080), 47.57, (680, 692, 1920, 1080))]


def test_three_streams_come_at_once(picam2: Any) -> None:
    picam2.configure(
        picam2.create_video_configuration(
            main={"size": (1280, 720), "format": "YUV420"}, lores={"size": (320, 240)}, raw={"size": (1640, 1232)}
        )
    )
    assert picam2.camera_configuration()["raw"]["format"] == "SRGGB10_CSI2P"
    picam2.start()
    request = picam2.capture_request(wait=5)
    main, lores = request.make_array("main"), request.make_array("lores")
    assert (main.shape, lores.shape) == ((1080, 1280), (360, 320))
    assert main[:300, :500].mean() > 200 > lores[20:200, 180:320].mean() > 90, "both are of the same scene"
    assert len(request.make_buffer("raw")) == 2080 * 1232, "ten bits a pixel, and rows of whole 32 bytes"
    request.release()
    picam2.stop()


@pytest.mark.parametrize(("raw", "own"), [(None, 4), ({}, 0)])
def test_without_a_raw_stream_libcamera_takes_four_buffers_of_its_own(
    picam2: Any, raw: dict[str, Any] | None, own: int
) -> None:
    main = {"size": (3280, 2464), "format": "YUV420"}
    picam2.configure(picam2.create_video_configuration(main=main, raw=raw, sensor=FULL, buffer_count=1))
    before = sum(memory.held.values())
    picam2.start()
    packed = (3280 * 10 // 8 + 28) * 2464
    assert sum(memory.held.values()) - before == own * packed
    picam2.stop()


def test_a_start_without_memory_fails_as_on_a_pi(picam2: Any) -> None:
    main = {"size": (640, 480), "format": "YUV420"}
    picam2.configure(picam2.create_video_configuration(main=main, raw=None))
    memory.budget = sum(memory.held.values())
    with pytest.raises(RuntimeError, match="Failed to start camera: Cannot allocate memory"):
        picam2.start()


def test_each_request_and_start_are_recorded_with_their_controls(picam2: Any, imx219: PiCamera) -> None:
    picam2.configure(picam2.create_video_configuration(main={"size": (640, 480), "format": "YUV420"}))
    picam2.set_controls({"ExposureTime": 5_000})
    picam2.start()
    assert (imx219.starts[0]["ExposureTime"], imx219.starts[0]["ExposureTimeMode"]) == (5_000, 1)
    assert picam2.capture_metadata(wait=5)["ExposureTime"] == 5_000
    picam2.set_controls({"ExposureTime": 0})
    until("the request has it", lambda: {"ExposureTimeMode": 0} in imx219.requests)
    until("it is automatic again", lambda: picam2.capture_metadata(wait=5)["ExposureTime"] == 8_000)
    picam2.stop()
    with pytest.raises(RuntimeError, match="not advertised"):
        picam2.set_controls({"LensPosition": 1.0})


def test_a_mode_that_the_sensor_lacks_is_replaced_by_picamera2(picam2: Any, imx219: PiCamera) -> None:
    main = {"size": (640, 480), "format": "YUV420"}
    picam2.configure(picam2.create_video_configuration(main=main, raw=None, sensor={"output_size": (1600, 1200)}))
    assert imx219.running.mode.size == (1640, 1232)
