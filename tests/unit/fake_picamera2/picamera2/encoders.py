from __future__ import annotations


class _Encoder:
    firsttimestamp: int | None = None


class MJPEGEncoder(_Encoder):
    def __init__(self, bitrate: int) -> None:
        self.bitrate = bitrate


class JpegEncoder(_Encoder):
    def __init__(self, q: int) -> None:
        self.q = q
