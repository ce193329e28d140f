"""The file of users: writing, reading, and the errors of a wrong file."""

from __future__ import annotations

import os
import stat
import unicodedata
from pathlib import Path

import pytest

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from pi_cam_daemon.errors import ConfigError

PASSWORD = "correct horse battery"
LINE = "alice:viewer:$scrypt$ln=14,r=8,p=1$" + "A" * 22 + "$" + "B" * 43


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users"


def test_an_added_user_is_found_with_role_and_key(file: Path) -> None:
    users.add(file, "alice", Role.ADMIN, PASSWORD)
    users.add(file, "bob", Role.VIEWER, PASSWORD)
    found = users.read(file)
    assert {name: user.role for name, user in found.items()} == {"alice": Role.ADMIN, "bob": Role.VIEWER}
    assert users.derive(PASSWORD, found["alice"].salt) == found["alice"].key != found["bob"].key


def test_the_hash_is_standard_scrypt() -> None:
    # RFC 7914, section 12, has no vector of our size that is quick; the form is, with n=16384
    key = users.derive("pleaseletmein", b"SodiumChloride")
    assert key.hex() == "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"


def test_the_file_has_no_password_and_only_owner_and_group_read_it(file: Path) -> None:
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


def test_adding_again_changes_only_that_users_password_and_role(file: Path) -> None:
    users.add(file, "alice", Role.ADMIN, PASSWORD)
    users.add(file, "bob", Role.VIEWER, PASSWORD)
    before = users.read(file)
    users.add(file, "alice", Role.VIEWER, "another password")
    after = users.read(file)
    assert after["bob"] == before["bob"]
    assert after["alice"] != before["alice"] and after["alice"].role is Role.VIEWER


def test_a_new_role_keeps_the_user_and_a_new_password_does_not(file: Path) -> None:
    file.write_text(LINE)
    viewer = users.read(file)["alice"]
    file.write_text(LINE.replace("viewer", "admin"))
    assert users.read(file)["alice"] == viewer
    file.write_text(LINE.replace("BB", "CC", 1))
    assert users.read(file)["alice"] != viewer


def test_comments_stay_and_are_no_users(file: Path) -> None:
    file.write_text(f"# of the shop\n\n{LINE}\n")
    assert list(users.read(file)) == ["alice"]
    users.add(file, "bob", Role.VIEWER, PASSWORD)
    users.remove(file, "alice")
    assert file.read_text().startswith("# of the shop\n")
    assert list(users.read(file)) == ["bob"]


def test_a_name_is_the_same_in_every_unicode_form(file: Path) -> None:
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
def test_an_invalid_line_is_reported_by_its_number_only(file: Path, line: str) -> None:
    file.write_text(f"{LINE.replace('alice', 'bob')}\n{line}\n")
    with pytest.raises(ConfigError) as error:
        users.read(file)
    problem = f"http.users_file: {file}: line 2 is not a user; write it with pi-cam-daemon add-user"
    assert error.value.problems == [problem]


def test_all_problems_are_reported_at_once(file: Path) -> None:
    file.write_text(f"{LINE}\n{LINE}\nbob\n")
    with pytest.raises(ConfigError) as error:
        users.read(file)
    assert [problem.partition(": line ")[2] for problem in error.value.problems] == [
        "2: the user alice is listed twice",
        "3 is not a user; write it with pi-cam-daemon add-user",
    ]


def test_a_file_of_something_else_is_one_problem(file: Path) -> None:
    file.write_text("[http]\nport = 8000\n\n# users\nalice\n" * 100)
    with pytest.raises(ConfigError) as error:
        users.read(file)
    told = "this is no file of users: not one of its 300 lines is a user; write it with pi-cam-daemon add-user"
    assert error.value.problems == [f"http.users_file: {file}: {told}"]
    for count, lines in ((2, "2, 3"), (20, "2, 3, 4, 5, 6, 7, 8, 9, 10, 11 …")):
        file.write_text(f"{LINE}\n" + "secret of hers\n" * count)
        with pytest.raises(ConfigError) as error:
            users.read(file)
        told = f"lines {lines} are not users; write them with pi-cam-daemon add-user"
        assert error.value.problems == [f"http.users_file: {file}: {told}"]


def test_a_missing_or_invalid_file_is_reported(file: Path, tmp_path: Path) -> None:
    for path, what in ((file, "no such file; create it with pi-cam-daemon add-user"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=what):
            users.read(path)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="utf-8"):
        users.read(file)
    with pytest.raises(ConfigError, match="larger than 256 KiB"):
        users.read(Path("/dev/zero"))


@pytest.mark.parametrize(("mode", "warned"), [(0o640, False), (0o600, False), (0o644, True), (0o642, True)])
def test_a_file_that_everybody_can_read_is_a_warning(
    file: Path, mode: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(LINE)
    file.chmod(mode)
    users.read(file)
    assert ("can be read by everybody" in caplog.text) == warned
