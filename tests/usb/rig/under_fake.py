"""Tests of the source; ../test_source.py runs them in a process where fakev4l.c replaces the kernel's calls."""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pi_cam_daemon.camera.source import Source, TakeStill
from pi_cam_daemon.camera.usb import _SETTLE_SECONDS, UsbSource
from pi_cam_daemon.camera.usb_cameras import cameras, find_camera
from pi_cam_daemon.config.schema import UsbConfig, VideoConfig
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.ipc.controls import Control, Group, Kind
from pi_cam_daemon.ipc.messages import Report, SetControls
from tests.kit.lateness import patience
from tests.kit.sources import SMALL, LosableSourceContract, Run, decoded, running, video
from tests.kit.wait import until
from tests.usb.machine import Machine, draw_frames

DEV = Path(os.environ["FAKEV4L_DEV"])
NOBODY = 65534


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine without a camera, in the folder that fakev4l.c watches."""
    with tempfile.TemporaryDirectory(dir=DEV) as name:
        folder = Path(name)
        folder.chmod(0o755)
        frames = draw_frames(folder / "frames", 160, 120)
        yield Machine(folder, Path(os.environ["LD_PRELOAD"]), frames)


class UsbContract(LosableSourceContract):
    formats: str

    @pytest.fixture(autouse=True)
    def _plugged(self, machine: Machine) -> None:
        self.machine = machine
        machine.plug(formats=self.formats, size="160x120", fps="50")

    def make(self, settings: VideoConfig) -> Source:
        return UsbSource(settings, UsbConfig("", "auto", {}), SMALL, self.machine.dev, self.machine.sysfs)

    def lose(self) -> None:
        self.machine.unplug()


class TestJpegs(UsbContract):
    formats = "MJPG"


class TestRawPictures(UsbContract):
    formats = "YUYV"


def source(machine: Machine, device: str = "") -> Source:
    return UsbSource(video(), UsbConfig(device, "auto", {}), SMALL, machine.dev, machine.sysfs)


def test_the_first_node_that_captures_is_taken_and_none_of_the_pis_own(machine: Machine) -> None:
    machine.plug("video0", kind="sensor")
    machine.plug("video1", kind="metadata")
    machine.plug("video2", kind="metadata")
    machine.plug("video10", kind="codec")
    machine.plug("video11", kind="codec")
    machine.plug("video20")
    by_serial = machine.plug("video3", serial="046d_Fake_1234")
    (machine.sysfs / "v4l-subdev0").mkdir()
    (machine.sysfs / "video4").mkdir()  # it vanishes while it is looked at
    found = cameras(machine.dev, machine.sysfs)
    assert [(camera.path, camera.node.name) for camera in found] == [
        (by_serial, "video3"),
        (machine.dev / "video20", "video20"),
    ]
    assert find_camera("", machine.dev, machine.sysfs) == found[0]
    with running(source(machine)) as run:
        run.wait_for_frames(1)
    assert run.info.name == f"Fake Camera: Fake Camera ({by_serial})"


def test_cameras_on_other_buses_are_listed_behind_those_on_usb_and_work(machine: Machine) -> None:
    machine.plug("video0", kind="isp", formats="YUYV,RGB3")
    machine.plug("video1", kind="cfe", formats="YUYV")
    machine.plug("video2", kind="legacy")
    loopback = machine.plug("video3", kind="loopback", formats="YU12", size="160x120")
    card = machine.plug("video4", kind="pci", formats="UYVY", size="160x120")
    camera = machine.plug("video5")
    found = cameras(machine.dev, machine.sysfs)
    assert [found.path for found in found] == [camera, loopback, card]
    machine.unplug("video5")
    with running(source(machine)) as run:
        run.wait_for_frames(1)
    assert run.info.name == f"Dummy video device (0x0000) ({loopback})"
    with running(source(machine, str(card))) as run:
        run.wait_for_frames(1)
    assert run.info.name == f"HDMI Capture ({card})"


def test_twins_without_a_serial_number_are_told_by_their_usb_ports(machine: Machine) -> None:
    """Udev gives both the same link with a serial number, or with none but the model."""
    machine.plug("video0", serial="046d_0825", port="1.1")
    machine.plug("video1", kind="metadata")
    machine.plug("video2", serial="046d_0825", port="1.2")
    machine.plug("video3", kind="metadata")
    first, second = (path.path for path in cameras(machine.dev, machine.sysfs))
    assert [first, second] == sorted(machine.by_path.iterdir())
    for number, path in enumerate((first, second)):
        assert path.resolve().name == f"video{2 * number}"
        assert find_camera(str(path), machine.dev, machine.sysfs).path == path
        assert find_camera(str(path.resolve()), machine.dev, machine.sysfs).path == path
    machine.unplug("video2")
    assert cameras(machine.dev, machine.sysfs)[0].path == first, "the link with the model leads nowhere now"


def test_a_serial_number_is_better_than_a_port_and_a_port_than_a_node(machine: Machine) -> None:
    by_serial = machine.plug("video0", serial="046d_Fake_1", port="1.1")
    other = machine.plug("video2", serial="046d_Fake_2", port="1.2")
    assert [camera.path for camera in cameras(machine.dev, machine.sysfs)] == [by_serial, other]
    machine.unplug("video0")
    machine.unplug("video2")
    by_port = machine.plug("video0", port="1.1")
    assert [camera.path for camera in cameras(machine.dev, machine.sysfs)] == [by_port]


def test_a_camera_without_usable_pictures_is_named_with_its_formats(machine: Machine) -> None:
    machine.plug("video0", kind="metadata")
    node = machine.plug("video1", formats="Z16_,H264")
    told = f"Fake Camera: Fake Camera ({node}) has no pictures in a format that can be used"
    for look in (cameras, lambda *place: find_camera("", *place)):
        with pytest.raises(SourceError) as caught:
            look(machine.dev, machine.sysfs)
        assert (caught.value.message, caught.value.cause) == (told, Cause.SETTINGS)
        assert caught.value.hint.startswith("It has Z16_, H264; usable are MJPG, JPEG, YUYV, ")
    machine.plug("video2")
    assert [camera.node.name for camera in cameras(machine.dev, machine.sysfs)] == ["video2"]


def test_a_camera_with_several_planes_is_refused_in_words(machine: Machine) -> None:
    node = machine.plug(kind="planes")
    for wanted in (str(node), ""):
        with pytest.raises(SourceError, match="multi-planar") as caught:
            find_camera(wanted, machine.dev, machine.sysfs)
        assert caught.value.cause is Cause.SETTINGS


def test_an_infrared_picture_is_not_taken_before_a_coloured_one(machine: Machine) -> None:
    machine.plug("video0", formats="GREY")
    machine.plug("video2", formats="YUYV")
    assert [camera.node.name for camera in cameras(machine.dev, machine.sysfs)] == ["video2", "video0"]


@pytest.mark.parametrize("pixel_format", ["UYVY", "NV12", "YU12", "BGR3", "GREY"])
def test_raw_pictures_are_encoded_and_short_ones_are_refused(machine: Machine, pixel_format: str) -> None:
    machine.plug(formats=pixel_format, fps="50", state="corrupt", size="161x121", pad="7")
    with running(source(machine)) as run:
        (data, _), *_ = run.wait_for_frames(1)
        until("a short one is refused", lambda: run.complaints)
    assert (run.info.pixel_format, run.info.encoder) == (pixel_format, "software JPEG (OpenCV)")
    assert "bytes, not" in run.complaints[0]
    pixels = decoded(data).astype(int)
    assert {size - size % 2 for size in pixels.shape[:2]} == {160, 120}
    left, right, below = pixels[30, 5], pixels[30, 150], pixels[100, 150]
    assert left.max() + 60 < right.min(), "brighter to the right"
    assert abs(right - 139).max() < 8, "grey above, of the right brightness"
    if pixel_format != "GREY":
        assert (below[2], below[0]) == (pytest.approx(255, abs=8), pytest.approx(103, abs=12)), "red below"


def test_jpegs_are_preferred_to_raw_pictures_and_colours_to_grey(machine: Machine) -> None:
    for formats, chosen in (("GREY,NV12,YUYV,JPEG", "JPEG"), ("GREY,RGB3,NV12", "NV12"), ("H264,GREY", "GREY")):
        machine.plug(formats=formats, size="160x120")
        with running(source(machine)) as run:
            until("it is open", lambda: run.delivered)
        assert run.info.pixel_format == chosen
        machine.unplug()


def test_of_several_cameras_the_first_is_told_with_the_others(machine: Machine) -> None:
    first, second = machine.plug("video0", serial="046d_Fake_1234"), machine.plug("video2")
    with running(source(machine)) as run:
        run.wait_for_frames(1)
    choices = f"{first} is Fake Camera: Fake Camera; {second} is Fake Camera: Fake Camera"
    assert run.info.reason == f"It is the first of 2 USB cameras; choose with usb.device: {choices}"
    with running(source(machine, str(second))) as run:
        run.wait_for_frames(1)
    assert run.info.reason == ""


def test_a_camera_named_by_its_node_is_announced_by_its_serial_number(machine: Machine) -> None:
    by_serial = machine.plug(serial="046d_Fake_1234")
    assert find_camera(str(machine.dev / "video0"), machine.dev).path == by_serial


def test_the_next_run_finds_the_camera_under_another_node(machine: Machine) -> None:
    machine.plug("video0", size="160x120")
    usb = source(machine)
    with running(usb) as run:
        run.wait_for_frames(1)
        machine.unplug("video0")
        run.thread.join(patience(5))
    assert isinstance(run.error, SourceError)
    assert run.error.cause is Cause.LOST
    machine.plug("video2", kind="metadata")
    machine.plug("video4", size="160x120")
    with running(usb) as run:
        run.wait_for_frames(1)
    assert "video4" in run.info.name


def test_an_unplugged_camera_is_noticed_at_once(machine: Machine) -> None:
    machine.plug(size="160x120")
    with running(source(machine)) as run:
        run.wait_for_frames(1)
        machine.unplug()
        unplugged = time.monotonic()
        run.thread.join(patience(5))
        assert time.monotonic() - unplugged < patience(0.5)


def test_without_bandwidth_on_the_bus_it_is_told_what_to_lower(machine: Machine) -> None:
    node = machine.plug(size="160x120", state="full")
    with running(source(machine)) as run:
        run.thread.join(patience(5))
    assert isinstance(run.error, SourceError)
    assert (run.error.cause, run.error.message) == (Cause.SETTINGS, f"The USB bus has no bandwidth left for {node}")
    assert run.delivered == []
    machine.change(state="run")
    with running(source(machine)) as run:
        run.wait_for_frames(1)


def test_a_frozen_camera_does_not_keep_it_from_stopping(machine: Machine) -> None:
    machine.plug(size="160x120", state="freeze")
    with running(source(machine)) as run:
        until("the camera is open", lambda: run.delivered)
        assert run.is_quiet_for(0.3) and not run.frames, "it was frozen, and still gave pictures"
        assert run.stop() < patience(1)
    assert run.error is None


def test_unwanted_pictures_are_left_to_the_driver_and_counted(machine: Machine) -> None:
    machine.plug(size="160x120")
    with running(source(machine)) as run:
        run.wait_for_frames(2)
        run.wanted = False
        until("ten are passed over", lambda: run.passed_over >= 10)
        assert len(run.frames) < 10
        run.wanted = True
        count = len(run.frames)
        frames = run.wait_for_frames(count + 5)
    times = [captured_ns for _, captured_ns in frames]
    assert times == sorted(set(times))


def test_pictures_that_the_driver_drops_while_nobody_watches_are_counted(machine: Machine) -> None:
    machine.plug(size="160x120", fps="100")
    with running(source(machine)) as run:
        run.wait_for_frames(2)
        run.quiet, run.wanted = 0.4, False
        count = len(run.frames)
        run.wait_for_frames(count + 3)
        shown, passed = len(run.frames) - count, run.passed_over
    assert passed > 8 * shown, "the driver has four buffers"


def test_without_driver_timestamps_capture_times_are_still_right(machine: Machine) -> None:
    machine.plug(size="160x120", state="no-clock")
    before = time.monotonic_ns()
    with running(source(machine)) as run:
        times = [captured_ns for _, captured_ns in run.wait_for_frames(5)]
    assert before < times[0]
    assert times == sorted(set(times))
    assert times[-1] < time.monotonic_ns()


def test_capture_times_come_from_the_driver(machine: Machine) -> None:
    machine.plug(size="160x120", fps="50")
    with running(source(machine)) as run:
        times = [captured_ns for _, captured_ns in run.wait_for_frames(5)]
    assert all(captured_ns % 1000 == 0 for captured_ns in times), "the kernel counts microseconds"


@pytest.mark.parametrize("kind", ["codec", "metadata"])
def test_a_device_that_is_no_camera_is_a_settings_error(machine: Machine, kind: str) -> None:
    machine.plug(kind=kind)
    with pytest.raises(SourceError, match="is no camera") as caught:
        find_camera(str(machine.dev / "video0"))
    assert caught.value.cause is Cause.SETTINGS


@pytest.mark.parametrize("path", ["/dev/null", "/dev", __file__])
def test_a_path_that_is_no_device_is_a_settings_error(path: str) -> None:
    with pytest.raises(SourceError, match="is no camera") as caught:
        find_camera(path)
    assert caught.value.cause is Cause.SETTINGS


def test_no_camera_at_all_is_missing(machine: Machine) -> None:
    assert cameras(machine.dev, machine.sysfs) == []
    assert cameras(machine.dev, machine.sysfs / "not-there") == []
    with pytest.raises(SourceError, match="There is no USB camera") as caught:
        find_camera("", machine.dev, machine.sysfs)
    assert caught.value.cause is Cause.MISSING


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("device", ["", "video0"])
def test_without_permission_the_needed_group_is_named(machine: Machine, device: str) -> None:
    node = machine.plug()
    node.chmod(0o600)
    wanted = str(node) if device else ""
    assert find_camera(wanted, machine.dev, machine.sysfs).node == node
    os.seteuid(NOBODY)
    try:
        with pytest.raises(SourceError, match=f"No permission to open {node}") as caught:
            find_camera(wanted, machine.dev, machine.sysfs)
    finally:
        os.seteuid(0)
    assert caught.value.cause is Cause.PERMISSION
    assert "`video`" in caught.value.hint


def test_one_forbidden_node_does_not_hide_the_others(machine: Machine) -> None:
    machine.plug("video0").chmod(0)
    machine.plug("video1").chmod(0o666)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    try:
        found = cameras(machine.dev, machine.sysfs)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
    assert [camera.node.name for camera in found] == ["video1"]


def test_an_overlay_is_drawn_into_the_cameras_own_jpegs_and_into_a_still(machine: Machine) -> None:
    large = draw_frames(machine.frames.parent / "large", 640, 480)
    machine.plug(size="160x120", large="640x480", large_frames=str(large), fps="50", formats="MJPG")
    usb = UsbSource(video(overlay="MMMM {time}"), UsbConfig("", "auto", {}), SMALL, machine.dev, machine.sysfs)
    with running(usb) as run:
        pictures = [data for data, _ in run.wait_for_frames(3)]
        pictures.append(run.take_still(1).jpeg)
    for data in pictures:
        jpeg.check(data)
        corner = decoded(data).max(axis=2)[:14, :60]
        assert corner.max() > 180 and corner.min() < 40


# -- stills


@pytest.mark.parametrize("formats", ["MJPG", "YUYV"])
def test_a_still_has_the_largest_size_and_the_stream_keeps_its_own(machine: Machine, formats: str) -> None:
    large = draw_frames(machine.frames.parent / "large", 640, 480)
    machine.plug(size="160x120", large="640x480", large_frames=str(large), fps="50", formats=formats)
    with running(source(machine)) as run:
        run.wait_for_frames(3)
        for number in (1, 2):
            begun = time.monotonic()
            still = run.take_still(number)
            assert time.monotonic() - begun > _SETTLE_SECONDS, "the exposure is right by then"
            assert (still.number, still.refused) == (number, "")
            assert jpeg.size(still.jpeg) == (640, 480)
            count = len(run.frames)
            run.wait_for_frames(count + 3)
            assert {jpeg.size(data) for data, _ in run.frames} == {(160, 120)}
        times = [captured_ns for _, captured_ns in run.frames]
    assert times == sorted(set(times))


def test_a_stream_of_the_largest_size_does_not_pause_for_a_still(machine: Machine) -> None:
    machine.plug(size="160x120", fps="50")
    with running(source(machine)) as run:
        run.wait_for_frames(3)
        still = run.take_still(1)
        count = len(run.frames)
        run.wait_for_frames(count + 3)
        assert jpeg.size(still.jpeg) == (160, 120)
        times = [captured_ns for _, captured_ns in run.frames]
        assert still.captured_ns in times
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 0.5e9


def test_a_camera_without_a_good_still_reports_it_and_streams_on(machine: Machine) -> None:
    none = machine.frames.parent / "none"
    none.mkdir()
    machine.plug(size="160x120", large="640x480", large_frames=str(none), fps="50", formats="MJPG")
    with running(source(machine)) as run:
        run.wait_for_frames(3)
        still = run.take_still(1)
        assert still.jpeg == b""
        assert still.refused == "The camera gave no picture of 640x480 within 8 s: none came"
        count = len(run.frames)
        run.wait_for_frames(count + 3)


def test_a_camera_that_is_unplugged_during_a_still_is_lost(machine: Machine) -> None:
    none = machine.frames.parent / "none"
    none.mkdir()
    machine.plug(size="160x120", large="640x480", large_frames=str(none), fps="50", formats="MJPG")
    with running(source(machine)) as run:
        count = len(run.wait_for_frames(3))
        run.commands.put(TakeStill(1))
        until("the stream pauses", lambda: run.is_quiet_for(0.3))
        machine.unplug()
        run.thread.join(patience(5))
        assert isinstance(run.error, SourceError), count
        assert run.error.cause is Cause.LOST


def test_all_descriptors_are_closed(machine: Machine) -> None:
    machine.plug(size="160x120")
    usb = source(machine)

    def held() -> tuple[int, int]:
        maps = Path("/proc/self/maps").read_text().count("memfd:fakev4l")
        return len(list(Path("/proc/self/fd").iterdir())), maps + threading.active_count()

    with running(usb) as run:
        run.wait_for_frames(2)
    before = held()
    for _ in range(3):
        with running(usb) as run:
            run.wait_for_frames(2)
    assert held() == before


# -- controls


def adjusted(run: Run, **values: Any) -> Report:
    """Return the camera's answer to an order to set *values*."""
    number = len(run.reports)
    run.commands.put(SetControls(number, values))
    until("the order is answered", lambda: len(run.reports) > number)
    assert run.reports[-1].number == number
    return run.reports[-1]


def described(report: Report) -> dict[str, Control]:
    return {control.name: control for control in report.controls}


def test_controls_are_listed_under_their_v4l2_names(machine: Machine) -> None:
    machine.plug(size="160x120")
    with running(source(machine)) as run:
        run.wait_for_frames(1)
        (report,) = run.reports
    assert (report.number, report.applied, report.refused) == (0, {}, {})
    assert described(report) == {
        control.name: control
        for control in (
            Control("brightness", Kind.INTEGER, 0, 0, -64, 64, 1, group=Group.IMAGE),
            Control("contrast", Kind.INTEGER, 50, 50, 0, 95, 5),
            Control("white_balance_automatic", Kind.BOOLEAN, True, True, group=Group.COLOUR),
            Control(
                "power_line_frequency",
                Kind.CHOICE,
                "50 Hz",
                "50 Hz",
                choices=("Disabled", "50 Hz", "60 Hz"),
                group=Group.EXPOSURE,
            ),
            Control(
                "white_balance_temperature",
                Kind.INTEGER,
                4600,
                4600,
                2800,
                6500,
                10,
                inactive=True,
                group=Group.COLOUR,
                under="white_balance_automatic",
            ),
            Control(
                "auto_exposure",
                Kind.CHOICE,
                "Aperture Priority Mode",
                "Aperture Priority Mode",
                choices=("Manual Mode", "Aperture Priority Mode"),
                group=Group.EXPOSURE,
            ),
            Control(
                "exposure_time_absolute",
                Kind.INTEGER,
                250,
                250,
                3,
                2047,
                1,
                inactive=True,
                group=Group.EXPOSURE,
                under="auto_exposure",
            ),
            Control("pan_reset", Kind.ACTION, group=Group.FRAMING),
        )
    }, "disabled ones, read-only ones and headings are not for people to set"


def test_set_values_are_read_back_from_the_camera(machine: Machine) -> None:
    machine.plug(size="160x120")
    with running(source(machine)) as run:
        run.wait_for_frames(1)
        report = adjusted(run, brightness=-20, power_line_frequency="60 Hz", contrast=52, pan_reset=True)
        assert report.refused == {}
        assert report.applied["contrast"] == 50, "what the driver made of it"
        assert described(report)["brightness"].value == -20
        assert described(report)["power_line_frequency"].value == "60 Hz"
        count = len(run.frames)
        run.wait_for_frames(count + 2)
        report = adjusted(run, brightness=None, power_line_frequency=None)
        assert report.applied == {"brightness": 0, "power_line_frequency": "50 Hz"}


def test_a_switch_is_set_before_the_number_that_depends_on_it(machine: Machine) -> None:
    machine.plug(size="160x120")
    with running(source(machine)) as run:
        run.wait_for_frames(1)
        refused = adjusted(run, exposure_time_absolute=100, brightness=7)
        assert "It has no effect now" in refused.refused["exposure_time_absolute"]
        assert refused.applied == {"brightness": 7}
        report = adjusted(run, exposure_time_absolute=100, auto_exposure="Manual Mode")
        assert report.applied == {"exposure_time_absolute": 100, "auto_exposure": "Manual Mode"}
        assert not described(report)["exposure_time_absolute"].inactive


def test_a_camera_that_refuses_a_value_keeps_streaming(machine: Machine) -> None:
    machine.plug(size="160x120")
    with running(source(machine)) as run:
        run.wait_for_frames(1)
        machine.change(state="stubborn")
        until("it is stubborn", lambda: adjusted(run, brightness=9).refused)
        assert run.reports[-1].refused == {"brightness": "The camera refuses it: Input/output error"}
        count = len(run.frames)
        run.wait_for_frames(count + 2)


def test_a_camera_starts_as_configured_and_reports_refused_values(machine: Machine) -> None:
    machine.plug(size="160x120")
    wanted = {"brightness": 30, "contrast": 1000, "focus_absolute": 3, "white_balance_automatic": False}
    usb = UsbSource(video(), UsbConfig("", "auto", {}), SMALL, machine.dev, machine.sysfs, settings=wanted)
    with running(usb) as run:
        run.wait_for_frames(1)
        (report,) = run.reports
    assert report.applied == {"brightness": 30, "white_balance_automatic": False}
    assert set(report.refused) == {"contrast", "focus_absolute"}
    assert described(report)["brightness"].value == 30
