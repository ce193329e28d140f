"""Linters and type checkers find nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("pi_cam_daemon", "scripts", "systemd", "ansible", "tests", ".ci")


def shell_scripts() -> Iterator[Path]:
    files = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file())
    for path in files:
        with path.open("rb") as file:
            first = file.readline(80)
        if path.suffix == ".sh" or (first.startswith(b"#!") and first.split()[-1] in (b"bash", b"/bin/sh")):
            yield path


def findings(*argv: str | Path) -> str:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize(
    "tool", [("ruff", "check", "--no-cache"), ("ruff", "format", "--check", "--no-cache"), ("mypy",)]
)
def test_python_is_clean(tool: tuple[str, ...], tmp_path: Path) -> None:
    cache = ("--cache-dir", tmp_path) if tool == ("mypy",) else ()
    assert findings(sys.executable, "-m", *tool, *cache) == ""


def test_no_text_has_a_known_spelling_mistake() -> None:
    texts = [*ROOT.glob("*.md")] + [path for name in (*FOLDERS, "docs") for path in (ROOT / name).rglob("*")]
    texts = [path for path in texts if path.suffix in {".md", ".py", ".toml", ".js", ".html", ".service", ".yml"}]
    assert findings(sys.executable, "-m", "codespell_lib", *texts) == ""


def test_shell_is_clean() -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("needs shellcheck")
    scripts = list(shell_scripts())
    assert {path.name for path in scripts} >= {"run", "test", "lib.sh"}
    assert findings("shellcheck", "-x", *scripts) == ""
