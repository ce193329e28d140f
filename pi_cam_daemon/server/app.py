"""What requests are answered with: the daemon's parts, and the policy that is in force."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pi_cam_daemon.config.schema import HttpConfig, WallConfig
from pi_cam_daemon.core.latest import Demand, LatestFrame
from pi_cam_daemon.server import credentials
from pi_cam_daemon.server.access import Access, AllowedNetworks, Client
from pi_cam_daemon.server.answers import read_pages
from pi_cam_daemon.server.counts import Counts
from pi_cam_daemon.server.hosts import HostPolicy
from pi_cam_daemon.server.live_controls import LiveControls
from pi_cam_daemon.server.refusal_page import RefusalPage
from pi_cam_daemon.server.report import Observer
from pi_cam_daemon.server.stills import Stills
from pi_cam_daemon.server.streams import Streams

if TYPE_CHECKING:
    from ssl import SSLContext

    from pi_cam_daemon.server.logins import Logins
    from pi_cam_daemon.server.metrics import Metrics


@dataclass(frozen=True)
class Policy:
    """The rules that clients are judged by. It never changes: a reload makes another one."""

    http: HttpConfig
    wall: WallConfig
    access: Access
    hosts: HostPolicy
    logins: Logins | None
    tls: SSLContext | None

    @classmethod
    def make(cls, http: HttpConfig, wall: WallConfig) -> Policy:
        """Build the rules that are configured, and read the files that *http* names. Raises ConfigError."""
        access = Access(AllowedNetworks(http.allowed_networks), http.trusted_proxies)
        return cls(http, wall, access, HostPolicy(http.allowed_hosts, http.cors_origins), *credentials.read(http))

    def may_stay(self, client: Client) -> bool:
        """Return whether *client*, who watches, could come in now."""
        return self.access.still_admits(client) and (self.logins is None or self.logins.knows(client.user))


@dataclass(eq=False)
class App:
    """Everything that a request needs, whichever connection it comes on."""

    policy: Policy
    latest: LatestFrame
    streams: Streams
    demand: Demand
    observer: Observer
    live_controls: LiveControls
    stills: Stills
    counts: Counts = field(default_factory=Counts)
    pages: dict[str, tuple[str, bytes]] = field(default_factory=read_pages)
    refusal_page: RefusalPage = field(default_factory=RefusalPage)

    def __post_init__(self) -> None:
        self.configure(self.policy)

    def configure(self, policy: Policy) -> None:
        """Judge by *policy* from now on.

        This is one assignment. Each peer and each request is judged by one policy, limits included: by the old one or
        by the new one, never by parts of both. The stream loop has its own thread: a moment later it reviews all its
        viewers. Whoever reaches it after that is judged by *policy*, too, though the old one let him in.
        """
        self.policy = policy
        self.streams.configure(policy.http.viewer_timeout_seconds, policy.may_stay)

    @functools.cached_property
    def metrics(self) -> Metrics:
        """What /metrics gives; its library is loaded by the first who asks."""
        from pi_cam_daemon.server.metrics import Metrics

        return Metrics(self)
