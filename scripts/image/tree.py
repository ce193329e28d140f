"""The files that build-image adds to a system, by their absolute paths."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from installer import releases, service
from installer.artefact import Artefact

_FILES = Path(__file__).with_name("files")
_ETC_UNITS = PurePosixPath("/etc/systemd/system")
# the folder of the artefact and the .debs until the first boot
FIRST_BOOT = PurePosixPath("/var/lib/pi-cam-daemon-first-boot")


@dataclass(frozen=True)
class Entry:
    """A file, whose content is in the file *content* on this machine; or a link to *target*; or else a folder."""

    mode: int = 0o755
    content: Path | None = None
    target: str = ""


Tree = dict[PurePosixPath, Entry]


def system(artefact: Artefact, work: Path, signers: Path | None) -> Tree:
    """Return an installed release as scripts/install leaves it, and the additions of a card."""
    final = releases.RELEASES / artefact.release
    release = work / "release"
    releases.fill(release, artefact, final)
    tree = dict(_below(release, final))
    tree[_posix(releases.CURRENT)] = Entry(target=f"releases/{artefact.release}")
    history = work / "history"
    history.write_text(f"{artefact.release}\n")
    tree[_posix(releases.HISTORY)] = Entry(0o644, history)
    for target, source in service.places(release / "systemd", on_card=True).items():
        tree[_posix(target)] = Entry(0o644, source)
    tree[_posix(service.COMMAND)] = Entry(target=str(releases.CURRENT / "bin/pi-cam-daemon"))
    tree |= additions(release / "systemd", signers)
    return tree


def additions(systemd: Path, signers: Path | None) -> Tree:
    """Return the files that a card has besides the release. *signers* has the keys that may sign updates."""
    tree: Tree = {
        PurePosixPath("/") / path.relative_to(_FILES / "root"): Entry(_mode(path), path)
        for path in sorted((_FILES / "root").rglob("*"))
        if path.is_file()
    }
    journal = "journald.conf.d/pi-cam-daemon.conf"
    tree[PurePosixPath("/etc/systemd") / journal] = Entry(0o644, systemd / "opt-in" / journal)
    for wants, unit in (
        ("multi-user.target", service.UNIT),
        ("multi-user.target", "pi-cam-daemon-boot.service"),
        ("timers.target", "pi-cam-daemon-boot-status.timer"),
        ("timers.target", "pi-cam-daemon-update.timer"),
        ("timers.target", "pi-cam-daemon-network.timer"),
        (service.UNIT, "pi-cam-daemon-record.service"),
    ):
        tree[_ETC_UNITS / f"{wants}.wants" / unit] = Entry(target=str(service.UNITS / unit))
    if signers:
        tree[PurePosixPath("/etc/pi-cam-daemon/allowed_signers")] = Entry(0o644, signers)
    return tree


def first_boot(artefact: Path, debs: Path | None) -> Tree:
    """Return the files that the first boot installs: the artefact, and .debs from the folder *debs*."""
    unit = "pi-cam-daemon-first-boot.service"
    tree: Tree = {
        FIRST_BOOT / "artefact.tar.zst": Entry(0o644, artefact),
        _ETC_UNITS / "multi-user.target.wants" / unit: Entry(target=str(service.UNITS / unit)),
    }
    for deb in sorted(debs.glob("*.deb")) if debs else ():
        tree[FIRST_BOOT / "debs" / deb.name] = Entry(0o644, deb)
    return tree


def with_folders(tree: Tree) -> Tree:
    """Return *tree* with all folders, each before its content."""
    folders = {folder for path in tree for folder in path.parents if folder != PurePosixPath("/")}
    return dict(sorted([*((folder, Entry()) for folder in folders - tree.keys()), *tree.items()]))


def size(tree: Tree) -> int:
    """Return the bytes that *tree* takes on the disk, rounded up."""
    block = 4096
    return sum(
        (entry.content.stat().st_size if entry.content else 0) // block * block + 2 * block for entry in tree.values()
    )


def stage(tree: Tree, folder: Path) -> None:
    """Write *tree* below *folder*, where the file system is mounted."""
    for path, entry in with_folders(tree).items():
        place = folder / path.relative_to("/")
        if entry.target:
            place.unlink(missing_ok=True)
            place.symlink_to(entry.target)
        elif entry.content:
            shutil.copyfile(entry.content, place)
            place.chmod(entry.mode)
        else:
            place.mkdir(exist_ok=True)


def _below(folder: Path, final: Path) -> Iterator[tuple[PurePosixPath, Entry]]:
    for path in sorted(folder.rglob("*")):
        place = _posix(final) / path.relative_to(folder)
        if path.is_symlink():
            yield place, Entry(target=str(path.readlink()))
        elif path.is_file():
            yield place, Entry(_mode(path), path)


def _mode(path: Path) -> int:
    return 0o755 if path.stat().st_mode & 0o100 else 0o644


def _posix(path: Path) -> PurePosixPath:
    return PurePosixPath(path)
