"""One connection to an MQTT broker, made again whenever it ends. All of it happens in one thread, named mqtt.

paho speaks MQTT. Its own loops wait with select(), which fails for a daemon with more than a thousand viewers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import select
import socket
import ssl
import threading
import time
from typing import Any, Protocol

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from pi_cam_daemon.config.broker import Login
from pi_cam_daemon.system.logs import LogThrottle

log = logging.getLogger(__name__)

# A broker ends a silent connection after one and a half of these: a camera without power is offline after 45 s.
_KEEPALIVE_SECONDS = 30
_CONNECT_SECONDS = 5.0  # for the name, TCP and TLS; then the same for the broker's answer
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # before the next try, in seconds
_STEADY_SECONDS = 60.0  # after a connection of this length the pauses begin anew
_TOLD_AGAIN_SECONDS = 600.0  # for the same error
_CLOSE_SECONDS = 0.3


class User(Protocol):
    """The part that uses the connection, in the connection's thread."""

    def connected(self, connection: Connection) -> None:
        """Subscribe and publish after each connect."""

    def received(self, topic: str, payload: bytes, retained: bool) -> None:
        """Act on a message."""

    def work(self) -> float:
        """Publish what is due, and return the seconds until something may be due again."""


class Connection:
    """A connection for *user*, as *identity*. The broker keeps *farewell*, a topic and a text, when it ends.

    Only `wake`, `close` and `status` may be called from other threads.
    """

    def __init__(self, login: Login, identity: str, farewell: tuple[str, str], user: User) -> None:
        self._login = login
        self._farewell = farewell
        self._user = user
        self._place = f"{login.host}:{login.port}"
        self._connected = False
        self._error: str | None = None
        self._reason = ""  # why this connection ends
        self._told = LogThrottle(_TOLD_AGAIN_SECONDS, 20)
        self._failed = True  # as the log says
        self._closed = threading.Event()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._client = client = Client(CallbackAPIVersion.VERSION2, identity, reconnect_on_failure=False)
        client.connect_timeout = _CONNECT_SECONDS
        client.will_set(*farewell, qos=1, retain=True)
        if login.user:
            client.username_pw_set(login.user, login.password)
        if login.tls:
            client.tls_set_context(login.tls)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    def __del__(self) -> None:
        os.close(self._wakeup)

    def status(self) -> dict[str, object]:
        """Return the connection's part of /state."""
        error = (
            self._error
            if self._thread.is_alive() or self._closed.is_set()
            else "a bug ended its thread; the log tells more"
        )
        return {"connected": self._connected, "error": error}

    def wake(self) -> None:
        """Let `User.work` run soon. Never blocks."""
        with contextlib.suppress(BlockingIOError):  # full: the thread is awake
            os.eventfd_write(self._wakeup, 1)

    def close(self) -> None:
        """Say the farewell and disconnect, or leave that to the broker after a short while."""
        self._closed.set()
        self.wake()
        self._thread.join(_CLOSE_SECONDS)

    def subscribe(self, *topics: str) -> None:
        self._client.subscribe([(topic, 0) for topic in topics])

    def publish(self, topic: str, payload: str | bytes, retain: bool = False) -> None:
        self._client.publish(topic, payload, retain=retain)

    # -- in the thread

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                self._reason = ""
                self._serve()
            except (ConnectionResetError, BrokenPipeError):
                self._reason = self._unanswered
            except OSError as error:
                self._reason = _explain(error)
            except UnicodeError:  # of IDNA
                self._reason = "this is no host name"
            finally:
                self._connected = False
            if self._closed.is_set():
                return
            self._fail(self._reason or "the connection was lost")
            if time.monotonic() - began > _STEADY_SECONDS:
                pause = _FIRST_PAUSE
            # not all cameras at once, when a broker is back
            self._closed.wait(pause * random.uniform(0.5, 1))  # nosec B311  # nothing secret
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _serve(self) -> None:
        """Connect, and let the user work until the connection ends. Raises OSError if there is none."""
        client = self._client
        client.connect(self._login.host, self._login.port, _KEEPALIVE_SECONDS)
        deadline = time.monotonic() + _CONNECT_SECONDS
        while client.socket():
            if self._closed.is_set():
                return self._part()
            if self._connected:
                seconds = self._user.work()
            elif (seconds := deadline - time.monotonic()) <= 0:
                self._reason = "it took the connection and said nothing"
                client.disconnect()
                return None
            # what was published may have ended the connection
            if (sock := client.socket()) and self._wait(sock, seconds):
                client.loop_read()
            if client.want_write():
                client.loop_write()
            client.loop_misc()
        return None

    def _wait(self, sock: socket.socket | Any, seconds: float) -> bool:
        """Wait until there is something to do, at most *seconds*, and return whether the broker sent something."""
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return True
        poll = select.poll()
        poll.register(sock, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        poll.register(self._wakeup, select.POLLIN)
        ready = dict(poll.poll(max(0.0, min(seconds, 1.0)) * 1000))
        if self._wakeup in ready:
            os.eventfd_read(self._wakeup)
        return bool(ready.get(sock.fileno(), 0) & ~select.POLLOUT)

    def _part(self) -> None:
        """Say the farewell, and disconnect."""
        if self._connected:
            self.publish(*self._farewell, retain=True)
        self._client.disconnect()
        deadline = time.monotonic() + _CLOSE_SECONDS
        while (sock := self._client.socket()) and self._client.want_write() and time.monotonic() < deadline:
            self._wait(sock, 0.05)
            self._client.loop_write()

    def _fail(self, reason: str) -> None:
        self._error = error = f"{self._place}: {reason}"
        if self._told.due(error, time.monotonic()):
            log.warning("no connection to the MQTT broker %s", error)
            self._failed = True

    # -- called by paho

    def _on_connect(
        self, _client: object, _data: object, _flags: object, code: ReasonCode, _properties: object
    ) -> None:
        if code.is_failure:
            hint = "; look at mqtt.user and mqtt.password_file" if code.value in (134, 135) else ""
            self._reason = f"it refused the connection: {code}{hint}"
            return
        self._connected, self._error = True, None
        if self._failed:
            log.info("connected to the MQTT broker %s", self._place)
            self._failed = False
        self._user.connected(self)

    def _on_disconnect(
        self, _client: object, _data: object, _flags: object, _code: object, _properties: object
    ) -> None:
        if not self._connected and not self._reason:
            self._reason = self._unanswered

    @property
    def _unanswered(self) -> str:
        other = "with" if self._login.tls is None else "without"
        return f"it ended the connection before an answer; does it expect one {other} TLS (mqtt.tls)?"

    def _on_message(self, _client: object, _data: object, message: MQTTMessage) -> None:
        self._user.received(message.topic, bytes(message.payload), message.retain)


def _explain(error: OSError) -> str:
    """Return why there is no connection."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}; look at mqtt.tls_ca"
        case ssl.SSLError():
            return f"TLS failed ({error.reason}); is this the port for TLS, most often 8883?"
        case socket.gaierror():
            return "the name is not found"
        case ConnectionRefusedError():
            return "nothing listens there"
        case TimeoutError():
            return "it does not answer"
    return error.strerror or str(error)
