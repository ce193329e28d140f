"""Main function of the camera process: runs one source and sends its frames to the server.

    python -m pi_cam_daemon.camera SOCKET MEMORY LOG_LEVEL

SOCKET is this process's end of the socketpair (ipc/protocol.py), MEMORY the memory for frames (ipc/slots.py): two file
descriptors. Unlike a thread, a process that hangs can be killed.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

from pi_cam_daemon.camera.choose import Choice, choose
from pi_cam_daemon.camera.sender import FrameSender
from pi_cam_daemon.camera.source import Commands, Stop, TakeStill
from pi_cam_daemon.camera.watcher import Watcher
from pi_cam_daemon.config.schema import CameraConfig
from pi_cam_daemon.errors import Cause, ProtocolError, SourceError
from pi_cam_daemon.ipc.messages import SetControls
from pi_cam_daemon.ipc.protocol import COUNT, Kind, Reader
from pi_cam_daemon.ipc.slots import SlotWriter
from pi_cam_daemon.system import logs, memory

log = logging.getLogger(__name__)

Create = Callable[[CameraConfig], Choice]

_PR_SET_PDEATHSIG = 1  # prctl(2)
_CONFIGURE_SECONDS = 10.0
# time to close the camera after the server has ended, which then cannot kill this process
_ORPHAN_SECONDS = 4.0


def _listen(reader: Reader, sender: FrameSender, commands: Commands) -> None:
    """Execute the server's commands; end this process when the server has ended."""
    try:
        while True:
            message = reader.read()
            assert message is not None  # the socket is blocking
            if message.kind is Kind.STOP:
                commands.put(Stop())
            elif message.kind is Kind.SET:
                commands.put(SetControls.from_json(message.payload))
            elif message.kind is Kind.TAKE_STILL:
                commands.put(TakeStill(*COUNT.unpack(message.view)))
            elif message.kind is Kind.LOOK:
                sender.looked(*COUNT.unpack(message.view))
            elif message.kind in (Kind.LIVE, Kind.QUIET):
                sender.live(message.kind is Kind.LIVE)
                commands.put(None)
            elif message.kind is Kind.SMALL:
                sender.live_small(bool(*COUNT.unpack(message.view)))
                commands.put(None)
    except (EOFError, ProtocolError):
        commands.put(Stop())
        time.sleep(_ORPHAN_SECONDS)
        os._exit(os.EX_UNAVAILABLE)


def main(argv: list[str], create: Create = choose) -> int:
    """Run the camera that the server configures, with the source that *create* returns; return the exit status."""
    descriptor, frames, level = argv
    # The kernel kills this process when the server ends, even if a call into the driver hangs.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    logs.setup(level)
    sock = socket.socket(fileno=int(descriptor))
    sock.set_inheritable(False)  # libcamera's helper processes must not keep it open after this process
    slots, small_slots = SlotWriter(int(frames)), SlotWriter(int(frames), small=True)
    os.close(int(frames))
    commands = Commands()
    signal.signal(signal.SIGTERM, lambda *_: commands.put(Stop()))
    reader = Reader(sock)
    sock.settimeout(_CONFIGURE_SECONDS)
    try:
        message = reader.read()
    except (EOFError, TimeoutError):
        return os.EX_UNAVAILABLE
    sock.settimeout(None)
    if message is None or message.kind is not Kind.CONFIGURE:
        raise ProtocolError("the first message has to be the configuration")
    config = CameraConfig.from_json(message.payload)
    memory.keep_free_blocks(config.video.width * config.video.height)
    sender = FrameSender(sock, slots, small_slots, config.small.framerate)
    sender.start()
    threading.Thread(target=_listen, args=(reader, sender, commands), name="listener", daemon=True).start()
    failure, status = None, os.EX_OK
    try:
        choice = create(config)
        sender.reason, sender.stands_in_for = choice.reason, choice.stands_in_for
        if config.motion.enabled and not choice.stands_in_for:
            sender.watch(Watcher(config.motion), config.motion.rate)
        choice.source.run(sender, commands)
    except SourceError as error:
        failure, status = error, os.EX_TEMPFAIL
    except Exception as error:  # the top of this process: reported to the server, with the traceback in the log
        log.exception("the camera process has a bug")
        text = f"{type(error).__name__}: {error}"
        failure, status = SourceError(text, Cause.CRASHED, error=text), os.EX_SOFTWARE
    sender.end(failure, timeout=1.0)
    return status
