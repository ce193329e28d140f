"""Runs that are killed at every task, apt, and the cost of more hosts. Runs with --soak only."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Report
from tests.fleet.conftest import Controller, Pi, Play
from tests.fleet.releases import Releases
from tests.kit.wait import until
from tests.systemd import hosts
from tests.systemd.test_install import Machine, package, repository

MOST = 12
# more than the Deploy play has; the run ends before
TASKS = 60


@pytest.mark.parametrize("brings", [False, True], ids=["settings", "release"])
def test_a_run_that_is_killed_at_any_task_is_repaired_by_the_next(
    brings: bool, deployed: Controller, releases: Releases, report: Report
) -> None:
    pi = deployed.pis["pi1"]
    killed = []
    for number in range(1, TASKS):
        if brings:
            deployed.artefact = releases.artefact(f"turn{number}")
        rotation = number % 2 * 180
        deployed.own = {"pi1": {"pi_cam_daemon_rotation": rotation}}
        with deployed.begun() as running:
            task = running.wait_for_tasks(number)
            if not task:
                break
            running.kill()
        killed.append(task)
        until("pictures", pi.serves, 60)
        deployed.deploys()
        assert not brings or pi.release().startswith(f"turn{number}-"), task
        assert pi.health()["release"] == pi.release(), task
        until(f"the rotation after {task}", lambda rotation=rotation: pi.shows(rotation))
    report(f"killed at {len(killed)} tasks: {'; '.join(killed)}")
    assert len(killed) >= 10


def test_on_a_raspberry_pi_picamera2_comes_by_apt(deployed: Controller, releases: Releases) -> None:
    pi = deployed.pis["pi4"]
    folder = pi.disk / "srv/apt"
    folder.mkdir(parents=True)
    package(folder, "python3-picamera2", "", {"usr/lib/python3/dist-packages/picamera2.py": ""})
    for path in [*(pi.disk / "etc/apt").rglob("*.list"), *(pi.disk / "etc/apt").rglob("*.sources")]:
        path.unlink()
    pi.write("/etc/rpi-issue", "Raspberry Pi reference\n")
    deployed.own = {"pi4": {}}
    deployed.artefact = releases.artefact("4")
    before = pi.trace()
    play = deployed.play("site.yml")
    assert play.status != 0 and "install python3-picamera2 yourself, or go without" in play.report("pi4")
    assert pi.trace() == before
    with repository(Machine(pi), "/srv/apt"):
        deployed.deploys()
        assert pi.run("dpkg-query", "-W", "-f", "${db:Status-Status}", "python3-picamera2") == "installed"
        assert pi.serves()
    pi.remove("/etc/rpi-issue")


@pytest.fixture
def crowd(lab: Path, deployed: Controller, releases: Releases, tmp_path: Path) -> Iterator[Controller]:
    """The controller with as many hosts as two cores carry; only the first four have the daemon."""
    key = (deployed.ssh / "id_ed25519.pub").read_text()
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


def measured(controller: Controller) -> tuple[Play, float]:
    """Deploy to all hosts at once; return the run and the controller's processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    play = controller.deploys("-e", '{"rollout_batches": ["100%"]}')
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return play, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_cost_of_a_host_does_not_grow_with_the_number_of_hosts(
    crowd: Controller, releases: Releases, report: Report
) -> None:
    crowd.deploys()
    names = list(crowd.own)
    seconds = {}
    for what in ("nothing", "settings", "release"):
        for turn, number in enumerate((1, 4, MOST)):
            if what == "settings":
                crowd.own = {name: {"pi_cam_daemon_rotation": 90 + turn * 90} for name in names[:number]}
            elif what == "release":
                crowd.artefact = releases.artefact(f"crowd{number}")
                crowd.own = {name: {"pi_cam_daemon_rotation": 270} for name in names[:number]}
            else:
                crowd.own = {name: {} for name in names[:number]}
            play, processor = measured(crowd)
            seconds[what, number] = play.seconds, processor
            report(
                f"{what} on {number} hosts: {play.seconds:.1f} s, {play.seconds / number:.2f} s a host, "
                f"{processor:.1f} s of the controller's processor; load {os.getloadavg()[0]:.1f}"
            )
        wall, processor = ((seconds[what, MOST][part] - seconds[what, 1][part]) / (MOST - 1) for part in (0, 1))
        report(f"{what}: each further host {wall:.2f} s, and {processor:.2f} s of the controller's processor")
    for what in ("nothing", "settings", "release"):
        alone, among = seconds[what, 1][0], seconds[what, MOST][0] / MOST
        assert among <= alone, f"{what}: a host among many costs more than one alone"
