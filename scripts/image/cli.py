"""The command line of `build-image`, and the order in which an image is made."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import urllib.parse
from pathlib import Path, PurePosixPath

from image import base, chroot, disk, outputs, tree
from image.bootfs import BootFs
from image.rootfs import RootFs
from installer import artefact as artefacts
from installer import build, releases
from installer.machine import Failed, remove, say

_TEMPLATE = Path(__file__).with_name("files") / "pi-cam.toml"
# the folder of the ssh server's keys, which must differ between cards
_KEYS = "/etc/ssh"
# for picamera2, libcamera and numpy, and for apt while it installs them
_PACKAGES_BYTES = 400_000_000
# for an update, which is stored before it is installed
_SPARE_BYTES = 100_000_000
_ALIGNMENT = 4 << 20


def main(doc: str) -> int:
    """Run the command line and return the exit status. *doc* is the text for --help."""
    summary, _, usage = doc.partition("\n")
    parser = argparse.ArgumentParser(
        "build-image", description=summary, epilog=usage, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="build-image [OPTION...] BASE OUT.img", allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("base", metavar="BASE", type=Path, help="Raspberry Pi OS Lite (64-bit), .img or .img.xz")
    parser.add_argument("out", metavar="OUT.img", type=Path)
    parser.add_argument(
        "--packages", metavar="HOW", default="chroot",
        help="how picamera2 gets there: chroot (now), first-boot, or a folder of .debs; default chroot",
    )  # fmt: skip
    parser.add_argument("--artefact", metavar="FILE", type=Path, help="the release; default: built from this checkout")
    parser.add_argument(
        "--signers", metavar="FILE", type=Path, help="the keys that may sign updates, see docs/image.md"
    )
    parser.add_argument(
        "--url", metavar="URL", default="", help="the folder from which Imager fetches OUT.img.xz; default: OUT's own"
    )
    options = parser.parse_args()
    if options.url and urllib.parse.urlsplit(options.url).scheme not in ("http", "https", "file"):
        parser.error(f"--url {options.url}: accepted: an address that begins with https://, http:// or file://")
    if options.out.suffix != ".img":
        parser.error(f"{options.out}: the name of an image ends in .img")
    try:
        _build(options)
        return 0
    except Failed as error:
        print(f"build-image: {error}", file=sys.stderr)
    except OSError as error:
        print(f"build-image: {error.filename or ''}: {error.strerror}", file=sys.stderr)
    except KeyboardInterrupt:
        print("build-image: interrupted", file=sys.stderr)
    return 1


def _build(options: argparse.Namespace) -> None:
    debs = _debs(options.packages)
    out: Path = options.out
    if not out.parent.is_dir():
        raise Failed(f"{out.parent}: no such folder")
    for name in (options.base, options.artefact, options.signers):
        if name and not name.is_file():
            raise Failed(f"{name}: no such file")
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        work = Path(folder)
        image, unpacked = work / out.name, work / "base.img"
        say("unpacking the base")
        disk.unpack(options.base, unpacked)
        for place, name in zip(disk.partitions(unpacked), ("bootfs", "rootfs"), strict=True):
            disk.take(unpacked, place, work / name)
        root = RootFs(work / "rootfs")
        boot = BootFs(work / "bootfs", root.time)
        root.check()
        kind = base.inspect(root, boot)
        say(f"Raspberry Pi OS {kind.suite} for {kind.host.architecture}; Imager sets it up by: {kind.init_format}")
        packed = options.artefact or _artefact(kind.suite, work)
        release = _fill(options, debs, root, kind, packed, work)
        boot.write("pi-cam.toml", _TEMPLATE.read_bytes())
        root.check()
        boot.check()
        disk.assemble(unpacked, work / "bootfs", root.path, image)
        say("packing the image")
        written = outputs.write(image, out, options.url, kind, release, root.time)
        for path in [*written, image]:
            path.replace(out.with_name(path.name))
    say(f"{out}: {out.stat().st_size / 1e6:.0f} MB, {release}")


def _debs(how: str) -> Path | None:
    if how in ("chroot", "first-boot"):
        return None
    if not list(Path(how).glob("*.deb")):
        raise Failed(f"--packages {how}: accepted: chroot, first-boot or a folder of .debs")
    return Path(how)


def _artefact(suite: str, work: Path) -> Path:
    folder, out = work / "artefact", work / "artefact.tar.zst"
    build.build(folder, [f"{suite}-arm64"], None)
    build.pack(folder, out)
    remove(folder)
    return out


def _fill(
    options: argparse.Namespace, debs: Path | None, root: RootFs, kind: base.Base, packed: Path, work: Path
) -> str:
    """Write everything to the root file system and return the release's name."""
    loaded = artefacts.load(packed, kind.host, work / "loaded", _admit_any)
    loaded.check()
    _forget_identity(root, work)
    if options.packages == "chroot":
        _make_room(root, _PACKAGES_BYTES + releases.room(loaded.size))
        chroot.install(
            root.path, packed, tree.with_folders(tree.additions(loaded.folder / "systemd", options.signers)), work
        )
        return RootFs(root.path).read_link("/opt/pi-cam-daemon/current")
    content = tree.system(loaded, work, options.signers) | tree.first_boot(packed, debs)
    # the first boot makes a second release, with apt's numpy; its packages have room on the whole card
    _make_room(root, tree.size(content) + releases.room(loaded.size))
    say(f"writing {loaded.release}")
    root.write(tree.with_folders(content))
    return loaded.release


def _forget_identity(root: RootFs, work: Path) -> None:
    """Remove machine-id and ssh keys, so that each card makes its own at its first boot."""
    machine_id = work / "machine-id"
    machine_id.write_text("uninitialized\n")
    path = PurePosixPath("/etc/machine-id")
    root.write({path: tree.Entry(0o644, machine_id)})
    root.remove(f"{_KEYS}/{name}" for name in root.names(_KEYS) if name.startswith("ssh_host_"))


def _make_room(root: RootFs, size: int) -> None:
    """Grow the file system until *size* bytes fit. Raises Failed if this machine lacks space for the image."""
    lacking = size + _SPARE_BYTES - root.free
    if lacking > 0:
        grown = root.path.stat().st_size + lacking * 21 // 20
        root.grow(-(-grown // _ALIGNMENT) * _ALIGNMENT)
    if shutil.disk_usage(root.path.parent).free < 3 * size:
        raise Failed(f"{root.path.parent}: too little space to build an image here")


def _admit_any(_: artefacts.Artefact) -> None:
    """Accept any artefact: the card has no release yet, and space is made later."""
