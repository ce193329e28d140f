"""picamera2's own encoders: the hardware's on rig/fakem2m.c, and the software's."""

from __future__ import annotations

import statistics
from typing import Any

import picamera2.encoders
import picamera2.platform
import pytest
from picamera2.platform import Platform

from pi_cam_daemon.camera import csi, csi_encoders
from pi_cam_daemon.camera.csi_bitrate import BitrateControl, wanted_bytes
from pi_cam_daemon.errors import Cause
from tests.kit.lateness import patience
from tests.picamera.pi import EncoderNode, Recorder, failure, picture, running, source

HARDWARE, SOFTWARE = "hardware MJPEG (V4L2)", "software JPEG (simplejpeg)"


def test_the_hardware_encodes_with_a_bitrate_for_the_quality(encoder: EncoderNode) -> None:
    with running(source(quality=50)) as recorder:
        recorder.wait_for(5)
        assert recorder.info.encoder == HARDWARE
        assert isinstance(csi_encoders.choose_encoder(640, 480, 50)[0], picamera2.encoders.mjpeg_encoder.MJPEGEncoder)
    assert encoder.log("CTRL") == [f"CTRL bitrate {BitrateControl(640, 480, 50).bitrate}"]
    assert encoder.log("PARM") == ["PARM 30000/1000"]
    assert encoder.log("FMT OUTPUT") == ["FMT OUTPUT 640x480 YU12 640"]
    assert encoder.log("REFUSED") == []
    assert len(encoder.log("close")) == len(encoder.log("open"))


def test_a_width_that_is_no_multiple_of_64_has_padded_rows(encoder: EncoderNode) -> None:
    with running(source(width=332, height=126)) as recorder:
        recorder.wait_for(3)
    assert encoder.log("FMT OUTPUT") == ["FMT OUTPUT 332x126 YU12 384"]
    assert picture(recorder.frames[2][0]).size == (332, 126)


@pytest.mark.parametrize(("width", "height"), [(1922, 1080), (640, 480), (332, 126)])
def test_software_encodes_what_the_hardware_cannot(
    encoder: EncoderNode, monkeypatch: pytest.MonkeyPatch, width: int, height: int
) -> None:
    if width < 1920:  # a Pi 5 has no hardware encoder
        monkeypatch.setattr(picamera2.platform, "_platform", Platform.PISP)
    with running(source(width=width, height=height, quality=70)) as recorder:
        recorder.wait_for(3)
        assert recorder.info.encoder == SOFTWARE
    assert encoder.log() == []
    assert picture(recorder.frames[2][0]).size == (width, height)


def test_h264_from_old_firmware_is_an_error_that_names_the_firmware(encoder: EncoderNode) -> None:
    encoder.set(codec="H264")
    error = failure(source())
    assert error.cause is Cause.LOST
    assert "firmware" in error.message


def test_without_memory_for_its_buffers_the_hint_says_what_helps(encoder: EncoderNode) -> None:
    encoder.set(memory="none")
    error = failure(source())
    assert error.cause is Cause.LOST
    assert "No memory for the camera's buffers" in error.message
    assert encoder.log("REFUSED") == ["REFUSED REQBUFS ENOMEM"]
    assert len(encoder.log("close")) == len(encoder.log("open")), "else its thread goes on for ever"


def test_a_stalled_encoder_still_lets_the_camera_stop(encoder: EncoderNode) -> None:
    encoder.set(stall=5)
    recorder = Recorder(source())
    recorder.start()
    recorder.wait_for(5)
    assert recorder.stop() < patience(2)
    assert recorder.error is None
    assert len(recorder.frames) == 5


def test_a_slow_driver_delays_the_stop_but_all_is_closed(encoder: EncoderNode) -> None:
    encoder.set(stop_ms=1000)
    recorder = Recorder(source())
    recorder.start()
    recorder.wait_for(1)
    assert 2 < recorder.stop() < patience(4)
    assert recorder.error is None
    assert len(encoder.log("close")) == len(encoder.log("open"))


def test_a_bug_is_not_reported_as_a_lost_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: int) -> Any:
        raise KeyError("NV12")

    monkeypatch.setattr(csi, "choose_encoder", broken)
    recorder = Recorder(source())
    recorder.start()
    assert isinstance(recorder.ended(), KeyError)


def test_pictures_larger_than_the_encoders_buffer_are_dropped_and_counted(
    encoder: EncoderNode, caplog: pytest.LogCaptureFixture
) -> None:
    encoder.set(piece=12_000)  # the first pictures are smaller
    with running(source()) as recorder:
        recorder.until("pieces came", lambda: "bad pictures" in caplog.text)
        encoder.set()
        recorder.wait_for_more()
    for jpeg, _, _ in recorder.frames:
        picture(jpeg)
    assert "imx219: 1 bad pictures so far" in caplog.text


def test_a_first_picture_in_pieces_does_not_blame_the_firmware(
    encoder: EncoderNode, caplog: pytest.LogCaptureFixture
) -> None:
    encoder.set(piece=2_000)
    with running(source()) as recorder:
        recorder.until("pieces came", lambda: "bad pictures" in caplog.text)
        assert recorder.frames == []
        assert recorder.bad[0] == "it is not whole: larger than the encoder's buffer, or broken"
        encoder.set()
        recorder.wait_for_more()


def test_an_old_picture_of_a_failed_buffer_is_not_served_again(encoder: EncoderNode) -> None:
    encoder.set(error=5)  # from the second round through the 16 buffers on they hold an old picture
    with running(source()) as recorder:
        recorder.until("bad pictures", lambda: len(recorder.bad) >= 3)
        recorder.wait_for_more()
    assert set(recorder.bad) == {"it is not newer than the one before"}
    times = [captured for _, captured, _ in recorder.frames]
    assert times == sorted(set(times))
    assert len({jpeg for jpeg, _, _ in recorder.frames}) == len(recorder.frames)


@pytest.mark.parametrize("card", ["bcm2835-codec-decode", "HD Pro Webcam C920", ""])
def test_without_the_hardware_encoder_software_encodes_with_one_warning(
    encoder: EncoderNode, caplog: pytest.LogCaptureFixture, card: str
) -> None:
    if card:
        encoder.set(card=card.replace(" ", "_"))
    else:
        encoder.unplug()
    with running(source()) as recorder:
        recorder.wait_for(3)
        assert recorder.info.encoder == SOFTWARE
        assert recorder.take_still().refused == ""
        recorder.wait_for_more()
    assert encoder.log("CTRL") == []
    (warning,) = [record.getMessage() for record in caplog.records if "/dev/video11" in record.getMessage()]
    assert warning == (
        f"/dev/video11 is {card.replace(' ', '_')}, not the hardware's JPEG encoder: pictures are encoded in software"
        if card
        else "There is no /dev/video11, the hardware's JPEG encoder: pictures are encoded in software"
    )


@pytest.mark.parametrize("platform", [Platform.VC4, Platform.PISP])
@pytest.mark.parametrize("rotation", [0, 90])
def test_pictures_that_nobody_wants_are_not_encoded(
    monkeypatch: pytest.MonkeyPatch, platform: Platform, rotation: int
) -> None:
    monkeypatch.setattr(picamera2.platform, "_platform", platform)
    monkeypatch.setattr(csi_encoders, "SETTLING_PICTURES", 0)
    encoded = []
    output = picamera2.encoders.Encoder.outputframe

    def count(*arguments: Any, **more: Any) -> None:
        encoded.append(1)
        output(*arguments, **more)

    monkeypatch.setattr(picamera2.encoders.Encoder, "outputframe", count)
    with running(source(rotation=rotation)) as recorder:
        recorder.wait_for(3)
        recorder.wanted = False
        before, frames = recorder.passed_over, len(encoded)
        recorder.until("frames are passed over", lambda: recorder.passed_over >= before + 25)
        assert len(encoded) - frames <= 3, "but for those that were on their way"
        recorder.wanted = True
        recorder.wait_for_more()
    times = [captured for _, captured, _ in recorder.frames]
    assert times == sorted(set(times))


def test_the_hardware_settles_even_if_nobody_watches(encoder: EncoderNode) -> None:
    recorder = Recorder(source(framerate=40.0))
    recorder.wanted = False
    recorder.start()
    recorder.until("frames are passed over", lambda: recorder.passed_over >= 20)
    recorder.wanted = True
    recorder.wait_for_more(2)
    recorder.wanted = False
    recorder.stop()
    assert len(recorder.frames[-1][0]) == pytest.approx(wanted_bytes(640, 480, 80), rel=0.15)
    assert 102 <= int(encoder.log("close")[-1].split()[1]) < 120


# -- the size of its pictures


def settled(recorder: Recorder, encoder: EncoderNode, bitrates: int = 0) -> float:
    """Return the median size of the pictures after so many changes of the bitrate, when the encoder has settled."""
    recorder.until("the bitrate changes", lambda: len(encoder.log("CTRL")) > bitrates, 30)
    count = len(recorder.frames)
    recorder.until("it settles", lambda: len(recorder.frames) > count + 100, 30)
    return statistics.median(len(jpeg) for jpeg, *_ in recorder.frames[-15:])


@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (1920, 1080)], ids=str)
def test_pictures_have_the_size_that_software_gives_them(encoder: EncoderNode, size: tuple[int, int]) -> None:
    encoder.set(quality=60)  # so that it settles soon
    sizes = []
    for quality in (50, 80, 95):
        with running(source(width=size[0], height=size[1], quality=quality, framerate=40.0)) as recorder:
            sizes.append(settled(recorder, encoder))
        assert sizes[-1] == pytest.approx(wanted_bytes(*size, quality), rel=0.2)
        assert recorder.bad == []
    assert sizes == sorted(set(sizes))


def test_the_bitrate_is_raised_where_the_firmware_ignores_the_claimed_rate(encoder: EncoderNode) -> None:
    encoder.set(quality=60, deaf=1)
    with running(source(quality=90, framerate=40.0)) as recorder:
        size = settled(recorder, encoder, bitrates=1)
    assert size == pytest.approx(wanted_bytes(640, 480, 90), rel=0.2)
    assert encoder.log("REFUSED") == []


def test_the_bitrate_is_lowered_where_pictures_do_not_fit_into_a_buffer(encoder: EncoderNode) -> None:
    encoder.set(quality=60, piece=60_000)
    with running(source(width=1280, height=720, framerate=25.0)) as recorder:
        recorder.until("pictures in pieces", lambda: recorder.bad)
        count = len(recorder.frames)
        recorder.until("whole pictures before it counts as stalled", lambda: len(recorder.frames) > count + 50, 9)
        assert max(len(jpeg) for jpeg, *_ in recorder.frames) <= 60_000
