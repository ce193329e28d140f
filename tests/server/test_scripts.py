"""On a machine that has nothing yet, `scripts/run` sets everything up and streams."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.daemon import ROOT
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.kit.wire import ask

# as a person at a new machine has it: nothing of the test's own Python
ENVIRONMENT = {
    key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV", "STATE_DIRECTORY")
}


def clone(folder: Path) -> Path:
    """Copy this checkout as a git clone would have it: without virtual environment and caches."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone(tmp_path_factory.mktemp("fresh") / "pi_cam_daemon")


def lines_until_hint(checkout: Path, elsewhere: Path) -> Iterator[str]:
    """Start `scripts/run` in a terminal; yield what it prints until it says what to open; look there, then stop it."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [checkout / "scripts" / "run", "--set", "http.port=0"],
        cwd=elsewhere,
        env=ENVIRONMENT,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    with os.fdopen(ours) as terminal:
        try:
            for line in terminal:
                yield line
                if line.startswith("pi-cam-daemon: open "):
                    break
            address = re.findall(r"http://localhost:\d+/", line)[0]
            with urllib.request.urlopen(address, timeout=10) as answer:
                assert b"<html" in answer.read()
            until("a picture", lambda: ask(address + "snapshot")[2][:2] == b"\xff\xd8")
            process.send_signal(signal.SIGINT)  # Ctrl-C
            assert process.wait(patience(5)) == 0
        finally:
            process.kill()
            process.wait(patience(5))


def test_scripts_run_sets_everything_up_once_and_streams(checkout: Path, tmp_path: Path) -> None:
    first = "".join(lines_until_hint(checkout, tmp_path))
    steps = (
        "setting up, about a minute",
        "installing the Python packages",
        ": http://localhost",
        "pi-cam-daemon: open http://",
    )
    assert re.search(".*".join(map(re.escape, steps)), first, re.DOTALL)
    assert re.search("in a browser.*; Ctrl.C stops the camera\n$", first)
    # of pip's own words there are none
    assert [word for word in ("Obtaining", "Collecting", "DEPRECATION") if word in first] == []
    second = "".join(lines_until_hint(checkout, tmp_path))
    assert "setting up" not in second


def test_ctrl_c_while_it_is_set_up_ends_with_one_line(tmp_path: Path) -> None:
    fresh = clone(tmp_path / "pi_cam_daemon")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(patience(60))
        port = silent.getsockname()[1]
        process = subprocess.Popen(
            [fresh / "scripts/run"],
            env=ENVIRONMENT | {"PIP_INDEX_URL": f"http://127.0.0.1:{port}/", "PIP_CONFIG_FILE": os.devnull},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        with silent.accept()[0]:  # pip asks for a package
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl+C
            said = process.communicate(timeout=patience(20))[0]
    assert process.returncode == -signal.SIGINT
    assert said.splitlines()[-1] == "run: interrupted; start it again"
    assert [line for line in said.splitlines() if not line.startswith("run: ")] == []


def make_venv(checkout: Path, env: dict[str, str], user: int | None = None) -> str:
    """Return what make_venv of lib.sh says, which has to fail."""
    script = f"set -euo pipefail; . {checkout}/scripts/lib.sh; make_venv $PWD/.venv '' no-such-package"
    done = subprocess.run(
        ["bash", "-c", script, "run"],
        env=ENVIRONMENT | env,
        stderr=subprocess.PIPE,
        text=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    assert done.returncode == 1
    return done.stderr


def test_a_first_start_without_internet_says_so_below_the_words_of_pip(tmp_path: Path) -> None:
    clone(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    environment = {
        "PIP_INDEX_URL": f"http://127.0.0.1:{port}/",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_RETRIES": "1",
    }
    *_, pip, said = make_venv(tmp_path, environment).splitlines()
    assert pip == "ERROR: No matching distribution found for no-such-package"
    assert said.startswith("run: the internet could not be reached, and the first start needs it")


def test_a_folder_that_root_has_set_up_says_how_to_give_it_back() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to make the folder and then be somebody else")
    nobody = 65534
    with tempfile.TemporaryDirectory() as name:  # in /tmp: nobody may not enter the folders of pytest
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "scripts").mkdir(mode=0o755)
        shutil.copy(ROOT / "scripts/lib.sh", folder / "scripts")
        (folder / ".venv.lock").touch()
        said = make_venv(folder, {}, nobody)
        who = pwd.getpwuid(nobody).pw_name
        assert said == (
            f"run: {folder} belongs to root, who set up this folder; run `sudo chown -R {who} {folder}`, "
            "or start this with sudo\n"
        )
        os.chown(folder, nobody, nobody)
        assert f"run: {folder}/.venv.lock belongs to root" in make_venv(folder, {}, nobody)


# its /sys and its packages of the system's Python are the test's own; then the program it is given
AS_A_PI = """
mount --make-rprivate / && mount --bind "$PI/sys" /sys && mount --bind "$PI/packages" /usr/lib/python3/dist-packages
exec "$@"
"""
# an ordinary user's: what Debian's say and do that scripts/run looks at
PROGRAMS = {
    "id": "echo 1000",
    "dpkg-query": 'echo >>"$PI/asked"; [ -e "$PI/installed/$4" ] && echo install ok installed',
    "sudo": """
        case $1 in
            -n) [ -e "$PI/ticket" ] ;;
            -v) read -r password && [ "$password" = right ] && touch "$PI/ticket" ;;
            *) exec "$@" ;;
        esac""",
    "apt-get": """
        case " $* " in *" install "*) ;; *) exit ;; esac
        echo dlstatus:1:50.0000:Retrieving file 1 of 2
        cp -r "$PI/repository/." "$PI/packages"
        touch "$PI/installed/python3-picamera2" "$PI/installed/libturbojpeg0"
        echo pmstatus:python3-picamera2:80.0000:Installed python3-picamera2""",
}
COMMAND = "sudo apt install --no-install-recommends python3-picamera2"
GOES_ON = "setting up"


@dataclass(frozen=True)
class Started:
    """A running `scripts/run`. *terminal* is what is typed for it."""

    process: subprocess.Popen[bytes]
    log: Path
    terminal: int

    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str, seconds: float = 20) -> None:
        until(f"{text!r}", lambda: text in self.said() or self.process.poll() is not None, seconds)
        assert text in self.said()

    def interrupt(self) -> int:
        os.killpg(self.process.pid, signal.SIGINT)  # as Ctrl-C
        return self.process.wait(patience(10))


class Pi:
    """A Raspberry Pi without picamera2, as scripts/run sees it: *folder* is mounted over parts of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkout = clone(folder / "pi_cam_daemon")
        self.sensor = folder / "sys/class/video4linux/v4l-subdev0"
        for name in ("bin", "packages", "installed", "repository", "sys/firmware/devicetree/base"):
            (folder / name).mkdir(parents=True)
        (folder / "sys/firmware/devicetree/base/model").write_text("Raspberry Pi 4 Model B Rev 1.5\0")
        for name, script in PROGRAMS.items():
            (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / "bin" / name).chmod(0o755)
        (folder / "repository/picamera2.py").touch()

    def install(self) -> None:
        """Do what the user does who reads the hint on the page."""
        subprocess.run(
            [self.folder / "bin/apt-get", "install"],
            env={"PI": str(self.folder), "PATH": os.environ["PATH"]},
            check=True,
        )

    @contextlib.contextmanager
    def starts(self, *arguments: str, terminal: bool = False) -> Iterator[Started]:
        """Start `scripts/run`; with *terminal* somebody sits at it."""
        ours, its = os.openpty()
        log = self.folder / "log"
        environment = ENVIRONMENT | {
            "PI": str(self.folder),
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "PYTHONUSERBASE": str(self.folder / "home"),
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-ec", AS_A_PI, "sh", self.checkout / "scripts/run", *arguments],
                cwd=self.folder,
                env=environment,
                stdin=its if terminal else subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield Started(process, log, ours)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(patience(5))
            os.close(ours)
            os.close(its)
            print(log.read_text())


@pytest.fixture
def pi(tmp_path: Path) -> Pi:
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount what a Pi has")
    return Pi(tmp_path)


@pytest.fixture
def pi_with_camera(pi: Pi) -> Pi:
    pi.sensor.mkdir(parents=True)
    return pi


def test_a_virtual_environment_follows_apts_numpy_when_picamera2_comes(pi: Pi) -> None:
    python = ["/usr/bin/python3", "-c", "import sys; print('{}.{}'.format(*sys.version_info))"]
    version = subprocess.run(python, check=True, capture_output=True, text=True).stdout.strip()
    # older than what pip would choose
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version",
        version,
    ]
    subprocess.run([*pip, "--target", pi.folder / "repository", "numpy==2.1.3"], check=True)
    # an earlier try with pip in the home
    numpy = pi.folder / f"home/lib/python{version}/site-packages/numpy/__init__.py"
    numpy.parent.mkdir(parents=True)
    numpy.write_text("raise ImportError('the numpy in the home')")
    installed = pi.checkout / f".venv/lib/python{version}/site-packages/numpy"
    streams = ("--set", "http.port=0", "--set", 'source.kind="pattern"')
    with pi.starts(*streams) as without:
        without.wait_for("INFO state: streaming", 120)
        assert COMMAND in without.said()
        assert installed.is_dir()
        assert without.interrupt() == 0
    pi.install()
    with pi.starts(*streams) as first:
        first.wait_for("INFO state: streaming", 120)
        assert GOES_ON in first.said()
        assert not installed.exists()
        assert first.interrupt() == 0
    with pi.starts(*streams) as second:
        second.wait_for("INFO state: streaming", 120)
        assert GOES_ON not in second.said()


def test_a_csi_camera_waits_until_picamera2_is_installed(pi_with_camera: Pi) -> None:
    with pi_with_camera.starts(terminal=True) as started:
        started.wait_for("sudo asks for your password")
        os.write(started.terminal, b"wrong\n")
        started.wait_for("waiting until it is installed")
        assert COMMAND in started.said()
        assert started.interrupt() == -signal.SIGINT
    with pi_with_camera.starts(terminal=True) as started:
        os.write(started.terminal, b"wrong\n")
        started.wait_for("waiting until it is installed")
        asked = pi_with_camera.folder / "asked"
        before = asked.stat().st_size
        until("it looks again and again", lambda: asked.stat().st_size > before + 1)
        assert GOES_ON not in started.said()
        pi_with_camera.install()
        started.wait_for(GOES_ON)


def test_picamera2_is_installed_with_the_password_and_shows_progress(pi_with_camera: Pi) -> None:
    with pi_with_camera.starts(terminal=True) as started:
        os.write(started.terminal, b"right\n")
        started.wait_for(GOES_ON)
        assert "run: installing python3-picamera2 libturbojpeg0\nrun: 50 % Retrieving file 1 of 2\n" in started.said()
        assert COMMAND not in started.said()


def test_sudo_that_asks_for_no_password_installs_without_a_terminal(pi_with_camera: Pi) -> None:
    (pi_with_camera.folder / "ticket").touch()
    with pi_with_camera.starts() as started:
        started.wait_for(GOES_ON)
        assert "password" not in started.said()
        assert (pi_with_camera.folder / "packages/picamera2.py").exists()


def test_without_a_terminal_a_csi_camera_without_picamera2_is_an_error(pi_with_camera: Pi) -> None:
    with pi_with_camera.starts() as started:
        assert started.process.wait(patience(20)) == 1
        assert COMMAND in started.said()
        assert "source.kind" in started.said()
        assert GOES_ON not in started.said()


@pytest.mark.parametrize("arguments", [("--set", 'source.kind="usb"'), ("--config", "pattern.toml")])
def test_whoever_asks_for_another_kind_does_not_wait_for_picamera2(
    pi_with_camera: Pi, arguments: tuple[str, str]
) -> None:
    (pi_with_camera.folder / "pattern.toml").write_text('[source]\nkind = "pattern"\n')
    with pi_with_camera.starts(*arguments, terminal=True) as started:
        started.wait_for(GOES_ON)
        assert "password" not in started.said()


def test_a_picamera2_that_is_not_apts_will_do(pi_with_camera: Pi) -> None:
    (pi_with_camera.folder / "packages/picamera2.py").touch()
    with pi_with_camera.starts() as started:
        started.wait_for(GOES_ON)


TESTS = """
from pathlib import Path

import pytest

def test_is_sound():
    pass

def test_fails_once():
    seen = Path(__file__).with_name("seen")
    if not seen.exists():
        seen.touch()
        raise AssertionError("the first time")

def test_fails_always():
    raise AssertionError("each time")

def test_is_left_out():
    pytest.skip("lacks a camera")
"""


def test_failed_tests_are_run_again_and_neither_flaky_nor_skipped_ones_are_hidden(checkout: Path) -> None:
    tier = checkout / "tests" / "unit"
    for file in filter(Path.is_file, tier.iterdir()):
        file.unlink()
    (tier / "test_ours.py").write_text(TESTS)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    argv = [checkout / "scripts" / "test", "unit"]
    done = subprocess.run(
        argv, env=environment | {"CI": "true"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    print(done.stdout)
    *told, last = done.stdout.splitlines()[-4:]
    assert set(told) == {
        "FLAKY tests/unit/test_ours.py::test_fails_once - AssertionError: the first time",
        "FAILED tests/unit/test_ours.py::test_fails_always - AssertionError: each time",
        "FAILED tests/unit/test_ours.py::test_is_left_out - Skipped: lacks a camera",
    }
    assert re.fullmatch(r"=+ 2 failed, 1 passed, 1 flaky in \d+\.\d\ds \(\d:\d\d:\d\d\) =+", last)
    assert done.returncode == 1


def test_the_scripts_wait_for_another_apt_that_fetches_the_package_lists(tmp_path: Path) -> None:
    """Its directories and its packages are the test's own, and whoever runs it is root."""
    folders = {name: tmp_path / name for name in ("Etc", "State", "Cache")}
    for folder in (folders["State"] / "lists/partial", folders["Cache"] / "archives/partial", folders["Etc"]):
        folder.mkdir(parents=True)
    status = tmp_path / "dpkg/status"
    status.parent.mkdir()
    status.touch()
    config = "".join(f'Dir::{name} "{folder}";\n' for name, folder in folders.items())
    (tmp_path / "apt.conf").write_text(f'{config}Dir::State::status "{status}";\n')
    (tmp_path / "id").write_text("#!/bin/sh\necho 0\n")
    (tmp_path / "id").chmod(0o755)
    environment = {**ENVIRONMENT, "APT_CONFIG": str(tmp_path / "apt.conf"), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = f"set -euo pipefail; . {ROOT}/scripts/lib.sh && apt_install nothing-of-that-name"
    with (folders["State"] / "lists/lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(["bash", "-c", script], env=environment, stderr=subprocess.PIPE, text=True)
        assert process.stderr
        said = list(itertools.takewhile(lambda line: "waiting for another apt to end" not in line, process.stderr))
        fcntl.lockf(lock, fcntl.LOCK_UN)
        rest = process.communicate(timeout=patience(30))[1]
    assert process.returncode == 1 and "fetching the package lists" in said[-1]
    assert "Could not get lock" not in rest and "Unable to locate package nothing-of-that-name" in rest
