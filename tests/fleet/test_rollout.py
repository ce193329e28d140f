"""Deploying: from an inventory to pictures, over and over, and every way in which that goes wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clients.picture import alike, corners, turned
from tests.conftest import Report
from tests.fleet.conftest import ETC, OPT, OUTSIDE, UNIT, Controller, Pi
from tests.fleet.releases import ENDS, NO_PICTURES, Releases
from tests.server.harness import until
from tests.systemd.test_install import Machine, package, repository


def shows(pi: Pi, rotation: int, port: int = 8000) -> bool:
    picture = pi.picture(port)
    return picture is not None and alike(corners(picture), turned(rotation, False, False))


def test_from_an_inventory_to_pictures(controller: Controller, artefact: Path, report: Report) -> None:
    controller.artefact = artefact
    assert controller.play("uninstall.yml", "-e", "uninstall_purge=true").status == 0
    for number, own in enumerate(controller.own.values()):
        own["pi_cam_daemon_rotation"] = number * 90
    checked = controller.play("site.yml", "--check", "--diff")
    assert checked.status == 0
    assert "+rotation = 270" in checked.said
    for pi in controller.pis.values():
        assert not (pi.disk / ETC[1:]).exists() and not (pi.disk / OPT[1:]).exists(), "--check has changed something"

    play = controller.deploys()
    report(f"{play.seconds:.1f} s for 4 hosts, {play.seconds / 4:.1f} s a host")
    for number, pi in enumerate(controller.pis.values()):
        assert pi.health()["release"] == pi.release() != ""
        until("pictures", lambda pi=pi, number=number: shows(pi, number * 90))
        assert pi.get("/snapshot", source=OUTSIDE)[0] == 403
        line = play.report(pi.name)
        assert re.search(rf"{pi.release()}  streaming  [45]\.\d/s  http://{pi.address}:8000/", line), line

    again = controller.deploys()
    report(f"{again.seconds:.1f} s for 4 hosts that are as they should be")
    assert set(again.changed().values()) == {0}
    traces = [pi.trace() for pi in controller.pis.values()]
    checked = controller.play("site.yml", "--check", "--diff")
    assert (checked.status, set(checked.changed().values())) == (0, {0})
    assert [pi.trace() for pi in controller.pis.values()] == traces


def test_settings_are_reloaded_and_restart_nothing(deployed: Controller, report: Report) -> None:
    new = {"pi_cam_daemon_rotation": 90, "pi_cam_daemon_allowed_networks_extra": [f"{OUTSIDE}/32"]}
    deployed.own = {"pi1": new, "pi2": new}
    pis = [deployed.pis[name] for name in deployed.own]
    pids = [pi.pid() for pi in pis]
    checked = deployed.play("site.yml", "--check", "--diff")
    assert checked.status == 0 and "+rotation = 90" in checked.said
    assert all(pi.get("/snapshot", source=OUTSIDE)[0] == 403 for pi in pis)
    play = deployed.deploys()
    report(f"{play.seconds:.1f} s for 2 hosts")
    for pi in pis:
        until("the rotation", lambda pi=pi: shows(pi, 90))
        assert pi.get("/snapshot", source=OUTSIDE)[0] == 200
    assert [pi.pid() for pi in pis] == pids


def test_another_port_restarts_because_a_reload_cannot_do_it(deployed: Controller) -> None:
    deployed.own = {"pi1": {"pi_cam_daemon_port": "8080"}}
    play = deployed.deploys()
    pi = deployed.pis["pi1"]
    until("pictures", lambda: shows(pi, 0, 8080))
    assert f"http://{pi.address}:8080/" in play.report("pi1")


def test_what_was_stopped_or_edited_by_hand_is_put_right(deployed: Controller) -> None:
    del deployed.own["pi4"]
    stopped, edited = deployed.pis["pi1"], deployed.pis["pi2"]
    stopped.run("systemctl", "disable", "--now", UNIT)
    edited.run("sed", "-i", "s/rotation = 0/rotation = 180/", f"{ETC}/config.toml")
    edited.run("systemctl", "reload", UNIT)
    pid = edited.pid()
    until("the edit", lambda: shows(edited, 180))
    checked = deployed.play("site.yml", "--check")
    assert checked.changed()["pi1"] and checked.changed()["pi2"] and not checked.changed()["pi3"]
    deployed.deploys()
    assert stopped.run("systemctl", "is-enabled", UNIT) == "enabled"
    until("pictures", lambda: shows(stopped, 0))
    until("the rotation", lambda: shows(edited, 0))
    assert edited.pid() == pid


def test_a_host_with_two_cameras_and_one_that_sleeps(deployed: Controller) -> None:
    two, asleep = deployed.pis["pi1"], deployed.pis["pi2"]
    yard = {"name": "yard", "port": 8001, "rotation": 180}
    on_demand = {"source": {"capture": "on-demand", "idle_seconds": 1}}
    deployed.own = {
        "pi1": {"pi_cam_daemon_cameras": [yard]},
        "pi2": {"pi_cam_daemon_config_extra": on_demand},
    }
    play = deployed.deploys()
    until("pictures", lambda: shows(two, 0) and shows(two, 180, 8001))
    assert "http://10.77.22.2:8001/" in play.report("pi1@yard")
    until("sleep", lambda: asleep.health()["state"] == "idle")
    again = deployed.deploys()
    assert again.changed() == {"pi1": 0, "pi2": 0}

    # a run that fails brings back what it took away
    deployed.own = {"pi1": {"pi_cam_daemon_source": "usb"}}
    assert deployed.play("site.yml", "-e", "pi_cam_daemon_verify_seconds=5").status != 0
    until("both again", lambda: shows(two, 0) and shows(two, 180, 8001))

    deployed.own = {"pi1": {}}
    deployed.deploys()
    assert two.serves()
    assert two.show("pi-cam-daemon@yard.service", "ActiveState") == "inactive"
    assert not (two.disk / ETC[1:] / "cameras/yard.toml").exists()


def test_files_that_settings_name_are_for_the_daemon_alone(deployed: Controller, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    deployed.own = {
        "pi1": {
            "pi_cam_daemon_files": [
                {"name": "one", "content": "swordfish-1\n"},
                {"name": "two", "src": str(tmp_path / "secret")},
            ]
        }
    }
    play = deployed.play("site.yml", "--diff", "-v")
    assert play.status == 0
    assert "swordfish-1" not in play.said
    pi = deployed.pis["pi1"]
    assert pi.run("cat", f"{ETC}/one", f"{ETC}/two") == "swordfish-1\nfrom a file"
    modes = pi.run("stat", "-c", "%a %U %G", f"{ETC}/one", f"{ETC}/two", f"{ETC}/config.toml").splitlines()
    assert modes == ["640 root pi-cam-daemon"] * 3


# -- what is refused, and changes nothing


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (
            {"pi_cam_daemon_rotaton": 90},
            "pi_cam_daemon_rotaton: unknown; did you mean pi_cam_daemon_rotation?",
        ),
        ({"pi_cam_daemon_rotation": 45}, "pi_cam_daemon_rotation must be one of: 0, 90, 180, 270, got: 45"),
        (
            {"pi_cam_daemon_config": {"vide": {"width": 320}}},
            "pi_cam_daemon_config.vide: unknown; did you mean video?",
        ),
    ],
    ids=["misspelled", "rotation", "section"],
)
def test_what_is_wrong_for_one_host_is_told_before_any_is_touched(
    deployed: Controller, own: dict[str, object], reason: str
) -> None:
    traces = [pi.trace() for pi in deployed.pis.values()]
    deployed.own = {"pi1": {"pi_cam_daemon_rotation": 180}, "pi2": own}
    play = deployed.play("site.yml")
    assert play.status != 0
    assert reason in " ".join(play.said.split())
    assert [pi.trace() for pi in deployed.pis.values()] == traces


def test_a_setting_that_the_daemon_refuses_stops_the_run_before_anything_is_changed(deployed: Controller) -> None:
    traces = [pi.trace() for pi in deployed.pis.values()]
    deployed.own = {"pi1": {"pi_cam_daemon_config": {"video": {"width": 7}}}, "pi2": {"pi_cam_daemon_rotation": 180}}
    for arguments in (["--check"], []):
        play = deployed.play("site.yml", *arguments)
        assert play.status != 0
        assert "video.width: 7 cannot be used; accepted: an even integer from 16 to 8192" in play.report("pi1")
        assert "untouched" in play.report("pi2")
    assert [pi.trace() for pi in deployed.pis.values()] == traces


def test_a_run_that_would_lock_its_controller_out_stops(deployed: Controller) -> None:
    traces = [pi.trace() for pi in deployed.pis.values()]
    deployed.own = {"pi1": {"pi_cam_daemon_allowed_networks": ["192.168.1.0/24"]}, "pi2": {}}
    play = deployed.play("site.yml")
    assert play.status != 0
    assert "leaves out 10.77.22.1, from where you are deploying" in " ".join(play.said.split())
    assert [pi.trace() for pi in deployed.pis.values()] == traces


def test_whoever_insists_may_lock_the_controller_out(deployed: Controller) -> None:
    deployed.own = {
        "pi1": {"pi_cam_daemon_allowed_networks": ["192.168.1.0/24"], "pi_cam_daemon_may_lock_out_controller": True}
    }
    deployed.deploys()
    assert deployed.pis["pi1"].get("/snapshot")[0] == 403


# -- releases


def test_an_upgrade_and_a_rollback(deployed: Controller, releases: Releases) -> None:
    deployed.own = {"pi1": {}, "pi2": {}}
    pis = [deployed.pis[name] for name in deployed.own]
    before = [pi.release() for pi in pis]
    deployed.artefact = releases.artefact("2")
    play = deployed.deploys()
    for pi in pis:
        assert pi.release().startswith("2-") and pi.health()["release"] == pi.release()
        assert pi.release() in play.report(pi.name)
    back = deployed.play("rollback.yml")
    assert back.status == 0 and before[0] in back.report("pi1")
    assert [pi.health()["release"] for pi in pis] == before
    assert deployed.play("site.yml", "--check").changed()["pi1"], "what is wanted is wanted again"


def broken(soak: bool) -> dict[str, tuple[str, str]]:
    """Releases by how they are broken: what they do, and what is said of it."""
    ways = {"dark": (NO_PICTURES, "gives no pictures")}
    # the installer finds this one out by itself
    return {**ways, "ends": (ENDS, "ended by itself")} if soak else ways


def test_a_broken_release_ends_with_the_canary(deployed: Controller, releases: Releases, soak: bool) -> None:
    for way, (code, reason) in broken(soak).items():
        fails_with_the_canary(deployed, releases.artefact(way, code), reason)


def fails_with_the_canary(deployed: Controller, artefact: Path, reason: str) -> None:
    traces = {pi.name: pi.trace() for pi in deployed.pis.values()}
    deployed.artefact = artefact
    # a change that goes with the release goes back with it
    deployed.own = {"pi1": {"pi_cam_daemon_rotation": 180}, "pi2": {}}
    play = deployed.play("site.yml", "-e", "pi_cam_daemon_verify_seconds=8")
    assert play.status != 0
    canary, other = (deployed.pis[name] for name in deployed.own)
    assert reason in play.said
    assert f"{traces['pi1']['release']}" in play.report("pi1")
    assert canary.release() == traces["pi1"]["release"] == canary.health()["release"]
    assert canary.trace()["files"] == traces["pi1"]["files"]
    until("pictures", lambda: shows(canary, 0))
    assert other.trace() == traces["pi2"]
    assert "untouched" in play.report("pi2")


def test_a_camera_that_was_dead_before_does_not_stop_the_fleet(deployed: Controller) -> None:
    deployed.own = {"pi1": {"pi_cam_daemon_source": "usb"}}
    pi = deployed.pis["pi1"]
    play = deployed.play("site.yml", "-e", "pi_cam_daemon_verify_seconds=5")
    assert play.status != 0 and "gives no pictures" in play.report("pi1"), "it had some before"
    until("what it had before", lambda: shows(pi, 0))
    pi.run("sed", "-i", 's/kind = "pattern"/kind = "usb"/', f"{ETC}/config.toml")
    pi.run("systemctl", "reload", UNIT)
    until("no camera", lambda: pi.health()["state"] == "no-camera")
    deployed.own["pi1"]["pi_cam_daemon_rotation"] = 90
    play = deployed.deploys()
    assert "no-camera" in play.report("pi1")


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
    with repository(Machine(pi), "/srv/apt"):
        deployed.deploys()
        assert pi.run("dpkg-query", "-W", "-f", "${db:Status-Status}", "python3-picamera2") == "installed"
        assert pi.serves()
    pi.remove("/etc/rpi-issue")


def test_the_oldest_ansible_deploys_to_both_debians(deployed: Controller, releases: Releases) -> None:
    """The newest does in every other test."""
    other = deployed.with_ansible("oldest")
    other.own = {"pi1": {"pi_cam_daemon_rotation": 90}, "pi2": {"pi_cam_daemon_rotation": "90"}}
    other.artefact = releases.artefact("3")
    assert other.play("site.yml", "--check", "--diff").status == 0
    play = other.deploys()
    for pi in (other.pis[name] for name in other.own):
        until("the rotation", lambda pi=pi: shows(pi, 90))
        assert pi.health()["release"].startswith("3-")
        assert pi.release() in play.report(pi.name)
    assert set(other.deploys().changed().values()) == {0}
    for playbook in ("verify.yml", "rollback.yml", "monitoring.yml"):
        done = other.play(playbook, "-e", f"monitoring_directory={other.folder}/monitoring")
        assert done.status == 0, playbook


# -- runs that do not come to their end

# where a run is killed, and whether it brings a release
TASKS = {
    "Write the settings": False,
    "Run the installer, which goes back by itself if the release does not serve": True,
    "Reload or restart what does not run as its files and release want it": False,
}
MORE_TASKS = {
    "Bring the artefact": True,
    "Take the artefact away": True,
    "Reload or restart what does not run as its files and release want it": True,
    "Wait for pictures": True,
    "Record release and files": True,
}


def test_a_killed_run_is_made_good_by_the_next(deployed: Controller, releases: Releases, soak: bool) -> None:
    pi = deployed.pis["pi1"]
    for turn, (task, brings) in enumerate([*TASKS.items(), *(MORE_TASKS.items() if soak else [])]):
        if brings:
            deployed.artefact = releases.artefact(f"kill{turn}")
        rotation = 180 - turn % 2 * 180
        deployed.own = {"pi1": {"pi_cam_daemon_rotation": rotation}}
        with deployed.begun() as running:
            running.wait_for_task(task)
            running.kill()
        until("pictures", pi.serves, 30)
        # the installer outlives its controller: it goes back, or comes to its end
        until("no installer", lambda: not pi.installs(), 60)
        deployed.deploys()
        assert not brings or pi.release().startswith(f"kill{turn}-")
        assert pi.health()["release"] == pi.release()
        until("the rotation", lambda rotation=rotation: shows(pi, rotation))
    assert deployed.deploys().changed() == {"pi1": 0}


def test_a_host_that_is_switched_off_midway_is_named_and_the_others_are_done(deployed: Controller) -> None:
    off = deployed.pis["pi3"]
    deployed.own = {name: {"pi_cam_daemon_rotation": 180} for name in ("pi1", "pi2", "pi3")}
    with deployed.begun() as running:
        # the second time it is in the batch after the canary
        until("the second batch", lambda: running.said().count("Have a group") == 2, 120)
        off.cut_power()
        play = running.end()
    assert play.status != 0
    assert "did not answer" in play.report("pi3")
    for name in ("pi1", "pi2"):
        until("the rotation", lambda name=name: shows(deployed.pis[name], 180))
        assert "streaming" in play.report(name)

    away = deployed.play("site.yml")
    assert away.status != 0 and "did not answer" in away.report("pi3")
    assert away.counts("pi1")["failed"] == away.counts("pi2")["failed"] == 0
    off.boot()
    deployed.own = {"pi3": {"pi_cam_daemon_rotation": 180}}
    deployed.deploys()
    until("the rotation", lambda: shows(off, 180))


def test_uninstalling_leaves_the_configuration_and_the_others(deployed: Controller) -> None:
    pi = deployed.pis["pi4"]
    deployed.own = {"pi1": {}, "pi4": {}}
    assert deployed.play("uninstall.yml", "--limit", "pi4").status == 0
    assert not (pi.disk / OPT[1:]).exists() and (pi.disk / ETC[1:] / "config.toml").exists()
    assert deployed.pis["pi1"].serves()
    missing = deployed.play("verify.yml")
    assert missing.status != 0 and "not installed" in missing.report("pi4")
    assert "streaming" in missing.report("pi1")
