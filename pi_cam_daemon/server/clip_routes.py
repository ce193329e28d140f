"""Routes of the recordings: clips that are listed, downloaded, played and deleted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from http import HTTPStatus

from pi_cam_daemon.clips import names
from pi_cam_daemon.ipc.parts import CONTENT_TYPE, OPENING
from pi_cam_daemon.server import live_controls, ranges
from pi_cam_daemon.server.answers import NO_STORE
from pi_cam_daemon.server.exchange import JPEG, Exchange
from pi_cam_daemon.server.playing import play
from pi_cam_daemon.server.recordings import readable
from pi_cam_daemon.server.refused import Refused

_PIECE_BYTES = 128 << 10  # of a file, in memory for each client
_LONGEST_SECONDS = 1e8
_NAME = '{"name": "2026-11-29_18-05-31_motion.mkv"}'


class ClipRoutes(Exchange):
    """Answers requests for recordings, each in the thread of its connection."""

    def recordings(self) -> None:
        """Send the newest clips; `?before=NAME` sends those before that one."""
        before = self.asked.arguments.get("before", "")
        if before and not names.parse(before):
            raise Refused(HTTPStatus.BAD_REQUEST, "before has to be the name of a recording")
        self._answer_json(HTTPStatus.OK, self.app.recordings.table(before))

    def recording(self) -> None:
        """Send the file of a clip, or the part of it that Range asks for."""
        name = self._name()
        with self.app.recordings.opened(name) as fd:
            with self.app.recordings.disk():
                about = os.fstat(fd)
            tag = f'"{about.st_mtime_ns:x}-{about.st_size:x}"'
            headers = {
                "Content-Type": "video/x-matroska",
                "Content-Disposition": f'attachment; filename="{name}"',
                "Cache-Control": "no-cache",
                "Accept-Ranges": "bytes",
                "ETag": tag,
            }
            status, begin, end = HTTPStatus.OK, 0, about.st_size
            if self.command == "GET" and self.asked.header("if-range") in ("", tag):
                try:
                    if part := ranges.asked(self.asked.header("range"), end):
                        status, (begin, end) = HTTPStatus.PARTIAL_CONTENT, part
                        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{about.st_size}"
                except ValueError:
                    text = f"This recording has {end} bytes, and none of those that are asked for"
                    refused = Refused(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, text)
                    self._refuse(refused, {"Content-Range": f"bytes */{end}"})
                    return
            headers["Content-Length"] = str(end - begin)
            self._send(status, headers, self._pieces(fd, begin, end))

    def recording_stream(self) -> None:
        """Play a clip, `?speed=N` times as fast, `?from=SECONDS` after its begin on; `?raw=1` is that of /stream."""
        speed, begin = self.asked.number("speed", 0.1, 64.0) or 1.0, self.asked.number("from", 0.0, _LONGEST_SECONDS)
        content_type = "application/octet-stream" if self.asked.number("raw", 0.0, 1.0) else CONTENT_TYPE
        recordings, streams = self.app.recordings, self.app.streams
        with recordings.opened(self._name()) as fd:
            clip = recordings.clip(fd)
            with readable(), recordings.disk():
                first = clip.find(round(1000 * (begin or 0.0)))
            self.close_connection = True
            streams.take_place(self.client, self.policy.http)
            try:
                headers = {**NO_STORE, "X-Accel-Buffering": "no", "Content-Type": content_type}
                self._send(HTTPStatus.OK, headers, play(clip, first, speed, recordings.disk), OPENING)
            finally:
                streams.give_back_place(self.client)

    def recording_picture(self) -> None:
        """Send the first picture of the event, or that at `?at=SECONDS`; `&step=1` and `-1` send one beside it."""
        at, step = self.asked.number("at", 0.0, _LONGEST_SECONDS), self.asked.number("step", -1.0, 1.0) or 0
        recordings = self.app.recordings
        with recordings.opened(self._name()) as fd:
            clip = recordings.clip(fd)
            with readable(), recordings.disk():
                place = clip.find(round(1000 * (recordings.before_seconds if at is None else at)), int(step))
                jpeg = clip.jpeg(place)
        taken_us = clip.began_us + 1000 * place.ms
        headers = {**JPEG, "X-Timestamp": f"{taken_us / 1e6:.6f}"}
        if clip.complete:  # it stays as it is
            headers = {**headers, "Cache-Control": "private, max-age=3600"}
            del headers["Pragma"]
        self._answer(HTTPStatus.OK, jpeg, headers)

    def delete_recording(self) -> None:
        """Delete the clip that the JSON object in the body names."""
        self._need_json()
        name = live_controls.parse(self.asked.body, _NAME).get("name")
        if not isinstance(name, str) or not names.parse(name):
            raise Refused(HTTPStatus.BAD_REQUEST, f"name has to be that of a recording, as in {_NAME}")
        self.app.recordings.delete(name, str(self.client))
        self._answer_json(HTTPStatus.OK, {"deleted": name})

    def _name(self) -> str:
        """Return the name in the path, which the route has checked."""
        return self.asked.path.split("/")[2].removesuffix(".jpg")

    def _pieces(self, fd: int, begin: int, end: int) -> Iterator[bytes]:
        """Yield the bytes of the file *fd* from *begin* to *end*. Raises Refused."""
        while begin < end:
            with self.app.recordings.disk():
                piece = os.pread(fd, min(_PIECE_BYTES, end - begin), begin)
            if not piece:
                raise Refused(HTTPStatus.GONE, "The recording has become shorter")
            begin += len(piece)
            yield piece

    def _send(self, status: int, headers: dict[str, str], pieces: Iterator[bytes], opening: bytes = b"") -> None:
        """Send *pieces*, each before the next one is made. Raises Refused for the first one, later OSError."""
        if self.command == "HEAD":
            self.wfile.write(self._head(status, headers))
            return
        first = next(pieces, b"")
        self.request.settimeout(self.policy.http.viewer_timeout_seconds)
        answers, client = self.app.streams.answers, str(self.client)
        answers.send(self.request, client, self._head(status, headers) + opening, first)
        try:
            for piece in pieces:
                if self.app.policy is not self.policy and not self.app.policy.may_stay(self.client):
                    raise ConnectionAbortedError("no longer allowed")
                answers.send(self.request, client, b"", piece)
        except Refused as refused:  # the head is sent, so nothing can be said
            raise ConnectionAbortedError(refused.text) from refused
