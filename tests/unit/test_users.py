"""The file of users: what is written into it, what is read out of it, and what is told of one that is wrong."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest

from pi_cam_daemon import users
from pi_cam_daemon.errors import ConfigError
from pi_cam_daemon.users import Role

PASSWORD = "correct horse battery"
LINE = "alice:viewer:$scrypt$ln=14,r=8,p=1$" + "A" * 22 + "$" + "B" * 43


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users"


def command(file: Path, *argv: str, said: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "pi_cam_daemon", *argv, "--config", os.devnull, "--set", f'http.users_file="{file}"'],
        input=said,
        capture_output=True,
        timeout=30,
        check=False,
    )


def test_who_is_added_is_found_with_his_role_and_key(file: Path) -> None:
    users.add(file, "alice", Role.ADMIN, PASSWORD)
    users.add(file, "bob", Role.VIEWER, PASSWORD)
    found = users.read(file)
    assert {name: user.role for name, user in found.items()} == {"alice": Role.ADMIN, "bob": Role.VIEWER}
    assert users.derive(PASSWORD, found["alice"].salt) == found["alice"].key != found["bob"].key


def test_the_hash_is_the_scrypt_that_everybody_has() -> None:
    # RFC 7914, section 12, has no vector of our size that is quick; the form is, with n=16384
    key = users.derive("pleaseletmein", b"SodiumChloride")
    assert key.hex() == "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"


def test_no_password_can_be_read_in_the_file_and_only_owner_and_group_read_it(file: Path) -> None:
    before = os.umask(0)
    try:
        users.add(file, "alice", Role.VIEWER, PASSWORD)
    finally:
        os.umask(before)
    assert PASSWORD not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_service_with_a_tight_umask_writes_a_file_that_its_group_can_read(file: Path) -> None:
    before = os.umask(0o077)
    try:
        users.add(file, "alice", Role.VIEWER, PASSWORD)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files away")
def test_a_file_keeps_its_group(file: Path) -> None:
    users.add(file, "alice", Role.VIEWER, PASSWORD)
    os.chown(file, 0, 4711)
    users.add(file, "bob", Role.VIEWER, PASSWORD)
    assert file.stat().st_gid == 4711


def test_adding_again_changes_password_and_role_and_nobody_else(file: Path) -> None:
    users.add(file, "alice", Role.ADMIN, PASSWORD)
    users.add(file, "bob", Role.VIEWER, PASSWORD)
    before = users.read(file)
    users.add(file, "alice", Role.VIEWER, "another password")
    after = users.read(file)
    assert after["bob"] == before["bob"]
    assert after["alice"] != before["alice"] and after["alice"].role is Role.VIEWER


def test_another_role_leaves_the_same_user_and_another_password_does_not(file: Path) -> None:
    file.write_text(LINE)
    viewer = users.read(file)["alice"]
    file.write_text(LINE.replace("viewer", "admin"))
    assert users.read(file)["alice"] == viewer
    file.write_text(LINE.replace("BB", "CC", 1))
    assert users.read(file)["alice"] != viewer


def test_comments_stay_and_are_nobody(file: Path) -> None:
    file.write_text(f"# of the shop\n\n{LINE}\n")
    assert list(users.read(file)) == ["alice"]
    users.add(file, "bob", Role.VIEWER, PASSWORD)
    users.remove(file, "alice")
    assert file.read_text().startswith("# of the shop\n")
    assert list(users.read(file)) == ["bob"]


def test_a_name_is_the_same_however_its_letters_are_composed(file: Path) -> None:
    users.add(file, unicodedata.normalize("NFD", "Zoë 지우"), Role.VIEWER, PASSWORD)
    assert list(users.read(file)) == [unicodedata.normalize("NFC", "Zoë 지우")]


@pytest.mark.parametrize(
    "line",
    [
        "alice",
        "alice:viewer:secret of hers",
        LINE.replace("viewer", "root"),
        LINE.replace("ln=14", "ln=30"),  # 1 TiB
        LINE.replace("alice", ""),
        LINE.replace("alice", "al\tice"),
        LINE + "x",
        LINE[:-1],
    ],
)
def test_a_line_that_is_no_user_is_told_by_its_number_and_never_by_what_it_holds(file: Path, line: str) -> None:
    file.write_text(f"{LINE.replace('alice', 'bob')}\n{line}\n")
    with pytest.raises(ConfigError) as error:
        users.read(file)
    assert error.value.problems == [f"http.users_file: {file}: line 2 is no user; pi-cam-daemon add-user writes them"]


def test_every_problem_is_told_at_once(file: Path) -> None:
    file.write_text(f"{LINE}\n{LINE}\nbob\n")
    with pytest.raises(ConfigError) as error:
        users.read(file)
    assert [problem.partition(": line ")[2] for problem in error.value.problems] == [
        "2: alice is there twice",
        "3 is no user; pi-cam-daemon add-user writes them",
    ]


def test_a_file_that_is_missing_or_none_is_told_in_words(file: Path, tmp_path: Path) -> None:
    for path, what in ((file, "no such file; pi-cam-daemon add-user makes it"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=what):
            users.read(path)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="utf-8"):
        users.read(file)
    with pytest.raises(ConfigError, match="larger than 256 KiB"):
        users.read(Path("/dev/zero"))


@pytest.mark.parametrize(("mode", "warned"), [(0o640, False), (0o600, False), (0o644, True), (0o642, True)])
def test_a_file_that_everybody_can_read_is_warned_of(
    file: Path, mode: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(LINE)
    file.chmod(mode)
    users.read(file)
    assert ("can be read by everybody" in caplog.text) == warned


# -- the commands


def test_add_user_takes_the_password_from_standard_input_and_says_how_to_go_on(file: Path) -> None:
    done = command(file, "add-user", "alice", said=f"{PASSWORD}\n".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == (
        f"{file}: alice can log in as viewer; sudo systemctl reload pi-cam-daemon puts that in force\n"
    )
    assert command(file, "add-user", "bob", "--admin", said=PASSWORD.encode()).returncode == 0
    found = users.read(file)
    assert users.derive(PASSWORD, found["alice"].salt) == found["alice"].key
    assert found["bob"].role is Role.ADMIN


def test_remove_user_removes_one_and_knows_who_is_not_there(file: Path) -> None:
    for name in ("alice", "bob"):
        users.add(file, name, Role.VIEWER, PASSWORD)
    assert command(file, "remove-user", "alice").returncode == 0
    assert list(users.read(file)) == ["bob"]
    done = command(file, "remove-user", "alice")
    assert (done.returncode, done.stderr.decode()) == (1, f"pi-cam-daemon: {file}: there is no alice\n")


@pytest.mark.parametrize(
    "said", [b"", b"\n", b"short\n", b"tab\tulator and more\n", b"\xff\xff\xff\xff\xff\xff\xff\xff\n"]
)
def test_what_cannot_be_a_password_is_refused_and_nothing_is_written(file: Path, said: bytes) -> None:
    done = command(file, "add-user", "alice", said=said)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("pi-cam-daemon: this cannot be a password; accepted: 8 characters or more")
    assert not file.exists()


@pytest.mark.parametrize("name", ["", "a:b", "#a", " a", "a ", "a\nb", "a" * 65])
def test_what_cannot_be_a_name_is_refused(file: Path, name: str) -> None:
    done = command(file, "add-user", name, said=PASSWORD.encode())
    assert done.returncode == 2
    assert b"cannot be a name; accepted: up to 64 characters" in done.stderr
    assert not file.exists()


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    done = command(tmp_path, "add-user", "alice", said=PASSWORD.encode())
    assert done.returncode == 78 and done.stderr.count(b"\n") == 1 and b"Is a directory" in done.stderr


def at_terminal(argv: Sequence[str], answers: Sequence[str]) -> tuple[int, str]:
    """The exit status of *argv* and all that its terminal shows, with *answers* typed when it asks."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(argv[0], argv)
    shown = ""
    waiting = list(answers)
    with os.fdopen(terminal, "r+b", buffering=0) as screen:
        while True:
            try:
                data = screen.read(1024)
            except OSError:  # the program has ended
                break
            shown += data.decode()
            if waiting and shown.count(": ") > len(answers) - len(waiting):
                screen.write(f"{waiting.pop(0)}\n".encode())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


def test_at_a_terminal_the_password_is_asked_for_twice_and_never_shown(file: Path) -> None:
    argv = [sys.executable, "-m", "pi_cam_daemon", "add-user", "alice"]
    argv += ["--config", os.devnull, "--set", f'http.users_file="{file}"']
    status, shown = at_terminal(argv, [PASSWORD, "a slip of mine", PASSWORD, PASSWORD])
    assert status == 0, shown
    assert shown.count("Password: ") == shown.count("Once more: ") == 2 and "these differ" in shown
    assert PASSWORD not in shown and "slip" not in shown
    assert users.read(file)["alice"].role is Role.VIEWER


def test_check_config_reads_the_file_too(file: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'http.users_file = "{file}"\n')
    argv = [sys.executable, "-m", "pi_cam_daemon", "check-config", str(config)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 78 and "there is no such file" in done.stderr
    file.write_text(LINE)
    file.chmod(0o640)
    assert subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode == 0
