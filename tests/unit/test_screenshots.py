"""The documents have a picture of each state of the page, in both languages."""

from __future__ import annotations

import re

from tests.kit.daemon import ROOT
from tests.screenshots.__main__ import NAMES
from tests.screenshots.states import STATES

SCREENS = ROOT / "docs" / "screens"
LARGEST = 150_000  # bytes; whoever reads a page of documents loads them all


def test_scripts_screenshots_makes_each_state_that_the_page_has_words_for() -> None:
    text = (ROOT / "pi_cam_daemon/server/web/text-en.js").read_text("utf-8")
    told = re.findall(r'^    "?([a-z-]+)"?: \[', text.partition("  told: {")[2], re.MULTILINE)
    assert len(told) > 20
    assert sorted(STATES) == sorted(told)


def test_each_picture_is_there_in_both_languages_and_no_other() -> None:
    wanted = {f"{name}-{language}.jpg" for name in NAMES for language in ("en", "ko")}
    assert {file.name for file in SCREENS.iterdir()} == wanted


def test_each_picture_is_in_a_document() -> None:
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    used = {name for file in documents for name in re.findall(r"screens/([\w-]+\.jpg)\)", file.read_text("utf-8"))}
    assert {file.name for file in SCREENS.iterdir()} == used


def test_no_picture_is_large() -> None:
    sizes = {file.name: file.stat().st_size for file in SCREENS.iterdir()}
    assert {name: size for name, size in sizes.items() if size > LARGEST} == {}
