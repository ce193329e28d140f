"""Read the documents as a person does: their commands, sentences and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.kit.daemon import ROOT

# in the order of docs/index.md; the decisions are for developers, and are pages too
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "systemd/README.md",
    ROOT / "ansible/README.md",
    ROOT / "ansible/roles/pi_cam_daemon/README.md",
]
_PROGRAM = re.compile(
    r"(?:[A-Z_]+=\S+ )?(?:sudo |cd |git |ssh[ -]|curl |scripts/|\.venv/|\./install|pi-cam-daemon |python |pip |apt[ -]|"
    r"systemctl |journalctl |ansible-|openssl |ffmpeg |vlc |mpv |mosquitto_|while sleep|for \w+ in|cp |echo |"
    r"export |/opt/)"
)


def blocks(text: str) -> Iterator[str]:
    """Yield the indented blocks of a page without their indentation. Those of a list are indented further."""
    for found in re.finditer(r"(?:^|\n\n)((?:(?: {4}.*)?\n)+)", text):
        lines = [line for line in found[1].split("\n") if line.strip()]
        if lines:
            indentation = min(len(line) - len(line.lstrip()) for line in lines)
            yield "\n".join(line[indentation:] for line in lines)


def commands(page: Path) -> list[str]:
    """Return the commands of a page in its order: lines of its blocks, and inline code, that begin with a program.

    Comments are left out. A line that ends in a backslash goes on.
    """
    text = page.read_text("utf-8")
    found = []
    for block in blocks(text):
        if not _PROGRAM.match(block):
            continue
        if block.startswith(("while ", "for ")):
            found.append(block)
            continue
        lines = block.replace("\\\n", " ").split("\n")
        found += [re.sub(r"\s{2,}", " ", re.sub(r"\s+# .*$", "", line)).strip() for line in lines]
    prose = re.sub(r"(?m)^ {4}.*$", "", text)
    codes = (code.replace("\n", " ").replace("\\|", "|") for code in re.findall(r"`([^`]+)`", prose))
    found += [code for code in codes if _PROGRAM.match(code) and (" " in code or code.startswith("scripts/"))]
    return list(dict.fromkeys(found))


def links(page: Path) -> list[str]:
    """Return the links of a page to other files and headings of the project."""
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    return [link for link in found if "://" not in link]


def headings(page: Path) -> list[str]:
    """Return the headings of a page as GitHub names them in links."""
    if page.is_dir():
        return []
    found = re.findall(r"(?m)^#+ (.+)$", page.read_text("utf-8"))
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in found)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain]


def sentences(page: Path) -> list[str]:
    """Return the sentences of a page: of its paragraphs, list items and cells. Code counts as one word.

    What has fewer than three words is left out.
    """
    paragraphs: list[str] = []
    for block in re.split(r"\n\n+", page.read_text("utf-8")):
        if block.startswith(("    ", "#", "![", "<!--")):
            continue
        if block.startswith("|"):
            rows = [line for line in block.split("\n") if not line.startswith("|--")]
            paragraphs += [cell for row in rows for cell in re.split(r"(?<!\\)\|", row)]
        else:
            paragraphs += re.split(r"\n(?= *(?:[-*]|\d+\.) )", block)
    found = []
    for paragraph in paragraphs:
        text = re.sub(r"^ *(?:[-*]|\d+\.) ", "", " ".join(paragraph.split()))
        text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "Code", text)).replace("**", "")
        found += [
            sentence for sentence in re.split(r"(?<=[.!?])\)? (?=[(\"A-Z0-9])", text) if len(sentence.split()) > 2
        ]
    return found
