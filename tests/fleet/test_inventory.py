"""Errors of the role and of an inventory that Ansible reports before it connects to a host."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.fleet.conftest import ANSIBLE, VERSIONS
from tests.kit.daemon import ROOT


def ansible(version: str, tmp_path: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    path = f"{ANSIBLE / version / 'bin'}:{os.environ['PATH']}"
    home = {"HOME": str(tmp_path), "ANSIBLE_HOME": str(tmp_path), "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    home["ANSIBLE_INVENTORY"] = "inventory/example"
    return subprocess.run(
        argv,
        cwd=ROOT / "ansible",
        env={**os.environ, **home, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_ansible_lint_finds_nothing(tmp_path: Path) -> None:
    done = ansible("newest", tmp_path, "ansible-lint", "--offline", "--profile", "production", "--strict")
    assert done.returncode == 0, done.stdout + done.stderr


# the beginning of a task's name, and the tags with which it runs
TAGS = {
    "Look at the host": {"always"},
    "Write the settings": {"configure"},
    "Install": {"install"},
    "Reload or restart": {"configure", "install"},
    # not in a run without tags
    "Wait for pictures": {"never", "verify"},
}


def test_a_tag_chooses_a_part_of_the_role(tmp_path: Path) -> None:
    # --tags all: what is tagged never is listed, too
    done = ansible("newest", tmp_path, "ansible-playbook", "site.yml", "--list-tasks", "--tags", "all,never")
    assert done.returncode == 0, done.stdout + done.stderr
    for task, tags in TAGS.items():
        (line,) = {line for line in done.stdout.splitlines() if f" : {task}" in line}
        assert set(line.partition("TAGS: [")[2].rstrip("]").split(", ")) == tags, line


def test_wrong_settings_are_all_reported_before_any_host_is_connected(tmp_path: Path) -> None:
    # 192.0.2.0/24 is for documentation: whatever tries to reach these says so
    wrong: list[tuple[dict[str, object], list[str]]] = [
        ({}, []),
        ({"pi_cam_daemon_rotaton": 90}, ["pi_cam_daemon_rotaton: unknown; did you mean pi_cam_daemon_rotation?"]),
        (
            # what Ansible itself lets pass, and a filter of the role does not; and more than one thing of a host
            {
                "pi_cam_daemon_config": {"vide": {"width": 320}, "video": {"widht": 320}},
                "pi_cam_daemon_rotation": 45,
                "pi_cam_daemon_allowed_networks": ["10.0.0.0/33"],
            },
            [
                "pi_cam_daemon_config.vide: unknown; did you mean video?",
                "pi_cam_daemon_config.video.widht: unknown; did you mean width?",
                "pi_cam_daemon_rotation: 45 cannot be used; accepted: 0, 90, 180, 270",
                "pi_cam_daemon_allowed_networks: '10.0.0.0/33' is neither an address nor a network",
            ],
        ),
    ]
    hosts = {f"pi{number}": {"ansible_host": f"192.0.2.{number}", **own} for number, (own, _) in enumerate(wrong, 1)}
    (tmp_path / "artefact").touch()
    (tmp_path / "hosts.json").write_text(json.dumps({"cameras": {"hosts": hosts}}))
    given = ["-i", f"{tmp_path}/hosts.json", "-e", f"pi_cam_daemon_artefact={tmp_path}/artefact"]
    done = ansible("newest", tmp_path, "ansible-playbook", *given, "site.yml")
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert [reason for _, reasons in wrong for reason in reasons if reason not in said] == []
    assert said.count("unreachable=0") == len(hosts) and "Set aside" not in said


@pytest.mark.parametrize("version", VERSIONS)
def test_the_example_inventory_passes_every_check_that_needs_no_host(version: str, tmp_path: Path) -> None:
    (tmp_path / "artefact").touch()
    (tmp_path / "password").write_text("of the vault")
    vault = ["--vault-password-file", f"{tmp_path}/password"]
    url = "http://camera:swordfish@192.168.10.9/"
    secret = ansible(version, tmp_path, "ansible-vault", "encrypt_string", *vault, url).stdout.strip()
    indented = "\n".join([secret.splitlines()[0], *(f"      {line.strip()}" for line in secret.splitlines()[1:])])
    (tmp_path / "more.yml").write_text(
        f"pi_cam_daemon_wall: cameras\npi_cam_daemon_config:\n  upstream:\n    url: {indented}\n"
    )
    (tmp_path / "check.yml").write_text(
        "- hosts: cameras\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.include_role: {name: pi_cam.daemon.pi_cam_daemon, tasks_from: check.yml, public: true}\n"
        "    - ansible.builtin.debug: {var: pi_cam_daemon__configurations}\n"
    )
    done = ansible(
        version, tmp_path, "ansible-playbook", f"{tmp_path}/check.yml", *vault, "-e", f"@{tmp_path}/more.yml",
        "-e", f"pi_cam_daemon_artefact={tmp_path}/artefact",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    said = done.stdout.replace("\\", "")
    # of each host's own settings, and of its second camera's
    assert said.count(f'url = "{url}"') == 6
    wall = [f"http://192.168.10.{number}:8000" for number in (21, 22, 23)]
    wall += [f"http://192.168.20.{address}" for address in ("21:8000", "21:8001", "22:8000")]
    assert said.count(f"cameras = {json.dumps(wall)}") == 6
    assert said.count('device = "/dev/v4l/by-id/usb-046d_C270_HD_WEBCAM-video-index0"') == 1
