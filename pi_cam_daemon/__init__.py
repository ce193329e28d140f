"""A headless daemon that turns a Raspberry Pi with a camera into a camera on the LAN."""

__version__ = "0.1.0"
