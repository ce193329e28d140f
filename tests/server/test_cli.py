"""The commands as processes: exit codes, pipes, signals, terminals, and the camera process of a snapshot."""

from __future__ import annotations

import os
import pty
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from tests.kit.daemon import ROOT
from tests.kit.wait import until

COMMAND = [sys.executable, "-m", "pi_cam_daemon"]
# found from any working directory
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PATTERN = ["--set", 'source.kind="pattern"', "--set", "video.width=64", "--set", "video.height=48"]
PASSWORD = "correct horse battery"


def run(*argv: str | Path, **options: Any) -> subprocess.CompletedProcess[Any]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.run([*COMMAND, *argv], env=ENVIRONMENT, timeout=60, check=False, **{**pipes, **options})


def snapshot(out: str | Path, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run the snapshot command with the test picture, without a configuration file of this machine."""
    return run("snapshot", out, "--config", os.devnull, *PATTERN, **options)


@pytest.mark.parametrize("command", [["run"], ["config"], ["snapshot", "never-written.jpg"]])
def test_a_bad_configuration_exits_with_78_before_anything_else(command: list[str], tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("[video]\nwidth = 641\nrotation = 45\n")
    done = run(*command, "--config", bad, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    assert len(done.stderr.splitlines()) == 2
    assert list(tmp_path.iterdir()) == [bad]


# -- snapshot


def test_snapshot_writes_one_picture_and_leaves_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "pictures" / "garden.jpg"
    out.parent.mkdir()
    out.write_bytes(b"an older picture")
    done = snapshot(out)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert out.read_bytes()[:2] == b"\xff\xd8"
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("target", ["real.jpg", "gone.jpg"])
def test_snapshot_does_not_follow_a_link_that_somebody_put_there(target: str, tmp_path: Path) -> None:
    real, link = tmp_path / "real.jpg", tmp_path / "today.jpg"
    real.write_bytes(b"of somebody else")
    link.symlink_to(tmp_path / target)
    done = snapshot(link)
    why = "this is a symbolic link, which is not followed; name the file itself, or -"
    assert (done.returncode, done.stderr) == (1, f"pi-cam-daemon: {link}: {why}\n")
    assert real.read_bytes() == b"of somebody else"
    assert sorted(tmp_path.iterdir()) == [real, link]


@pytest.mark.parametrize("before", [None, 0o644])
def test_only_its_owner_can_read_a_new_picture(before: int | None, tmp_path: Path) -> None:
    out = tmp_path / "garden.jpg"
    if before:
        out.touch(before)
    assert snapshot(out, umask=0).returncode == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to own a pipe as somebody else")
def test_root_writes_nothing_into_a_pipe_of_somebody_else(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    os.chown(fifo, 65534, -1)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        done = snapshot(fifo)
        assert (done.returncode, done.stderr) == (1, f"pi-cam-daemon: {fifo}: this pipe belongs to somebody else\n")
        assert os.read(reader, 2) == b""
    finally:
        os.close(reader)


def test_snapshot_to_a_dash_is_standard_output() -> None:
    done = snapshot("-", text=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout[:2] == b"\xff\xd8"
    assert done.stdout[-2:] == b"\xff\xd9"


def test_snapshot_does_not_replace_a_device(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert snapshot(fifo).returncode == 0
        assert os.read(reader, 2) == b"\xff\xd8"
    finally:
        os.close(reader)
    assert fifo.is_fifo()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("out", ["-", "/dev/full"])
def test_snapshot_reports_a_full_disk(out: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = snapshot(out, stdout=full)
    assert (done.returncode, done.stderr) == (1, f"pi-cam-daemon: {out}: No space left on device\n")


@pytest.mark.skipif(Path("/dev/media0").exists(), reason="this machine may have a camera")
def test_a_camera_that_fails_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    out = tmp_path / "pictures" / "garden.jpg"
    out.parent.mkdir()
    done = run("snapshot", out, "--config", os.devnull, "--set", 'source.kind="csi"')
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("pi-cam-daemon: ")
    assert list(out.parent.iterdir()) == []


# -- signals and pipes


def test_a_closed_output_pipe_causes_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run("config", "--config", os.devnull, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_ctrl_c_is_exit_code_130_without_a_traceback(tmp_path: Path) -> None:
    fifo = tmp_path / "never-written.toml"
    os.mkfifo(fifo)

    def opened() -> int | None:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None

    def reads() -> bool:
        return (Path("/proc") / str(process.pid) / "stat").read_text().rpartition(")")[2].split()[0] == "S"

    process = subprocess.Popen([*COMMAND, "check-config", fifo], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    writer = None
    try:
        # a writer can open it as soon as the command is there to read it
        writer = until("the command opens its file", opened, 30)
        # From here on it sleeps only in read(). A signal on the way there is seen by Python after the read, so never.
        until("the command reads its file", reads, 30)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait(timeout=10)
        if writer is not None:
            os.close(writer)
    assert (process.returncode, errors) == (130, "")


# -- users


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users"


def on_users(file: Path, *argv: str) -> list[str]:
    return [*argv, "--config", os.devnull, "--set", f'http.users_file="{file}"']


def command(file: Path, *argv: str, said: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return run(*on_users(file, *argv), input=said, text=False)


def test_add_user_reads_the_password_from_stdin_and_says_the_next_step(file: Path) -> None:
    done = command(file, "add-user", "alice", said=f"{PASSWORD}\n".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == (
        f"{file}: alice can log in as viewer; "
        f"to apply it: send SIGHUP to the daemon that reads {os.devnull}, or restart it\n"
    )
    assert command(file, "add-user", "bob", "--admin", said=PASSWORD.encode()).returncode == 0
    found = users.read(file)
    assert users.derive(PASSWORD, found["alice"].salt) == found["alice"].key
    assert found["bob"].role is Role.ADMIN


def test_remove_user_removes_a_user_and_reports_an_unknown_one(file: Path) -> None:
    for name in ("alice", "bob"):
        users.add(file, name, Role.VIEWER, PASSWORD)
    assert command(file, "remove-user", "alice").returncode == 0
    assert list(users.read(file)) == ["bob"]
    done = command(file, "remove-user", "alice")
    assert (done.returncode, done.stderr.decode()) == (1, f"pi-cam-daemon: {file}: there is no user alice\n")


@pytest.mark.parametrize(
    "said", [b"", b"\n", b"short\n", b"tab\tulator and more\n", b"\xff\xff\xff\xff\xff\xff\xff\xff\n"]
)
def test_an_invalid_password_is_refused_and_nothing_is_written(file: Path, said: bytes) -> None:
    done = command(file, "add-user", "alice", said=said)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("pi-cam-daemon: this cannot be a password; accepted: 8 characters or more")
    assert not file.exists()


@pytest.mark.parametrize("name", ["", "a:b", "#a", " a", "a ", "a\nb", "a" * 65])
def test_an_invalid_name_is_refused(file: Path, name: str) -> None:
    done = command(file, "add-user", name, said=PASSWORD.encode())
    assert done.returncode == 2
    assert b"cannot be a name; accepted: up to 64 characters" in done.stderr
    assert not file.exists()


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    done = command(tmp_path, "add-user", "alice", said=PASSWORD.encode())
    assert done.returncode == 78 and done.stderr.count(b"\n") == 1 and b"Is a directory" in done.stderr


def at_terminal(argv: Sequence[str], answers: Sequence[str]) -> tuple[int, str]:
    """Return the exit status of *argv* and its output on a terminal; *answers* are typed when it asks."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(argv[0], argv, ENVIRONMENT)
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
    argv = [*COMMAND, *on_users(file, "add-user", "alice")]
    status, shown = at_terminal(argv, [PASSWORD, "a slip of mine", PASSWORD, PASSWORD])
    assert status == 0, shown
    assert shown.count("Password: ") == shown.count("Once more: ") == 2 and "the passwords differ" in shown
    assert PASSWORD not in shown and "slip" not in shown
    assert users.read(file)["alice"].role is Role.VIEWER


def test_check_config_reads_the_users_file_too(file: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'http.users_file = "{file}"\n')
    done = run("check-config", config)
    assert done.returncode == 78 and "there is no such file" in done.stderr
    users.add(file, "alice", Role.VIEWER, PASSWORD)
    assert run("check-config", config).returncode == 0


def test_check_config_reads_the_secret_of_the_webhook_too(tmp_path: Path) -> None:
    config, secret = tmp_path / "config.toml", tmp_path / "secret"
    config.write_text(f'[events]\nwebhook_url = "http://127.0.0.1:9/"\nwebhook_secret_file = "{secret}"\n')
    done = run("check-config", config)
    assert done.returncode == 78 and f"events.webhook_secret_file: {secret}: No such file" in done.stderr
    secret.write_text("do not tell")
    assert run("check-config", config).returncode == 0


# a card of $2, full behind two users; then the command, and what is there after it
ON_A_FULL_CARD = r"""
mount -t tmpfs -o "$2" tmpfs "$1"
cp "$0" "$1/users"
cat /dev/zero >"$1/pictures" 2>/dev/null || true
full=$1
shift 2
echo "correct horse battery" | "$@" || echo "status $?"
cmp "$0" "$full/users"
ls -A "$full"
"""


@pytest.mark.parametrize("size", ["size=8k", "nr_inodes=3,size=1m"])
@pytest.mark.parametrize("command", ["add-user", "remove-user"])
def test_on_a_full_card_the_file_of_users_stays_and_is_named(command: str, size: str, tmp_path: Path) -> None:
    alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a mount namespace")
    before, card, config = tmp_path / "users", tmp_path / "card", tmp_path / "config.toml"
    for name in ("alice", "bob"):
        users.add(before, name, Role.VIEWER, PASSWORD)
    card.mkdir()
    config.write_text(f'[http]\nusers_file = "{card / "users"}"\n')
    asked = [*COMMAND, command, "bob", "--config", config]
    argv = [*alone, "sh", "-ec", ON_A_FULL_CARD, before, card, size, *asked]
    done = subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == f"pi-cam-daemon: {card / 'users'}: No space left on device\n"
    assert done.stdout.split() == ["status", "1", "pictures", "users"]
