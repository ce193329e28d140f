"""More hosts: what each costs, and what that says of a thousand. Runs with --soak only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Report
from tests.fleet.conftest import Controller, Pi
from tests.fleet.releases import Releases
from tests.systemd import hosts

MOST = 12


@pytest.fixture
def crowd(lab: Path, deployed: Controller, releases: Releases, tmp_path: Path) -> Iterator[Controller]:
    """The controller with as many hosts as two cores carry; only the first four have the daemon."""
    key = (deployed.folder / "id_ed25519.pub").read_text()
    with contextlib.ExitStack() as stack:
        made = list(deployed.pis.values())
        for number in range(len(made) + 1, MOST + 1):
            pi = Pi(hosts.SUITES[number % 2 - 1], number, tmp_path / f"pi{number}", lab, key)
            stack.callback(pi.close)
            pi.boot()
            made.append(pi)
        controller = Controller(deployed.folder, made, "newest")
        controller.user = "root"
        controller.artefact = deployed.artefact
        releases.give_libraries(made)
        controller.trust_hosts()
        yield controller
    deployed.trust_hosts()


def test_what_a_host_costs_does_not_grow_with_their_number(crowd: Controller, report: Report) -> None:
    crowd.deploys()
    names = list(crowd.own)
    seconds = {}
    for number in (1, 4, MOST):
        for rotation in (90, 0):
            crowd.own = {name: {"pi_cam_daemon_rotation": rotation} for name in names[:number]}
            play = crowd.deploys("-e", '{"rollout_batches": ["100%"]}')
        seconds[number] = play.seconds
    for number, wall in seconds.items():
        report(f"new settings on {number} hosts: {wall:.1f} s, {wall / number:.2f} s a host")
    each = (seconds[MOST] - seconds[1]) / (MOST - 1)
    report(f"{each:.2f} s for each further host; 1,000 hosts at this rate: {(seconds[1] + 999 * each) / 60:.0f} min")
    assert seconds[MOST] / MOST <= seconds[1], "a host among many costs more than one alone"
