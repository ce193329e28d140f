"""The last good configuration: a copy in the state directory. The daemon starts with it when the files are wrong.

The copy has the values of the files alone. Defaults may change with a release, and what was saved and `--set` are
layers above the files. It is a file of the configuration like any other, but for its first line, which names the files
that it was made from.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from pi_cam_daemon.config import loading, saved
from pi_cam_daemon.config.loading import ETC, Loaded
from pi_cam_daemon.config.schema import Config
from pi_cam_daemon.config.text import toml
from pi_cam_daemon.errors import ConfigError
from pi_cam_daemon.system import files

NAME = "last-good.toml"

log = logging.getLogger(__name__)

# the service's StateDirectory, seen from the root
_FOLDER = Path("var/lib/pi-cam-daemon")
_EXPLANATION = (
    "# pi-cam-daemon writes this file when settings come into force, and starts with it when later ones are wrong."
)


class ConfigFiles:
    """The files of the configuration, the settings of the command line, and the copy of the last good configuration.

    *file* takes the place of the files in /etc, *settings* are those of `--set`. Without STATE_DIRECTORY there is no
    copy: the daemon was started by hand, and whoever did that reads what is wrong.
    """

    def __init__(self, file: Path | None = None, settings: Sequence[str] = ()) -> None:
        self.file = file
        self._settings = settings
        folder = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        self._copy = Path(folder, NAME) if folder else None
        self._warned = False

    def load(self) -> Loaded:
        """Return the configuration in the files. Raises ConfigError."""
        return loading.load_all(self.file, self._settings, *saved.both_files())

    def load_last_good(self) -> Loaded:
        """Return the configuration in the copy. Raises ConfigError if it is missing, of other files, or wrong."""
        if self._copy is None:
            raise ConfigError(["there is no copy without STATE_DIRECTORY"])
        return loading.load_all(_checked(self._copy, self.file or ETC), self._settings, *saved.both_files())

    def load_any(self) -> Loaded:
        """Return the configuration in the files, or else the last good one, as the daemon does. Raises ConfigError."""
        try:
            return self.load()
        except ConfigError as error:
            try:
                return self.load_last_good()
            except ConfigError:
                raise error from None

    def keep(self, loaded: Loaded) -> None:
        """Keep *loaded*, which is in force, as the last good configuration. Writes only what has changed."""
        if self._copy is None:
            return
        lines = [_title(self.file or ETC), _EXPLANATION]
        lines += [f"{key} = {toml(value)}" for key, value in loaded.files.items()]
        try:
            # for the service alone, because a URL may hold a password
            files.replace(self._copy, "".join(f"{line}\n" for line in lines).encode(), 0o600)
        except OSError as error:
            if not self._warned:
                where = error.filename or self._copy
                log.warning("the last good configuration cannot be kept: %s: %s", where, error.strerror)
            self._warned = True


def exists(root: Path) -> bool:
    """Return whether the service below *root* has a last good configuration."""
    with contextlib.suppress(ConfigError):
        return bool(_load(root))
    return False


def in_force(root: Path) -> Config:
    """Return the configuration of the service below *root*: the files', else the last good one, else the defaults."""
    with contextlib.suppress(ConfigError):
        return loading.load(etc=root / ETC.relative_to("/"))
    with contextlib.suppress(ConfigError):
        return _load(root)
    return loading.load(loading.DEFAULTS)


def _load(root: Path) -> Config:
    return loading.load(_checked(root / _FOLDER / NAME, ETC))


def _checked(copy: Path, source: Path) -> Path:
    """Return *copy* if it was made from *source*. Raises ConfigError."""
    if files.text(copy).partition("\n")[0] != _title(source):
        raise ConfigError([f"{copy}: not a copy of {source}"])
    return copy


def _title(source: Path) -> str:
    # later releases have to read this line; a path may contain a line break, or bytes that are not UTF-8
    return f"# the last good configuration of {str(source.absolute())!a}"
