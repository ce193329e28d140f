"""scripts/build-image: its results and its refusals."""

from __future__ import annotations

import base64
import json
import lzma
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image import machine
from tests.image.conftest import ARTEFACT, BASE, SITE, build_image
from tests.image.machine import SECTOR, debugfs
from tests.kit.daemon import ROOT

ARM_32 = b"\x28"
# of Raspberry Pi Imager's os-list-schema.json: what an entry has to have, and of which kind
REQUIRED = {
    "name": str, "description": str, "icon": str, "url": str, "extract_size": int, "extract_sha256": str,
    "image_download_size": int, "release_date": str, "devices": list, "capabilities": list,
}  # fmt: skip
INIT_FORMATS = {"", "systemd", "cloudinit", "cloudinit-rpi", "rpi-preseed", "none"}


def refusal(base: Path, tmp_path: Path, *options: str | Path) -> str:
    out = tmp_path / "out.img"
    out.write_bytes(b"what was there before")
    done = build_image(out, *options, base=base)
    assert done.returncode == 1
    assert out.read_bytes() == b"what was there before"
    assert sorted(path.name for path in tmp_path.glob("*out*")) == ["out.img"]
    return done.stderr.splitlines()[-1].removeprefix("build-image: ")


@pytest.fixture
def nobody() -> Iterator[Path]:
    """Make a folder for a user without rights; pytest's own folders are root's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_the_same_input_gives_the_same_bytes_also_without_root(image: Path, signer: Path, nobody: Path) -> None:
    inputs = [machine.copy(path, nobody / path.name) for path in (BASE, ARTEFACT, signer.with_name("allowed_signers"))]
    # wherever this checkout is, somebody else may not be able to read it
    for folder in ("scripts", "pi_cam_daemon/server/web"):
        shutil.copytree(ROOT / folder, nobody / "checkout" / folder)
    done = build_image(
        nobody / image.name, "--artefact", inputs[1], "--signers", inputs[2], base=inputs[0],
        before=("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"), checkout=nobody / "checkout",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for suffix in (".img", ".img.xz"):
        one, other = image.with_suffix(suffix), (nobody / image.name).with_suffix(suffix)
        assert subprocess.run(["cmp", one, other], check=False).returncode == 0, suffix
    # nobody named a web server
    (entry,) = json.loads((nobody / "pi-cam.rpi-imager-manifest").read_text())["os_list"]
    assert entry["url"] == (nobody / "pi-cam.img.xz").as_uri()


def test_the_checksums_are_those_of_the_files(image: Path) -> None:
    sums = image.with_name(f"{image.name}.sha256")
    done = subprocess.run(["sha256sum", "--check", sums], cwd=image.parent, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["pi-cam.img: OK", "pi-cam.img.xz: OK"]


def test_the_manifest_has_all_that_imager_needs(image: Path) -> None:
    packed = image.with_name(f"{image.name}.xz")
    (entry,) = json.loads(image.with_suffix(".rpi-imager-manifest").read_text())["os_list"]
    assert {key for key, kind in REQUIRED.items() if type(entry.get(key)) is not kind} == set()
    assert entry["init_format"] in INIT_FORMATS
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", entry["release_date"])
    assert entry["url"] == f"{SITE}{packed.name}" and entry["image_download_size"] == packed.stat().st_size
    assert entry["extract_size"] == image.stat().st_size
    unpacked = subprocess.run(
        f"xz -dcT0 '{packed}' | sha256sum", shell=True, capture_output=True, text=True, check=True
    )
    assert entry["extract_sha256"] == unpacked.stdout.split()[0]
    assert base64.b64decode(entry["icon"].partition(",")[2]).startswith(b"<svg")


@pytest.mark.parametrize(
    ("files", "init_format"),
    [
        (["/usr/lib/raspberrypi-sys-mods/imager_custom"], "systemd"),
        (["/etc/cloud/cloud.cfg", "user-data"], "cloudinit-rpi"),
        (["/usr/lib/systemd/system/rpi-preseed.service"], "rpi-preseed"),
    ],
)
def test_imager_is_told_how_the_base_takes_its_settings(
    base: Path, tmp_path: Path, files: list[str], init_format: str
) -> None:
    for file in files:
        if "/" in file:
            folder = str(Path(file).parent)
            debugfs(base, f"mkdir {folder}", f"write /dev/null {file}")
        else:
            machine.put_boot_file(base, file, b"")
    # it is told early, so that a build that ends there for want of an artefact is enough
    empty = tmp_path / "empty.tar.zst"
    empty.write_bytes(b"")
    done = build_image(tmp_path / "out.img", "--artefact", empty, base=base)
    assert f"Imager sets it up by: {init_format}" in done.stderr


def test_the_image_is_in_order_and_larger_than_its_base(image: Path, tmp_path: Path) -> None:
    assert machine.check(machine.root(image, tmp_path)) == ""
    assert image.stat().st_size > BASE.stat().st_size
    size = json.loads(subprocess.run(["sfdisk", "-J", image], check=True, capture_output=True).stdout)
    root = size["partitiontable"]["partitions"][1]
    assert (root["start"] + root["size"]) * SECTOR == image.stat().st_size


def test_no_card_gets_the_identity_of_another(image: Path) -> None:
    assert debugfs(image, "cat /etc/machine-id").splitlines()[1:2] == ["uninitialized"]
    assert "ssh_host" not in debugfs(image, "ls /etc/ssh")


def test_a_base_of_32_bits_is_refused(base: Path, tmp_path: Path) -> None:
    program = tmp_path / "dpkg"
    debugfs(base, f"dump /usr/bin/dpkg {program}")
    data = bytearray(program.read_bytes())
    data[18:19] = ARM_32
    program.write_bytes(data)
    debugfs(base, "rm /usr/bin/dpkg", f"write {program} /usr/bin/dpkg")
    assert refusal(base, tmp_path).startswith("the base is for 32-bit ARM; take Raspberry Pi OS Lite (64-bit)")


def test_another_system_is_refused(base: Path, tmp_path: Path) -> None:
    debugfs(base, "rm /etc/rpi-issue")
    assert refusal(base, tmp_path) == "the base is not Raspberry Pi OS; take Raspberry Pi OS Lite (64-bit)"


def test_another_release_of_raspberry_pi_os_is_refused(base: Path, tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text("VERSION_CODENAME=bullseye\n")
    debugfs(base, "rm /usr/lib/os-release", f"write {release} /usr/lib/os-release")
    assert refusal(base, tmp_path) == "the base is Raspberry Pi OS bullseye; bookworm and trixie are supported"


def test_a_file_system_that_is_not_in_order_is_refused(base: Path, tmp_path: Path) -> None:
    debugfs(base, "clri /usr/lib/os-release")
    assert refusal(base, tmp_path).startswith("the root file system has errors")


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "holiday.img"
    other.write_bytes(b"a picture" * 1000)
    assert "not an image of Raspberry Pi OS" in refusal(other, tmp_path)


def test_an_incomplete_download_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "base.img.xz"
    broken.write_bytes(lzma.compress(b"an image")[:-20])
    assert "damaged, fetch it again" in refusal(broken, tmp_path)


def test_a_folder_without_packages_is_refused(tmp_path: Path) -> None:
    message = refusal(BASE, tmp_path, "--packages", tmp_path)
    assert message.endswith("accepted: chroot, first-boot or a folder of .debs")
