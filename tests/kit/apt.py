"""Apt repositories, made by scripts/apt-repository, and keys made as docs/develop.md says."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.kit.daemon import ROOT

OWNER = "cam@example.org"
_MAKE_KEY = "gpg --quick-generate-key "


@contextlib.contextmanager
def keyring() -> Iterator[Path]:
    """Yield a gpg keyring with a secret key of `OWNER`, without a passphrase."""
    (line,) = re.findall(f"^ *({_MAKE_KEY}.*)$", (ROOT / "docs/develop.md").read_text(), re.MULTILINE)
    # gpg's agent listens there, so the path has to be short
    with tempfile.TemporaryDirectory(prefix="gpg-") as folder:
        program, *rest = shlex.split(line, comments=True)
        subprocess.run(
            [program, "--quiet", "--homedir", folder, "--batch", "--passphrase", "", *rest], check=True, timeout=60
        )
        try:
            yield Path(folder)
        finally:
            subprocess.run(["gpgconf", "--homedir", folder, "--kill", "all"], check=False, timeout=60)


def make_repository(folder: Path, keys: Path, url: str, owner: str = OWNER) -> subprocess.CompletedProcess[str]:
    """Run scripts/apt-repository on *folder*, with the keyring *keys*."""
    env = {**os.environ, "GNUPGHOME": str(keys)}
    argv = [ROOT / "scripts/apt-repository", folder, owner, url]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)


def make_deb(path: Path, version: str) -> None:
    """Make an empty package of *version* in the file *path*."""
    with tempfile.TemporaryDirectory() as folder:
        control = Path(folder) / "DEBIAN/control"
        control.parent.mkdir()
        control.write_text(
            f"Package: pi-cam-daemon\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <{OWNER}>\n"
            "Description: nothing\n"
        )
        subprocess.run(["dpkg-deb", "-b", "-Znone", folder, path], check=True, capture_output=True, timeout=60)
