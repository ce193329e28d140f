"""Run a card as in a Pi: QEMU emulates an arm64 machine with the card's image as its disk."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.kit.wait import until
from tests.kit.wire import Reading, Viewer, ask

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pi-cam-daemon" / "image"
# half a minute on two idle cores, and twenty times that beside much other work
BOOT_SECONDS = 1800.0
COMMAND_SECONDS = 600.0
# the card, as a partition table has it: bootfs begins at 4 MiB, rootfs follows
BOOT_START, SECTOR = 8192, 512
SETTINGS = "[video]\nwidth = 320\nheight = 240\nframerate = 5\n"
_ARGUMENTS = (
    "console=ttyAMA0 quiet loglevel=3 systemd.show_status=0 audit=0 mitigations=off "
    # what a Pi does in a second takes many here
    "systemd.default_timeout_start_sec=1800s systemd.default_device_timeout_sec=1800s"
)


class Machine:
    """A machine that runs with *card* in it until `close`.

    *mac* is its address; *linked*: the network cable is in; *spare*: a second disk, read-only; *clock*: its date.
    """

    def __init__(
        self, card: Path, folder: Path, mac: str = "52:54:00:12:34:56", linked: bool = True, spare: Path | None = None,
        clock: str = "utc",
    ) -> None:  # fmt: skip
        self.card = card
        self._serial = folder / "serial.log"
        self._serial.unlink(missing_ok=True)
        self.monitor = folder / "monitor"
        self.monitor.unlink(missing_ok=True)
        self.http, self.shell = _free_ports(2)
        self.began = time.monotonic()
        drive = f"file={spare},format=raw,if=none,id=spare,readonly=on"
        spares = ["-drive", drive, "-device", "virtio-blk-pci,drive=spare"] if spare else []
        forward = f"hostfwd=tcp:127.0.0.1:{self.http}-:8000,hostfwd=tcp:127.0.0.1:{self.shell}-:2222"
        self.process = subprocess.Popen(
            ["qemu-system-aarch64", "-M", "virt", "-cpu", "max,pauth=off,sve=off,sme=off", "-smp", "2", "-m", "512",
             "-accel", "tcg,thread=multi,tb-size=256", "-display", "none", "-no-reboot",
             "-rtc", f"base={clock}",
             "-serial", f"file:{self._serial}", "-monitor", f"unix:{self.monitor},server=on,wait=off",
             "-kernel", CACHE / "kernel", "-initrd", CACHE / "initrd", "-append", _ARGUMENTS,
             "-drive", f"file={card},format=raw,if=none,id=card,cache=writeback",
             "-device", "virtio-blk-pci,drive=card",
             "-netdev", f"user,id=net,restrict=on,{forward}",
             "-device", f"virtio-net-pci,id=nic,netdev=net,mac={mac},romfile=", "-device", "virtio-rng-pci", *spares],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if not linked:
            self.link(False)

    def said(self) -> str:
        """Return what the machine has written to its serial line, nothing before QEMU runs."""
        return self._serial.read_text(errors="replace") if self._serial.exists() else ""

    def has_booted(self) -> bool:
        return "the rig is up" in self.said()

    # -- the cable and the plug

    def link(self, on: bool) -> None:
        """Plug the network cable in or out."""
        self._tell(f"set_link nic {'on' if on else 'off'}")

    def stand_still(self) -> None:
        """Stop the machine's time, because even an idle machine takes a tenth of a core."""
        self._tell("stop")

    def go_on(self) -> None:
        self._tell("cont")

    def _tell(self, command: str) -> None:
        """Send a command to QEMU's monitor."""
        until("QEMU's monitor", self.monitor.exists)
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self.monitor))
            monitor.sendall(f"{command}\n".encode())
            monitor.settimeout(60)
            answer = b""
            while answer.count(b"(qemu)") < 2:
                answer += monitor.recv(4096)

    def cut_power(self) -> None:
        """End the machine at once; data that it had not written is lost."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.cut_power()

    # -- root in it

    def sh(self, script: str, seconds: float = COMMAND_SECONDS) -> str:
        """Run a script in the rig's shell and return its output; fail if the script fails."""
        with socket.create_connection(("127.0.0.1", self.shell), 10) as connection:
            connection.settimeout(seconds)
            connection.sendall(f"set -e\ntrap 'echo \"status $?\"' EXIT\n{script}\n".encode())
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode("utf-8", "replace")
        output, found, status = answer.rpartition("status ")
        if not found:
            raise OSError(f"the shell ended early: {answer}")
        assert status.strip() == "0", f"{script}\n{output}"
        return output.rstrip("\n")

    def send(self, path: str, data: bytes) -> None:
        """Write a file into the machine."""
        text = subprocess.run(["base64"], input=data, capture_output=True, check=True).stdout.decode()
        self.sh(f"mkdir -p $(dirname {path})\nbase64 -d >{path} <<'DATA'\n{text}DATA\n")

    def wait_for_shell(self) -> None:
        def answers() -> bool:
            self.must_run()
            try:
                return self.sh("echo here", 30) == "here"
            except OSError:
                return False

        until("a shell", answers, BOOT_SECONDS)

    def must_run(self) -> None:
        assert self.process.poll() is None, f"QEMU ended: {self.said()[-2000:]}"

    # -- a viewer outside

    def get(self, path: str, timeout: float = 60.0, login: str = "") -> tuple[int, bytes]:
        """Return status and body; *login* is a user's name and password with a colon in between."""
        basic = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", headers=basic)
        status, _, body = ask(request, timeout)
        return status, body

    def state(self) -> dict[str, Any]:
        table: dict[str, Any] = json.loads(self.get("/state")[1])
        return table

    def gives_pictures(self) -> bool:
        self.must_run()
        try:
            return self.get("/snapshot")[0] == 200
        except (OSError, ValueError):
            return False

    def wait_for_pictures(self, seconds: float = BOOT_SECONDS) -> float:
        """Return the seconds from switching on to the first picture."""
        until("pictures", self.gives_pictures, seconds)
        return time.monotonic() - self.began

    def watch(self) -> Reading:
        sock = socket.create_connection(("127.0.0.1", self.http), 60)
        sock.sendall(b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return Reading(Viewer(sock))


def copy(card: Path, to: Path) -> Path:
    """Copy the card."""
    subprocess.run(["cp", "--sparse=always", card, to], check=True)
    return to


def flash(image: Path, card: Path) -> Path:
    """Make a new card, set to test pictures that an emulated processor draws easily."""
    copy(image, card)
    put_boot_file(card, "pi-cam.toml", SETTINGS.encode())
    return card


def boot_files(card: Path, *names: str) -> list[str]:
    """Return files of the card's boot partition, as a PC reads them."""
    return [_mtools(card, "mtype", f"::/{name}").decode("utf-8-sig") for name in names]


def put_boot_file(card: Path, name: str, data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as source:
        source.write(data)
        source.flush()
        _mtools(card, "mcopy", "-o", source.name, f"::/{name}")


def _mtools(card: Path, tool: str, *arguments: str) -> bytes:
    argv = [tool, *arguments[:-2], "-i", f"{card}@@{BOOT_START * SECTOR}", *arguments[-2:]]
    return subprocess.run(argv, check=True, capture_output=True, env={**os.environ, "MTOOLS_SKIP_CHECK": "1"}).stdout


def debugfs(card: Path, *commands: str) -> str:
    """Return debugfs' output for *commands* on the card's root file system."""
    start, _ = _root_place(card)
    done = subprocess.run(
        ["debugfs", "-w", "-f", "-", f"{card}?offset={start}"], input="\n".join(commands), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return done.stdout


def root(card: Path, folder: Path) -> Path:
    """Return a copy of the card's root file system in *folder*, with its journal replayed as every boot does first."""
    start, size = _root_place(card)
    root = folder / "root.ext4"
    with card.open("rb") as source, root.open("wb") as target:
        source.seek(start)
        target.truncate(size)
        for at in range(0, size, 1 << 20):
            data = source.read(1 << 20)
            if data.count(0) != len(data):
                target.seek(at)
                target.write(data)
    # -p replays the journal; it would also mend, and 1 says that it did
    subprocess.run(["e2fsck", "-E", "journal_only", "-p", root], check=False, capture_output=True)
    return root


def check(root: Path) -> str:
    """Return the errors that e2fsck finds in the file system *root*; empty if none."""
    done = subprocess.run(["e2fsck", "-fn", root], check=False, capture_output=True, text=True)
    return done.stdout if done.returncode else ""


def take_out(root: Path, inside: str, folder: Path) -> Path:
    """Copy the folder *inside* of the file system *root* into *folder*, a new one; return where it is."""
    folder.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump {inside} {folder}", root], check=True, capture_output=True)
    return folder / Path(inside).name


def _root_place(card: Path) -> tuple[int, int]:
    table = json.loads(subprocess.run(["sfdisk", "-J", card], check=True, capture_output=True).stdout)
    root = table["partitiontable"]["partitions"][1]
    return root["start"] * SECTOR, root["size"] * SECTOR


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]
