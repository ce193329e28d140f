"""pi-cam.toml as common editors save it, its errors, and the removal of its passwords."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pi_cam_daemon.boot import pi_cam_toml, wifi
from pi_cam_daemon.errors import ConfigError

TEMPLATE = Path(__file__).parents[2] / "scripts/image/files/pi-cam.toml"
TEXT = "# 카메라\n[video]\nrotation = 180\n"


def write(folder: Path, data: bytes, name: str = "pi-cam.toml") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def settings(path: Path) -> object:
    return tomllib.loads(pi_cam_toml.read(path).settings)


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        b"\xff\xfe" + TEXT.encode("utf-16-le"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace(" = ", " ＝　").encode(),
    ],
    ids=["plain", "byte-order mark", "Notepad's Unicode", "big-endian", "Windows line ends", "an input method's signs"],
)
def test_the_files_of_common_editors_are_read(tmp_path: Path, data: bytes) -> None:
    assert settings(write(tmp_path, data)) == {"video": {"rotation": 180}}


@pytest.mark.parametrize("quotes", ["“”", "„“", "‘’", "＂＂", "''"])
def test_smart_quotes_are_quotes(tmp_path: Path, quotes: str) -> None:
    text = f"[http]\nallowed_networks = [{quotes[0]}192.168.1.0/24{quotes[1]}]\n"
    assert settings(write(tmp_path, text.encode())) == {"http": {"allowed_networks": ["192.168.1.0/24"]}}


def test_quote_like_characters_inside_quotes_stay(tmp_path: Path) -> None:
    path = write(tmp_path, '[wifi]\nssid = "Tom’s “Café”"\ncountry = "DE"\n'.encode())
    assert pi_cam_toml.read(path).wifi.ssid == "Tom’s “Café”"


def test_smart_quotes_on_one_line_change_nothing_on_another(tmp_path: Path) -> None:
    text = '[wifi]\nssid = "Tom’s “Café”"\npassword = “a secret one”\ncountry = "DE"\n'
    path = write(tmp_path, text.encode())
    assert pi_cam_toml.read(path).wifi.ssid == "Tom’s “Café”"
    pi_cam_toml.blank_passwords(path)
    assert path.read_text() == text.replace("“a secret one”", '""')


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ("'it is \"so\" secret'", 'it is "so" secret'),
        ('"it\'s \\"so\\" secret"', 'it\'s "so" secret'),
        ('"#[=] \\\\ ;,"', "#[=] \\ ;,"),
    ],
)
def test_a_password_with_quotes_and_signs_is_read_and_leaves_the_file(
    tmp_path: Path, written: str, password: str
) -> None:
    path = write(tmp_path, f'[wifi]\nssid = "home"\ncountry = "KR"\npassword = {written}\n'.encode())
    assert pi_cam_toml.read(path).wifi.password == password
    pi_cam_toml.blank_passwords(path)
    assert pi_cam_toml.read(path).wifi == wifi.Wifi("home", "", "KR")


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("ssid", "s" * 32, True),
        ("ssid", "s" * 33, False),
        ("ssid", "é" * 16, True),
        ("ssid", "é" * 17, False),
        ("ssid", "a\tb", False),
        ("password", "p" * 7, False),
        ("password", " " * 8, True),
        ("password", "~" * 63, True),
        ("password", "p" * 64, False),
        ("password", "0123456789abcdefABCDEF" + "0" * 42, True),
        ("password", "0" * 65, False),
        ("password", "pässword", False),
    ],
)
def test_a_network_has_32_bytes_and_a_password_63_signs_or_64_digits(key: str, value: str, accepted: bool) -> None:
    found, problems = wifi.check({"ssid": "home", "country": "KR", key: value})
    assert [problem.partition(":")[0] for problem in problems] == ([] if accepted else [f"wifi.{key}"])
    assert getattr(found, key) == value


def test_a_file_that_windows_renamed_to_txt_is_read(tmp_path: Path) -> None:
    assert pi_cam_toml.find(tmp_path) == []
    plain = write(tmp_path, b"")
    assert pi_cam_toml.find(tmp_path) == [plain]
    hidden = write(tmp_path, b"", "pi-cam.toml.txt")
    assert pi_cam_toml.find(tmp_path) == [hidden, plain]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            b"[video]\nrotation = 45\n",
            "pi-cam.toml: video.rotation: 45 cannot be used; accepted: 0 or 90 or 180 or 270",
        ),
        (b"[video]\nrotaton = 90\n", "pi-cam.toml: video.rotaton: unknown key; did you mean rotation?"),
        (b"[video]\nrotation = \n", "pi-cam.toml: Invalid value (at line 2, column 12); text needs quotes"),
        (b"# caf\xe9\n", "pi-cam.toml: line 1: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        (b"#" * 70000, "pi-cam.toml: larger than 64 KiB; this is not a configuration"),
        (b'wifi = "home"\n', 'pi-cam.toml: wifi: "home" cannot be used; accepted: a table, which begins with [wifi]'),
        (
            b'[wifi]\nssid = "home"\n',
            'pi-cam.toml: wifi.country: missing; without it Wi-Fi stays off; accepted: two letters, such as "KR"',
        ),
        (
            b'[wifi]\ncountry = "Korea"\n',
            'pi-cam.toml: wifi.country: "Korea" cannot be used; the code is KR',
        ),
        (
            b'[wifi]\nssid = "home"\ncountry = "KR"\npassword = "short"\n',
            "pi-cam.toml: wifi.password: accepted: 8 to 63 letters, digits and signs of ASCII",
        ),
        (
            b'[wifi]\npassword = "a secret one"\ncountry = "KR"\n',
            "pi-cam.toml: wifi.ssid: missing; accepted: the name of the network that the password is for",
        ),
        (b'[wifi]\nssid = 5\ncountry = "KR"\n', "pi-cam.toml: wifi.ssid: accepted: text in quotes"),
        (
            b'[viewers]\nanna = "short"\n',
            "pi-cam.toml: viewers.anna: cannot be a password; accepted: 8 characters or more, no control character",
        ),
        (b"[viewers]\nanna = 12345678\n", "pi-cam.toml: viewers.anna: accepted: a password in quotes"),
        (b"viewers = 1\n", "pi-cam.toml: viewers: 1 cannot be used; accepted: a table, which begins with [viewers]"),
        (
            b'[viewers]\nanna = "$scrypt$nothing"\n',
            "pi-cam.toml: viewers.anna: not a hash as pi-cam-daemon add-user writes it",
        ),
        (b'[viewers]\nanna = ""\n[admins]\nanna = ""\n', "pi-cam.toml: admins.anna: is there twice"),
        (
            b'[http]\nusers_file = "/etc/u"\n[admins]\nanna = ""\n',
            "pi-cam.toml: http.users_file: cannot be set together with [viewers] or [admins]; remove one of them",
        ),
        (b"[WiFi]\ncountry = 1\n", "pi-cam.toml: WiFi: unknown section; did you mean wifi?"),
        (b"[wifi]\nname = 1\n", "pi-cam.toml: wifi.name: unknown key; accepted: ssid, password, country"),
    ],
)
def test_each_mistake_is_reported(tmp_path: Path, text: bytes, problem: str) -> None:
    with pytest.raises(ConfigError) as failure:
        pi_cam_toml.read(write(tmp_path, text))
    assert failure.value.problems == [problem]


NO_COUNTRY = 'accepted: the two letters of ISO 3166, such as "KR"'


@pytest.mark.parametrize(
    ("country", "hint"),
    [
        ("UK", "the code is GB"),
        ("uk", "the code is GB"),
        ("United Kingdom", "the code is GB"),
        ("Germany", "the code is DE"),
        ("대한민국", "the code is KR"),
        ("ZZ", NO_COUNTRY),
        ("00", NO_COUNTRY),
        ("GBR", NO_COUNTRY),
    ],
)
def test_a_word_that_is_no_code_of_a_country_is_told(country: str, hint: str) -> None:
    problems = wifi.check({"country": country})[1]
    assert problems == [f'wifi.country: "{country}" cannot be used; {hint}']


def test_without_the_list_of_the_system_two_letters_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wifi, "_COUNTRIES", tmp_path / "missing")
    assert wifi.check({"country": "zz"})[1] == []
    assert wifi.check({"country": "UK"})[1] and wifi.check({"country": "ZZZ"})[1]


def test_the_list_of_countries_is_read_whatever_else_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "iso3166.tab").write_text("#AA\tNowhere\n\nold\nKR\tKorea (South)\tAsia\n")
    monkeypatch.setattr(wifi, "_COUNTRIES", tmp_path / "iso3166.tab")
    hints = [wifi.check({"country": word})[1] for word in ("kr", "korea (south)", "nowhere")]
    assert [[problem.partition("; ")[2] for problem in problems] for problems in hints] == [
        [], ["the code is KR"], [NO_COUNTRY]
    ]  # fmt: skip


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as failure:
        pi_cam_toml.read(write(tmp_path, b'[video]\nrotation = 1\nwidth = 3\n[wifi]\ncountry = "1"\n'))
    assert len(failure.value.problems) == 3


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('password = "a secret one"\r\n', 'password = ""\r\n'),
        ("  password='a secret one' # mine\n", '  password="" # mine\n'),
        ("password = “a secret one”\n", 'password = ""\n'),
        ('password = "a \\"secret\\" one"\n', 'password = ""\n'),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_password_and_nothing_else_leaves_the_file(tmp_path: Path, before: str, after: str, encoding: str) -> None:
    text = '# 비밀번호: password = "example"\r\n[wifi]\nssid = "home"\n{}country = "KR"\n'
    path = write(tmp_path, text.format(before).encode(encoding))
    pi_cam_toml.blank_passwords(path)
    assert path.read_bytes() == text.format(after).encode(encoding)


@pytest.mark.parametrize(
    "text",
    [
        b'wifi = { ssid = "home", country = "KR", password = "a secret one" }\n',
        b'[wifi]\nssid = "home"\ncountry = "KR"\npassword = """a secret one"""\n',
    ],
)
def test_a_password_that_cannot_be_removed_is_reported(tmp_path: Path, text: bytes) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match="remove them yourself"):
        pi_cam_toml.blank_passwords(path)
    assert path.read_bytes() == text


def test_the_template_changes_nothing_as_it_is() -> None:
    found = pi_cam_toml.read(TEMPLATE)
    assert not any(tomllib.loads(found.settings).values())
    assert (found.wifi.ssid, found.wifi.password, found.wifi.country) == ("", "", "")


def test_every_line_of_the_template_can_be_put_in_force(tmp_path: Path) -> None:
    lines = TEMPLATE.read_text("utf-8").splitlines()
    text = "\n".join(line.removeprefix("# ") if " = " in line and line.isascii() else line for line in lines)
    assert "rotation" in str(settings(write(tmp_path, text.encode())))
