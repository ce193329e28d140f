"""`[wifi]` of pi-cam.toml: a network and a country, written to the files of NetworkManager and of the kernel."""

from __future__ import annotations

import contextlib
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pi_cam_daemon.config.text import short, shown
from pi_cam_daemon.system import files

_CONNECTION = Path("etc/NetworkManager/system-connections/pi-cam-daemon.nmconnection")
# the one that NetworkManager derives from that path
_UUID = "a76925cd-aa28-3391-9771-f31866d95a7a"
# Where netplan keeps profiles, as in Raspberry Pi OS trixie, NetworkManager moves one there when it changes it. At a
# boot netplan writes it to /run, and NetworkManager prefers that to a file in /etc with the same UUID.
_PROFILES = [f"{folder}/NetworkManager/system-connections/*.nmconnection" for folder in ("etc", "run")]
_MOVED = [f"etc/netplan/*-NM-{_UUID}*.yaml", f"run/NetworkManager/system-connections/*-NM-{_UUID}*.nmconnection"]
_ESCAPES = {"\\s": " ", "\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}
_COUNTRY = Path("etc/modprobe.d/pi-cam-daemon-wifi.conf")
# Raspberry Pi OS keeps the radio off in both files until it knows the country
_RADIO = Path("var/lib/NetworkManager/NetworkManager.state")
_RFKILL_SAVED = "var/lib/systemd/rfkill/*:wlan"
_RFKILL = "sys/class/rfkill/rfkill*"

# every code of ISO 3166, in the package tzdata
_COUNTRIES = Path("/usr/share/zoneinfo/iso3166.tab")
# what people write for a country whose code or name in that file is another
_OTHER_NAMES = {
    **dict.fromkeys(("UK", "EN", "UNITED KINGDOM", "GREAT BRITAIN", "ENGLAND"), "GB"),
    **dict.fromkeys(("USA", "UNITED STATES OF AMERICA"), "US"),
    **dict.fromkeys(("KOREA", "SOUTH KOREA", "대한민국", "한국"), "KR"),
    "EL": "GR",
}

_KEYS = ("ssid", "password", "country")


@dataclass(frozen=True)
class Wifi:
    """A network. *ssid* is empty for a country alone.

    *password* is empty for the one that NetworkManager knows already, or for an open network.
    """

    ssid: str
    password: str
    country: str


def check(table: Any) -> tuple[Wifi, list[str]]:
    """Return the settings in the table `[wifi]`, and what is wrong with them."""
    if not isinstance(table, dict):
        return Wifi("", "", ""), [f"wifi: {shown(table)} cannot be used; accepted: a table, which begins with [wifi]"]
    problems = [f"wifi.{short(key)}: unknown key; accepted: {', '.join(_KEYS)}" for key in table.keys() - set(_KEYS)]
    found = {key: table.get(key, "") for key in _KEYS}
    problems += [f"wifi.{key}: accepted: text in quotes" for key in _KEYS if not isinstance(found[key], str)]
    if problems:
        return Wifi("", "", ""), problems
    wifi = Wifi(found["ssid"], found["password"], found["country"].upper())
    if len(wifi.ssid.encode()) > 32 or not wifi.ssid.isprintable():
        problems.append("wifi.ssid: accepted: the network's name, at most 32 bytes")
    # a WPA passphrase or key (IEEE 802.11)
    if wifi.password and not re.fullmatch(r"[ -~]{8,63}|[0-9A-Fa-f]{64}", wifi.password):
        # the value is not shown: others may read pi-cam-status.txt
        problems.append("wifi.password: accepted: 8 to 63 letters, digits and signs of ASCII")
    if wifi.country and (hint := _country_hint(wifi.country)):
        problems.append(f"wifi.country: {shown(found['country'])} cannot be used; {hint}")
    if wifi.password and not wifi.ssid:
        problems.append("wifi.ssid: missing; accepted: the name of the network that the password is for")
    if wifi.ssid and not wifi.country:
        problems.append('wifi.country: missing; without it Wi-Fi stays off; accepted: two letters, such as "KR"')
    return wifi, problems


def _country_hint(country: str) -> str:
    """Return what is accepted in place of *country*, in capitals; "" if it is the code of a country."""
    # tab-separated: code, name; the kernel ignores a code that it does not know, and Wi-Fi stays off
    lines = files.text(_COUNTRIES).splitlines()
    codes = dict(line.split("\t")[:2] for line in lines if "\t" in line and not line.startswith("#"))
    names = {name.upper(): code for code, name in codes.items()} | _OTHER_NAMES
    if code := names.get(country):
        return f"the code is {code}"
    if re.fullmatch("[A-Z]{2}", country) and (country in codes or not codes):
        return ""
    return 'accepted: the two letters of ISO 3166, such as "KR"'


def configure(wifi: Wifi, root: Path) -> None:
    """Write the files, before NetworkManager starts and reads them."""
    if wifi.country:
        files.replace(root / _COUNTRY, f"options cfg80211 ieee80211_regdom={wifi.country}\n".encode())
        _unblock(root)
    if wifi.ssid and (wifi.password or not _is_known(wifi.ssid, root)):
        files.replace(root / _CONNECTION, _connection(wifi).encode(), 0o600)
        for moved in _found(_MOVED, root):
            files.remove(moved)


def set_country(country: str) -> None:
    """Set the country of the radio that runs already. Without `iw`, the next boot sets it."""
    with contextlib.suppress(FileNotFoundError, subprocess.TimeoutExpired):
        subprocess.run(["iw", "reg", "set", country], check=False, timeout=10)


def blocked(root: Path) -> bool:
    """Return whether the radio is switched off by software, as it is until the country is known."""
    return any(files.text(radio / "soft") == "1" for radio in _radios(root))


def _unblock(root: Path) -> None:
    if (radio := root / _RADIO).exists():
        files.replace(radio, re.sub("(?m)^WirelessEnabled=false$", "WirelessEnabled=true", radio.read_text()).encode())
    for saved in root.glob(_RFKILL_SAVED):
        files.replace(saved, b"0\n")
    for found in _radios(root):
        with contextlib.suppress(OSError):  # the radio has gone
            (found / "soft").write_text("0")


def _radios(root: Path) -> list[Path]:
    return [entry for entry in root.glob(_RFKILL) if files.text(entry / "type") == "wlan"]


def _connection(wifi: Wifi) -> str:
    lines = ["[connection]", "id=pi-cam-daemon", f"uuid={_UUID}", "type=wifi"]
    # as bytes, so that no character in the name needs an escape
    ssid = "".join(f"{byte};" for byte in wifi.ssid.encode())
    lines += ["", "[wifi]", "mode=infrastructure", f"ssid={ssid}"]
    if wifi.password:
        # a keyfile drops blanks at the ends and reads backslashes as escapes
        secret = wifi.password.replace("\\", "\\\\").replace(" ", "\\s")
        lines += ["", "[wifi-security]", "key-mgmt=wpa-psk", f"psk={secret}"]
    return "\n".join([*lines, "", "[ipv4]", "method=auto", "", "[ipv6]", "method=auto", ""])


def _is_known(ssid: str, root: Path) -> bool:
    """Return whether NetworkManager has a profile of the network. It, or its owner, may have written the file anew."""
    return any(_ssid(files.text(profile)) == ssid.encode() for profile in _found(_PROFILES, root))


def _found(patterns: list[str], root: Path) -> list[Path]:
    return [path for pattern in patterns for path in root.glob(pattern)]


def _ssid(profile: str) -> bytes:
    """Return the network's name in a keyfile, where it is a list of bytes, or text with escapes; empty without one."""
    found = re.search(r"^[ \t]*ssid[ \t]*=[ \t]*(.*)$", profile, re.MULTILINE)
    if not found:
        return b""
    value = re.sub(r"\\[stnr\\]", lambda escape: _ESCAPES[escape[0]], found[1])
    if re.fullmatch(r"([ \t]*[0-9]+[ \t]*;)+[ \t]*", value):
        with contextlib.suppress(ValueError):  # more than a byte
            return bytes(map(int, value.split(";")[:-1]))
    return value.replace("\\;", ";").encode()
