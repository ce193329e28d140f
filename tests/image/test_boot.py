"""A card in a machine, as the person who switches it on finds it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Report
from tests.image import machine
from tests.image.conftest import Running
from tests.image.machine import BOOT_SECONDS, COMMAND_SECONDS, SETTINGS, Machine
from tests.kit.wait import until


def status(pi: Machine) -> str:
    pi.sh("pi-cam-daemon boot-status")
    return pi.sh("cat /boot/firmware/pi-cam-status.txt")


def test_the_first_boot_gives_pictures(first_boot: Running, report: Report) -> None:
    report(f"first picture {first_boot.seconds_to_picture:.0f} s after the switch")
    pi = first_boot.machine
    for unit in ("pi-cam-daemon", "pi-cam-daemon-boot"):
        report(f"{unit}: {pi.sh(f'systemctl show -p CPUUsageNSec --value {unit}')[:-9] or '0'} s of the processor")
    assert pi.get("/livez")[0] == 200
    # the image lacks picamera2, and is not allowed to the network
    assert pi.get("/healthz")[0] == 503, "the test picture is no camera"
    assert "picamera2, for cameras on the ribbon connector" in pi.state()["hint"]


def test_only_units_that_need_the_network_failed(first_boot: Running) -> None:
    failed = {line.split()[0] for line in first_boot.machine.sh("systemctl --failed --plain --no-legend").splitlines()}
    assert failed <= {"pi-cam-daemon-first-boot.service"}


def test_the_camera_has_a_name_and_announces_itself(first_boot: Running) -> None:
    pi = first_boot.machine
    assert pi.sh("hostname; cat /etc/hostname") == "picam-123456\npicam-123456"
    assert "<type>_pi-cam._tcp</type>" in pi.sh("cat /etc/avahi/services/pi-cam-daemon.service")
    until("avahi", lambda: pi.sh("systemctl is-active avahi-daemon || true") == "active", BOOT_SECONDS)
    assert "pi-cam-daemon.service) successfully established" in until(
        "the announcement",
        lambda: pi.sh("journalctl -q -o cat -u avahi-daemon | grep established || true"),
        BOOT_SECONDS,
    )


def test_the_login_screen_shows_the_address(first_boot: Running) -> None:
    shown = first_boot.machine.sh("""python3 -c "import pty; pty.spawn(['agetty', '--show-issue'])" """)
    assert "http://picam-123456.local:8000/" in shown and "http://10.0.2.15:8000/" in shown


def test_the_status_file_reports_the_addresses_and_the_camera(first_boot: Running) -> None:
    text = status(first_boot.machine)
    assert "http://10.0.2.15:8000/" in text and "http://picam-123456.local:8000/" in text
    assert "Camera    No camera: " in text and "in use as in pi-cam.toml" in text


def test_nobody_can_log_in_and_ssh_is_off(first_boot: Running) -> None:
    pi = first_boot.machine
    assert pi.sh("systemctl is-active ssh || true") == "inactive"
    assert pi.sh("cut -d: -f2 /etc/shadow | sort -u | tr -d '!*'") == ""


def test_optional_units_stay_off_and_updates_wait_for_an_address(first_boot: Running) -> None:
    pi = first_boot.machine
    assert pi.sh("systemctl is-enabled pi-cam-daemon.socket pi-cam-daemon-reboot.path || true") == "disabled\ndisabled"
    assert pi.sh("systemctl is-enabled pi-cam-daemon-update.timer") == "enabled"
    assert pi.sh("systemctl is-enabled pi-cam-daemon-record.service") == "enabled"
    assert pi.sh("systemctl is-active pi-cam-daemon-boot-status.timer pi-cam-daemon-network.timer") == "active\nactive"


def test_the_journal_and_the_rule_for_heaps_are_in_force(first_boot: Running) -> None:
    # there are no heaps: the rule gets /dev/full
    questions = {
        # nobody asks for one here, and Raspberry Pi OS does
        "watchdog": "systemctl show --value -p RuntimeWatchdogUSec",
        "journal": "ls -d /var/log/journal/* /run/log/journal/* 2>/dev/null | cut -d / -f 2",
        "rule": r"""mkdir -p /run/udev/rules.d; cd /usr/local/lib/udev/rules.d
            sed 's/"dma_heap"/"mem", KERNEL=="full"/' 60-pi-cam-daemon.rules >/run/udev/rules.d/60-pi-cam-daemon.rules
            udevadm control --reload; udevadm trigger --settle /dev/full; stat -c '%G %a' /dev/full""",
    }
    answers = {name: first_boot.machine.sh(question) for name, question in questions.items()}
    assert answers == {"watchdog": "0", "journal": "run", "rule": "video 660"}


RECORDER = "pi-cam-daemon-record"


@pytest.fixture
def recorder(first_boot: Running) -> Iterator[None]:
    """A recorder that waits for something to happen."""
    pi, layer = first_boot.machine, f"/run/systemd/system/{RECORDER}.service.d/clips.conf"
    command = "/opt/pi-cam-daemon/current/bin/pi-cam-daemon record --set recordings.clips=true"
    pi.send(layer, f"[Service]\nExecStart=\nExecStart={command}\n".encode())
    pi.sh(f"systemctl daemon-reload; systemctl restart {RECORDER}")
    yield
    pi.sh(f"rm {layer}; systemctl daemon-reload; systemctl stop {RECORDER}")


@pytest.mark.usefixtures("recorder")
def test_a_card_that_streams_is_not_written_to(first_boot: Running, soak: bool, report: Report) -> None:
    pi, seconds = first_boot.machine, 600 if soak else 40
    asked = f"systemctl show -p StatusText --value {RECORDER}"
    until("the recorder waits", lambda: pi.sh(asked).startswith("Waiting"), BOOT_SECONDS)
    # it tries to reach the network, which is not what this is about
    pi.sh("systemctl stop pi-cam-daemon-first-boot; pi-cam-daemon boot-status; pi-cam-daemon boot-status")
    # its first look at a network that works is remembered
    pi.sh("systemctl start pi-cam-daemon-network")
    # nor what a new ext4 does of itself for a while
    pi.sh("mount -o remount,noinit_itable /; sync")
    viewer = pi.watch()
    # the seventh field of Documentation/block/stat.rst: sectors written
    boot, root = ("awk '{ print $7 }' /sys/block/vda/" + part for part in ("vda1/stat", "vda2/stat"))
    timers = "systemctl start pi-cam-daemon-boot-status pi-cam-daemon-network"
    # not of the FAT, where to sync is to write; what its files' readers leave comes half a minute later
    script = f"touch /run/began; sync -f /; {boot}; {root}; {timers}; sleep {seconds}; {boot}; sync -f /; {root}"
    boot_before, root_before, boot_after, root_after = map(int, pi.sh(script, seconds + COMMAND_SECONDS).split())
    assert viewer.finish()
    written = (boot_after - boot_before, root_after - root_before)
    report(f"{sum(written)} sectors in {seconds} s")
    assert written == (0, 0), pi.sh("find / /boot/firmware -xdev -newer /run/began")


def test_a_full_card_boots_and_streams(first_boot: Running) -> None:
    pi = first_boot.machine
    pi.sh("dd if=/dev/zero of=/filled bs=4M 2>/dev/null || true; sync")
    try:
        assert "No space" in pi.sh("dd if=/dev/zero of=/other bs=4k count=9 2>&1 || rm /other")
        pi.sh("systemctl restart pi-cam-daemon-boot pi-cam-daemon")
        until("pictures", pi.gives_pictures, BOOT_SECONDS)
        assert "Card      full" in status(pi)
    finally:
        pi.sh("rm /filled")


def test_packages_that_came_with_the_card_are_installed_without_a_network(offline: Running) -> None:
    pi = offline.machine
    ended = "systemctl is-active pi-cam-daemon-first-boot || true"
    until("the end of it", lambda: pi.sh(ended) == "inactive", BOOT_SECONDS)
    assert pi.sh("dpkg-query -W -f '${db:Status-Status}' python3-picamera2") == "installed"
    assert pi.sh("ls /var/lib | grep pi-cam-daemon-first-boot || true") == ""
    assert "Setup" not in status(pi)
    until("a camera process that met it", lambda: "this one is a test" in str(state(pi)), BOOT_SECONDS)


def test_two_cards_have_different_identities(first_boot: Running, offline: Running) -> None:
    identities = [identity(pi.machine) for pi in (first_boot, offline)]
    assert [names[0] for names in identities] == ["picam-123456", "picam-abcdef"]
    assert not set(identities[0]) & set(identities[1])


def identity(pi: Machine) -> list[str]:
    """Return the machine's name, machine-id and ssh key; pictures may come before that key."""
    ask = "hostname; cat /etc/machine-id; cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub 2>/dev/null || true"
    names: list[str] = until(
        "a key", lambda: lines if len(lines := pi.sh(ask).splitlines()) == 3 else None, BOOT_SECONDS
    )
    return names


def test_settings_edited_on_a_pc_are_in_force_after_the_next_boot(offline: Running) -> None:
    pi = offline.machine
    assert pi.get("/")[0] == 403
    camera = until("a camera", lambda: state(pi).get("camera"), BOOT_SECONDS)
    assert (camera["width"], camera["height"]) == (240, 320)
    status(pi)
    pi.sh("sync -f /boot/firmware")
    (text,) = machine.boot_files(offline.card, "pi-cam-status.txt")
    assert "in use as in pi-cam.toml.txt" in text and "pi-cam.toml is ignored because there is" in text

    # now one that is wrong: the last good one stays, and the card says so
    path = "/boot/firmware/pi-cam.toml.txt"
    pi.sh(f"cp {path} /root/right")
    pi.send(path, b"[video]\nrotation = 91\n")
    boot_again(pi)
    assert pi.get("/")[0] == 403
    assert "rotation = 90" in pi.sh("pi-cam-daemon config")
    text = status(pi)
    assert "pi-cam.toml.txt: video.rotation: 91 cannot be used" in text
    assert "The last correct settings are in use" in text
    pi.sh(f"cp /root/right {path}")


def boot_again(pi: Machine) -> None:
    """Run the units of a boot that read settings: with wrong ones one unit fails, and the other starts."""
    pi.sh("systemctl restart pi-cam-daemon-boot || true; systemctl restart pi-cam-daemon")
    until("a camera", lambda: state(pi).get("camera"), BOOT_SECONDS)


def test_users_of_the_card_log_in_and_their_passwords_leave_it(offline: Running) -> None:
    pi, path = offline.machine, "/boot/firmware/pi-cam.toml.txt"
    pi.send(path, f'{SETTINGS}[viewers]\nanna = "a tall ship"\n'.encode())
    for _ in range(2):
        # at the second one the password is gone
        boot_again(pi)
        assert pi.get("/snapshot")[0] == 401
        assert pi.get("/snapshot", login="anna:a tall ship")[0] == 200
        assert pi.get("/snapshot", login="anna:another ship")[0] == 401
        assert 'anna = ""' in pi.sh(f"cat {path}")
    assert "tall ship" not in pi.sh("cat /boot/firmware/*.t*t; pi-cam-daemon config; journalctl -q -b -o cat")


def state(pi: Machine) -> dict[str, Any]:
    """Return /state as the machine itself sees it, which is always allowed; empty without an answer."""
    ask = "import json, urllib.request as r; print(json.load(r.urlopen('http://localhost:8000/state')))"
    table: dict[str, Any] = ast.literal_eval(pi.sh(f'python3 -c "{ask}" 2>/dev/null || true') or "{}")
    return table
