"""Read the code blocks of docs/integrations.md as a reader copies them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping

from tests.kit.daemon import ROOT

DOCUMENT = ROOT / "docs" / "integrations.md"
# the camera's address in every block
CAMERA = "192.168.1.20:8000"


def blocks(program: str) -> list[str]:
    """Return the indented blocks of a section without their indentation."""
    section = re.search(rf"^## {program}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert section, f"{DOCUMENT.name} has no section {program}"
    found = re.findall(r"(?:^(?: {4}.*)?\n)+", section[1], re.MULTILINE)
    return [textwrap.dedent(block).strip("\n") + "\n" for block in found if block.strip()]


def block(program: str, number: int, replaced: Mapping[str, str]) -> str:
    """Return one block of a section with the reader's own values, such as the address, replaced."""
    text = blocks(program)[number]
    for before, after in replaced.items():
        assert before in text, f"{before} is not in block {number} of {program}"
        text = text.replace(before, after)
    return text
