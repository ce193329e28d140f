"""Access by network: the addresses that are served, and the clients that trusted proxies name."""

from __future__ import annotations

import ipaddress
import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pi_cam_daemon.config.addresses import LOCAL, Networks
from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.server.request import Request
from pi_cam_daemon.system import network as interfaces
from pi_cam_daemon.system.network import LOCAL_SOCKET, Interface

if TYPE_CHECKING:
    from pi_cam_daemon.config.users import User

_log = logging.getLogger(__name__)

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))

# Private (RFC 1918), link-local (RFC 3927, RFC 4291) and unique local (RFC 4193). Spelled out, because `is_private` of
# ipaddress covers more: 0.0.0.0/8, documentation, benchmarks. Without 100.64.0.0/10 (RFC 6598), which a household
# shares with other customers of its provider.
_LOCAL = "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fe80::/10", "fc00::/7"
_LOCAL_NETWORKS = tuple(map(ipaddress.ip_network, _LOCAL))

# A site gets a /48 at most (RFC 6177). Shorter prefixes belong to 6to4 (/16) and Teredo (/32) tunnels, and behind these
# is the internet.
_SHORTEST_OWN_PREFIX = 48
_OWN_PREFIXES_SECONDS = 10.0

# In each of these the last entry is the proxy's own; clients may have sent those before it.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
_NODE = re.compile(r"\s*(?:\[([^\]]*)\]|([0-9a-f:.%]+?))(?::\d+)?\s*", re.IGNORECASE)


class AllowedNetworks:
    """The networks of `http.allowed_networks`, and always loopback.

    "local" stands for private, link-local and unique local addresses, and for the IPv6 prefixes of this machine's
    interfaces, because a phone on the same network may have a global address. *read_interfaces* gives the interfaces.
    It is called again after ten seconds, because a provider may change the prefixes at any time.
    """

    def __init__(
        self,
        networks: Networks,
        read_interfaces: Callable[[], Iterable[Interface]] = interfaces.read,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.entries = networks
        self._local = networks.local
        self._read_interfaces = read_interfaces
        self._clock = clock
        self._own_prefixes: list[_Network] = []
        self._own_prefixes_expire = -math.inf
        self._networks = [*_LOOPBACK, *_without_host_bits("http.allowed_networks", networks)]
        if self._local:
            self._networks += _LOCAL_NETWORKS

    def contains(self, address: str) -> bool:
        """Return whether *address* is served; False for text that is no address."""
        try:
            peer = _parse(address)
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
            except OSError as error:  # such as no free descriptor; the last known prefixes stay valid
                _log.warning("the addresses of this machine cannot be read: %s", error)
            # set last: until then other threads read the interfaces too, instead of using expired prefixes
            self._own_prefixes_expire = now + _OWN_PREFIXES_SECONDS
        return self._own_prefixes


def own_networks() -> AllowedNetworks:
    """Return the networks that "local" stands for, whoever is allowed."""
    return AllowedNetworks(Networks([LOCAL]))


def _without_host_bits(key: str, networks: Networks) -> list[_Network]:
    """Return *networks*, the value of the setting *key*, without host bits; log a warning where there are any."""
    for interface in networks.interfaces:
        if interface.ip != interface.network.network_address:
            _log.warning("%s: %s has host bits set, taken as %s", key, interface, interface.network)
    return [interface.network for interface in networks.interfaces]


def _parse(address: str) -> _Address:
    """Return *address* without its zone (fe80::1%eth0), and IPv4-mapped IPv6 as IPv4. Raises ValueError."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, ipaddress.IPv6Address) else parsed


def is_same_host(peer: str, here: str) -> bool:
    """Return whether a connection from *peer* to the local address *here* stays on this machine."""
    return peer == here or _parse(peer).is_loopback


@dataclass(frozen=True)
class Client:
    """The client that sent a request. *address* is the one of the connection, *peer*, or the one that a proxy names.

    *here* is our address that *peer* connected to, "" for a client that a proxy names. *user* has logged in.
    *encrypted* says that the connection uses TLS.
    """

    peer: str
    address: str
    here: str = ""
    user: User | None = None
    encrypted: bool = False

    def __str__(self) -> str:
        return self.address

    @property
    def is_this_machine(self) -> bool:
        """Return whether a program on this machine sent the request, and not as a proxy."""
        return self.address == self.peer and is_same_host(self.peer, self.here)

    @property
    def is_ours(self) -> bool:
        """Return whether a program of the service's own user sent the request, through the local socket."""
        return self.peer == LOCAL_SOCKET


class Access:
    """Checks the addresses of peers at accept, and of clients once the request is read.

    This machine itself is always allowed. A peer in *proxies* is a trusted proxy: its client is the last address in
    its headers that is no trusted proxy. Any other proxy has an allowed address itself, and would open the camera to
    all its clients. Its requests are refused if it is on this machine, and elsewhere if its headers name an address
    that is not allowed.
    """

    def __init__(self, allowed: AllowedNetworks, proxies: Networks) -> None:
        self._allowed = allowed
        self._trusted = proxies
        self._proxies = _without_host_bits("http.trusted_proxies", proxies)

    def admits(self, peer: str, here: str) -> bool:
        """Return whether a request of *peer* to our address *here* is read at all."""
        return peer == here or self.trusts(peer) or self._allowed.contains(peer)

    def trusts(self, peer: str) -> bool:
        """Return whether *peer* is a trusted proxy."""
        try:
            return any(_parse(peer) in proxy for proxy in self._proxies)
        except ValueError:
            return False

    def judge(self, peer: str, here: str, request: Request) -> Client:
        """Return the client that sent *request* to our address *here*. Raises Refused for one that is not allowed."""
        chains = [chain for name in _FORWARDED if (chain := request.headers.get(name))]
        if chains and self.trusts(peer):
            client = Client(peer, self._named(chains))
        else:
            client = Client(peer, peer, here)
            origins = map(self._origin, chains)
            if chains and (is_same_host(peer, here) or not all(map(self._allowed.contains, origins))):
                text = f"This request came through a proxy at {peer} that the camera does not trust."
                advice = "If the proxy is yours, add its address to trusted_proxies"
                entry = peer.partition("%")[0]
                raise Refused.unless_set(Reason.PROXY, text, advice, "trusted_proxies", self._trusted, entry)
        if not self.still_admits(client):
            raise self.refusal(client.address)
        return client

    def refusal(self, address: str) -> Refused:
        """Return the refusal of a client whose *address* is not allowed."""
        text = f"This camera does not serve {address}."
        advice = "Its owner can let you in: add your network to allowed_networks"
        entry = address.partition("%")[0]
        return Refused.unless_set(
            Reason.NETWORK, text, advice, "allowed_networks", self._allowed.entries, entry, address
        )

    def still_admits(self, client: Client) -> bool:
        """Return whether *client*, who was admitted before, would be admitted now."""
        if client.address != client.peer and not self.trusts(client.peer):
            return False
        return client.is_this_machine or self._allowed.contains(client.address)

    def _named(self, chains: Sequence[Sequence[str]]) -> str:
        """Return the client that a trusted proxy names. Raises Refused if its headers disagree: one is then forged."""
        origins = [self._origin(chain) for chain in chains]
        # with two proxies one header may name the outer proxy, and another the client behind both
        clients = {origin for origin in origins if not self.trusts(origin)} or {origins[0]}
        if len(clients) > 1:
            advice = "Let it set one of X-Forwarded-For, Forwarded and X-Real-IP, and remove the others from requests"
            raise Refused(Reason.PROXY, f"The proxy's headers name different clients.\n\n{advice}")
        return clients.pop()

    def _origin(self, chain: Sequence[str]) -> str:
        """Return the last address in *chain* that is no trusted proxy: anybody can have written those before it."""
        entries = ",".join(chain).split(",")
        while self.trusts(origin := _node(entries.pop())) and entries:
            pass
        return origin


def _node(entry: str) -> str:
    """Return the address in `192.168.1.5:1234`, `[2001:db8::1]:1234` or `for="[2001:db8::1]";proto=http` (RFC 7239)."""
    if "=" in entry:
        pairs = (pair.partition("=") for pair in entry.split(";"))
        entry = next((value.strip().strip('"') for name, _, value in pairs if name.strip().lower() == "for"), "")
    # an IPv6 address without brackets has no port
    bare = entry.strip() if entry.count(":") > 1 and "[" not in entry else None
    node = _NODE.fullmatch(entry)
    try:
        return str(_parse(bare or (node and (node[1] or node[2])) or ""))
    except ValueError:
        raise Refused(Reason.PROXY_HEADER, f"The proxy's header names no IP address: {entry[:60]!a}") from None
