"""The bitrate control, with a model of the encoder: one step of quality for each picture, towards its budget."""

from __future__ import annotations

import statistics

import pytest

from pi_cam_daemon.camera.csi_bitrate import BitrateControl, wanted_bytes

SIZES = [(640, 480), (1280, 720), (1920, 1080)]


class Encoder:
    """An encoder whose pictures have *bits* per pixel at quality 80; *obeys* says if it takes the claimed rate."""

    def __init__(self, size: tuple[int, int], bits: float, obeys: bool) -> None:
        self._pixels = size[0] * size[1]
        self._bits = bits
        self._obeys = obeys
        self._quality = 7

    def picture(self, control: BitrateControl) -> int:
        """Return the size of the next picture in bytes."""
        budget = control.bitrate / 8 / (control.framerate if self._obeys else 30.0)
        size = round(self._pixels * self._bits / 8 * wanted_bytes(100, 100, self._quality) / wanted_bytes(100, 100, 80))
        self._quality = min(100, max(1, self._quality + (1 if size < budget else -1)))
        return size


def final(size: tuple[int, int], quality: int, bits: float = 1.4, obeys: bool = True) -> float:
    """Return the median size of the pictures when the control has settled."""
    control, encoder = BitrateControl(*size, quality), Encoder(size, bits, obeys)
    sizes = []
    for _ in range(2000):
        sizes.append(encoder.picture(control))
        control.changed(sizes[-1])
    return statistics.median(sizes[-50:])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("quality", [20, 50, 80, 95])
@pytest.mark.parametrize("bits", [0.9, 1.4, 2.5], ids="{} bits a pixel".format)
def test_pictures_come_to_the_size_that_the_software_encoder_gives(
    size: tuple[int, int], quality: int, bits: float
) -> None:
    assert final(size, quality, bits) == pytest.approx(wanted_bytes(*size, quality), rel=0.25)


@pytest.mark.parametrize("obeys", [True, False])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_higher_quality_gives_larger_pictures(size: tuple[int, int], obeys: bool) -> None:
    low, usual, high = (final(size, quality, 2.0, obeys) for quality in (50, 80, 95))
    if obeys or size == (640, 480):
        assert low < usual < high
    else:  # the driver's highest bitrate allows no more
        assert high > 90_000


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("quality", [1, 80, 100])
def test_the_wanted_size_fits_into_the_encoders_buffer(size: tuple[int, int], quality: int) -> None:
    buffer = 512 * 1024 if size != (1920, 1080) else 768 * 1024
    assert wanted_bytes(*size, quality) <= round(0.6 * buffer)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_picture_that_overflows_the_buffer_lowers_the_bitrate_for_good(size: tuple[int, int]) -> None:
    control = BitrateControl(*size, 95)
    for _ in range(1000):  # of a scene so plain that every picture is too small
        control.changed(1000)
    assert control.bitrate == 25_000_000
    assert control.overflowed()
    assert control.bitrate == 12_500_000
    assert not any(control.overflowed() for _ in range(9)), "the quality goes down with each picture"
    for _ in range(1000):
        control.changed(1000)
    assert control.bitrate == 12_500_000
    for _ in range(1000):
        control.overflowed()
    assert control.bitrate == 25_000


def test_the_bitrate_rests_when_the_size_is_right() -> None:
    control = BitrateControl(640, 480, 80)
    assert not any(control.changed(round(wanted_bytes(640, 480, 80) * 1.05)) for _ in range(500))


def test_one_plain_picture_changes_nothing() -> None:
    control = BitrateControl(640, 480, 80)
    right = wanted_bytes(640, 480, 80)
    assert not any(control.changed(right // 5 if number % 7 == 0 else right) for number in range(500))


def test_the_wanted_size_rises_with_the_quality() -> None:
    sizes = [wanted_bytes(640, 480, quality) for quality in range(1, 101)]
    assert sizes == sorted(sizes)
    assert sizes[0] > 1000
