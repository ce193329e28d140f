"""The documents agree with the program and with each other, and can be read."""

from __future__ import annotations

import re
import statistics
import tomllib
from dataclasses import fields
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import pytest

from pi_cam_daemon.config.loading import DEFAULTS, load
from pi_cam_daemon.config.schema import Config
from tests.kit.daemon import ROOT
from tests.kit.documents import PAGES, commands, headings, links, sentences

README = ROOT / "README.md"
KOREAN = ROOT / "README.ko.md"
CONFIGURATION = ROOT / "docs/configuration.md"
CHANGELOG = ROOT / "CHANGELOG.md"
TEXTS = [*PAGES, KOREAN, CHANGELOG]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def default_values() -> dict[str, object]:
    tables = tomllib.loads(DEFAULTS.read_text("utf-8"))
    return {f"{section}.{key}": value for section, table in tables.items() for key, value in table.items()}


def test_default_toml_has_exactly_the_keys_of_the_dataclasses_in_their_order() -> None:
    declared = [f"{section}.{key.name}" for section, kind in get_type_hints(Config).items() for key in fields(kind)]
    assert list(default_values()) == declared


def test_every_key_of_default_toml_is_explained_right_above_it() -> None:
    lines = DEFAULTS.read_text("utf-8").splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r"[a-z_]+ = ", line)]
    assert len(keys) == len(default_values())
    assert [lines[number] for number in keys if not lines[number - 1].startswith("# ")] == []


def document_settings() -> ModuleType:
    loader = SourceFileLoader("document_settings", str(ROOT / "scripts/document-settings"))
    script = module_from_spec(spec_from_loader("document_settings", loader) or pytest.fail("no spec"))
    loader.exec_module(script)
    return script


def test_the_page_of_settings_is_made_from_default_toml() -> None:
    script = document_settings()
    assert CONFIGURATION.read_text("utf-8") == script.page(), "run scripts/document-settings"
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| `(.*?)` \| .+ \|$", CONFIGURATION.read_text("utf-8"), re.MULTILINE)
    assert {key: tomllib.loads(f"value = {value}")["value"] for key, value in rows} == default_values()


@pytest.mark.parametrize(
    "name",
    [
        "video.rotation",
        "users_file",
        "host.docker.internal",
        ".fritz.box",
        ".local",
        "pi-cam-daemon-reboot.path",
        "/etc/pi-cam-daemon/allowed_signers",
        "/dev/v4l/by-id",
        "/stream?size=small",
        "?lang=ko",
        "POST /controls",
        "[[0, 0.5, 1, 0.5]]",
    ],
)
def test_a_name_in_the_meaning_of_a_setting_is_one_piece_of_code(name: str) -> None:
    text = f"[page]\n# One is {name}, another ({name}), the last {name}.\nkey = 1\n"
    row = document_settings().sections(text).splitlines()[-1]
    assert row == f"| `page.key` | `1` | One is `{name}`, another (`{name}`), the last `{name}`. |"


def test_no_code_in_the_page_of_settings_begins_or_ends_within_a_name() -> None:
    meanings = re.sub(r"`([^`]*)`", "\0", CONFIGURATION.read_text("utf-8").partition("\n## ")[2])
    assert re.findall(r"\S*[\w/-]\0\S*|\S*\0[\w/?=-]\S*", meanings) == []


@pytest.mark.parametrize("page", [README, KOREAN, CONFIGURATION], ids=name)
def test_the_example_of_a_configuration_is_valid(page: Path, tmp_path: Path) -> None:
    block = re.search(r"(?:^    \[video\]\n)(?:(?:    .*)?\n)+", page.read_text("utf-8"), re.MULTILINE)
    assert block
    (tmp_path / "config.toml").write_text(re.sub(r"(?m)^    ", "", block[0]))
    assert load(etc=tmp_path).video.rotation == 180


def test_the_settings_in_docs_security_are_valid() -> None:
    settings = re.findall(r"^    ([a-z_]+ = .*)$", (ROOT / "docs/security.md").read_text("utf-8"), re.MULTILINE)
    assert len(settings) > 5
    for setting in settings:
        load(settings=[f"http.{setting}"], etc=Path("/nonexistent"))


def test_each_decision_has_a_number_of_its_own() -> None:
    numbers = [path.name.partition("-")[0] for path in (ROOT / "docs/decisions").iterdir()]
    assert sorted(numbers) == [f"{number:03}" for number in range(len(numbers))]


def test_links_between_the_documents_have_targets() -> None:
    broken = []
    for page in TEXTS:
        for link in links(page):
            path, _, heading = link.partition("#")
            target = page.parent / path if path else page
            if not target.exists() or (heading and heading not in headings(target)):
                broken.append((name(page), link))
    assert broken == []


def test_every_document_can_be_reached_from_the_index() -> None:
    told = {(page.parent / link.partition("#")[0]).resolve() for page in (README, ROOT / "docs/index.md")
            for link in links(page)}  # fmt: skip
    assert [
        name(page) for page in PAGES if page not in told and page.parent.name != "decisions" and page != README
    ] == []


def test_the_readme_begins_with_the_two_commands_and_is_short() -> None:
    lines = README.read_text("utf-8").splitlines()
    assert [line.split()[0] for line in lines if line.startswith("    scripts/")][:2] == ["scripts/run", "scripts/test"]
    assert len(lines) < 120
    assert lines.index("## How it works") < 60


@pytest.mark.parametrize("page", [*PAGES, CHANGELOG], ids=name)
def test_sentences_are_short(page: Path) -> None:
    lengths = {sentence: len(sentence.split()) for sentence in sentences(page)}
    assert {sentence: words for sentence, words in lengths.items() if words > 35} == {}
    assert statistics.median(lengths.values()) <= 16


def test_the_korean_readme_has_the_commands_addresses_and_links_of_the_english_one() -> None:
    text = KOREAN.read_text("utf-8")
    for page in (README, KOREAN):
        assert "scripts/run" in commands(page)
    assert [command for command in commands(KOREAN) if command not in commands(README)] == []
    addresses = re.findall(r"`(/\S*)`", text)
    http = (ROOT / "docs/http.md").read_text("utf-8")
    assert len(addresses) > 5 and [said for said in addresses if said not in README.read_text("utf-8") + http] == []
    wanted = {link for link in links(README) if link.startswith("docs/") and not link.startswith("docs/screens/")}
    assert wanted - {"docs/performance.md", "docs/develop.md", "docs/hardware.md"} <= set(links(KOREAN))
