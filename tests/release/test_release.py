"""scripts/release in a clone of this checkout: its results and its refusals."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pi_cam_daemon import __version__
from pi_cam_daemon.commands import update
from tests.kit import apt
from tests.kit.daemon import ROOT
from tests.kit.documents import commands
from tests.kit.lateness import patience
from tests.kit.versions import later

TARGET = {"x86_64": "bookworm-amd64", "aarch64": "bookworm-arm64"}[platform.machine()]
UNRELEASED = "## Unreleased\n\n- It makes coffee.\n"


class Checkout:
    """A clone with the uncommitted changes, a user's name and a line in the changelog."""

    def __init__(self, folder: Path, keyring: Path) -> None:
        self.folder = folder / "checkout"
        self.key = folder / "key"
        self.keyring = keyring
        subprocess.run(["git", "clone", "-q", ROOT, self.folder], check=True, timeout=60)
        for name in self.listed("ls-files", "--modified", "--others", "--exclude-standard"):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes((ROOT / name).read_bytes())
            (self.folder / name).chmod((ROOT / name).stat().st_mode)
        (self.folder / "CHANGELOG.md").write_text(f"# Changelog\n\n{UNRELEASED}\n## 0.0.1 (2026-01-01)\n\n- It is.\n")
        self.git("config", "user.name", "somebody")
        self.git("config", "user.email", "somebody@example.org")
        self.commit()
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", self.key], check=True, timeout=60
        )

    @staticmethod
    def listed(*argv: str) -> list[str]:
        done = subprocess.run(["git", *argv], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
        return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]

    def git(self, *argv: str) -> str:
        done = subprocess.run(["git", *argv], cwd=self.folder, check=True, capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "-q", "--allow-empty", "-m", "as it is")

    def release(self, version: str, *options: str) -> subprocess.CompletedProcess[str]:
        # hardly packed: tight packing takes a processor for minutes
        env = {
            **os.environ, "DPKG_DEB_COMPRESSOR_TYPE": "none", "ZSTD_CLEVEL": "1", "GNUPGHOME": str(self.keyring)
        }  # fmt: skip
        argv = ["scripts/release", *options, version, self.key, TARGET]
        return subprocess.run(
            argv, cwd=self.folder, env=env, capture_output=True, text=True, timeout=patience(500), check=False
        )

    def refuses(self, version: str, why: str, *options: str) -> None:
        before = self.git("rev-parse", "HEAD"), self.git("status", "--porcelain"), self.git("tag")
        done = self.release(version, *options)
        assert done.returncode == 1 and why in done.stderr, done.stderr
        assert (self.git("rev-parse", "HEAD"), self.git("status", "--porcelain"), self.git("tag")) == before
        assert not (self.folder / "dist").exists()


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    with apt.keyring() as keyring:
        yield Checkout(tmp_path, keyring)


def test_an_unfit_checkout_is_refused_and_nothing_changes(checkout: Checkout) -> None:
    checkout.refuses("1.2", "not a version")
    checkout.git("tag", f"v{later()}")
    checkout.refuses(later(), "already")
    # which this checkout has if it is a release
    checkout.git("tag", "--force", f"v{__version__}")
    checkout.refuses("0.0.9", f"not later than {__version__}")
    (checkout.folder / "stray").write_text("")
    checkout.refuses(later(2), "not clean")
    (checkout.folder / "stray").unlink()
    changelog = checkout.folder / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace(UNRELEASED, "## Unreleased\n"))
    checkout.commit()
    checkout.refuses(later(2), "nothing under Unreleased")
    changelog.write_text(changelog.read_text().replace("## Unreleased\n", UNRELEASED))
    checkout.commit()
    checkout.refuses(later(2), "nobody: no such secret key in your gpg keyring", "--apt", "nobody", "http://pi/apt")


def test_a_release_is_one_version_everywhere_signed_and_listed(checkout: Checkout) -> None:
    version = later()
    # the repository of the releases before
    earlier = checkout.folder / f"dist/apt/pi-cam-daemon_{__version__}_all.deb"
    earlier.parent.mkdir(parents=True)
    apt.make_deb(earlier, __version__)
    done = checkout.release(version, "--apt", apt.OWNER, "https://example.org/apt")
    assert done.returncode == 0, done.stderr
    dist, artefact = checkout.folder / "dist", f"pi-cam-daemon-{version}.tar.zst"
    # the version
    assert f'__version__ = "{version}"' in (checkout.folder / "pi_cam_daemon/__init__.py").read_text()
    assert checkout.git("rev-parse", f"v{version}^{{commit}}") == checkout.git("rev-parse", "HEAD")
    assert checkout.git("cat-file", "-t", f"v{version}") == "tag", "others are not pushed with --follow-tags"
    assert checkout.git("log", "-1", "--format=%s") == f"release: {version}"
    assert checkout.git("status", "--porcelain") == ""
    manifest = json.loads(subprocess.check_output(["tar", "--zstd", "-xOf", dist / artefact, "manifest.json"]))
    assert manifest["version"] == version
    # what else has a version agrees, and no document has to be changed
    tests = [f"tests/unit/test_{name}.py" for name in ("documents", "commands", "ansible_role", "deb")]
    pytest_again = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    again = subprocess.run(pytest_again, cwd=checkout.folder, capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == 0, again.stdout
    # the changelog
    new = re.search(
        rf"^## Unreleased\n\n## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)\n\n- It makes coffee\.\n\n## 0\.0\.1",
        (checkout.folder / "CHANGELOG.md").read_text(),
        re.MULTILINE,
    )
    assert new
    # whoever downloads it can check it, and a camera takes it
    signers = dist / "allowed_signers"
    signers.write_text(f'publisher namespaces="pi-cam-daemon" {checkout.key.with_suffix(".pub").read_text()}')
    for name in (artefact, "SHA256SUMS"):
        assert update.verify(dist / name, dist / f"{name}.sig", signers) == "publisher"
    typed = [command for command in commands(ROOT / "docs/install.md") if "SHA256SUMS" in command]
    assert [command.split()[0] for command in typed] == ["ssh-keygen", "sha256sum"]
    for command in typed:
        subprocess.run(["bash", "-c", command], cwd=dist, check=True, timeout=60)
    signers.unlink()
    # the list of what is in it is that of the manifest
    bill = json.loads((dist / f"pi-cam-daemon-{version}-{TARGET}.cdx.json").read_text())
    listed = {(part["name"].replace("_", "-"), part["version"]) for part in bill["components"]}
    wheels = {tuple(name.split("-")[:2]) for name in manifest["targets"][TARGET]["wheels"]}
    assert listed == {(name.replace("_", "-"), version) for name, version in wheels}
    assert ("pi-cam-daemon", version) in listed
    # apt's repository has this package, which is one of the files, and those of the releases before
    package = f"pi-cam-daemon_{version}_{TARGET.partition('-')[2]}.deb"
    repository = dist / "apt"
    assert (repository / package).read_bytes() == (dist / package).read_bytes()
    assert package in (dist / "SHA256SUMS").read_text()
    listed_by_apt = re.findall(r"^Filename: (.*)$", (repository / "Packages").read_text(), re.MULTILINE)
    assert sorted(listed_by_apt) == sorted([earlier.name, package])
    assert "URIs: https://example.org/apt/\n" in (repository / "pi-cam-daemon.sources").read_text()
    verify = ["gpg", "--quiet", "--homedir", checkout.keyring, "--verify"]
    subprocess.run([*verify, repository / "InRelease"], check=True, timeout=60)
    subprocess.run([*verify, repository / "Release.gpg", repository / "Release"], check=True, timeout=60)
    # what was released is not released again
    checkout_before = checkout.git("rev-parse", "HEAD")
    again = checkout.release(later(2))
    assert again.returncode == 1 and "nothing under Unreleased" in again.stderr
    assert checkout.git("rev-parse", "HEAD") == checkout_before
