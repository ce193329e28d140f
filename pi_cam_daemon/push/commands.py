"""Commands of curl and rclone that copy one file. They get the login from a file, never as an argument."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

_CONNECT_SECONDS = 20
_SILENT_SECONDS = 60  # without a byte
_RCLONE = "rclone:"
_LONGEST_REASON = 300
# of curl's exit statuses, and of HTTP's: what a person can do
_HINTS = {
    "6": "is the name of the other machine right?",
    "9": "may the user write in that folder, and does it exist?",
    "67": "the login is refused; push.credentials_file has it",
    "78": "may the user write in that folder, and does it exist?",
    "200": "the server knows no WebDAV in this folder",
    "401": "the login is refused; push.credentials_file has it",
    "403": "may the user write in that folder?",
    "405": "the server knows no WebDAV in this folder",
    "409": "does the folder exist?",
    "413": "the server takes no file of this size",
    "507": "the other machine has no room",
}
_UNKNOWN = 60
_UNKNOWN_HOST = "the other machine is not the one that is known; docs/recordings.md tells how to make it known"
_UNKNOWN_CERTIFICATE = "no authority that this machine trusts has signed the certificate"
# of PUT, and of MOVE: a server that knows no WebDAV may answer 200 to everything
_WEBDAV_OK = ("201", "204", "200"), ("201", "204")


class NotReadyError(Exception):
    """Nothing can be sent: a program or a file is missing. The text is a sentence."""


class Commands:
    """Commands that copy files to *url*. *login* is the file with the login, or "".

    *home* has .ssh/known_hosts, and maybe a key, .ssh/id_ed25519.
    """

    def __init__(self, url: str, login: str, home: Path) -> None:
        self._url = url.rstrip("/")
        self._login = login
        self._home = home
        self._rclone = url.startswith(_RCLONE)
        self._parts = urlsplit(self._url)

    @property
    def where(self) -> str:
        """Return where files go, for people."""
        return self._url.removeprefix(_RCLONE).partition(":")[0] if self._rclone else str(self._parts.hostname)

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that tell both programs where .ssh is. curl looks in CURL_HOME first."""
        return {"HOME": str(self._home), "CURL_HOME": str(self._home), "LC_ALL": "C.UTF-8"}

    def send(self, file: Path) -> list[str]:
        """Return the command that copies *file*. At the other side it has its name once it is whole.

        Raises NotReadyError.
        """
        program = "rclone" if self._rclone else "curl"
        if not shutil.which(program):
            raise NotReadyError(f"{program} is not installed; sudo apt install {program}")
        if self._rclone:
            return self._by_rclone(file)
        return self._by_sftp(file) if self._parts.scheme == "sftp" else self._by_webdav(file)

    def _curl(self) -> list[str]:
        """Return options of one transfer by curl."""
        login = ["--netrc-file", self._login] if self._login else []
        return [
            "--silent", "--show-error", "--fail", "--globoff", "--output", "/dev/null", "--write-out", "%{http_code} ",
            "--connect-timeout", f"{_CONNECT_SECONDS}", "--speed-limit", "1", "--speed-time", f"{_SILENT_SECONDS}",
            "--proto", f"={self._parts.scheme}", *login,
            "--location", "--max-redirs", "0",  # a redirect is a failure, too
        ]  # fmt: skip

    def _by_webdav(self, file: Path) -> list[str]:
        target = f"{self._url}/{file.name}"
        host = self._parts.netloc.rpartition("@")[2]
        moved = f"Destination: {self._parts.scheme}://{host}{self._parts.path}/{file.name}"
        put = [*self._curl(), "--upload-file", str(file), f"{target}.part"]
        # "T" is the default, and yet some servers refuse a name that there is, as after a power cut here
        how = ["--header", moved, "--header", "Overwrite: T"]
        move = [*self._curl(), "--request", "MOVE", *how, f"{target}.part"]
        return ["curl", "--disable", "--fail-early", *put, "--next", *move]

    def _by_sftp(self, file: Path) -> list[str]:
        known = self._home / ".ssh/known_hosts"
        if not known.is_file():  # curl would take any host
            port = f"-p {self._parts.port} " if self._parts.port else ""
            how = f"ssh-keyscan {port}{self.where} | sudo install -D -m 644 /dev/stdin {known}"
            raise NotReadyError(f"{known} is missing, so {self.where} is not known; {how}")
        key = self._home / ".ssh/id_ed25519"
        name = f"{unquote(self._parts.path)}/{file.name}".replace("\\", "\\\\").replace('"', '\\"')
        # OpenSSH does not rename to a name that there is, as after a power cut here
        renamed = [f'-*rm "{name}"', f'-rename "{name}.part" "{name}"']
        return [
            "curl", "--disable", *self._curl(), *(["--key", str(key)] if key.is_file() else []),
            *(word for step in renamed for word in ("--quote", step)),
            "--upload-file", str(file), f"{self._url}/{file.name}.part",
        ]  # fmt: skip

    def _by_rclone(self, file: Path) -> list[str]:
        return [
            "rclone", "copyto", str(file), f"{self._url.removeprefix(_RCLONE)}/{file.name}",
            "--config", self._login or "/dev/null", "--retries", "1", "--low-level-retries", "1",
            "--log-level", "ERROR", "--contimeout", f"{_CONNECT_SECONDS}s", "--timeout", f"{_SILENT_SECONDS}s",
        ]  # fmt: skip

    def problem(self, status: int, out: str, err: str) -> str:
        """Return why the command failed that ended with *status*, as a sentence with what to do; "" if it did not."""
        codes = out.split()
        webdav = not self._rclone and self._parts.scheme != "sftp"
        steps = enumerate(zip(codes, _WEBDAV_OK, strict=False)) if webdav else ()
        wrong = [at for at, (code, good) in steps if code >= "200" and code not in good]
        if status == 0 and not wrong:
            return ""
        if wrong:
            code, verb = codes[wrong[0]], ("copying", "renaming")[wrong[0]]
            text, hint = f"{self.where} answers {code} to {verb}", _HINTS.get(code, "")
        else:
            last = err.strip().splitlines()[-1:] or [f"status {status}"]
            text = f"{'rclone' if self._rclone else 'curl'}: {_plain(last[0])}"
            hint = "" if self._rclone else _HINTS.get(str(status), "")
            if status == _UNKNOWN and not self._rclone:
                hint = _UNKNOWN_CERTIFICATE if webdav else _UNKNOWN_HOST
        return f"{text}; {hint}" if hint else text


def _plain(line: str) -> str:
    """Return a line of an error, without what says whose it is, and not too long."""
    text = "".join(c if c.isprintable() else " " for c in line)
    return text.removeprefix("curl: ")[:_LONGEST_REASON]
