"""Another server's MJPEG stream as a camera: a phone, a network camera, another pi_cam_daemon.

The other side is not ours: every answer is bounded and every wait has a deadline.
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
from pi_cam_daemon.imaging.orientation import Orientation
from pi_cam_daemon.ipc.messages import CameraInfo, Still
from pi_cam_daemon.system.redaction import without_secrets

# how soon a Stop is obeyed and a deadline noticed
_LOOK_SECONDS = 0.2
# how long the thread that reads may take to end once its connection is cut
_CLOSE_SECONDS = 0.5
# a frame of usual size takes one or two
_READ_BYTES = 64 * 1024


class UpstreamSource:
    """Passes on the stream of *upstream*, its pictures turned as *video* asks for and otherwise untouched."""

    def __init__(self, video: VideoConfig, upstream: UpstreamConfig) -> None:
        self._video = video
        self._upstream = upstream
        self._orientation = Orientation.of(video)

    def run(self, sink: Sink, commands: Commands) -> None:
        """Connect and deliver until told to stop; SourceError when there is no stream, or none any more.

        A server that talks on without a whole picture, for twice as long as it may be silent or for ten frame periods,
        is given up, too: it sends rubbish for ever, or pictures so slowly that they show nobody what happens now. How
        long the first picture may take is for source.start_timeout_seconds to say.
        """
        if not self._upstream.url:
            raise SourceError("No upstream is set", Cause.SETTINGS, "upstream.url takes the address of an MJPEG stream")
        url = urlsplit(self._upstream.url)
        patience = max(2 * self._upstream.read_timeout_seconds, 10 / self._video.framerate)
        name = without_secrets(f"{place(url)}{url.path}")
        dropped = BadFrameCounter(name)
        delivered_at = 0.0
        opened = False
        still = 0  # the number of the one that is wanted
        wrong = ""
        receiver = _Receiver(self._upstream)
        receiver.start()
        try:
            while not isinstance(command := next_command(commands), Stop):
                if isinstance(command, TakeStill):
                    still = command.number
                picture, captured_ns = receiver.newest(_LOOK_SECONDS)
                if picture:
                    try:
                        picture = self._orientation.jpeg(jpeg.repair(picture))
                        if not opened:
                            # No server tells its rate, and it can be measured only after many frames, while stalls
                            # are judged by it from the second one on: the owner knows how slow this camera may be.
                            size, rate = jpeg.size(picture), self._video.framerate
                            sink.opened(CameraInfo("upstream", name, *size, rate, "MJPG", "passed through"))
                            opened = True
                        sink.frame(picture, captured_ns)
                        if still:
                            jpeg_with_time = self._orientation.described(picture, Photo(captured_ns))
                            sink.still(Still(still, jpeg_with_time, captured_ns))
                            still = 0
                        delivered_at = time.monotonic()
                    except JpegError as error:
                        wrong = f"; the last one is refused: {error}"
                        dropped.add(str(error))
                    del picture
                if opened and time.monotonic() - delivered_at > patience:
                    raise SourceError(f"{place(url)} has sent no whole picture for {patience:g} s{wrong}")
        finally:
            receiver.close()


class _Receiver:
    """Reads the stream in a thread of its own and holds ONE newest picture.

    So nothing that blocks, such as the look-up of a name, keeps a Stop waiting; and of pictures that come faster than
    they can be turned some are left out, instead of all growing old in the kernel's buffers.
    """

    def __init__(self, upstream: UpstreamConfig) -> None:
        self._upstream = upstream
        self._place = place(urlsplit(upstream.url))
        self._changed = threading.Condition()
        self._newest = (b"", 0)
        self._error: Exception | None = None
        self._socket: socket.socket | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def newest(self, timeout: float) -> tuple[bytes, int]:
        """The newest picture, each one once, and when it had arrived (CLOCK_MONOTONIC in ns).

        No bytes if none comes within *timeout* seconds. Raises what ended the stream.
        """
        with self._changed:
            if not self._newest[0] and not self._error:
                self._changed.wait(timeout)
            newest, self._newest = self._newest, (b"", 0)
            if self._error and not newest[0]:
                raise self._error
            return newest

    def close(self) -> None:
        """Cut the connection. A name that is still being looked up is left to its own deadline."""
        with self._changed:
            self._closing = True
            self._cut()
        self._thread.join(_CLOSE_SECONDS)

    # -- the thread

    def _run(self) -> None:
        try:
            with open_stream(self._upstream, self._connected) as response:
                self._receive(response)
        except Exception as error:  # noqa: BLE001 - the top of this thread: raised again in the source's
            with self._changed:
                self._error = error
                self._changed.notify()
        finally:
            if self._socket:
                self._socket.close()

    def _connected(self, connection: socket.socket) -> None:
        with self._changed:
            if self._socket:
                self._socket.close()
            self._socket = connection
            self._cut()

    def _cut(self) -> None:
        if self._socket and self._closing:
            with contextlib.suppress(OSError):  # the other side was faster
                self._socket.shutdown(socket.SHUT_RDWR)

    def _receive(self, response: http.client.HTTPResponse) -> None:
        boundary = boundary_of(response, self._place)
        try:
            reader = multipart.Reader(boundary)
            while data := response.read1(_READ_BYTES):
                for picture in reader.feed(data):
                    with self._changed:
                        self._newest = picture, time.monotonic_ns()
                        self._changed.notify()
                    del picture  # it may have megabytes, and the next one is long in coming
        except TimeoutError:
            seconds = self._upstream.read_timeout_seconds
            raise SourceError(f"{self._place} has sent nothing for {seconds:g} s", hint=CHECK_SERVER) from None
        except multipart.MultipartError as error:
            raise SourceError(f"{self._place} sends no MJPEG stream: {error}", Cause.SETTINGS) from None
        except (OSError, http.client.HTTPException):
            raise SourceError(f"The connection to {self._place} broke", hint=CHECK_SERVER) from None
        raise SourceError(f"{self._place} has ended the stream", hint=CHECK_SERVER)
