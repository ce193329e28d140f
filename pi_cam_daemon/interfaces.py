"""The addresses of this machine, and where its page is found on the network.

Linux only: IPv4 through the ioctls of netdevice(7), IPv6 from /proc/self/net/if_inet6. No netlink, so that the
service needs no socket families but AF_INET, AF_INET6 and AF_UNIX.
"""

from __future__ import annotations

import array
import errno
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# /proc/net is missing where systemd's ProcSubset=pid hides everything but the processes; this one stays
_IF_INET6 = Path("/proc/self/net/if_inet6")

# linux/sockios.h
_SIOCGIFCONF = 0x8912
_SIOCGIFNETMASK = 0x891B

# sizeof(struct ifreq), a name of 16 bytes and a union whose largest member is struct ifmap: 40, or 32 on a 32-bit Pi
_IFREQ_SIZE = struct.calcsize("16sLLHBBB0L")
_MOST_ADDRESSES = 256

# IFA_F_SECONDARY (of IPv6: temporary, soon replaced), IFA_F_DADFAILED, IFA_F_TENTATIVE, linux/if_addr.h
_PASSING_FLAGS = 0x01 | 0x08 | 0x40


@dataclass(frozen=True)
class Interface:
    """One address of a network interface, and the network that is reached directly through it."""

    name: str
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    network: ipaddress.IPv4Network | ipaddress.IPv6Network


def read() -> list[Interface]:
    """Every address of this machine, IPv4 first; an interface with several is there several times.

    Temporary, tentative and duplicate IPv6 addresses are left out. A kernel without IPv6 is no error.
    """
    try:
        table = _IF_INET6.read_text("ascii")
    except FileNotFoundError:
        table = ""
    return [*_ipv4(), *parse_if_inet6(table)]


def parse_if_inet6(table: str) -> Iterator[Interface]:
    """The lines of if_inet6: address, interface number, prefix length, scope and flags in hexadecimal, name."""
    for line in table.splitlines():
        address, _, prefix_length, _, flags, name = line.split()
        if not int(flags, 16) & _PASSING_FLAGS:
            interface = ipaddress.IPv6Interface((int(address, 16), int(prefix_length, 16)))
            yield Interface(name, interface.ip, interface.network)


def _ipv4() -> Iterator[Interface]:
    requests = array.array("B", bytes(_MOST_ADDRESSES * _IFREQ_SIZE))
    place, size = requests.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        # struct ifconf: the size of the buffer, which comes back as the size used, and where it is
        answer = fcntl.ioctl(control, _SIOCGIFCONF, struct.pack("iP", size, place))
        used, _ = struct.unpack("iP", answer)
        for start in range(0, used, _IFREQ_SIZE):
            request = requests[start : start + _IFREQ_SIZE].tobytes()
            try:
                # the request already bears name and address, so the kernel answers for exactly this address
                mask = _sockaddr_in(fcntl.ioctl(control, _SIOCGIFNETMASK, request))
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.EADDRNOTAVAIL):  # gone since the list was made
                    continue
                raise
            interface = ipaddress.IPv4Interface((_sockaddr_in(request), mask.bit_count()))
            name = request[:16].rstrip(b"\0").decode("utf-8", "replace")
            yield Interface(name, interface.ip, interface.network)


def _sockaddr_in(request: bytes) -> int:
    """The IPv4 address in a struct ifreq, which follows the name, the address family and the port."""
    return int.from_bytes(request[20:24], "big")


def page_addresses(
    port: int, interfaces: Iterable[Interface] | None = None, hostname: str | None = None, scheme: str = "http"
) -> list[str]:
    """The addresses to type into a browser on the same network, the mDNS name last.

    *interfaces* and *hostname* are this machine's own, unless given.
    """
    hosts = [
        f"[{interface.address}]" if interface.address.version == 6 else str(interface.address)
        for interface in (read() if interfaces is None else interfaces)
        if not interface.address.is_loopback and not interface.address.is_link_local
    ]
    name = (socket.gethostname() if hostname is None else hostname).partition(".")[0]
    if name not in ("", "localhost"):
        hosts.append(f"{name}.local")
    return [f"{scheme}://{host}:{port}/" for host in hosts]
