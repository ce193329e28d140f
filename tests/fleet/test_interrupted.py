"""Runs that are interrupted, and the run after them."""

from __future__ import annotations

from tests.fleet.conftest import Controller
from tests.fleet.releases import Releases
from tests.kit.wait import until

# where a run is killed, and whether it brings a release; test_soak.py has every task
TASKS = {
    "Run the installer, which goes back by itself if the release does not serve": True,
    "Reload or restart what does not run as it should, and wait for pictures": False,
}


def test_a_killed_run_is_repaired_by_the_next(deployed: Controller, releases: Releases) -> None:
    pi = deployed.pis["pi1"]
    for turn, (task, brings) in enumerate(TASKS.items()):
        if brings:
            deployed.artefact = releases.artefact(f"kill{turn}")
        rotation = 180 - turn % 2 * 180
        deployed.own = {"pi1": {"pi_cam_daemon_rotation": rotation}}
        with deployed.begun() as running:
            running.wait_for_task(task)
            running.kill()
        until("pictures", pi.serves, 30)
        # what works on the host outlives its controller: the next run waits for it
        deployed.deploys()
        assert not brings or pi.release().startswith(f"kill{turn}-")
        assert pi.health()["release"] == pi.release()
        until("the rotation", lambda rotation=rotation: pi.shows(rotation))


def test_a_host_that_is_switched_off_midway_is_named_and_others_are_done(deployed: Controller) -> None:
    off = deployed.pis["pi3"]
    deployed.own = {name: {"pi_cam_daemon_rotation": 180} for name in ("pi1", "pi2", "pi3")}
    with deployed.begun() as running:
        # the second time it is in the batch after the canary
        until("the second batch", lambda: running.said().count("Look at the host") == 2, 120)
        off.cut_power()
        play = running.end()
    assert play.status != 0
    assert "did not answer" in play.report("pi3")
    for name in ("pi1", "pi2"):
        until("the rotation", lambda name=name: deployed.pis[name].shows(180))
        assert "streaming" in play.report(name)

    away = deployed.play("site.yml")
    assert away.status != 0 and "did not answer" in away.report("pi3")
    assert away.counts("pi1")["failed"] == away.counts("pi2")["failed"] == 0
    off.boot()
    deployed.own = {"pi3": {"pi_cam_daemon_rotation": 180}}
    deployed.deploys()
    until("the rotation", lambda: off.shows(180))
