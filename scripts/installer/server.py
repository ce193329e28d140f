"""The server of a unit: its state in systemd, and its answers to this machine."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
from pathlib import Path

from installer.machine import Failed, run


def show(unit: str) -> dict[str, str]:
    """Return properties of *unit* as `systemctl show` has them."""
    names = "ActiveState,SubState,Job,MainPID,NRestarts,StatusText"
    lines = run("systemctl", "show", "-p", names, unit).stdout.splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def listening(pid: int) -> list[tuple[str, int]]:
    """Return the addresses at which a process can be reached, of which there may be none.

    The kernel knows them, even with a socket unit. Raises OSError if the process has ended.
    """
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(str(link.readlink()))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
            # 0A: listening
            if state == "0A" and f"socket:[{inode}]" in sockets:
                digits, _, port = local.partition(":")
                # 32-bit words in the machine's byte order
                words = [bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8)]
                address = ipaddress.ip_address(b"".join(words))
                if address.is_unspecified:
                    address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
                found.append((str(address), int(port, 16)))
    return found


def get(pid: int, path: str, seconds: float = 5.0) -> tuple[int, bytes]:
    """Return status and body of the answer of the process *pid*, which may take *seconds*.

    Raises Failed if it does not answer, and OSError if it has ended. Only root can ask it.
    """
    problem = "it does not listen"
    for address, port in listening(pid):
        connection = http.client.HTTPConnection(address, port, timeout=seconds)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            problem = f"http://{address}:{port}{path}: {error or type(error).__name__}"
        finally:
            connection.close()
    raise Failed(problem)
