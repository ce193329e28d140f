"""Each command of the documents is run by a test, or the reason why not stands here."""

from __future__ import annotations

import re

import pytest

from tests.kit.daemon import ROOT
from tests.kit.documents import PAGES, commands

_SCRIPTS = "server/test_scripts.py::test_scripts_run_sets_everything_up_once_and_streams"
_TESTS = "server/test_scripts.py::test_failed_tests_are_run_again_and_neither_flaky_nor_skipped_ones_are_hidden"
_TYPED = "server/test_commands.py::test_the_commands_of_the_document_work"
_ASKED = "server/test_commands.py::test_the_requests_of_the_document_do_what_it_says"
_HOST = "systemd/test_package.py::test_the_ways_to_install_work_as_the_document_says"
_PULL = "systemd/test_install.py::test_the_timer_installs_a_newer_release_and_refuses_an_older_one"
_RELEASE = "release/test_release.py::test_a_release_is_one_version_everywhere_signed_and_listed"
_BOOTSTRAPPED = "fleet/conftest.py::bootstrapped"
_ARTEFACT = "not run: needs the network and takes minutes; tests/systemd/rig/artefact builds one for this machine"
_PI = "not run: for a Raspberry Pi; its parts are tested in picamera and unit"
_OTHERS = "not run: another program's command, or one with the reader's own names"
_DEVELOPERS = "not run: takes long, and its parts are tested"

# patterns of commands, and the test that runs them, or why none does; the first one that fits counts
WHERE = {
    r".*--set \"http.users_file=.*": "server/test_commands.py::test_the_two_lines_of_the_readme_ask_for_a_password",
    r"scripts/run( --(set|config) .*)?": _SCRIPTS,
    r"(sudo )?scripts/test( .*)?": _TESTS,
    r"git (clone .*|pull)|cd pi_cam_daemon|ssh USER@.*|sudo apt install git": _OTHERS,
    r"pi-cam-daemon update( FILE\|URL)?|sudo pi-cam-daemon update( pi-cam-daemon.tar.zst)?": (
        "server/test_update.py::test_an_update_by_a_trusted_publisher_is_installed"
    ),
    r"pi-cam-daemon announce|(sudo )?systemctl enable --now pi-cam-daemon-announce": (
        "server/test_avahi.py::test_a_camera_is_found_by_both_of_its_services_until_it_is_withdrawn"
    ),
    r"pi-cam-daemon watch-network|systemctl enable --now pi-cam-daemon-network.*": (
        "systemd/test_wifi.py::test_a_router_that_answers_no_more_is_a_lost_network"
    ),
    r"pi-cam-daemon boot|systemctl enable --now pi-cam-daemon-boot-status.timer": (
        "image/test_boot.py::test_the_status_file_reports_the_addresses_and_the_camera"
    ),
    r"pi-cam-daemon run": "server/test_daemon.py::test_sigterm_ends_everything_within_two_seconds_under_viewers",
    r"pi-cam-daemon record": "server/test_recorder.py::test_two_events_make_two_clips_with_no_picture_twice",
    r"(sudo )?systemctl (enable --now|kill -s USR1|restart|status) pi-cam-daemon-record": (
        "systemd/test_recorder.py::test_a_clip_is_recorded_in_the_sandbox_where_viewers_log_in"
    ),
    r"pi-cam-daemon push": "server/test_push.py::test_clips_are_copied_oldest_first_and_only_once",
    r"(sudo )?systemctl kill -s USR1 pi-cam-daemon-push": (
        "server/test_push.py::test_a_failure_is_told_and_the_clip_is_sent_later"
    ),
    r"(sudo )?systemctl (enable --now|restart|status) pi-cam-daemon-push": (
        "not run: the process is tested in server, and its unit is read by systemd in test_unit"
    ),
    r"ssh-keyscan nas.local .*|sudo mkdir -p .*\.ssh|ssh-keygen -lf .*known_hosts": (
        "clients/test_push.py::test_a_host_with_another_key_gets_nothing"
    ),
    r"(sudo )?pi-cam-daemon( .*)?": _TYPED,
    r"curl .*http://camera.local.*": _ASKED,
    r"scripts/document-settings": "unit/test_documents.py::test_the_page_of_settings_is_made_from_default_toml",
    r"scripts/screenshots": _DEVELOPERS,
    r"scripts/mutate.*|scripts/bench.*|python -m tests.audit": _DEVELOPERS,
    r"scripts/(release|apt-repository).*": _RELEASE,
    r"scripts/try-on-a-pi.*|.*(\.venv/bin/pi-cam-daemon|rpicam-vid).*|curl .*http://PI:.*|sudo systemctl stop .*": _PI,
    r"journalctl -f|journalctl -D .*|.*systemd-journal.*|rpi-connect .*|loginctl .*|.*rpi-connect-lite": _OTHERS,
    r"sudo scripts/build-image .*|scripts/build-image": (
        "image/test_build.py::test_the_same_input_gives_the_same_bytes_also_without_root"
    ),
    r"ssh-keygen -Y verify .*|sha256sum .*": _RELEASE,
    r"ssh-keygen .*|echo .*allowed_signers|scripts/build-image --signers .*": (
        "image/test_power.py::test_an_update_is_taken_only_from_a_trusted_publisher"
    ),
    r"sudo systemctl enable --now pi-cam-daemon-update.timer|journalctl -u pi-cam-daemon-update": _PULL,
    r"scripts/build-deb .": "systemd/test_package.py::test_lintian_finds_no_error_in_the_package",
    r"sudo (wget .*example.org/apt/.*|apt update && sudo apt install pi-cam-daemon)": (
        "systemd/test_package.py::test_an_upgrade_from_a_signed_repository_restarts_service_and_instances"
    ),
    r"sudo (apt install --reinstall ./FILE.deb|dpkg --configure -a)": (
        "systemd/test_package.py::test_power_may_fail_while_apt_installs_or_upgrades"
    ),
    r"sudo (apt (install ./|remove|purge)|scripts/install).*": _HOST,
    r"scripts/install( --build-artefact pi-cam-daemon.*)?": _HOST,
    r"systemctl (status|stop|reload)( .*)?|sudo systemctl (reload|restart) pi-cam-daemon": _HOST,
    r"journalctl -u pi-cam-daemon": _HOST,
    r"(sudo )?/opt/pi-cam-daemon/current/install.*": (
        "systemd/test_install.py::test_the_installed_installer_shows_the_status_to_ordinary_users"
    ),
    r"mosquitto_(sub|pub) .*": "server/test_mqtt.py::test_the_commands_of_the_document_show_and_set_what_it_says",
    r"vlc .*|mpv .*|(?s:while sleep .*)": ("clients/test_recovery.py::test_a_camera_that_was_off_is_watched_again"),
    r"ffmpeg -i FILM .*": "clients/test_clips.py::test_the_pictures_of_a_day_have_their_times",
    r"ffmpeg .*m3u8": "clients/test_hls.py::test_two_hundred_watch_hls_while_the_camera_has_one_viewer",
    r"openssl rand .*": "server/test_events.py::test_the_receiver_of_the_document_checks_the_signature",
    r"openssl .*|sudo install .*camera.pem.*": (
        "systemd/test_users_and_tls.py::test_the_service_reads_what_its_group_may_read"
    ),
    r"(sudo )?systemctl edit .*|ssh -R|apt upgrade|apt-get download|systemctl restart systemd-journald": _OTHERS,
    r"systemctl enable --now pi-cam-daemon(@garden|\.socket)": (
        "systemd/test_install.py::test_instances_are_upgraded_and_rolled_back_together"
    ),
    r"sudo (rm|apt-mark) .*|sudo apt install (curl|unattended|ansible).*": _OTHERS,
    r"sudo chgrp .*push-login.*|rclone config": _OTHERS,
    r"sudo apt update && sudo apt upgrade|pip install .*": _OTHERS,
    r"curl localhost:8000/state": "server/test_daemon.py::test_healthz_and_the_config_command_give_the_same_hash",
    r"scripts/install --build-artefact ansible/.*": _ARTEFACT,
    r"ansible-galaxy collection install -r .*": "not run: its address is an example; the next ones do the same",
    r"ansible-galaxy collection (build ansible|install)": (
        "fleet/test_rollout.py::test_the_oldest_ansible_deploys_to_both_debians_from_the_collection"
    ),
    r"ansible-playbook monitoring.yml": (
        "fleet/test_monitoring.py::test_prometheus_finds_the_cameras_and_every_query_of_the_dashboard_has_data"
    ),
    r"cd ansible|cp -r inventory/example .*|export ANSIBLE.*|ssh-keyscan .*": _BOOTSTRAPPED,
    r"ansible-playbook bootstrap.yml .*": _BOOTSTRAPPED,
    r"ansible-playbook site.yml( --check --diff)?": "fleet/test_rollout.py::test_from_an_inventory_to_pictures",
    r"ANSIBLE_FORKS=100 ansible-playbook site.yml .*": (
        "fleet/test_rollout.py::test_manual_stops_and_edits_are_reverted"
    ),
}


def told() -> list[str]:
    """Return the commands of all pages but the decisions."""
    return [command for page in PAGES if page.parent.name != "decisions" for command in commands(page)]


def place(command: str) -> str:
    return next(
        (
            pattern
            for pattern in WHERE
            if re.fullmatch(pattern, " ".join(command.split()) if "\n" not in command else command)
        ),
        "",
    )


def test_each_command_of_the_documents_is_run_or_says_why_not() -> None:
    assert [command for command in told() if not place(command)] == []
    assert [pattern for pattern in WHERE if pattern not in {place(command) for command in told()}] == []


@pytest.mark.parametrize("where", sorted({where for where in WHERE.values() if "::" in where}))
def test_the_test_of_a_command_exists(where: str) -> None:
    file, _, name = where.partition("::")
    assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text("utf-8"), where
