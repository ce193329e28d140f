"""Updates from update.url, by a real https server, real signatures, and an installer that only switches a link."""

from __future__ import annotations

import argparse
import contextlib
import os
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pi_cam_daemon.commands import download, pull
from pi_cam_daemon.commands.download import UpdateError
from pi_cam_daemon.system import pulled, setup
from pi_cam_daemon.system.pulled import Result
from tests.kit.certificates import Certificate
from tests.server.test_update import Publisher, certificate, publisher, trusted, website

__all__ = ["certificate", "publisher", "trusted"]

PATH = "/release.tar.zst"
# the first line of an artefact is its name here; old and foreign ones are refused before anything is touched
INSTALLER = """\
#!/bin/bash
root=%s file=${*: -1}
name=$(head -n 1 "$file")
echo "install: looking at $name" >&2
case $name in old*) echo "install: $name is older than what serves" >&2; exit 1 ;; esac
case $* in *--dry-run*) echo "$name"; exit ;; esac
echo "$*" >>"$root/installed"
said='install: bad ended by itself\\n    log\\ninstall: went back, which serves\\n'
case $name in bad*) printf "$said" >&2; exit 1 ;; esac
mkdir -p "$root/opt/pi-cam-daemon/releases/$name"
cp "$0" "$root/opt/pi-cam-daemon/releases/$name/install"
ln -sfn "releases/$name" "$root/opt/pi-cam-daemon/current"
"""


class Site:
    """A website that offers a release. *asked* has the requests: what for, and the headers that this is about."""

    def __init__(self, publisher: Publisher, folder: Path) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.url = ""
        self.etags = self.ranges = True
        self.part_from = -1  # where a part begins instead of where it was asked for
        self.cuts: list[int] = []  # after so many bytes of the release the connection is cut, time by time
        self._publisher = publisher
        self._folder = folder

    def offer(self, name: str, size: int = 100_000) -> bytes:
        """Publish a release, and return it."""
        file = self._folder / "published"
        file.write_bytes(f"{name}\n".encode() + os.urandom(size))
        self._publisher.sign(file)
        self.files = {PATH: file.read_bytes(), f"{PATH}.sig": file.with_suffix(".sig").read_bytes()}
        return self.files[PATH]

    def answer(self, head: str, connection: ssl.SSLSocket) -> None:
        request, *lines = head.splitlines()
        path = request.split()[1]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        told = [headers[name] for name in ("range",) if name in headers]
        self.asked.append(" ".join([path.removeprefix(PATH) or "release", *told]))
        if path not in self.files:
            connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            return
        data = self.files[path]
        etag = f'ETag: "{hash(data)}"\r\n' if self.etags else ""
        if self.etags and headers.get("if-none-match") == f'"{hash(data)}"':
            self.asked[-1] += " unchanged"
            connection.sendall(b"HTTP/1.1 304 Not Modified\r\n\r\n")
            return
        start, status = 0, "200 OK"
        if self.ranges and "range" in headers:
            start, whole = int(headers["range"].removeprefix("bytes=").removesuffix("-")), len(data)
            if start >= whole:
                connection.sendall(
                    f"HTTP/1.1 416 No\r\nContent-Range: bytes */{whole}\r\nContent-Length: 0\r\n\r\n".encode()
                )
                return
            start = self.part_from if self.part_from >= 0 else start
            status = f"206 Partial Content\r\nContent-Range: bytes {start}-{whole - 1}/{whole}"
        rest = data[start:]
        sent = rest[: self.cuts.pop(0)] if self.cuts and path == PATH else rest
        connection.sendall(f"HTTP/1.1 {status}\r\n{etag}Content-Length: {len(rest)}\r\n\r\n".encode() + sent)

    def asked_since(self) -> list[str]:
        """Return the requests since the last call."""
        asked, self.asked = self.asked, []
        return asked


class Machine:
    """A machine that updates itself from *site*; *root* is its disk."""

    def __init__(self, root: Path, site: Site, signers: str) -> None:
        self.root = root
        self.site = site
        (root / "etc/pi-cam-daemon").mkdir(parents=True)
        (root / "etc/pi-cam-daemon/allowed_signers").write_text(signers)
        release = root / "opt/pi-cam-daemon/releases/first"
        release.mkdir(parents=True)
        (release / "install").write_text(INSTALLER % root)
        (release / "install").chmod(0o755)
        self.serve("first")

    def serve(self, release: str) -> None:
        link = self.root / setup.CURRENT
        link.unlink(missing_ok=True)
        link.symlink_to(f"releases/{release}")

    @property
    def serves(self) -> str:
        return (self.root / setup.CURRENT).readlink().name

    @property
    def installations(self) -> list[str]:
        file = self.root / "installed"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def fetched(self) -> Path:
        return self.root / pulled.FOLDER / "artefact.tar.zst"

    def pull(self, scheduled: bool = False) -> tuple[str, str]:
        """Run once, and return the result and its detail as they are recorded."""
        with contextlib.suppress(UpdateError):
            pull.pull(self.site.url, scheduled, self.root)
        record = pulled.read(self.root)
        return record.result, record.detail


@pytest.fixture
def site(publisher: Publisher, trusted: Certificate, tmp_path: Path) -> Iterator[Site]:
    site = Site(publisher, tmp_path)
    with website(site.answer, trusted) as server:
        site.url = f"{server.url}{PATH}"
        yield site


@pytest.fixture
def machine(site: Site, publisher: Publisher, tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine", site, publisher.line)


@pytest.mark.parametrize("etags", [True, False], ids=["etag", "no etag"])
def test_a_release_is_installed_once_and_then_only_its_signature_is_asked_for(machine: Machine, etags: bool) -> None:
    machine.site.etags = etags
    machine.site.offer("2-b")
    assert machine.pull() == (Result.INSTALLED, "2-b was installed")
    assert machine.serves == "2-b"
    assert machine.installations == [f"--no-apt --no-downgrade --from {machine.fetched}"]
    assert not machine.fetched.exists()
    machine.site.asked_since()
    machine.fetched.write_bytes(b"left by a power cut right after the installation")
    assert machine.pull() == (Result.CURRENT, "2-b is what is offered")
    assert machine.site.asked_since() == [".sig unchanged" if etags else ".sig"]
    assert not machine.fetched.exists()
    machine.site.offer("3-c")
    assert machine.pull()[0] == Result.INSTALLED
    assert (machine.serves, pulled.read(machine.root).offered) == ("3-c", "3-c")


@pytest.mark.parametrize(("name", "told"), [("bad", "bad ended"), ("old", "old is older"), ("", "Unavailable")])
def test_an_update_that_did_not_succeed_fails(machine: Machine, name: str, told: str) -> None:
    if name:
        machine.site.offer(name)
    with pytest.raises(UpdateError, match=told):
        pull.pull(machine.site.url, False, machine.root)


def test_the_journal_has_the_signer_the_installers_words_and_the_result(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.site.offer("2-b")
    machine.pull()
    machine.pull()
    said = capsys.readouterr()
    assert said.out == "signed by publisher\n2-b is what is offered\n"
    assert said.err == "install: looking at 2-b\n"


def test_the_daemon_can_read_the_record_whatever_the_umask(machine: Machine) -> None:
    before = os.umask(0o077)
    try:
        machine.pull()
    finally:
        os.umask(before)
    folder = machine.root / pulled.FOLDER
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "state.json")] == [0o755, 0o644]


def test_what_serves_already_is_not_called_an_installation(machine: Machine) -> None:
    machine.site.offer("first")
    assert machine.pull() == (Result.CURRENT, "first is what is offered")
    # the installer still decides if it serves: an earlier one may have been killed
    assert len(machine.installations) == 1


def test_a_download_that_is_cut_goes_on_where_it_was(machine: Machine) -> None:
    machine.site.offer("2-b")
    machine.site.cuts = [30_000, 20_000, 0, 100]
    assert machine.pull()[0] == Result.FAILED, "a server that sends nothing is left alone"
    assert machine.site.asked_since() == [".sig", "release", "release bytes=30000-", "release bytes=50000-"]
    assert machine.pull()[0] == Result.INSTALLED
    assert machine.site.asked_since() == [".sig unchanged", "release bytes=50000-", "release bytes=50100-"]


def test_a_connection_that_is_always_cut_is_left_for_the_next_run(machine: Machine) -> None:
    machine.site.offer("2-b")
    machine.site.cuts = [100] * 99
    assert machine.pull()[0] == Result.FAILED
    assert len(machine.site.asked_since()) == 1 + 10


def test_a_download_that_goes_on_at_each_run_is_no_failure_that_repeats(machine: Machine) -> None:
    machine.site.offer("2-b")
    for _ in range(5):
        machine.site.cuts = [1000, 0]
        assert machine.pull(scheduled=True)[0] == Result.FAILED
        assert pulled.read(machine.root).left_out == 0
    assert machine.fetched.stat().st_size == 5000
    for left_out in (1, 3):
        machine.site.cuts = [0]
        assert machine.pull()[0] == Result.FAILED
        assert pulled.read(machine.root).left_out == left_out, "nothing more arrives"


def test_a_server_without_parts_sends_all_anew(machine: Machine) -> None:
    machine.site.offer("2-b")
    machine.site.ranges = False
    machine.site.cuts = [30_000]
    assert machine.pull()[0] == Result.INSTALLED


@pytest.mark.parametrize("begin", [0, 99_000])
def test_a_server_that_sends_another_part_is_asked_for_all(machine: Machine, begin: int) -> None:
    machine.site.offer("2-b")
    machine.site.part_from = begin
    machine.site.cuts = [30_000]
    assert machine.pull()[0] == Result.INSTALLED
    assert machine.site.asked_since() == [".sig", "release", "release bytes=30000-", "release"]


def test_what_had_arrived_before_a_power_cut_is_not_fetched_again(machine: Machine) -> None:
    machine.site.offer("2-b")
    machine.site.cuts = [0]
    machine.pull()
    machine.fetched.write_bytes(machine.site.files[PATH])
    machine.site.asked_since()
    assert machine.pull()[0] == Result.INSTALLED
    assert machine.site.asked_since() == [".sig unchanged", "release bytes=100004-"]


def test_a_signature_that_a_power_cut_damaged_is_fetched_anew(machine: Machine) -> None:
    machine.site.offer("2-b")
    machine.site.cuts = [0]
    machine.pull()
    machine.fetched.with_name(f"{machine.fetched.name}.sig").write_bytes(b"")
    assert machine.pull()[0] == Result.INSTALLED


def test_more_than_all_of_a_release_is_fetched_anew(machine: Machine) -> None:
    machine.site.offer("2-b")
    machine.site.cuts = [0]
    machine.pull()
    machine.fetched.write_bytes(bytes(200_000))
    assert machine.pull()[0] == Result.INSTALLED


def test_the_part_of_another_release_is_not_continued(machine: Machine) -> None:
    machine.site.offer("2-b")
    machine.pull()
    machine.site.offer("3-c")
    machine.site.cuts = [30_000, 0]
    machine.pull()
    assert pulled.read(machine.root).offered == "", "its name is not known yet"
    machine.site.offer("4-d")
    machine.site.asked_since()
    assert machine.pull()[0] == Result.INSTALLED
    assert machine.site.asked_since() == [".sig", "release"]


def test_a_release_that_does_not_serve_is_tried_more_and_more_seldom(machine: Machine) -> None:
    machine.site.offer("bad")
    tried = []
    for number in range(1, 17):
        before = len(machine.installations)
        result, detail = machine.pull(scheduled=True)
        assert (result, detail) == (Result.FAILED, "not installed: bad ended by itself; went back, which serves")
        tried += [number] if len(machine.installations) > before else []
    assert tried == [1, 2, 4, 8, 16]
    assert machine.serves == "first" and not machine.fetched.exists()
    # by hand at once
    assert machine.pull()[0] == Result.FAILED and len(machine.installations) == 6
    # and so is another one, whose failures are counted anew
    machine.site.offer("bad-too")
    machine.pull(scheduled=True)
    assert len(machine.installations) == 7 and pulled.read(machine.root).failures == 1
    machine.site.offer("2-b")
    assert machine.pull(scheduled=True)[0] == Result.INSTALLED


def test_a_server_that_does_not_answer_is_asked_more_and_more_seldom(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []
    for _ in range(8):
        assert machine.pull(scheduled=True)[0] == Result.UNREACHABLE
        asked.append(len(machine.site.asked_since()))
    assert asked == [1, 1, 0, 1, 0, 0, 0, 1]
    left_out = "{} failures in a row, so this run is left out, and {} more\n".format
    assert capsys.readouterr().out == left_out(2, 0) + left_out(3, 2) + left_out(3, 1) + left_out(3, 0)
    machine.site.offer("2-b")
    assert machine.pull()[0] == Result.INSTALLED


def test_the_release_that_was_tried_is_remembered_while_the_server_is_away(machine: Machine) -> None:
    machine.site.offer("2-b")
    machine.pull()
    away, machine.site.files = machine.site.files, {}
    assert machine.pull() == (Result.UNREACHABLE, f"{machine.site.url}.sig: Service Unavailable")
    machine.site.files = away
    assert machine.pull(scheduled=True) == (Result.CURRENT, "2-b is what is offered")


def test_another_address_is_asked_at_once(machine: Machine) -> None:
    machine.site.offer("2-b")
    url, machine.site.url = machine.site.url, machine.site.url + ".missing"
    for _ in range(3):
        machine.pull()
    machine.site.url = url
    assert machine.pull(scheduled=True)[0] == Result.INSTALLED


def test_an_older_release_is_refused(machine: Machine) -> None:
    machine.site.offer("old")
    expected = (Result.REFUSED, "refused: looking at old; old is older than what serves")
    assert machine.pull() == expected
    assert (machine.serves, machine.installations) == ("first", [])
    machine.site.asked_since()
    machine.pull()
    assert machine.pull(scheduled=True) == expected
    assert machine.site.asked_since()[-1] == ".sig unchanged", "it is not fetched again and again"


def test_a_release_that_was_gone_back_from_is_not_installed_again(machine: Machine) -> None:
    machine.site.offer("2-b")
    machine.pull()
    machine.serve("first")
    expected = "2-b was installed, and first serves now; 2-b is not installed again"
    assert machine.pull() == (Result.REPLACED, expected)
    assert machine.serves == "first"
    machine.site.offer("3-c")
    assert machine.pull()[0] == Result.INSTALLED


def test_a_release_with_another_signature_is_refused_and_fetched_anew(machine: Machine) -> None:
    release = machine.site.offer("2-b")
    machine.site.files[PATH] = release + b"x"
    result, detail = machine.pull()
    assert result == Result.REFUSED and "this is not the file that publisher signed" in detail
    assert machine.installations == []
    # the publisher had replaced one of both files
    machine.site.files[PATH] = release
    assert machine.pull(scheduled=True)[0] == Result.INSTALLED


def test_a_page_in_place_of_the_signature_is_no_news(machine: Machine) -> None:
    machine.site.offer("2-b")
    machine.pull()
    real, machine.site.files = machine.site.files, {f"{PATH}.sig": b"<html>Welcome to our Wi-Fi"}
    assert machine.pull() == (Result.UNREACHABLE, f"{machine.site.url}.sig: this is no signature")
    machine.site.files = real
    assert machine.pull()[0] == Result.CURRENT
    assert len(machine.installations) == 1


def test_an_unfinished_first_boot_gets_the_pulled_release(machine: Machine) -> None:
    (machine.root / setup.FOLDER).mkdir(parents=True)
    (machine.root / setup.ARTEFACT).write_bytes(b"of the image")
    release = machine.site.offer("2-b")
    machine.pull()
    assert (machine.root / setup.ARTEFACT).read_bytes() == release


def test_a_machine_that_trusts_nobody_says_so_and_asks_nothing(machine: Machine) -> None:
    (machine.root / "etc/pi-cam-daemon/allowed_signers").unlink()
    result, detail = machine.pull(scheduled=True)
    assert result == Result.FAILED and "it lists the keys that may sign updates" in detail
    assert machine.site.asked == []


@pytest.mark.parametrize("url", ["", "http://example.org/release"])
def test_a_package_is_left_to_apt_and_nothing_is_written(url: str, tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="a Debian package is apt's"):
        pull.pull(url, False, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_an_address_the_timer_does_nothing(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.site.offer("2-b")
    machine.pull()
    capsys.readouterr()
    pull.pull("", True, machine.root)
    assert capsys.readouterr().out == "update.url is not set, so there is nothing to do\n"
    assert pulled.report(machine.root) is None
    with pytest.raises(UpdateError, match=r"name what to install: FILE or URL, or update\.url"):
        pull.pull("", False, machine.root)


def test_one_such_update_runs_at_a_time(machine: Machine) -> None:
    with pull._alone(machine.root), pytest.raises(UpdateError, match="another update is running"):
        pull.pull(machine.site.url, False, machine.root)


def test_a_downgrade_needs_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert pull.run(argparse.Namespace(allow_downgrade=True, scheduled=False)) == 2
    assert "--allow-downgrade needs FILE|URL" in capsys.readouterr().err


def test_what_cannot_become_a_release_does_not_stay_on_the_card(machine: Machine, tmp_path: Path) -> None:
    machine.site.offer("2-b")
    target = tmp_path / "target"
    with pytest.raises(UpdateError, match="larger than 50 kB"):
        download.resume(machine.site.url, target, 50_000)
    assert not target.exists()
    target.symlink_to("/dev/full")
    with pytest.raises(UpdateError, match="No space left on device"):
        download.resume(machine.site.url, target, 1_000_000)
    assert not target.is_symlink()
