"""A USB camera of UVC 1.0 that sends JPEGs, plugged into this machine's own vhci-hcd over USB/IP.

  usb_camera.py FOLDER    shows FOLDER/*.jpg by name, again and again, 640x480 at 15 pictures a second

Run as root with vhci-hcd and uvcvideo loaded. To end it is to pull the plug. Bulk transfers, one stream.
"""

from __future__ import annotations

import itertools
import socket
import struct
import sys
import time
from pathlib import Path

WIDTH, HEIGHT, RATE = 640, 480, 15
INTERVAL = 10_000_000 // RATE  # in units of 100 ns
MOST_BYTES = WIDTH * HEIGHT * 2
VHCI = Path("/sys/devices/platform/vhci_hcd.0")

# USB/IP, Documentation/usb/usbip_protocol.rst
CMD_SUBMIT, CMD_UNLINK, RET_SUBMIT, RET_UNLINK = 1, 2, 3, 4
HIGH_SPEED = 3
PORT_FREE = 4
STALL = -32  # -EPIPE

STRINGS = {1: "pi-cam-daemon", 2: "Test camera"}
# class 0xEF, subclass 2, protocol 1: functions are told by interface associations
DEVICE = struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x200, 0xEF, 2, 1, 64, 0x1D6B, 0x0102, 0x100, 1, 2, 0, 1)


def descriptor(kind: int, layout: str, *fields: int) -> bytes:
    body = struct.pack(f"<{layout}", *fields)
    return bytes([len(body) + 2, kind]) + body


def configuration() -> bytes:
    interface, class_specific, endpoint, association = 4, 0x24, 5, 11
    video, control, streaming = 0x0E, 1, 2
    camera = descriptor(class_specific, "BBHBBHHHB3x", 2, 1, 0x0201, 0, 0, 0, 0, 0, 3)
    output = descriptor(class_specific, "BBHBBB", 3, 2, 0x0101, 0, 1, 0)
    units = camera + output
    header = descriptor(class_specific, "BHHIBB", 1, 0x0100, 13 + len(units), 48_000_000, 1, 1)
    frame = descriptor(
        class_specific, "BBBHHIIIIBI", 7, 1, 0, WIDTH, HEIGHT, WIDTH * HEIGHT * 8, WIDTH * HEIGHT * 16, MOST_BYTES,
        INTERVAL, 1, INTERVAL,
    )  # fmt: skip
    mjpeg = descriptor(class_specific, "BBBBBBBBB", 6, 1, 1, 1, 1, 0, 0, 0, 0)
    formats = mjpeg + frame
    stream = descriptor(class_specific, "BBHBBBBBBBB", 1, 1, 14 + len(formats), 0x81, 0, 2, 0, 0, 0, 1, 0)
    everything = (
        descriptor(association, "BBBBBB", 0, 2, video, 3, 0, 2)
        + descriptor(interface, "BBBBBBB", 0, 0, 0, video, control, 0, 2)
        + header
        + units
        + descriptor(interface, "BBBBBBB", 1, 0, 1, video, streaming, 0, 0)
        + stream
        + formats
        + descriptor(endpoint, "BBHB", 0x81, 2, 512, 0)
    )
    return struct.pack("<BBHBBBBB", 9, 2, 9 + len(everything), 2, 1, 0, 0x80, 50) + everything


class Camera:
    """Answers the requests of the host. One answer that is None is a stall."""

    def __init__(self) -> None:
        self._settings = bytearray(struct.pack("<HBBIHHHHHII", 0, 1, 1, INTERVAL, 0, 0, 0, 0, 0, MOST_BYTES, 16384))

    def control(self, setup: bytes, data: bytes) -> bytes | None:
        kind, request, value, index, length = struct.unpack("<BBHHH", setup)
        answer: bytes | None = None
        if (kind, request) == (0x80, 6):
            answer = self._descriptor(value >> 8, value & 255)
        elif (kind, request) == (0x80, 0):
            answer = b"\0\0"
        elif kind in (0, 1, 2):
            answer = b""
        elif index & 255 == 1 and (kind, request) == (0x21, 1):
            self._negotiate(data)
            answer = b""
        elif index & 255 == 1 and kind == 0xA1 and value >> 8 in (1, 2):
            answer = {0x85: struct.pack("<H", 26), 0x86: b"\3"}.get(request, bytes(self._settings))
        return answer if answer is None else answer[:length]

    def _descriptor(self, kind: int, index: int) -> bytes | None:
        if kind == 3:
            text = b"\x09\x04" if index == 0 else STRINGS.get(index, "").encode("utf-16-le")
            return bytes([len(text) + 2, 3]) + text
        return {1: DEVICE, 2: configuration()}.get(kind)

    def _negotiate(self, data: bytes) -> None:
        """Accept any request of the host with the only format, size and rate."""
        self._settings[: len(data)] = data[: len(self._settings)]
        self._settings[2:8] = struct.pack("<BBI", 1, 1, INTERVAL)
        self._settings[18:26] = struct.pack("<II", MOST_BYTES, 16384)


def plug_in() -> socket.socket:
    """Connect the camera to the machine's own USB host; the connection is the cable."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    for end in (ours, theirs):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = [line.split() for line in (VHCI / "status").read_text().splitlines()[1:]]
    port = next(int(line[1]) for line in lines if line[0] == "hs" and int(line[2]) == PORT_FREE)
    (VHCI / "attach").write_text(f"{port} {theirs.fileno()} {0x10002} {HIGH_SPEED}")
    theirs.close()
    return ours


def serve(cable: socket.socket, pictures: list[bytes]) -> None:
    camera, shown = Camera(), itertools.cycle(pictures)
    rest, due, toggle = b"", time.monotonic(), 0
    with cable.makefile("rb") as requests:
        while header := requests.read(48):
            command, sequence, _, inward, endpoint = struct.unpack(">IIIII", header[:20])
            if command == CMD_UNLINK:
                cable.sendall(struct.pack(">IIIII", RET_UNLINK, sequence, 0, 0, 0) + bytes(28))
                continue
            length = struct.unpack(">i", header[24:28])[0]
            data = requests.read(length) if not inward else b""
            if endpoint == 0:
                answer = camera.control(header[40:48], data)
            else:
                if not rest:
                    time.sleep(max(0.0, due - time.monotonic()))
                    due = max(time.monotonic(), due) + 1 / RATE
                    rest, toggle = next(shown), toggle ^ 1
                part, rest = rest[: length - 2], rest[length - 2 :]
                # two bytes of header: end of header, end of frame with the last part, and the frame's parity
                answer = bytes([2, 0x80 | toggle | (0 if rest else 2)]) + part
            status, payload = (STALL, b"") if answer is None else (0, answer)
            size = len(payload) if inward else len(data)
            reply = struct.pack(">IIIIIiiIII", RET_SUBMIT, sequence, 0, 0, 0, status, size, 0, 0, 0) + bytes(8)
            cable.sendall(reply + (payload if inward else b""))


if __name__ == "__main__":
    serve(plug_in(), [path.read_bytes() for path in sorted(Path(sys.argv[1]).glob("*.jpg"))])
