"""Source for the MJPEG stream of another server: a phone, a network camera, another pi_cam_daemon.

The other server is not trusted: every answer has a size limit and every wait a deadline.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from functools import partial
from urllib.parse import urlsplit

from pi_cam_daemon.camera import jpeg_stream
from pi_cam_daemon.camera.http_response import HttpError, Response
from pi_cam_daemon.camera.looks import looks_at_jpegs
from pi_cam_daemon.camera.small import SmallPictures
from pi_cam_daemon.camera.source import BadFrameCounter, Commands, Sink, Stop, TakeStill, next_command
from pi_cam_daemon.camera.upstream_http import CHECK_SERVER, Client, pictures_in, place
from pi_cam_daemon.config.schema import SmallConfig, UpstreamConfig, VideoConfig
from pi_cam_daemon.errors import Cause, JpegError, SourceError
from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.imaging.exif import Photo
from pi_cam_daemon.imaging.known import KnownHeader
from pi_cam_daemon.imaging.orientation import Orientation
from pi_cam_daemon.imaging.shrink import Shrink
from pi_cam_daemon.ipc.messages import CameraInfo, Still
from pi_cam_daemon.ipc.pace import Pace
from pi_cam_daemon.system.redaction import without_secrets

# interval of the check for commands and deadlines while no picture arrives
_LOOK_SECONDS = 0.2
# least time between a request that failed and the next one
_RETRY_SECONDS = 0.5
# struct linger: a close resets the connection
_RESET = struct.pack("ii", 1, 0)
# time for the receiving thread to end after its connection was shut down
_CLOSE_SECONDS = 0.5
# The other server may send nothing for so long before the pace of its pictures is known. The default of
# source.start_timeout_seconds is a little longer, so that this error, which says more, comes first.
_FIRST_SECONDS = 25.0


class UpstreamSource:
    """Delivers the pictures of the stream *upstream*, turned as *video* asks for, otherwise unchanged."""

    def __init__(self, video: VideoConfig, upstream: UpstreamConfig, small: SmallConfig) -> None:
        self._video = video
        self._upstream = upstream
        self._small = small
        self._orientation = Orientation.of(video)

    def run(self, sink: Sink, commands: Commands) -> None:
        """Connect and deliver frames until a Stop; SourceError if there is no stream, or it ends.

        Data without whole pictures does not end it: the server judges pictures.
        """
        if not self._upstream.url:
            hint = "upstream.url takes the address of an MJPEG stream"
            raise SourceError("No upstream is set", Cause.SETTINGS, hint, setting="upstream.url")
        url = urlsplit(self._upstream.url)
        name = without_secrets(f"{place(url)}{url.path}")
        bad_frames = BadFrameCounter(name, sink)
        known = KnownHeader()
        opened = False
        still = 0  # the number of the still that is wanted
        reported = ""
        receiver = _Receiver(self._upstream, 1 / self._video.framerate)
        small = SmallPictures(sink, Shrink(self._small.width, self._small.quality).of_jpeg)
        looks = looks_at_jpegs(sink)
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
                        small.offer(partial(bytes, picture), captured_ns)
                        looks.offer(partial(lambda picture: (picture, ()), picture), captured_ns)
                        if still:
                            described = self._orientation.described(picture, Photo(captured_ns))
                            sink.still(Still(still, described, captured_ns))
                            still = 0
                    except JpegError as error:
                        bad_frames.add(str(error))
                    del picture
                elif (problem := receiver.problem) and problem != reported:
                    reported = problem
                    bad_frames.add(problem)
        finally:
            receiver.close()


class _Receiver:
    """Reads the stream in a thread and keeps the newest picture only, so that pictures never queue up.

    Blocking calls, such as a name lookup, so do not delay a Stop.
    """

    def __init__(self, upstream: UpstreamConfig, period: float) -> None:
        self._upstream = upstream
        self._period = period
        self._pace = Pace(period)
        self._reader = jpeg_stream.Reader()
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

    @property
    def problem(self) -> str:
        """Why the data that arrives now is no picture, if it says so."""
        return self._reader.problem

    def close(self) -> None:
        """Shut the connection down. A name lookup in progress ends at its own deadline."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._shut_down()
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        client = Client(self._upstream, self._connected)
        given_up = 0.0
        try:
            while not self._closing:
                due = time.monotonic() + self._period
                try:
                    self._receive(client.open())
                except SourceError as error:
                    # a server of single pictures may be busy for one of them
                    client.close()
                    if error.cause is Cause.PERMISSION or time.monotonic() > given_up:
                        raise
                    due += _RETRY_SECONDS
                else:
                    given_up = time.monotonic() + self._upstream.read_timeout_seconds
                # it was a single picture: ask for the next one
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, due - time.monotonic())
        except Exception as error:  # noqa: BLE001 - the top of the thread: `newest` raises it again
            with self._changed:
                self._error = error
                self._changed.notify_all()
        finally:
            client.close()

    def _connected(self, connection: socket.socket) -> None:
        """Replace the socket of the connection before, from a redirect or a login."""
        with self._changed:
            if self._socket:
                self._socket.close()
            self._socket = connection
            self._patience = 0.0
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket and self._closing:
            with contextlib.suppress(OSError):  # the other side has closed it
                # Without it a server that waits for room may wait for minutes: Linux announces none after a shutdown.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self._socket.shutdown(socket.SHUT_RDWR)

    def _be_patient(self) -> None:
        """Set how long the server may send nothing, by the pace of its pictures."""
        steady = self._pace.silent_seconds if self._pace.measured else _FIRST_SECONDS
        patience = max(self._upstream.read_timeout_seconds, steady)
        with self._changed:
            if patience != self._patience and self._socket and not self._closing:
                self._patience = patience
                self._socket.settimeout(patience)

    def _lost(self, what: str, **values: str) -> SourceError:
        """Return the SourceError for a server that has done *what* to its stream."""
        return SourceError(f"{self._place} {what}", Cause.LOST, CHECK_SERVER, address=self._place, **values)

    def _receive(self, response: Response) -> None:
        """Take the pictures of *response*. Return after a single picture; SourceError at the end of a stream."""
        count = 0
        reader = self._reader = jpeg_stream.Reader()
        try:
            if not response.kind.startswith("text/"):  # most likely no pictures, which is told at once
                self._be_patient()
            data = pictures_in(response, self._place)
            # a connection that was shut down still delivers what the server goes on to send
            while not self._closing and (data := data or response.read() or (b"" if count else response.read_on())):
                before = count
                for picture in reader.feed(data):
                    count += 1
                    self._pass_on(picture)
                    del picture  # it may have megabytes, and the next one may be late
                if count > before:  # several at once are old ones
                    self._pace.next(time.monotonic())
                    self._be_patient()
                data = b""
            why = f"; what it sent is refused: {reader.problem}" if reader.problem and not count else ""
            error = self._lost(f"has ended the stream{why}")
        except TimeoutError:
            seconds = self._patience or self._upstream.read_timeout_seconds
            error = self._lost(f"has sent nothing for {seconds:.3g} s", seconds=f"{seconds:.3g}")
        except jpeg_stream.StreamError as problem:
            values = {"setting": "upstream.url", "address": self._place, "error": str(problem)}
            error = SourceError(f"{self._place} sends no MJPEG stream: {problem}", Cause.SETTINGS, **values)
        except SourceError:
            raise
        except OSError as problem:
            why = f": {problem}" if isinstance(problem, HttpError) else ""
            error = SourceError(f"The connection to {self._place} broke{why}", hint=CHECK_SERVER, address=self._place)
        if response.kind.startswith("multipart/"):
            raise error
        if not count and (rest := reader.rest):
            self._pass_on(rest)
            count = 1
        if count != 1:
            raise error

    def _pass_on(self, picture: bytes) -> None:
        with self._changed:
            self._newest = picture, time.monotonic_ns()
            self._changed.notify_all()
