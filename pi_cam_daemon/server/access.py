"""Who may look: the networks that are served, and who it is that a proxy asks for."""

from __future__ import annotations

import ipaddress
import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pi_cam_daemon.config.addresses import Networks
from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.server.request import Request
from pi_cam_daemon.system import network as interfaces
from pi_cam_daemon.system.network import Interface

if TYPE_CHECKING:
    from pi_cam_daemon.config.users import User

_log = logging.getLogger(__name__)

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

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

# what a proxy says of its client, the furthest first; the last entry of each is the proxy's own word
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
_NODE = re.compile(r"\s*(?:\[([^\]]*)\]|([0-9a-f:.%]+?))(?::\d+)?\s*", re.IGNORECASE)


class AllowedNetworks:
    """The networks of `http.allowed_networks`; loopback is always one of them.

    "local" stands for private, link-local and unique local addresses, and for the IPv6 prefixes of this machine's own
    interfaces: a phone on the same network may have a global address. *read_interfaces* reads these prefixes. They are
    believed for ten seconds, because a provider may change them any day.
    """

    def __init__(
        self,
        networks: Networks,
        read_interfaces: Callable[[], Iterable[Interface]] = interfaces.read,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._local = networks.local
        self._read_interfaces = read_interfaces
        self._clock = clock
        self._own_prefixes: list[_Network] = []
        self._own_prefixes_expire = -math.inf
        self._networks = [*_LOOPBACK, *_in_force("http.allowed_networks", networks)]
        if self._local:
            self._networks += _LOCAL_NETWORKS

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
            try:
                self._own_prefixes = [
                    interface.network
                    for interface in self._read_interfaces()
                    if interface.network.version == 6 and interface.network.prefixlen >= _SHORTEST_OWN_PREFIX
                ]
            except OSError as error:  # no descriptor left, say; the prefixes of before still hold
                _log.warning("the addresses of this machine cannot be read: %s", error)
            # only now: another thread that asks meanwhile reads them itself, and does not go by those of before
            self._own_prefixes_expire = now + _OWN_PREFIXES_SECONDS
        return self._own_prefixes


def _in_force(key: str, networks: Networks) -> list[_Network]:
    """Return the *networks* of the setting *key* without host bits; warn of these, which may be a slip."""
    for interface in networks.interfaces:
        if interface.ip != interface.network.network_address:
            _log.warning("%s: %s has host bits set, taken as %s", key, interface, interface.network)
    return [interface.network for interface in networks.interfaces]


def _peer(address: str) -> _Address:
    """*address* without its zone (fe80::1%eth0), and as IPv4 where an IPv6 socket shows it as ::ffff:192.168.1.5."""
    peer = ipaddress.ip_address(_without_zone(address))
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        return peer.ipv4_mapped
    return peer


def is_same_host(peer: str, here: str) -> bool:
    """Whether a connection from *peer* to *here* never leaves this machine."""
    return peer == here or _peer(peer).is_loopback


@dataclass(frozen=True)
class Client:
    """Who asks: the *address* that the proxy *peer* names, or the peer's own; *user* is who logged in, if anybody.

    *encrypted* tells whether TLS is spoken with the peer.
    """

    peer: str
    address: str
    user: User | None = None
    encrypted: bool = False

    def __str__(self) -> str:
        return self.address

    def is_this_machine(self, here: str) -> bool:
        """Whether the machine asks itself, at its address *here*, and for nobody else."""
        return self.address == self.peer and is_same_host(self.peer, here)


class Access:
    """Judges peers at accept, and clients once the request is read, which is when a proxy has told whom it serves.

    A peer in *proxies* is admitted and judged by the last address that it was told and does not trust. A
    proxy that is not in the list would let in everybody it serves as if they sat where it does: it is refused on this
    machine, and elsewhere when it names somebody who may not look.
    """

    def __init__(self, allowed: AllowedNetworks, proxies: Networks) -> None:
        self._allowed = allowed
        self._proxies = _in_force("http.trusted_proxies", proxies)

    def admits(self, peer: str) -> bool:
        """Whether the request of *peer* is read at all."""
        return self.trusts(peer) or self._allowed.contains(peer)

    def trusts(self, peer: str) -> bool:
        """Whether *peer* is a proxy whose word on its clients counts."""
        if not self._proxies:
            return False
        try:
            address = _peer(peer)
        except ValueError:
            return False
        return any(address in proxy for proxy in self._proxies)

    def judge(self, peer: str, request: Request) -> Client:
        """Who asks; raises Refused when that is nobody who may look."""
        said = [chain for name in _FORWARDED if (chain := request.headers.get(name))]
        if said and self.trusts(peer):
            client = Client(peer, self._named(said))
        else:
            client = Client(peer, peer)
            if said and (_peer(peer).is_loopback or not all(self._allowed.contains(self._origin(c)) for c in said)):
                raise Refused(Reason.PROXY, _unknown_proxy(peer))
        if not self.still_admits(client):
            raise Refused(Reason.NETWORK, refusal(str(client)), str(client))
        return client

    def still_admits(self, client: Client) -> bool:
        """Whether *client*, who was admitted once, would be again."""
        if client.address != client.peer and not self.trusts(client.peer):
            return False
        return self._allowed.contains(client.address)

    def _named(self, said: Sequence[Sequence[str]]) -> str:
        """Whom a proxy of ours asks for; Refused when its headers differ, because one of them is its client's own."""
        origins = [self._origin(chain) for chain in said]
        # an inner proxy may name the outer one in one header, and the client behind both in another
        clients = {origin for origin in origins if not self.trusts(origin)} or {origins[0]}
        if len(clients) > 1:
            raise Refused(Reason.PROXY, _CONTRADICTION)
        return clients.pop()

    def _origin(self, chain: Sequence[str]) -> str:
        """The last address in *chain* that is no proxy of ours: what is before it anybody can have written."""
        entries = ",".join(chain).split(",")
        while self.trusts(origin := _node(entries.pop())) and entries:
            pass
        return origin


def _node(entry: str) -> str:
    """The address in `192.168.1.5:1234`, `[2001:db8::1]:1234` or `for="[2001:db8::1]";proto=http` (RFC 7239)."""
    if "=" in entry:
        pairs = (pair.partition("=") for pair in entry.split(";"))
        entry = next((value.strip().strip('"') for name, _, value in pairs if name.strip().lower() == "for"), "")
    # an IPv6 address without brackets has no port
    bare = entry.strip() if entry.count(":") > 1 and "[" not in entry else None
    node = _NODE.fullmatch(entry)
    try:
        return str(_peer(bare or (node and (node[1] or node[2])) or ""))
    except ValueError:
        raise Refused(Reason.PROXY_HEADER, f"The proxy names no address: {entry[:60]!a}") from None


def refusal(client: str) -> str:
    """What *client* reads, who may not look."""
    return (
        f"This camera does not serve {client}.\n\n"
        "Its owner can let you in: add your network to allowed_networks in /etc/pi-cam-daemon/config.toml, as in\n\n"
        f'[http]\nallowed_networks = ["local", "{_without_zone(client)}"]\n\n'
        "and reload the service: sudo systemctl reload pi-cam-daemon"
    )


def _unknown_proxy(peer: str) -> str:
    return (
        f"A proxy at {peer} asks for somebody, and the camera does not know whether to believe it.\n\n"
        "Its owner can say so in /etc/pi-cam-daemon/config.toml, as in\n\n"
        f'[http]\ntrusted_proxies = ["{_without_zone(peer)}"]\n\n'
        "and reload the service: sudo systemctl reload pi-cam-daemon"
    )


_CONTRADICTION = (
    "The proxy's headers do not agree on who asks.\n\n"
    "Let it set one of X-Forwarded-For, Forwarded and X-Real-IP, and drop what its clients send of the others"
)


def _without_zone(address: str) -> str:
    """*address* as the configuration takes it."""
    return address.partition("%")[0]
