"""Who may look: the networks that are served."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence

from pi_cam_daemon import interfaces
from pi_cam_daemon.interfaces import Interface

_log = logging.getLogger(__name__)

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOCAL = "local"
ACCEPTED = 'IP addresses ("192.168.1.5"), networks ("192.168.1.0/24", "2001:db8::/48") and "local"'

_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))

# Spelled out, because `is_private` of ipaddress covers more: 0.0.0.0/8, documentation, benchmarks. Without
# 100.64.0.0/10 (RFC 6598), which a household shares with the other customers of its provider.
_LOCAL_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",  # RFC 1918, as are the next two
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",  # link-local, RFC 3927
        "fe80::/10",  # link-local, RFC 4291
        "fc00::/7",  # unique local, RFC 4193
    )
)

# A site gets a /48 at the most (RFC 6177). Shorter prefixes on an interface are those of 6to4 (/16) and Teredo (/32)
# tunnels, and behind these is the internet.
_SHORTEST_OWN_PREFIX = 48

_OWN_PREFIXES_SECONDS = 10.0


def network(entry: str) -> _Network:
    """The network that *entry* names as an address or in CIDR form, with its host bits cleared.

    IPv4 written as IPv6 (::ffff:192.168.1.0/120) becomes IPv4, as the peers do. ValueError says what is accepted.
    """
    return _interface(entry).network


def _interface(entry: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    _, slash, prefix_length = entry.partition("/")
    # ipaddress also reads netmasks and host masks, where 0.0.0.0 means everybody or a single one, and zones
    if "%" in entry or (slash and not prefix_length.isdecimal()):
        raise ValueError(f'"{entry}" is neither an address nor a network; accepted: {ACCEPTED}')
    try:
        interface = ipaddress.ip_interface(entry)
    except ValueError:
        raise ValueError(f'"{entry}" is neither an address nor a network; accepted: {ACCEPTED}') from None
    if isinstance(interface, ipaddress.IPv6Interface) and interface.network.prefixlen >= 96:
        mapped = interface.ip.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Interface((mapped, interface.network.prefixlen - 96))
    return interface


class AllowedNetworks:
    """The networks of `http.allowed_networks`; loopback is always one of them.

    *entries* are what `network` accepts, and "local": private, link-local and unique local addresses, and the IPv6
    prefixes of this machine's own interfaces, for a phone on the same network with a global address. They are read
    by *read_interfaces* and believed for ten seconds, because a provider may change them any day. Raises ValueError.
    """

    def __init__(
        self,
        entries: Sequence[str],
        read_interfaces: Callable[[], Iterable[Interface]] = interfaces.read,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._networks: list[_Network] = [*_LOOPBACK]
        self._local = LOCAL in entries
        self._read_interfaces = read_interfaces
        self._clock = clock
        self._own_prefixes: list[_Network] = []
        self._own_prefixes_expire = -math.inf
        if self._local:
            self._networks += _LOCAL_NETWORKS
        for entry in entries:
            if entry == LOCAL:
                continue
            interface = _interface(entry)
            if interface.ip != interface.network.network_address:
                _log.warning("http.allowed_networks: %s has host bits set, taken as %s", entry, interface.network)
            self._networks.append(interface.network)

    def contains(self, address: str) -> bool:
        """Whether the peer at *address*, as accept() gives it, may be served; False for what is no address."""
        try:
            peer = _peer(address)
        except ValueError:
            return False
        if any(peer in network for network in self._networks):
            return True
        return self._local and peer.version == 6 and any(peer in prefix for prefix in self._current_prefixes())

    def _current_prefixes(self) -> list[_Network]:
        now = self._clock()
        if now >= self._own_prefixes_expire:
            self._own_prefixes_expire = now + _OWN_PREFIXES_SECONDS
            try:
                found = self._read_interfaces()
            except OSError as error:  # no descriptor left, say; the prefixes of before still hold
                _log.warning("the addresses of this machine cannot be read: %s", error)
                return self._own_prefixes
            self._own_prefixes = [
                interface.network
                for interface in found
                if interface.network.version == 6 and interface.network.prefixlen >= _SHORTEST_OWN_PREFIX
            ]
        return self._own_prefixes


def _peer(address: str) -> _Address:
    """*address* without its zone (fe80::1%eth0), and as IPv4 where an IPv6 socket shows it as ::ffff:192.168.1.5."""
    peer = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        return peer.ipv4_mapped
    return peer
