"""Stop one thread of a process, as a bug or a driver would: the other threads run on, and no signal wakes it."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

# linux/ptrace.h and linux/wait.h
_PTRACE_SEIZE = 0x4206
_PTRACE_INTERRUPT = 0x4207
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long

# in the order in which daemon.run starts them; the main thread is before them, those of requests come behind
_STARTED = ("main", "log", "stream loop", "events", "supervisor", "accept loop")


def thread_id(pid: int, name: str) -> int:
    """Return the thread of the server *pid* that its probes call *name*. The kernel does not know Python's names."""
    tids = sorted(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir())
    return tids[_STARTED.index(name)]


def stop(tid: int) -> threading.Thread:
    """Stop the thread *tid* until its process is killed; the returned thread ends then.

    The tracer is a thread, and a traced process stays a zombie until that thread has waited for it.
    """
    stopped = threading.Event()

    def trace() -> None:
        for request in (_PTRACE_SEIZE, _PTRACE_INTERRUPT):
            if _libc.ptrace(request, tid, None, None) < 0:
                raise OSError(ctypes.get_errno(), f"ptrace of {tid}")
        _, status = os.waitpid(tid, _WALL)
        while os.WIFSTOPPED(status):
            stopped.set()
            _, status = os.waitpid(tid, _WALL)

    tracer = threading.Thread(target=trace, name="tracer", daemon=True)
    tracer.start()
    assert stopped.wait(5), f"thread {tid} does not stop"
    return tracer
