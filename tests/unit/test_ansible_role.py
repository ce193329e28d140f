"""The Ansible role and its collection: argument_specs, defaults, default.toml, plugins and the READMEs agree."""

from __future__ import annotations

import configparser
import importlib
import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest
import yaml

import pi_cam_daemon
from pi_cam_daemon.config import loading, text
from pi_cam_daemon.config.schema import Config
from pi_cam_daemon.server import access
from tests.kit.daemon import ROOT

ANSIBLE = ROOT / "ansible"
ROLE = ANSIBLE / "roles/pi_cam_daemon"
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


def utility(name: str) -> ModuleType:
    """Return a module of the collection that the module on the host imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ANSIBLE / "collections")
        return importlib.import_module(f"ansible_collections.pi_cam.daemon.plugins.module_utils.{name}")


STEPS = utility("steps")
HOST = utility("host")
FILTERS = module(ANSIBLE / "plugins/filter/pi_cam_daemon.py")


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
    text = Path(HOST.__file__ or "").read_text()
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
        ({"rotation": 45}, "pi_cam_daemon_rotation: 45 cannot be used; accepted: 0, 90, 180, 270"),
        ({"port": 80.5}, "pi_cam_daemon_port: 80.5 is not a whole number"),
        ({"port": [80]}, "pi_cam_daemon_port: [80] is not a number"),
        ({"config": ["video"]}, "pi_cam_daemon_config: not a dictionary"),
        ({"cameras": 2}, "pi_cam_daemon_cameras: not a list"),
        ({"config": {"page": {"language": "fr"}}}, "language: 'fr' cannot be used; accepted: auto, en, ko"),
        ({"network_watch": "sometimes"}, "'sometimes' cannot be used; accepted: true, false, keep"),
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
        ({"mqtt_password": "…", "files": [{"name": "mqtt-password", "content": ""}]}, "mqtt-password is there twice"),
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


def test_every_problem_of_a_host_is_told_at_once() -> None:
    given = {
        "rotaton": 90,
        "port": "http",
        "rotation": 45,
        "allowed_networks": ["10.0.0.0/33"],
        "wall": "hous",
        "cameras": [{"name": "a b", "port": 8001}],
        "tls_key": "camera.key",
    }
    words = (
        "unknown",
        "is text",
        "accepted: 0, 90",
        "neither an address",
        "did you mean house",
        "a name",
        "is not set",
    )
    found = problems(**given)
    assert len(found) == len(words)
    assert [word for word in words if not any(word in problem for problem in found)] == []


def test_right_values_are_accepted() -> None:
    given = {name.removeprefix("pi_cam_daemon_"): value for name, value in DEFAULTS.items()}
    # a template
    del given["artefact"]
    assert problems(**given) == []
    # as INI inventories and --extra-vars give them
    assert problems(rotation="90", port="8080", apt="false", verify_seconds="30") == []
    assert problems(boot_status=True, network_watch="false", journal_in_memory="keep", drift="allow") == []
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
    assert STEPS.fault("u", {"captured": 0}, now, "a", gave) == fault
    assert STEPS.note(now) == note


MAIN = '[http]\nallowed_networks = ["local"]\n[video]\nrotation = 180\n'
OVERRIDES: dict[str, tuple[dict[str, str], list[str]]] = {
    # name: the files in conf.d, the keys that they override
    "another value": ({"a.toml": "[video]\nrotation = 90\n"}, ["a.toml overrides video.rotation"]),
    "a dotted key": ({"a.toml": "http.allowed_networks = []\n"}, ["a.toml overrides http.allowed_networks"]),
    "the same value": ({"a.toml": "video.rotation = 180\n"}, []),
    "a key that the role does not set": ({"a.toml": "video.width = 320\n"}, []),
    "the last of two": ({"a.toml": "video.rotation = 90\n", "b.toml": "video.rotation = 180\n"}, []),
    "what the daemon does not read": ({".a.toml": "video.rotation = 90\n", "a.txt": "video.rotation = 90\n"}, []),
    "no TOML, which the daemon tells": ({"a.toml": "rotation"}, []),
}


@pytest.mark.parametrize("case", OVERRIDES)
def test_a_file_in_conf_d_overrides_what_it_sets_to_another_value(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HOST, "ETC", tmp_path)
    (tmp_path / "conf.d").mkdir()
    files, overridden = OVERRIDES[case]
    for name, content in files.items():
        (tmp_path / "conf.d" / name).write_text(content)
    assert HOST.overridden(MAIN) == [f"{tmp_path}/conf.d/{problem}" for problem in overridden]


def test_no_inventory_is_taken_unasked() -> None:
    config = configparser.ConfigParser()
    config.read(ANSIBLE / "ansible.cfg")
    assert "inventory" not in config["defaults"]
    assert config["inventory"]["unparsed_is_failed"] == "true"


def test_role_and_installer_read_zstd_in_the_same_way() -> None:
    copy = ANSIBLE / "plugins/module_utils/zstd.py"
    assert copy.read_text() == (ROOT / "scripts/installer/zstd.py").read_text()
    # ansible-galaxy takes no link out of the collection
    assert [path for path in (ANSIBLE / "plugins").rglob("*") if path.is_symlink()] == []


def test_the_collection_has_the_version_of_the_project() -> None:
    assert load(ANSIBLE / "galaxy.yml")["version"] == pi_cam_daemon.__version__


def test_the_port_of_a_host_defaults_to_the_settings_default() -> None:
    assert DEFAULTS["pi_cam_daemon_port"] == FILTERS._PORT
