"""The Ansible role: argument_specs, defaults, default.toml, host.py and the READMEs agree."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest
import yaml

from pi_cam_daemon.config import loading, text
from pi_cam_daemon.config.schema import Config
from pi_cam_daemon.server import access
from tests.kit.daemon import ROOT

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
    for section, table in tomllib.loads(loading.DEFAULTS.read_text("utf-8")).items()
    for key, value in table.items()
}


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


HOST = module(ROLE / "files/host.py")
FILTERS = module(ROLE / "filter_plugins/pi_cam_daemon.py")


def problems(**given: object) -> list[str]:
    named = {f"pi_cam_daemon_{name}": value for name, value in given.items()}
    found: list[str] = FILTERS.problems(named, OPTIONS, ["cameras", "house"])
    return found


def test_every_setting_has_a_variable_of_its_type() -> None:
    sections = OPTIONS["pi_cam_daemon_config"]["options"]
    given = {
        f"{name}.{key}": option for name, section in sections.items() for key, option in section["options"].items()
    }
    assert set(given) == set(SETTINGS) - set(OWN)
    types = {key: option["type"] for key, option in given.items()}
    assert types == {
        # the word stands for a value of any type
        key: "raw" if value == text.DEFAULT else TYPES[type(value)]
        for key, value in SETTINGS.items()
        if key not in OWN
    }


def test_the_role_accepts_the_same_values_as_the_daemon() -> None:
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


def test_local_means_the_same_for_the_check_of_the_controllers_access() -> None:
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
            'pi_cam_daemon_allowed_networks: text where a list is needed; write ["10.0.0.0/8", "local"]',
        ),
        ({"allowed_networks": []}, "nobody could look"),
        ({"config": {"video": {"width": "640"}}}, "pi_cam_daemon_config.video.width: '640' is text"),
        (
            {"config": {"video": {"rotaton_method": "exif"}}},
            "config.video.rotaton_method: unknown; did you mean rotation_",
        ),
        ({"config": {"video": {"hflip": "yes"}}}, "'yes' is neither true nor false"),
        ({"config": {"csi": {"camera": 1}}}, "pi_cam_daemon_config.csi.camera: not text; write it in quotes"),
        ({"rotation": "quarter"}, "pi_cam_daemon_rotation: 'quarter' is text"),
        ({"port": 8000, "cameras": [{"name": "a", "port": 8000}]}, "port 8000 belongs to another camera"),
        ({"cameras": [{"name": "a b", "port": 8001}]}, "'a b' cannot be a name"),
        ({"cameras": [{"name": "a", "port": 8001, "config": {"video": {"width": "1"}}}]}, "'1' is text"),
        ({"cameras": [{"name": "a"}]}, "pi_cam_daemon_cameras[0]: no port"),
        ({"config": {"video": {"width": None}}}, "width: no value; remove it to use the default"),
        ({"config": {"video": None}}, "pi_cam_daemon_config.video: no value"),
        ({"allowed_networks": ["10.0.0.0/33"]}, "'10.0.0.0/33' is neither an address nor a network"),
        ({"wall": "hous"}, "pi_cam_daemon_wall: group: unknown; did you mean house?"),
        ({"files": [{"name": "../x", "content": ""}]}, "'../x' cannot be a name"),
        ({"users": "alice:admin:…", "files": [{"name": "users", "content": ""}]}, "users is there twice"),
        ({"tls_key": "camera.key"}, "pi_cam_daemon_tls_certificate is not set; "),
        ({"files": [{"name": "x"}]}, "either src or content"),
        (
            {"artefact": "/none.tar.zst"},
            "/none.tar.zst: no such file on the controller; scripts/install --build-artefact",
        ),
    ],
)
def test_wrong_values_that_ansible_accepts_are_refused(given: dict[str, object], problem: str) -> None:
    (found,) = problems(**given)
    assert problem in found


def test_right_values_are_accepted() -> None:
    templates = ("pi_cam_daemon_artefact", "pi_cam_daemon_installer")
    given = {name.removeprefix("pi_cam_daemon_"): value for name, value in DEFAULTS.items() if name not in templates}
    assert problems(**given) == []
    # as INI inventories and --extra-vars give them
    assert problems(rotation="90", port="8080", apt="false", verify_seconds="30") == []
    assert problems(config={"video": {"framerate": 5, "hflip": True}, "csi": {"camera": "1"}}) == []


@pytest.mark.parametrize(
    "settings",
    [
        {
            "http": {"allowed_networks": ["10.0.0.0/8", "local"], "port": 8000},
            "video": {"framerate": 0.5, "hflip": True},
        },
        {"usb": {"controls": {"focus_absolute": 10, "Backlight Compensation": 1}, "device": 'a "quoted"\\ name'}},
        {"upstream": {"url": "http://ümläut:\U0001f600\x7f\x01@host/"}, "wall": {"cameras": []}},
        {"controls": {"roi": [0.1, 0, 0.5, 1e-7]}},
    ],
)
def test_the_files_have_the_values_of_the_variables(settings: dict[str, Any]) -> None:
    assert tomllib.loads(FILTERS.toml(settings)) == settings


def test_a_further_camera_has_the_hosts_settings_except_its_own() -> None:
    host = {"http": {"port": 8000}, "source": {"kind": "csi"}, "video": {"rotation": 90, "width": 640}}
    more = [
        {"name": "yard", "port": "8001"},
        {"name": "den", "port": 8002, "rotation": 0, "config": {"video": {"width": 320}}},
    ]
    found = {name: tomllib.loads(text) for name, text in FILTERS.configurations(host, more).items()}
    assert found == {
        "config.toml": host,
        "cameras/yard.toml": {**host, "http": {"port": 8001}},
        "cameras/den.toml": {"http": {"port": 8002}, "source": host["source"], "video": {"rotation": 0, "width": 320}},
    }


def test_the_wall_lists_the_groups_cameras_and_each_lets_it_read() -> None:
    hosts = {
        "a": {"ansible_host": "192.168.1.2", "pi_cam_daemon_cameras": [{"name": "yard", "port": 8001}]},
        "b": {"ansible_host": "fd00::2", "pi_cam_daemon_port": "80"},
        "c.lan": {"pi_cam_daemon_tls_key": "camera.key"},
    }
    cameras = ["http://192.168.1.2:8000", "http://192.168.1.2:8001", "http://[fd00::2]:80", "https://c.lan:8000"]
    assert FILTERS.addresses(hosts, hosts) == cameras
    own = {"http": {"cors_origins": ["http://octopi.local", cameras[2]]}}
    filled = FILTERS.with_wall(own, cameras)
    assert filled["wall"] == {"cameras": cameras}
    assert filled["http"]["cors_origins"] == ["http://octopi.local", cameras[2], *cameras[:2], cameras[3]]
    assert own == {"http": {"cors_origins": ["http://octopi.local", cameras[2]]}}
    assert FILTERS.with_wall({"http": {}, "wall": {"cameras": ["http://x"]}}, cameras)["wall"]["cameras"] == [
        "http://x"
    ]
    assert FILTERS.with_wall(own, []) == own


GONE = "The camera imx708 (csi) is gone: x"
LOST = f"u gives no pictures: {GONE}"
MISSING = "no camera, test picture: x"
SERVES = {
    "problem": "", "release": HOST.release(), "config_sha256": "a", "refused": "", "captured": 5, "asleep": "",
    "state": "streaming", "ok": True, "stand_in": False, "had_one": True, "detail": "Streaming",
}  # fmt: skip
STAND_IN = {**SERVES, "state": "no-camera", "ok": False, "stand_in": True, "detail": GONE}
NEVER = {**STAND_IN, "had_one": False, "detail": "No camera: x"}
FAULTS: dict[str, tuple[dict[str, Any], bool | None, str, str]] = {
    # name: state, if it gave pictures before, the fault, the note
    "serves": (SERVES, True, "", ""),
    "lost": (STAND_IN, True, LOST, GONE),
    "lost by a release that did not remember": (NEVER, True, "u gives no pictures: No camera: x", MISSING),
    "lost before": (STAND_IN, False, "", GONE),
    "lost, seen by verify": (STAND_IN, None, LOST, GONE),
    "never there": (NEVER, None, "", MISSING),
    "never there before": (NEVER, False, "", MISSING),
    "silent": ({**SERVES, "captured": 0}, None, "u gives no pictures: Streaming", ""),
    "starts": ({**SERVES, "captured": 0, "ok": False, "state": "starting"}, None, "u gives no pictures: Streaming", ""),
    "sleeps": ({**SERVES, "captured": 0, "state": "idle"}, None, "", ""),
    "wakes not": (
        {**SERVES, "captured": 0, "state": "idle", "asleep": "u gives no snapshot"}, None,
        "u gives no snapshot (the camera is idle)", "",
    ),
    "other settings": ({**SERVES, "config_sha256": "b"}, None, "u does not use its new configuration", ""),
    "refused settings": (
        {**SERVES, "config_sha256": "b", "refused": "users: cannot be read"}, None,
        "u refuses its files: users: cannot be read", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_camera_is_missed_only_where_there_was_one(case: str) -> None:
    now, gave, fault, note = FAULTS[case]
    assert HOST.fault("u", {"captured": 0}, now, "a", gave) == fault
    assert HOST.note(now) == note


def test_the_port_of_a_host_defaults_to_the_settings_default() -> None:
    assert DEFAULTS["pi_cam_daemon_port"] == FILTERS._PORT
