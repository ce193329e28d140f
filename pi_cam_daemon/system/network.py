"""Addresses of this machine, of its page, and of peers. Linux only.

IPv4 comes from the ioctls of netdevice(7), IPv6 from /proc/self/net/if_inet6. Without netlink the sandbox of the
service can do with AF_INET, AF_INET6 and AF_UNIX.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pi_cam_daemon.system import avahi

_IF_INET6 = Path("/proc/self/net/if_inet6")  # unlike /proc/net, visible with systemd's ProcSubset=pid

_SIOCGIFCONF, _SIOCGIFNETMASK = 0x8912, 0x891B  # linux/sockios.h

# sizeof(struct ifreq): a name of 16 bytes and a union, whose largest member is struct ifmap; 40, or 32 on a 32-bit Pi
_IFREQ_SIZE = struct.calcsize("16sLLHBBB0L")
_MOST_ADDRESSES = 256

# in place of an address: both ends of a Unix socket
LOCAL_SOCKET = "local socket"

# IFA_F_SECONDARY (of IPv6: temporary, soon replaced), IFA_F_DADFAILED, IFA_F_TENTATIVE, linux/if_addr.h
_PASSING_FLAGS = 0x01 | 0x08 | 0x40

# the IP versions of what stands for all addresses
_EVERYWHERE = {"": (4, 6), "0.0.0.0": (4,), "::": (6,)}  # nosec B104  # compared, not bound to


@dataclass(frozen=True)
class Interface:
    """One address of a network interface, and the network that it reaches directly."""

    name: str
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    network: ipaddress.IPv4Network | ipaddress.IPv6Network


def read() -> list[Interface]:
    """Return the addresses, IPv4 first, without temporary, tentative and duplicate IPv6 ones. Raises OSError."""
    ipv6 = _IF_INET6.read_text() if _IF_INET6.exists() else ""  # a kernel without IPv6 has no such file
    return [*_ipv4(), *parse_if_inet6(ipv6)]


def parse_if_inet6(table: str) -> Iterator[Interface]:
    """Parse if_inet6. Its columns: address, interface number, prefix length, scope and flags in hexadecimal, name."""
    for line in table.splitlines():
        address, _, prefix_length, _, flags, name = line.split()
        if not int(flags, 16) & _PASSING_FLAGS:
            interface = ipaddress.IPv6Interface((int(address, 16), int(prefix_length, 16)))
            yield Interface(name, interface.ip, interface.network)


def _ipv4() -> Iterator[Interface]:
    requests = array.array("B", bytes(_MOST_ADDRESSES * _IFREQ_SIZE))
    place, size = requests.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        # struct ifconf: the size of the buffer, replaced by the size used, and its address
        answer = fcntl.ioctl(control, _SIOCGIFCONF, struct.pack("iP", size, place))
        used, _ = struct.unpack("iP", answer)
        for start in range(0, used, _IFREQ_SIZE):
            request = requests[start : start + _IFREQ_SIZE].tobytes()
            try:
                # the request has name and address, so the kernel answers for exactly this address
                mask = _sockaddr_in(fcntl.ioctl(control, _SIOCGIFNETMASK, request))
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.EADDRNOTAVAIL):  # gone since the list was made
                    continue
                raise
            interface = ipaddress.IPv4Interface((_sockaddr_in(request), mask.bit_count()))
            name = request[:16].rstrip(b"\0").decode("utf-8", "replace")
            yield Interface(name, interface.ip, interface.network)


def _sockaddr_in(request: bytes) -> int:
    """Return the IPv4 address in a struct ifreq, after the name, the address family and the port."""
    return int.from_bytes(request[20:24], "big")


def page_addresses(
    scheme: str,
    port: int,
    interfaces: Iterable[Interface],
    hostname: Callable[[], str] = socket.gethostname,
    mdns_name: Callable[[Iterable[str]], str] = avahi.host_name,
) -> list[str]:
    """Return the URLs of the page for a browser on the same network, the one with the mDNS name last.

    That name is what *mdns_name* returns for our addresses; if it is empty, what *hostname* returns, with .local.
    """
    addresses = _reachable(interfaces)
    hosts = [f"[{address}]" if address.version == 6 else str(address) for address in addresses]
    name = hostname().partition(".")[0]
    if announced := mdns_name(map(str, addresses)):
        hosts.append(announced)
    elif name not in ("", "localhost"):
        hosts.append(f"{name}.local")
    return [f"{scheme}://{host}:{port}/" for host in hosts]


def mdns_name() -> str:
    """Return the name by which avahi announces this machine; "" if it tells none in a second. Raises OSError."""
    return avahi.host_name(map(str, _reachable(read())))


def _reachable(interfaces: Iterable[Interface]) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Return the addresses at which other machines reach this one without naming an interface."""
    found = (interface.address for interface in interfaces)
    return [address for address in found if not address.is_loopback and not address.is_link_local]


def listening_addresses(scheme: str, listen_address: str, port: int) -> list[str]:
    """Return the URLs of the page. "" listens on both families, "0.0.0.0" on IPv4, "::" on IPv6."""
    here = local_address(scheme, listen_address, port)
    if listen_address not in _EVERYWHERE:
        return [here]
    own = [interface for interface in read() if interface.address.version in _EVERYWHERE[listen_address]]
    return [here, *page_addresses(scheme, port, own)]


def invitation(addresses: Sequence[str]) -> str:
    """Return the sentence that tells which of *addresses*, of `listening_addresses`, to open.

    It is one that every device of the local network can open, if one is known, and that for this machine.
    """
    for address in addresses:
        with contextlib.suppress(ValueError):  # a name
            host = ipaddress.ip_address(urlsplit(address).hostname or "")
            if host.version == 4 and host.is_private and not host.is_loopback:
                return f"open {address} in a browser, or {addresses[0]} on this machine"
    return f"open {addresses[0]} in a browser"


def local_address(scheme: str, listen_address: str, port: int) -> str:
    """Return the URL of the page for a browser on this machine."""
    host = f"[{listen_address}]" if ":" in listen_address else listen_address
    return f"{scheme}://{'localhost' if listen_address in _EVERYWHERE else host}:{port}/"


def peer_name(address: tuple[object, ...] | str) -> str:
    """Return an address of a connection, ours or the peer's. An IPv4-mapped one, from an IPv6 socket, is IPv4.

    Both ends of a Unix socket are LOCAL_SOCKET.
    """
    if isinstance(address, str):
        return LOCAL_SOCKET
    return str(address[0]).removeprefix("::ffff:")
