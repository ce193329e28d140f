"""The pusher with OpenSSH's real server, and with the real rclone, which is a server of WebDAV, too."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.films import film
from tests.kit.lateness import patience
from tests.kit.wait import free_port, until
from tests.server.test_push import pushing

# sshd is told its user: as root it would need one of its own
USER = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
AS_USER = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
needs_sshd = pytest.mark.skipif(not shutil.which("sshd"), reason="needs sshd, which scripts/test brings")
needs_rclone = pytest.mark.skipif(not shutil.which("rclone"), reason="needs rclone, which scripts/test brings")


class Sshd:
    """An sshd on 127.0.0.1 with two kinds of host keys, which admits the key of the pusher in *state*."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self.target = folder / "camera films"
        self.target.mkdir()
        self.known = state / ".ssh/known_hosts"
        self.known.parent.mkdir(parents=True)
        _key(self.known.parent / "id_ed25519", "ed25519")
        shutil.copy(self.known.parent / "id_ed25519.pub", folder / "authorized")
        for kind in ("ed25519", "ecdsa"):
            _key(folder / kind, kind)
        (folder / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/ed25519\nHostKey {folder}/ecdsa\nUsePAM yes\n"
            f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nPidFile none\nSubsystem sftp internal-sftp\n"
        )
        if AS_USER:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, USER)
        self.process = subprocess.Popen(
            [*AS_USER, str(shutil.which("sshd")), "-D", "-e", "-f", folder / "config"],
            stderr=(folder / "log").open("wb"),
        )
        try:
            until("sshd listens", lambda: "Server listening" in (folder / "log").read_text())
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return f"sftp://{USER}@127.0.0.1:{self.port}{str(self.target).replace(' ', '%20')}"

    def scan(self) -> None:
        """Make the server known, with the command that the pusher names."""
        argv = ["ssh-keyscan", "-p", str(self.port), "127.0.0.1"]
        self.known.write_bytes(subprocess.run(argv, capture_output=True, check=True, timeout=patience(20)).stdout)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(patience(5))
        print(f"--- sshd's log\n{(self.folder / 'log').read_text()}")


def _key(path: Path, kind: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True, timeout=patience(20))


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is closed to the other user
        server = Sshd(Path(folder), tmp_path / "state")
        with contextlib.closing(server):
            yield server


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    (tmp_path / "recordings").mkdir()
    return film(tmp_path / "recordings", 5)


@needs_sshd
def test_a_clip_is_copied_by_sftp_in_place_of_an_older_one(tmp_path: Path, sshd: Sshd, clip: Path) -> None:
    sshd.scan()
    there = sshd.target / clip.name
    there.write_text("of before a power cut")
    if AS_USER:
        shutil.chown(there, USER)
    with pushing(tmp_path, sshd.url) as pusher:
        pusher.wait_for("waiting", sent=1)
    assert there.read_bytes() == clip.read_bytes()
    assert list(sshd.target.iterdir()) == [there]


@needs_sshd
def test_a_host_with_another_key_gets_nothing(tmp_path: Path, sshd: Sshd, clip: Path) -> None:
    sshd.scan()
    _key(tmp_path / "other", "ed25519")
    kind, key, *_ = (tmp_path / "other.pub").read_text().split()
    sshd.known.write_text(f"[127.0.0.1]:{sshd.port} {kind} {key}\n")
    with pushing(tmp_path, sshd.url) as pusher:
        told = pusher.wait_for("failing", sent=0)
        assert "the other machine is not the one that is known" in told["detail"]
        sshd.scan()
        pusher.hurry()
        pusher.wait_for("waiting", sent=1)
    assert (sshd.target / clip.name).read_bytes() == clip.read_bytes()


@needs_sshd
def test_a_host_that_is_not_in_the_file_gets_nothing(tmp_path: Path, sshd: Sshd, clip: Path) -> None:
    sshd.scan()
    sshd.known.write_text(sshd.known.read_text().replace("[127.0.0.1]", "[127.0.0.2]"))
    with pushing(tmp_path, sshd.url) as pusher:
        told = pusher.wait_for("failing", sent=0)
        assert "the other machine is not the one that is known" in told["detail"]
    assert clip.exists() and list(sshd.target.iterdir()) == []


@needs_sshd
@pytest.mark.usefixtures("clip")
def test_a_folder_that_is_missing_there_is_told(tmp_path: Path, sshd: Sshd) -> None:
    sshd.scan()
    sshd.target.rmdir()
    with pushing(tmp_path, sshd.url) as pusher:
        told = pusher.wait_for("failing", sent=0)
        assert "may the user write in that folder, and does it exist?" in told["detail"]


@contextlib.contextmanager
def webdav(folder: Path) -> Iterator[str]:
    """Serve *folder* with rclone's server, which is that of Go and many others; yield its address."""
    port = free_port()
    argv = ["rclone", "serve", "webdav", folder, "--addr", f"127.0.0.1:{port}", "--config", "/dev/null"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as server:
        try:
            assert server.stderr
            until("the server listens", lambda line=server.stderr.readline: b"127.0.0.1" in line())
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.kill()


@needs_rclone
def test_a_clip_is_copied_by_webdav_in_place_of_an_older_one(tmp_path: Path, clip: Path) -> None:
    there = tmp_path / "there" / clip.name
    there.parent.mkdir()
    there.write_text("of before a power cut")
    with webdav(there.parent) as url, pushing(tmp_path, url) as pusher:
        pusher.wait_for("waiting", sent=1)
    assert [path.read_bytes() for path in there.parent.iterdir()] == [clip.read_bytes()]


@needs_rclone
def test_a_copy_in_the_folder_of_the_recordings_is_none(tmp_path: Path, clip: Path) -> None:
    """The folder is on the other machine, and mounted here. The copy takes the place of the clip."""
    before = clip.read_bytes()
    with webdav(clip.parent) as url, pushing(tmp_path, url, **{"push.delete_after": True}) as pusher:
        told = pusher.wait_for("failing", queue=1, sent=0)
        assert "it changed while it was copied; is push.url another way to recordings.folder?" in told["detail"]
    assert clip.read_bytes() == before


@needs_rclone
def test_a_clip_is_copied_by_rclone_and_a_remote_that_is_unknown_told(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "there").mkdir()
    login = tmp_path / "rclone.conf"
    login.write_text("[nas]\ntype = local\n")
    login.chmod(0o640)
    with pushing(tmp_path, "rclone:other:films", **{"push.credentials_file": str(login)}) as pusher:
        assert "rclone: " in pusher.wait_for("failing", sent=0)["detail"]
    with pushing(tmp_path, f"rclone:nas:{tmp_path}/there", **{"push.credentials_file": str(login)}) as pusher:
        pusher.wait_for("waiting", sent=1)
    assert [path.read_bytes() for path in (tmp_path / "there").iterdir()] == [clip.read_bytes()]
