"""The dataclasses, default.toml and the documents agree."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

from pi_cam_daemon.config.loading import DEFAULTS, load
from pi_cam_daemon.config.schema import Config

README = Path(__file__).parents[2] / "README.md"
KOREAN = README.parent / "README.ko.md"
SECURITY = README.parent / "docs" / "security.md"
ROW = re.compile(r"\| `(?P<key>[a-z_]+\.[a-z_]+)` \| (?P<default>.+?) \| (?P<meaning>.+?) \|")


def default_values() -> dict[str, object]:
    tables = tomllib.loads(DEFAULTS.read_text("utf-8"))
    return {f"{section}.{key}": value for section, table in tables.items() for key, value in table.items()}


def readme_rows() -> list[re.Match[str]]:
    text = README.read_text("utf-8")
    table = text.partition("<!-- configuration: begin -->")[2].partition("<!-- configuration: end -->")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    rows = [ROW.fullmatch(line.strip()) for line in lines]
    assert None not in rows, f"not of the form | `section.key` | default | meaning |: {lines[rows.index(None)]}"
    return [row for row in rows if row]


def test_default_toml_has_exactly_the_keys_of_the_dataclasses_in_their_order() -> None:
    declared = [f"{section}.{key.name}" for section, kind in get_type_hints(Config).items() for key in fields(kind)]
    assert list(default_values()) == declared


def test_every_key_of_default_toml_is_explained_right_above_it() -> None:
    lines = DEFAULTS.read_text("utf-8").splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r"[a-z_]+ = ", line)]
    assert len(keys) == len(default_values())
    assert [lines[number] for number in keys if not lines[number - 1].startswith("# ")] == []


def test_the_readme_lists_every_key_once_in_the_order_of_default_toml() -> None:
    assert [row["key"] for row in readme_rows()] == list(default_values())


def test_the_readme_tells_the_defaults_of_default_toml() -> None:
    told = {row["key"]: tomllib.loads(f"value = {row['default'].strip('`')}")["value"] for row in readme_rows()}
    assert told == default_values()


def test_the_settings_in_docs_security_are_valid() -> None:
    settings = re.findall(r"^    ([a-z_]+ = .*)$", SECURITY.read_text("utf-8"), re.MULTILINE)
    assert len(settings) > 5
    for setting in settings:
        load(settings=[f"http.{setting}"], etc=Path("/nonexistent"))


def test_each_decision_has_a_number_of_its_own() -> None:
    numbers = [path.name.partition("-")[0] for path in (README.parent / "docs/decisions").iterdir()]
    assert sorted(numbers) == [f"{number:03}" for number in range(len(numbers))]


def test_links_between_the_documents_have_targets() -> None:
    links = [
        (page, link)
        for page in (README, KOREAN, *README.parent.glob("docs/**/*.md"), *README.parent.glob("*/README.md"))
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
        if "://" not in link
    ]
    assert len(links) > 10
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_the_korean_readme_has_the_commands_and_addresses_of_the_others() -> None:
    others = README.read_text("utf-8") + (README.parent / "docs" / "image.md").read_text("utf-8")
    text = KOREAN.read_text("utf-8")
    commands = re.findall(r"^ {4,7}(.*?)(?:  .*)?$", text, re.MULTILINE)
    addresses = re.findall(r"`(/\S*)`", text)
    assert len(commands) > 5 and len(addresses) > 5
    assert [said for said in (*commands, *addresses) if said not in others] == []
