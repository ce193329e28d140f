"""Firefox, which is not automated here, shows the pages too."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.lateness import patience

FIREFOX = "firefox-esr"


@pytest.fixture
def screenshot(tmp_path: Path, pytestconfig: pytest.Config) -> Callable[[str, str], Any]:
    """Load an address and return a screenshot of it: rows, columns and BGR."""
    if not shutil.which(FIREFOX):
        pytest.skip(f"needs {FIREFOX}")
    kept: Path | None = pytestconfig.getoption("--screenshots", default=None)

    def take(address: str, name: str) -> Any:
        profile, file = tmp_path / f"profile-{name}", tmp_path / f"{name}.png"
        profile.mkdir(exist_ok=True)
        command = [FIREFOX, "--headless", "--no-remote", "--profile", str(profile), "--window-size=1000,1300"]
        subprocess.run(
            [*command, "--screenshot", str(file), address], check=True, capture_output=True, timeout=patience(60)
        )
        if kept:
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, kept / f"firefox-{name}.png")
        picture = cv2.imread(str(file))
        assert picture is not None
        return picture

    return take


def colourful(picture: Any) -> float:
    """Return the share of pixels with a strong colour. Only the test picture has many of them."""
    saturation = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)[:, :, 1]
    return float((saturation > 128).mean())


def test_firefox_shows_the_live_picture(daemon: Any, screenshot: Callable[[str, str], Any]) -> None:
    # in the middle of fading in, at the least: it is taken when the first picture has come
    assert any(colourful(screenshot(daemon.address, "stream")) > 0.15 for _ in range(3))


def test_firefox_shows_the_page_of_a_refusal(daemon: Any, screenshot: Callable[[str, str], Any]) -> None:
    page = screenshot(daemon.address + "nowhere", "nowhere")
    assert colourful(page) < 0.1
    assert page.std() > 5  # there is something on it
