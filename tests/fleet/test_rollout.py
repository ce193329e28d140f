"""Deployments from an inventory to pictures, repeated, and with every kind of failure."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.conftest import Report
from tests.fleet.conftest import ANNOUNCEMENT, ETC, OPT, OUTSIDE, UNIT, Controller
from tests.fleet.releases import ENDS, NO_PICTURES, Releases
from tests.kit.wait import until


def test_from_an_inventory_to_pictures(controller: Controller, artefact: Path, report: Report) -> None:
    controller.own = {"pi1": {"pi_cam_daemon_rotation": 90}, "pi2": {"pi_cam_daemon_rotation": 270}}
    # where the document's first command puts it
    controller.artefact = controller.checkout / "ansible/pi-cam-daemon.tar.zst"
    shutil.copyfile(artefact, controller.artefact)
    if any(pi.release() for pi in controller.pis.values()):
        assert controller.play("uninstall.yml", "-e", "uninstall_purge=true").status == 0
    checked = controller.types("ansible-playbook site.yml --check --diff")
    assert "+rotation = 270" in checked.said
    for name in controller.own:
        disk = controller.pis[name].disk
        assert not (disk / ETC[1:]).exists() and not (disk / OPT[1:]).exists(), "--check has changed something"

    play = controller.types("ansible-playbook site.yml")
    report(f"{play.seconds:.1f} s for 2 hosts, {play.seconds / 2:.1f} s a host")
    for name, own in controller.own.items():
        pi = controller.pis[name]
        assert pi.health()["release"] == pi.release() != ""
        until("pictures", lambda pi=pi, own=own: pi.shows(own["pi_cam_daemon_rotation"]))
        assert pi.get("/snapshot", source=OUTSIDE)[0] == 403
        line = play.report(pi.name)
        assert re.search(rf"{pi.release()}  streaming  [45]\.\d/s  http://{pi.address}:8000/", line), line


def test_manual_stops_and_edits_are_reverted(deployed: Controller) -> None:
    del deployed.own["pi4"]
    stopped, edited = deployed.pis["pi1"], deployed.pis["pi2"]
    stopped.run("systemctl", "disable", "--now", UNIT)
    edited.run("sed", "-i", "s/rotation = 0/rotation = 180/", f"{ETC}/config.toml")
    edited.run("systemctl", "reload", UNIT)
    edited.run("mkdir", "-p", str(Path(ANNOUNCEMENT).parent))
    edited.run("systemctl", "enable", "--now", "pi-cam-daemon-announce.service")
    until("the announcement", lambda: edited.try_run("test", "-e", ANNOUNCEMENT).returncode == 0)
    pid = edited.pid()
    until("the edit", lambda: edited.shows(180))
    checked = deployed.play("site.yml", "--check")
    assert checked.changed()["pi1"] and checked.changed()["pi2"] and not checked.changed()["pi3"]
    deployed.types("""ANSIBLE_FORKS=100 ansible-playbook site.yml -e '{"rollout_batches": [1, 10, 100, "100%"]}'""")
    assert stopped.run("systemctl", "is-enabled", UNIT) == "enabled"
    until("pictures", lambda: stopped.shows(0))
    until("the rotation", lambda: edited.shows(0))
    assert edited.pid() == pid
    assert edited.try_run("test", "-e", ANNOUNCEMENT).returncode != 0


def test_only_a_failed_run_restores_a_removed_camera(deployed: Controller) -> None:
    two = deployed.pis["pi1"]
    deployed.own = {"pi1": {"pi_cam_daemon_cameras": [{"name": "yard", "port": 8001, "rotation": 180}]}}
    deployed.deploys()
    deployed.own = {"pi1": {"pi_cam_daemon_source": "usb"}}
    play = deployed.play("site.yml", "-e", "pi_cam_daemon_verify_seconds=5")
    assert play.status != 0 and "gives no pictures" in play.report("pi1")
    until("both again", lambda: two.shows(0) and two.shows(180, 8001))
    deployed.own = {"pi1": {}}
    deployed.deploys()
    assert two.serves()
    assert two.show("pi-cam-daemon@yard.service", "ActiveState") == "inactive"
    assert not (two.disk / ETC[1:] / "cameras/yard.toml").exists()


# -- what is refused, and changes nothing


def test_a_refused_setting_stops_the_run_before_any_change(deployed: Controller) -> None:
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


def test_settings_that_the_host_overrides_are_refused(deployed: Controller) -> None:
    deployed.own = {"pi1": {}, "pi2": {"pi_cam_daemon_drift": "allow"}}
    pis = [deployed.pis[name] for name in deployed.own]
    try:
        for pi in pis:
            pi.write(f"{ETC}/conf.d/mine.toml", "[video]\nrotation = 90\n")
            pi.run("systemctl", "reload", UNIT)
        overrides = f"{ETC}/conf.d/mine.toml overrides video.rotation"
        verified = deployed.play("verify.yml")
        assert verified.status != 0 and overrides in verified.report("pi1")
        assert "streaming" in verified.report("pi2") and overrides not in verified.report("pi2")
        before = pis[0].trace()
        play = deployed.play("site.yml")
        assert play.status != 0 and f"{overrides}, so that pi1 would not" in " ".join(play.said.split())
        assert pis[0].trace() == before
    finally:
        for pi in pis:
            pi.remove(f"{ETC}/conf.d")
            pi.run("systemctl", "reload", UNIT)


# -- releases


def test_an_upgrade_and_a_rollback(deployed: Controller, releases: Releases) -> None:
    deployed.own = {"pi1": {}, "pi2": {}}
    pis = [deployed.pis[name] for name in deployed.own]
    before = [pi.release() for pi in pis]
    deployed.artefact = releases.artefact("2")
    deployed.own["pi1"] = {"pi_cam_daemon_rotation": 90}
    deployed.deploys("--limit", "pi1", "--tags", "configure")
    until("the rotation", lambda: pis[0].shows(90))
    assert pis[0].release() == before[0]
    play = deployed.deploys()
    for pi in pis:
        assert pi.release().startswith("2-") and pi.health()["release"] == pi.release()
        assert pi.release() in play.report(pi.name)
    back = deployed.play("rollback.yml")
    assert back.status == 0 and before[0] in back.report("pi1")
    assert back.said.count("PLAY [Roll back]") == 2, "the canary is the first"
    assert [pi.health()["release"] for pi in pis] == before
    assert deployed.play("site.yml", "--check").changed()["pi1"], "what is wanted is wanted again"


def broken(soak: bool) -> dict[str, tuple[str, str]]:
    """Return the broken releases by name: their code, and the expected report."""
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
    play = deployed.play("site.yml", "-e", "pi_cam_daemon_verify_seconds=20")
    assert play.status != 0
    canary, other = (deployed.pis[name] for name in deployed.own)
    assert reason in play.said
    assert f"{traces['pi1']['release']}" in play.report("pi1")
    assert canary.release() == traces["pi1"]["release"] == canary.health()["release"]
    assert canary.trace()["files"] == traces["pi1"]["files"]
    until("pictures", lambda: canary.shows(0))
    assert other.trace() == traces["pi2"]
    assert "untouched" in play.report("pi2")


def test_a_canary_that_ends_while_it_is_watched_goes_back(deployed: Controller) -> None:
    deployed.own = {"pi1": {"pi_cam_daemon_rotation": 180}, "pi2": {"pi_cam_daemon_rotation": 180}}
    canary, other = (deployed.pis[name] for name in deployed.own)
    files, untouched = canary.trace()["files"], other.trace()
    deployed.pause = 4
    try:
        with deployed.begun() as running:
            running.wait_for_task("Let the hosts that were changed run on")
            assert canary.shows(180)
            canary.run("systemctl", "kill", "--signal=KILL", UNIT)
            play = running.end()
    finally:
        deployed.pause = 0
    assert play.status != 0
    report = play.report("pi1")
    assert f"{UNIT} has ended by itself since it was deployed" in report and "which serves" in report
    assert canary.trace()["files"] == files
    until("the rotation", lambda: canary.shows(0))
    assert other.trace() == untouched and "untouched" in play.report("pi2")


def test_a_camera_that_was_already_dead_does_not_stop_the_fleet(deployed: Controller) -> None:
    deployed.own = {"pi1": {"pi_cam_daemon_source": "usb"}}
    pi = deployed.pis["pi1"]
    pi.run("sed", "-i", 's/kind = "pattern"/kind = "usb"/', f"{ETC}/config.toml")
    pi.run("systemctl", "reload", UNIT)
    until("no camera", lambda: pi.health()["state"] == "no-camera")
    deployed.own["pi1"]["pi_cam_daemon_rotation"] = 90
    play = deployed.deploys("-e", "pi_cam_daemon_verify_seconds=10")
    assert "no-camera" in play.report("pi1")


def test_a_host_with_a_full_card_reports_it_and_serves_on(deployed: Controller, releases: Releases) -> None:
    pi = deployed.pis["pi4"]
    deployed.own = {"pi4": {"pi_cam_daemon_rotation": 90}}
    deployed.artefact = releases.artefact("5")
    before = pi.trace()
    script = 'mkdir /srv/full; cp -a "$0/$1" /srv/full; mount -t tmpfs -o size=30m tmpfs "$0"; mv /srv/full/* "$0"'
    pi.run("sh", "-ec", script, f"{OPT}/releases", pi.release())
    try:
        play = deployed.play("site.yml")
        assert play.status != 0 and "of space are needed" in play.report("pi4")
        assert pi.trace() == before and pi.shows(0)
    finally:
        pi.run("sh", "-ec", 'umount --lazy "$0"; rmdir /srv/full', f"{OPT}/releases")
    assert not (pi.disk / "var/cache/pi-cam-daemon.tar.zst").exists(), "it takes what room there is"


def test_the_oldest_ansible_deploys_to_both_debians_from_the_collection(
    deployed: Controller, releases: Releases, tmp_path: Path
) -> None:
    """All other tests use the newest, and the checkout."""
    other = deployed.with_ansible("oldest")
    other.types("ansible-galaxy collection build ansible")
    (built,) = other.checkout.glob("pi_cam-daemon-*.tar.gz")
    other.types("ansible-galaxy collection install", f"{built.name} --collections-path {tmp_path}")
    # nothing of the checkout is used
    other.playbooks = tmp_path / "ansible_collections/pi_cam/daemon"
    other.more = {"ANSIBLE_COLLECTIONS_PATHS": str(tmp_path), "ANSIBLE_CALLBACKS_ENABLED": "pi_cam.daemon.cameras"}
    other.own = {"pi1": {"pi_cam_daemon_rotation": 90}, "pi2": {"pi_cam_daemon_rotation": "90"}}
    other.artefact = releases.artefact("3")
    assert other.play("site.yml", "--check", "--diff").status == 0
    play = other.deploys()
    for pi in (other.pis[name] for name in other.own):
        until("the rotation", lambda pi=pi: pi.shows(90))
        assert pi.health()["release"].startswith("3-")
        assert pi.release() in play.report(pi.name)
    assert set(other.deploys().changed().values()) == {0}
    for playbook in ("verify.yml", "rollback.yml"):
        assert other.play(playbook).status == 0, playbook
    # into a folder of root's
    assert other.play("monitoring.yml", "--limit", "pi1").status == 0
    assert "pi2" in other.pis["pi1"].run("cat", "/etc/prometheus/pi-cam-daemon/targets.json")


# -- the end


def test_uninstalling_leaves_the_configuration_and_the_others(deployed: Controller) -> None:
    pi = deployed.pis["pi4"]
    deployed.own = {"pi1": {}, "pi4": {}}
    assert deployed.play("uninstall.yml", "--limit", "pi4").status == 0
    assert not (pi.disk / OPT[1:]).exists() and (pi.disk / ETC[1:] / "config.toml").exists()
    assert deployed.pis["pi1"].serves()
    # somebody has removed the user as well: there is no group to give files to
    pi.run("userdel", "pi-cam-daemon")
    checked = deployed.play("site.yml", "--check", "--limit", "pi4")
    assert checked.status == 0 and checked.changed()["pi4"]
    missing = deployed.play("verify.yml")
    assert missing.status != 0 and "not installed" in missing.report("pi4")
    assert "streaming" in missing.report("pi1")
