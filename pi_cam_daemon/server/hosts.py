"""The names that the camera answers to, and the other sites whose pages may use it.

A browser on the network can be made to ask the camera by any page on the internet. Such a page reads the answer only
when its own name leads to the camera (DNS rebinding), which the Host check stops, or when the camera says that it may
(CORS); what changes something is refused to it even unread.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from http import HTTPStatus

from pi_cam_daemon.config.addresses import ANY, LOCAL, is_host
from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.server.request import Request

# suffixes that no one can register, and that routers give to the machines behind them
_PRIVATE_SUFFIXES = ("local", "lan", "home", "home.arpa", "internal", "localdomain", "fritz.box")
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+(?:%25[\w.-]+)?\]|[^\s:/?#@\[\]]*)(?::\d{0,5})?", re.IGNORECASE)
_READING = ("GET", "HEAD", "OPTIONS")


class HostPolicy:
    """What `http.allowed_hosts` and `http.cors_origins` allow; *own_name* gives this machine's name, now."""

    def __init__(
        self,
        allowed_hosts: Sequence[str],
        cors_origins: Sequence[str],
        own_name: Callable[[], str] = socket.gethostname,
    ) -> None:
        self._local = LOCAL in allowed_hosts
        self._hosts = {entry.lower().rstrip(".") for entry in allowed_hosts if entry != LOCAL}
        self._domains = tuple(entry for entry in self._hosts if entry.startswith("."))
        self._origins = {entry.lower() for entry in cors_origins}
        self._own_name = own_name

    def check(self, request: Request) -> None:
        """Raises Refused when *request* asks for another name than ours, or wants a change for another site's page."""
        # an absolute address counts, whatever Host says (RFC 9112, section 3.2.2)
        authority = request.authority or request.header("host")
        host = _AUTHORITY.fullmatch(authority)
        if not host:
            raise Refused(HTTPStatus.BAD_REQUEST, "The Host field is malformed")
        if not self._answers_to(host[1]):
            raise Refused(Reason.HOST, _unknown(host[1]))
        if request.method not in _READING and not self._may_change(request, authority):
            raise Refused(Reason.ORIGIN, "Pages of other sites may not do this")

    def cors_headers(self, request: Request) -> dict[str, str]:
        """What lets the page that asks read the answer, if it may."""
        if not self._origins:
            return {}
        allowed = {}
        if self._is_ours(request.header("origin")):
            allowed = {"Access-Control-Allow-Origin": request.header("origin")}
            if request.method == "OPTIONS":
                allowed |= {
                    "Access-Control-Allow-Methods": "GET, HEAD, POST",
                    "Access-Control-Allow-Headers": "Authorization, Content-Type",
                    "Access-Control-Max-Age": "600",
                }
        return {**allowed, "Vary": "Origin"}

    def _answers_to(self, host: str) -> bool:
        name = host.lower().removesuffix(".")
        # none at all: HTTP/1.0 and old recorders. An address is no name that somebody could lead elsewhere.
        if not name or name == "localhost" or _is_address(name) or ANY in self._hosts or name in self._hosts:
            return True
        if self._local:
            own = self._own_name().lower()
            bare = own.partition(".")[0]
            if name in (own, bare) or name in [f"{bare}.{suffix}" for suffix in _PRIVATE_SUFFIXES]:
                return True
        return f".{name}".endswith(self._domains)

    def _may_change(self, request: Request, authority: str) -> bool:
        origin = request.header("origin").lower()
        if origin:
            return self._is_ours(origin) or (bool(authority) and origin.partition("://")[2] == authority.lower())
        # no browser, or one that says where the request comes from in another way
        return request.header("sec-fetch-site") in ("", "none", "same-origin")

    def _is_ours(self, origin: str) -> bool:
        return bool(origin) and origin != "null" and (ANY in self._origins or origin.lower() in self._origins)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]").replace("%25", "%"))  # only IPv6 has a zone
    except ValueError:
        return False
    return True


def _unknown(host: str) -> str:
    shown = host if host != ANY and is_host(host) and len(host) <= 253 else "NAME"
    return (
        f"This camera does not answer to the name {ascii(host[:253])[1:-1]}.\n\n"
        "Ask for it by its address. Or, if the name is right, let its owner add it in /etc/pi-cam-daemon/config.toml, "
        "as in\n\n"
        f'[http]\nallowed_hosts = ["local", "{shown}"]\n\n'
        "and reload the service: sudo systemctl reload pi-cam-daemon"
    )
