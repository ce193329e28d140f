"""App: the parts of the daemon that requests use, and the policy in force."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pi_cam_daemon.config import broker
from pi_cam_daemon.config.broker import Login
from pi_cam_daemon.config.schema import Config, HttpConfig, WallConfig
from pi_cam_daemon.core.events import Events
from pi_cam_daemon.core.latest import Pictures
from pi_cam_daemon.server import credentials
from pi_cam_daemon.server.access import Access, AllowedNetworks, Client, own_networks
from pi_cam_daemon.server.answers import read_pages
from pi_cam_daemon.server.counts import Counts
from pi_cam_daemon.server.event_streams import EventStreams
from pi_cam_daemon.server.hosts import HostPolicy
from pi_cam_daemon.server.live_controls import LiveControls
from pi_cam_daemon.server.motion import MotionLooks
from pi_cam_daemon.server.recordings import Recordings
from pi_cam_daemon.server.refusal_page import RefusalPage
from pi_cam_daemon.server.report import Observer
from pi_cam_daemon.server.settings import Settings
from pi_cam_daemon.server.stills import Stills
from pi_cam_daemon.server.streams import Streams
from pi_cam_daemon.system import network

if TYPE_CHECKING:
    from ssl import SSLContext

    from pi_cam_daemon.core.webhook import Target, Webhook
    from pi_cam_daemon.server.logins import Logins
    from pi_cam_daemon.server.metrics import Metrics


@dataclass(frozen=True)
class Policy:
    """The rules for connections and requests, and who is told of events. Immutable: a reload makes a new one."""

    http: HttpConfig
    wall: WallConfig
    access: Access
    hosts: HostPolicy
    logins: Logins | None
    tls: SSLContext | None
    webhook: Target | None
    broker: Login | None

    @classmethod
    def make(cls, config: Config) -> Policy:
        """Return the configured rules; reads the files that *config* names. Raises ConfigError."""
        http = config.http
        access = Access(AllowedNetworks(http.allowed_networks), http.trusted_proxies)
        own = own_networks().contains
        hosts = HostPolicy(http.allowed_hosts, http.cors_origins, own, mdns_name=network.mdns_name)
        files = *credentials.read(http), credentials.webhook(config.events), broker.read(config.mqtt)
        return cls(http, config.wall, access, hosts, *files)

    def may_stay(self, client: Client) -> bool:
        """Return whether *client*, who is watching the stream, would be admitted now."""
        known = client.is_ours or self.logins is None or self.logins.knows(client.user)
        return known and self.access.still_admits(client)


@dataclass(eq=False)
class App:
    """The parts of the daemon that requests use; one for all connections."""

    policy: Policy
    big: Pictures
    small: Pictures
    streams: Streams
    observer: Observer
    live_controls: LiveControls
    settings: Settings
    stills: Stills
    motion: MotionLooks
    events: Events
    counts: Counts
    pages: dict[str, tuple[str, bytes]] = field(default_factory=read_pages)
    refusal_page: RefusalPage = field(default_factory=RefusalPage)
    webhook: Webhook | None = None

    def __post_init__(self) -> None:
        self.event_streams = EventStreams(self.events, self.streams.answers.count_dropped)
        self.recordings = Recordings(self.observer)
        self.configure(self.policy)

    def configure(self, policy: Policy) -> None:
        """Put *policy* into force, in one assignment: each peer and each request gets the old or the new one, no mix.

        The stream loop then checks all its viewers, and also those that the old policy admits but that reach it later.
        """
        self.policy = policy
        self.streams.configure(policy.http, policy.may_stay)
        self.event_streams.configure(policy.http, policy.may_stay)
        if policy.webhook and self.webhook is None:
            from pi_cam_daemon.core.webhook import Webhook

            self.webhook = Webhook(self.events, lambda: self.observer.name)
        if self.webhook:
            self.webhook.configure(policy.webhook)

    @functools.cached_property
    def metrics(self) -> Metrics:
        """Return the metrics; the first call imports prometheus_client."""
        from pi_cam_daemon.server.metrics import Metrics

        return Metrics(self)
