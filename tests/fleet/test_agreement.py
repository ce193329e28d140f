"""argument_specs, defaults, default.toml, host.py and the READMEs tell the same; needs no host."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest
import yaml

from pi_cam_daemon import access, layers, values
from pi_cam_daemon.config import Config
from tests.fleet.conftest import ANSIBLE, VERSIONS
from tests.server.harness import ROOT

ROLE = ROOT / "ansible/roles/pi_cam_daemon"
TYPES = {bool: "bool", int: "int", float: "float", str: "str", list: "list", dict: "dict"}
# these have variables of their own, so that each is set in one place
OWN = {
    "source.kind": "pi_cam_daemon_source",
    "video.rotation": "pi_cam_daemon_rotation",
    "http.port": "pi_cam_daemon_port",
    "http.allowed_networks": "pi_cam_daemon_allowed_networks",
}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


OPTIONS: dict[str, dict[str, Any]] = load(ROLE / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
DEFAULTS: dict[str, Any] = load(ROLE / "defaults/main.yml")
SETTINGS = {
    f"{section}.{key}": value
    for section, table in tomllib.loads(layers.DEFAULTS.read_text("utf-8")).items()
    for key, value in table.items()
}


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


FILTERS = module(ROLE / "filter_plugins/pi_cam_daemon.py")


def problems(**given: object) -> list[str]:
    found: list[str] = FILTERS.problems({f"pi_cam_daemon_{name}": value for name, value in given.items()}, OPTIONS)
    return found


def test_every_setting_can_be_given_and_has_its_type() -> None:
    sections = OPTIONS["pi_cam_daemon_config"]["options"]
    given = {
        f"{name}.{key}": option for name, section in sections.items() for key, option in section["options"].items()
    }
    assert set(given) == set(SETTINGS) - set(OWN)
    types = {key: option["type"] for key, option in given.items()}
    assert types == {
        # the word stands for a value of any type
        key: "raw" if value == values.DEFAULT else TYPES[type(value)]
        for key, value in SETTINGS.items()
        if key not in OWN
    }


def test_the_same_values_are_accepted_as_by_the_daemon() -> None:
    hints = {
        f"{section}.{key}": hint
        for section, kind in get_type_hints(Config).items()
        for key, hint in get_type_hints(kind, include_extras=True).items()
    }
    sections = OPTIONS["pi_cam_daemon_config"]["options"]
    for key, hint in hints.items():
        convert = hint.__metadata__[0] if hasattr(hint, "__metadata__") else None
        section, _, name = key.partition(".")
        option = OPTIONS[OWN[key]] if key in OWN else sections[section]["options"][name]
        if convert and convert.__name__ == "choice":
            # a choice refuses by naming all that it accepts
            with pytest.raises(ValueError, match="accepted: ") as refusal:
                convert(object())
            accepted = str(refusal.value).partition("accepted: ")[2]
            assert accepted == " or ".join(
                f'"{word}"' if isinstance(word, str) else str(word) for word in option["choices"]
            )
        else:
            assert "choices" not in option, key


def test_the_variables_default_to_what_the_settings_default_to() -> None:
    assert {key: DEFAULTS[name] for key, name in OWN.items()} == {key: SETTINGS[key] for key in OWN}


def test_every_variable_has_a_default_and_a_line_in_the_readme() -> None:
    assert list(DEFAULTS) == list(OPTIONS)
    readme = (ROLE / "README.md").read_text()
    assert re.findall(r"^\| `(pi_cam_daemon_\w+)`", readme, re.MULTILINE) == list(OPTIONS)


def test_local_means_the_same_on_the_controllers_side_of_the_lock() -> None:
    text = (ROLE / "files/host.py").read_text()
    (networks,) = re.findall(r"^LOCAL = \((.*)\)$", text, re.MULTILINE)
    assert re.findall(r'"(.*?)"', networks) == [str(network) for network in access._LOCAL_NETWORKS]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"rotaton": 90}, "pi_cam_daemon_rotaton: unknown; did you mean pi_cam_daemon_rotation?"),
        ({"allowed_network": []}, "did you mean pi_cam_daemon_allowed_networks?"),
        (
            {"allowed_networks": "10.0.0.0/8, local"},
            'pi_cam_daemon_allowed_networks: text where a list is wanted; write ["10.0.0.0/8", "local"]',
        ),
        ({"allowed_networks": []}, "nobody could look"),
        ({"config": {"video": {"width": "640"}}}, "pi_cam_daemon_config.video.width: '640' is text"),
        (
            {"config": {"video": {"rotaton_method": "exif"}}},
            "config.video.rotaton_method: unknown; did you mean rotation_",
        ),
        ({"config": {"video": {"hflip": "yes"}}}, "'yes' is neither true nor false"),
        ({"config": {"csi": {"camera": 1}}}, "pi_cam_daemon_config.csi.camera: no text; write it in quotes"),
        ({"rotation": "quarter"}, "pi_cam_daemon_rotation: 'quarter' is text"),
        ({"port": 8000, "cameras": [{"name": "a", "port": 8000}]}, "port 8000 belongs to another camera"),
        ({"cameras": [{"name": "a b", "port": 8001}]}, "'a b' cannot be a name"),
        ({"cameras": [{"name": "a", "port": 8001, "config": {"video": {"width": "1"}}}]}, "'1' is text"),
        ({"files": [{"name": "../x", "content": ""}]}, "'../x' cannot be a name"),
        ({"files": [{"name": "x"}]}, "either src or content"),
        (
            {"artefact": "/none.tar.zst"},
            "/none.tar.zst: no such file on the controller; scripts/install --build-artefact",
        ),
    ],
)
def test_what_ansible_lets_pass_is_refused(given: dict[str, object], problem: str) -> None:
    (found,) = problems(**given)
    assert problem in found


def test_what_is_meant_is_accepted() -> None:
    templates = ("pi_cam_daemon_artefact", "pi_cam_daemon_installer")
    given = {name.removeprefix("pi_cam_daemon_"): value for name, value in DEFAULTS.items() if name not in templates}
    assert problems(**given) == []
    # as INI inventories and --extra-vars give them
    assert problems(rotation="90", port="8080", apt="false", verify_seconds="30") == []
    assert problems(config={"video": {"framerate": 5, "hflip": True}, "csi": {"camera": "1"}}) == []


def ansible(version: str, tmp_path: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    path = f"{ANSIBLE / version / 'bin'}:{os.environ['PATH']}"
    home = {"HOME": str(tmp_path), "ANSIBLE_HOME": str(tmp_path), "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
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


@pytest.mark.parametrize("version", VERSIONS)
def test_the_example_inventory_passes_every_check_that_needs_no_host(version: str, tmp_path: Path) -> None:
    (tmp_path / "artefact").touch()
    (tmp_path / "check.yml").write_text(
        "- hosts: cameras\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.include_role: {name: pi_cam_daemon, tasks_from: check.yml}\n"
    )
    done = ansible(
        version,
        tmp_path,
        "ansible-playbook",
        tmp_path / "check.yml",
        "-e",
        f"pi_cam_daemon_artefact={tmp_path}/artefact",
    )
    assert done.returncode == 0, done.stdout
    assert "cam-stable" in done.stdout
