"""Source for the MJPEG stream of another server: a phone, a network camera, another pi_cam_daemon.

The other server is not trusted: every answer has a size limit and every wait a deadline.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from urllib.parse import urlsplit

from pi_cam_daemon.camera import multipart
from pi_cam_daemon.camera.source import BadFrameCounter, Commands, Sink, Stop, TakeStill, next_command
from pi_cam_daemon.camera.upstream_http import CHECK_SERVER, boundary_of, open_stream, place
from pi_cam_daemon.config.schema import UpstreamConfig, VideoConfig
from pi_cam_daemon.errors import Cause, JpegError, SourceError
from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.imaging.exif import Photo
from pi_cam_daemon.imaging.known import KnownHeader
from pi_cam_daemon.imaging.orientation import Orientation
from pi_cam_daemon.ipc.messages import CameraInfo, Still
from pi_cam_daemon.ipc.pace import Pace
from pi_cam_daemon.system.redaction import without_secrets

# interval of the check for commands and deadlines while no picture arrives
_LOOK_SECONDS = 0.2
# time for the receiving thread to end after its connection was shut down
_CLOSE_SECONDS = 0.5
# A server may send nothing for so long before the pace of its pictures is known: the server's default for a start,
# source.start_timeout_seconds, is a little longer.
_FIRST_SECONDS = 25.0
# a usual frame takes one or two reads
_READ_BYTES = 64 * 1024


class UpstreamSource:
    """Delivers the pictures of the stream *upstream*, turned as *video* asks for, otherwise unchanged."""

    def __init__(self, video: VideoConfig, upstream: UpstreamConfig) -> None:
        self._video = video
        self._upstream = upstream
        self._orientation = Orientation.of(video)

    def run(self, sink: Sink, commands: Commands) -> None:
        """Connect and deliver frames until a Stop; SourceError if there is no stream, or it ends.

        Data without whole pictures does not end it: the server judges pictures.
        """
        if not self._upstream.url:
            raise SourceError("No upstream is set", Cause.SETTINGS, "upstream.url takes the address of an MJPEG stream")
        url = urlsplit(self._upstream.url)
        name = without_secrets(f"{place(url)}{url.path}")
        bad_frames = BadFrameCounter(name, sink)
        known = KnownHeader()
        opened = False
        still = 0  # the number of the still that is wanted
        receiver = _Receiver(self._upstream, 1 / self._video.framerate)
        try:
            while not isinstance(command := next_command(commands), Stop):
                if isinstance(command, TakeStill):
                    still = command.number
                picture, captured_ns = receiver.newest(_LOOK_SECONDS)
                if picture:
                    try:
                        plain = known.repair(picture)
                        picture = self._orientation.after(known.orientation).jpeg(plain)
                        if not opened:
                            # Servers do not send their rate, and measuring takes many frames. It sets the deadline
                            # of the next frame already, so the configured rate is reported.
                            size, rate = jpeg.size(picture), self._video.framerate
                            sink.opened(CameraInfo("upstream", name, *size, rate, "MJPG", "passed through"))
                            opened = True
                        sink.frame(picture, captured_ns)
                        if still:
                            described = self._orientation.described(picture, Photo(captured_ns))
                            sink.still(Still(still, described, captured_ns))
                            still = 0
                    except JpegError as error:
                        bad_frames.add(str(error))
                    del picture
        finally:
            receiver.close()


class _Receiver:
    """Reads the stream in a thread and keeps the newest picture only, so that pictures never queue up.

    Blocking calls, such as a name lookup, so do not delay a Stop.
    """

    def __init__(self, upstream: UpstreamConfig, period: float) -> None:
        self._upstream = upstream
        self._pace = Pace(period)
        self._place = place(urlsplit(upstream.url))
        self._changed = threading.Condition()
        self._newest = (b"", 0)
        self._error: Exception | None = None
        self._socket: socket.socket | None = None
        self._closing = False
        self._patience = 0.0
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)
        self._thread.start()

    def newest(self, timeout: float) -> tuple[bytes, int]:
        """Return the newest picture, each only once, and its time of arrival (CLOCK_MONOTONIC in ns).

        The picture is empty if none arrives within *timeout* seconds. Raises the error that ended the stream.
        """
        with self._changed:
            if not self._newest[0] and not self._error:
                self._changed.wait(timeout)
            newest, self._newest = self._newest, (b"", 0)
            if self._error and not newest[0]:
                raise self._error
            return newest

    def close(self) -> None:
        """Shut the connection down. A name lookup in progress ends at its own deadline."""
        with self._changed:
            self._closing = True
            self._shut_down()
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            with open_stream(self._upstream, self._connected) as response:
                self._receive(response)
        except Exception as error:  # noqa: BLE001 - the top of the thread: `newest` raises it again
            with self._changed:
                self._error = error
                self._changed.notify()
        finally:
            if self._socket:
                self._socket.close()

    def _connected(self, connection: socket.socket) -> None:
        """Replace the socket of the connection before, from a redirect or a login."""
        with self._changed:
            if self._socket:
                self._socket.close()
            self._socket = connection
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket and self._closing:
            with contextlib.suppress(OSError):  # the other side has closed it
                self._socket.shutdown(socket.SHUT_RDWR)

    def _be_patient(self) -> None:
        """Set how long the server may send nothing, by the pace of its pictures."""
        steady = self._pace.silent_seconds if self._pace.measured else _FIRST_SECONDS
        patience = max(self._upstream.read_timeout_seconds, steady)
        with self._changed:
            if patience != self._patience and self._socket and not self._closing:
                self._patience = patience
                self._socket.settimeout(patience)

    def _receive(self, response: http.client.HTTPResponse) -> None:
        boundary = boundary_of(response, self._place)
        try:
            reader = multipart.Reader(boundary)
            self._be_patient()
            while data := response.read1(_READ_BYTES):
                came = False
                for picture in reader.feed(data):
                    with self._changed:
                        self._newest = picture, time.monotonic_ns()
                        self._changed.notify()
                    del picture  # it may have megabytes, and the next one may be late
                    came = True
                if came:  # several at once are old ones
                    self._pace.next(time.monotonic())
                    self._be_patient()
        except TimeoutError:
            seconds = self._patience
            raise SourceError(f"{self._place} has sent nothing for {seconds:.3g} s", hint=CHECK_SERVER) from None
        except multipart.MultipartError as error:
            raise SourceError(f"{self._place} sends no MJPEG stream: {error}", Cause.SETTINGS) from None
        except (OSError, http.client.HTTPException):
            raise SourceError(f"The connection to {self._place} broke", hint=CHECK_SERVER) from None
        raise SourceError(f"{self._place} has ended the stream", hint=CHECK_SERVER)
