"""A card with its boot's power cut again and again, which takes a whole processor for minutes."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Report
from tests.image import machine
from tests.image.conftest import running


def test_power_may_fail_at_fourteen_moments_of_the_first_boot(image: Path, tmp_path: Path, report: Report) -> None:
    card = tmp_path / "card.img"
    for _ in range(14):
        machine.flash(image, card)
        with running(card) as pi:
            moment = pi.cut_power_of_the_boot()
            pi.switch_on()
            pi.wait_for_pictures()
            report(f"cut at {moment}: pictures {pi.seconds_to_picture:.0f} s after the next switch")
