"""A headless camera daemon for the Raspberry Pi: MJPEG stream, snapshots and a web page over HTTP."""

__version__ = "0.2.0"
