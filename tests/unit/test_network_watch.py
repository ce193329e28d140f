"""A lost network and the times at which something is done; tests/systemd has NetworkManager do it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pi_cam_daemon.boot import network_watch
from pi_cam_daemon.boot.network_watch import MEND_SECONDS, REBOOT_SECONDS

PERIOD = 120.0
WISH = "run/pi-cam-daemon-network/reboot-requested"


class Machine:
    """A machine whose network a test takes away. Its clock stands still in between the looks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problem = ""
        self.seconds = 1000.0
        self.mended: list[float] = []
        self.may_reboot = True

    def look(self) -> None:
        network_watch.run(
            self.root,
            look=lambda: self.problem,
            mend=lambda: self.mended.append(self.seconds),
            may_reboot=lambda: self.may_reboot,
            now=lambda: self.seconds,
        )

    def pass_seconds(self, seconds: float) -> None:
        for _ in range(int(seconds / PERIOD)):
            self.seconds += PERIOD
            self.look()

    @property
    def wishes_a_reboot(self) -> bool:
        return (self.root / WISH).exists()

    def report(self) -> str:
        return network_watch.report(self.root)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that had a network once."""
    machine = Machine(tmp_path)
    machine.look()
    return machine


def test_a_network_that_stays_lost_is_started_anew_every_ten_minutes(machine: Machine) -> None:
    machine.problem = "no address"
    machine.look()
    machine.pass_seconds(MEND_SECONDS - PERIOD)
    assert machine.mended == []
    machine.pass_seconds(2 * MEND_SECONDS)
    assert [seconds - 1000.0 for seconds in machine.mended] == [600.0, 1200.0]


def test_a_network_that_never_was_there_is_left_alone(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.problem = "no address"
    machine.pass_seconds(2 * REBOOT_SECONDS)
    assert (machine.mended, machine.wishes_a_reboot, machine.report()) == ([], False, "")


def test_a_network_that_worked_at_an_earlier_boot_counts(machine: Machine) -> None:
    machine.problem = "no address"
    machine.seconds = 30.0
    machine.pass_seconds(MEND_SECONDS + PERIOD)
    assert len(machine.mended) == 1


def test_a_reboot_is_asked_for_after_half_an_hour_until_the_network_is_back(machine: Machine) -> None:
    machine.problem = "no address"
    machine.look()
    machine.pass_seconds(REBOOT_SECONDS - PERIOD)
    assert not machine.wishes_a_reboot
    machine.pass_seconds(PERIOD)
    assert machine.wishes_a_reboot
    assert machine.report().endswith("no address; it was started anew; a reboot is asked for")
    machine.problem = ""
    machine.pass_seconds(PERIOD)
    assert not machine.wishes_a_reboot


def test_a_reboot_is_not_asked_for_unless_its_owner_wants_that(machine: Machine) -> None:
    machine.may_reboot = False
    machine.problem = "no address"
    machine.pass_seconds(2 * REBOOT_SECONDS)
    assert machine.mended and not machine.wishes_a_reboot


def test_a_loss_is_told_in_the_same_words_until_something_is_done(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert machine.report() == ""
    machine.problem = "the router 192.0.2.1 does not answer"
    machine.look()
    told = machine.report()
    assert told.startswith("lost since ") and told.endswith(": the router 192.0.2.1 does not answer")
    machine.pass_seconds(2 * PERIOD)
    assert machine.report() == told
    machine.problem = ""
    machine.pass_seconds(PERIOD)
    assert machine.report().endswith("for 6 minutes, and came back by itself")
    said = capsys.readouterr().out.splitlines()
    assert [line[:19] for line in said] == ["the network is lost", "the network was los"]


def test_a_second_loss_begins_anew(machine: Machine) -> None:
    for _ in range(2):
        machine.problem = "no address"
        machine.look()
        machine.pass_seconds(MEND_SECONDS)
        machine.problem = ""
        machine.pass_seconds(PERIOD)
    assert len(machine.mended) == 2
    assert machine.report().endswith("and came back after it was started anew")


def test_the_routers_of_this_machine_are_read_from_the_kernels_table() -> None:
    table = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t010200C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0
wlan0\t000200C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0
"""
    assert network_watch.default_routers(table) == [("wlan0", bytes([192, 0, 2, 1])), ("ppp0", bytes(4))]
