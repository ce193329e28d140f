"""The command line of `build-deb`."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from deb import build
from installer.machine import Failed, say

# command and the package that has it
_TOOLS = {"dpkg-buildpackage": "dpkg-dev", "dh": "debhelper"}


def main(doc: str) -> int:
    """Run the command line and return the exit status. *doc* is the text for --help."""
    summary, _, usage = doc.partition("\n")
    parser = argparse.ArgumentParser(
        "build-deb", description=summary, epilog=usage, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="build-deb [OPTION...] OUT_FOLDER [ARCHITECTURE...]", allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("out", metavar="OUT_FOLDER", type=Path, help="an existing folder")
    parser.add_argument(
        "architectures", metavar="ARCHITECTURE", nargs="*", help=f"default: {' '.join(build.ARCHITECTURES)}"
    )
    options = parser.parse_args()
    os.umask(0o022)
    try:
        _make(options.out, options.architectures or list(build.ARCHITECTURES))
    except Failed as error:
        say(str(error))
    except OSError as error:
        say(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
    except KeyboardInterrupt:
        say("interrupted")
    else:
        return 0
    return 1


def _make(out: Path, architectures: list[str]) -> None:
    """Make the packages for *architectures* in the folder *out*. Raises Failed."""
    if unknown := set(architectures) - set(build.ARCHITECTURES):
        accepted = ", ".join(build.ARCHITECTURES)
        raise Failed(f"{', '.join(sorted(unknown))}: no such architecture; accepted: {accepted}")
    if not out.is_dir():
        raise Failed(f"{out}: no such folder")
    if lacking := [package for command, package in _TOOLS.items() if not shutil.which(command)]:
        raise Failed(f"{', '.join(lacking)} missing; sudo apt install --no-install-recommends {' '.join(lacking)}")
    with tempfile.TemporaryDirectory(prefix="pi-cam-daemon-deb-") as name:
        for made in build.build(Path(name), architectures):
            final = out / made.name
            part = out / f".{made.name}.{os.getpid()}"
            try:
                shutil.copyfile(made, part)
                part.replace(final)
            finally:
                part.unlink(missing_ok=True)
            say(f"{final}: {final.stat().st_size / 1e6:.1f} MB")
