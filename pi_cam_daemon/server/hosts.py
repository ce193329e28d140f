"""Host and Origin: the names that the camera answers to, and the other sites whose pages may use it (CORS).

Any page on the internet can make a browser on the local network send requests to the camera. The page can read the
answer only if its own name resolves to the camera (DNS rebinding), which the check of Host stops, or if CORS allows it.
Changes and stills are refused to other sites' pages in any case, because for them a page needs no answer.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import re
import socket
import time
from collections.abc import Callable, Container, Sequence
from http import HTTPStatus

from pi_cam_daemon.config.addresses import ANY, LOCAL, is_host, is_origin
from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.server.request import Request

# suffixes that nobody can register, and that routers give to the machines behind them
_PRIVATE_SUFFIXES = ("local", "lan", "home", "home.arpa", "internal", "localdomain")
# This one is registered on the internet. Only in networks behind such a router it is the router that answers for it.
_ROUTER_SUFFIX = "fritz.box"
# Names of the machine itself, which nobody can register: of /etc/hosts of Debian and of Fedora, all below localhost
# (RFC 6761, section 6.3), and those of a container for its host. "": no name is sent by HTTP/1.0 and old recorders.
_LOCALHOST = re.compile(
    r"|(.+\.)?localhost|localhost\.localdomain|localhost([46])(\.localdomain\2)?|ip6-(localhost|loopback)"
    r"|(host|gateway)\.[a-z-]+\.internal"
)
# host, which is in brackets if it is an IPv6 address, maybe with a zone; and port
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+(?:%[\w.-]+)?\]|[^\s:/?#@\[\]]*)(?::(\d{0,5}))?", re.IGNORECASE)
_FORWARDED_HOST = re.compile(r'(?:^|[;,\s])host="?([^\s",;]+)', re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_COUNT = re.compile(r"-[1-9]\d{0,2}$", re.ASCII)
_COUNTED = re.compile(r"(.+)-[1-9]\d{0,2}\.local", re.ASCII)
_LONGEST_NAME = 253  # of DNS
_MDNS_NAME_SECONDS = 60.0
_READING = ("GET", "HEAD", "OPTIONS")


class HostPolicy:
    """The rules of `http.allowed_hosts` and `http.cors_origins`.

    *is_own* returns whether an address belongs to our own networks, *own_name* this machine's name, and *mdns_name* the
    one that avahi gave to it, which is asked for once a minute at most. Only that may take time, or raise OSError.
    """

    def __init__(
        self,
        allowed_hosts: Sequence[str],
        origins: Sequence[str],
        is_own: Callable[[str], bool],
        own_name: Callable[[], str] = socket.gethostname,
        mdns_name: Callable[[], str] = lambda: "",
    ) -> None:
        self._allowed = allowed_hosts
        self._local = LOCAL in allowed_hosts
        self._hosts = {entry.lower().rstrip(".") for entry in allowed_hosts if entry != LOCAL}
        self._domains = tuple(entry for entry in self._hosts if entry.startswith("."))
        self._cors_origins = origins
        self._origins = {_parsed(entry) for entry in origins} - {None}
        self._any_origin = ANY in origins
        self._is_own = is_own
        self._own_name = own_name
        self._ask_mdns_name = mdns_name
        self._mdns_name = ""
        self._mdns_name_expires = -math.inf

    def check(self, request: Request, client: str, proxied: bool = False) -> None:
        """Raise Refused if *request* is for a foreign name, or asks for a change on behalf of a foreign page.

        *client* is the address of the client. *proxied*: a trusted proxy has sent the request, and may have replaced
        Host.
        """
        host = _AUTHORITY.fullmatch(_authority(request))
        if not host:
            raise Refused(HTTPStatus.BAD_REQUEST, "The Host field is malformed")
        if not self._answers_to(host[1], client):
            raise self._unknown(host[1])
        own_sites = "", "none", "same-origin"  # "": no browser, or one that sends no Sec-Fetch-Site
        own = request.method in _READING or self._is_own_page(request, own_sites)
        if not own and not (proxied and self._is_page_of_proxy(request, client)):
            raise self._foreign(request.header("origin"))

    def check_still(self, request: Request) -> None:
        """Raise Refused if *request*, on behalf of a foreign page, would interrupt the stream for a still.

        A page on another port of this host may ask, as it may show the stream.
        """
        if not self._any_origin and not self._is_own_page(request, ("", "none", "same-origin", "same-site")):
            text = "A page of another site asked for a picture of full size, which interrupts the stream"
            raise Refused(Reason.ORIGIN, f"{text}; its origin has to be in http.cors_origins, and in its request")

    def cors_headers(self, request: Request) -> dict[str, str]:
        """Return the CORS header fields of the answer to *request*; none if no other site is allowed."""
        if not self._cors_origins:
            return {}
        allowed = {}
        if self._is_allowed(request.header("origin")):
            allowed = {
                "Access-Control-Allow-Origin": request.header("origin"),
                "Access-Control-Expose-Headers": "X-Refused, Retry-After, X-Timestamp",
            }
            if request.method == "OPTIONS":
                allowed |= {
                    "Access-Control-Allow-Methods": "GET, HEAD, POST",
                    "Access-Control-Allow-Headers": "Authorization, Content-Type",
                    "Access-Control-Max-Age": "600",
                }
        return {**allowed, "Vary": "Origin"}

    def _answers_to(self, host: str, client: str) -> bool:
        name = _in_ascii(host).lower().removesuffix(".")
        # an address is safe, because no DNS entry can redirect it
        if _LOCALHOST.fullmatch(name) or _is_address(name) or ANY in self._hosts or name in self._hosts:
            return True
        return (self._local and self._is_own_name(name, client)) or f".{name}".endswith(self._domains)

    def _is_own_name(self, name: str, client: str) -> bool:
        own = self._own_name().lower()
        bare = own.partition(".")[0]
        if name in (own, bare, *(f"{bare}.{suffix}" for suffix in _PRIVATE_SUFFIXES)):
            return True
        if name == f"{bare}.{_ROUTER_SUFFIX}":
            return self._is_own(client)
        # avahi counts a name up that another machine has already: cam, cam-2, cam-3
        counted = _COUNTED.fullmatch(name)
        if counted is not None and counted[1] == _COUNT.sub("", bare):
            return True
        # its configuration may give any other name
        return name.endswith(".local") and name == self._current_mdns_name()

    def _current_mdns_name(self) -> str:
        now = time.monotonic()
        if now >= self._mdns_name_expires:
            with contextlib.suppress(OSError):  # such as no free descriptor; the last known name stays valid
                self._mdns_name = self._ask_mdns_name().lower()
            self._mdns_name_expires = now + _MDNS_NAME_SECONDS
        return self._mdns_name

    def _unknown(self, host: str) -> Refused:
        name = _in_ascii(host).removesuffix(".")
        entry = name if name != ANY and is_host(name) and len(name) <= _LONGEST_NAME else "NAME"
        text = f"This camera does not answer to the name {ascii(name[:_LONGEST_NAME])[1:-1]}."
        advice = "Ask for it by its address. Or, if the name is right, let its owner add it to allowed_hosts"
        return Refused.unless_set(Reason.HOST, text, advice, "allowed_hosts", self._allowed, entry)

    def _foreign(self, origin: str) -> Refused:
        entry = origin if len(origin) <= 260 and origin != ANY and is_origin(origin) else "http://NAME"
        text = "A page of another site sent this; it may not change anything here."
        advice = "If that site is yours, add it to cors_origins"
        return Refused.unless_set(Reason.ORIGIN, text, advice, "cors_origins", self._cors_origins, entry)

    def _is_own_page(self, request: Request, own_sites: Container[str]) -> bool:
        """Return whether *request* comes from no page, or from one of this camera or of an allowed origin."""
        origin, site = request.header("origin"), request.header("sec-fetch-site")
        # The browser has compared the addresses itself, and no page can set this field. A proxy may change Host.
        if site == "same-origin" or not origin:
            return site in own_sites
        return self._is_allowed(origin) or _is_origin_of(origin, _authority(request))

    def _is_page_of_proxy(self, request: Request, client: str) -> bool:
        """Return whether *request* comes from a page of the host that the proxy was asked for, if we answer to that."""
        named = request.header("x-forwarded-host").partition(",")[0].strip()
        if not named and (found := _FORWARDED_HOST.search(request.header("forwarded"))):
            named = found[1]
        named = named or _authority(request)
        host = _AUTHORITY.fullmatch(named)
        if not host or not self._answers_to(host[1], client):
            return False
        # many a configuration of nginx names the port apart
        with_port = f"{host[1]}:{host[2] or request.header('x-forwarded-port')}"
        return any(_is_origin_of(request.header("origin"), authority) for authority in (named, with_port))

    def _is_allowed(self, origin: str) -> bool:
        return origin not in ("", "null") and (self._any_origin or _parsed(origin) in self._origins)


def _authority(request: Request) -> str:
    """Return host and port of *request*: an absolute address counts, whatever Host says (RFC 9112, section 3.2.2)."""
    return request.authority or request.header("host")


def _is_origin_of(origin: str, authority: str) -> bool:
    """Return whether *origin* is that of the pages at *authority*."""
    page = _parsed(origin)
    return page is not None and page == _parsed(f"{page[0]}://{authority}")


def _parsed(origin: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of *origin*, for comparison; None if it is no origin of http or https."""
    scheme, _, authority = origin.lower().partition("://")
    usual, found = _DEFAULT_PORTS.get(scheme), _AUTHORITY.fullmatch(authority)
    if usual is None or not found or not found[1]:
        return None
    return scheme, found[1].removesuffix("."), int(found[2] or usual)


def _in_ascii(host: str) -> str:
    """Return *host* with labels in UTF-8 as xn--…, which browsers send and the configuration has; or *host* itself."""
    if not host.isascii() and len(host) <= _LONGEST_NAME:
        with contextlib.suppress(UnicodeError):
            return host.encode("latin-1").decode().encode("idna").decode()
    return host


def _is_address(host: str) -> bool:
    try:
        # only IPv6 has a zone, which URLs write behind %25 (RFC 6874), and others behind %
        ipaddress.ip_address(host.strip("[]").replace("%25", "%"))
    except ValueError:
        return False
    return True
