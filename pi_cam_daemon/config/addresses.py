"""Grammar of the networks, host names and origins in the configuration."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

_Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

LOCAL = "local"
ANY = "*"
ADDRESSES_ACCEPTED = 'IP addresses ("192.168.1.5") and networks ("192.168.1.0/24", "2001:db8::/48")'
NETWORKS_ACCEPTED = f'{ADDRESSES_ACCEPTED} and "{LOCAL}"'
HOSTS_ACCEPTED = 'names ("camera.example.org"), domains with all subdomains (".example.org"), "local" and "*"'
ORIGINS_ACCEPTED = 'origins ("http://octopi.local", "https://home.example.org:8123") and "*"'
CAMERAS_ACCEPTED = 'addresses of cameras ("http://picam-2.local:8000")'

_NAME = r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*"
_HOST = re.compile(rf"\.?{_NAME}|[0-9a-f:]+", re.IGNORECASE)
_ORIGIN = re.compile(rf"https?://({_NAME}|\[[0-9a-f:.]+\])(:\d{{1,5}})?", re.IGNORECASE)


class Networks(tuple[str, ...]):
    """A list of addresses and networks, parsed; as a tuple it holds the entries as they were written.

    *local*: it contains "local", an error without *may_be_local*. *interfaces* are the others, with their host bits.
    Raises ValueError.
    """

    interfaces: tuple[_Interface, ...]
    local: bool

    def __new__(cls, entries: Iterable[str] = (), may_be_local: bool = True) -> Networks:
        networks = super().__new__(cls, entries)
        networks.local = may_be_local and LOCAL in networks
        networks.interfaces = tuple(_interface(entry) for entry in networks if entry != LOCAL or not may_be_local)
        return networks


def _interface(entry: str) -> _Interface:
    """Parse an address or a network in CIDR form. An IPv4-mapped one becomes IPv4, as for the addresses of peers."""
    _, slash, prefix_length = entry.partition("/")
    try:
        # refuse zones, and masks such as /0.0.0.0, which ipaddress reads as a netmask or as a host mask
        if "%" in entry or (slash and not prefix_length.isdecimal()):
            raise ValueError
        interface = ipaddress.ip_interface(entry)
    except ValueError:
        raise ValueError(f'"{entry}" is neither an address nor a network') from None
    mapped, prefix = getattr(interface.ip, "ipv4_mapped", None), interface.network.prefixlen
    return ipaddress.IPv4Interface((mapped, prefix - 96)) if mapped and prefix >= 96 else interface


def is_network(entry: str, may_be_local: bool = True) -> bool:
    """Return whether *entry* may stand in a list of networks; "local" only with *may_be_local*."""
    try:
        Networks([entry], may_be_local)
    except ValueError:
        return False
    return True


def is_host(entry: str) -> bool:
    """Return whether *entry* may stand in `http.allowed_hosts`."""
    return entry in (LOCAL, ANY) or _HOST.fullmatch(entry) is not None


def is_origin(entry: str) -> bool:
    """Return whether *entry* may stand in a list of origins."""
    return entry == ANY or _ORIGIN.fullmatch(entry) is not None


def is_camera(entry: str) -> bool:
    """Return whether *entry* may stand in `wall.cameras`."""
    return entry != ANY and is_origin(entry.removesuffix("/"))
