"""Puts the configuration into force: at the start, and at a reload, which disconnects no viewer."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pi_cam_daemon.config.last_good import ConfigFiles
from pi_cam_daemon.config.loading import Loaded
from pi_cam_daemon.config.schema import Config
from pi_cam_daemon.core.supervisor import Supervisor
from pi_cam_daemon.errors import ConfigError, CredentialsError
from pi_cam_daemon.server.app import App, Policy
from pi_cam_daemon.system import logs

log = logging.getLogger(__name__)


def start_with(files: ConfigFiles) -> tuple[Loaded, Policy, list[str]]:
    """Return the configuration in *files*, or else the last good one and the problems of that in *files*.

    Raises ConfigError with these problems if there is no good one, CredentialsError for the files that it names.
    """
    try:
        loaded = files.load()
        return loaded, _policy(loaded.config), []
    except CredentialsError:  # an earlier configuration may have asked for no password
        raise
    except ConfigError as error:
        refused = error
    try:
        loaded = files.load_last_good()
        policy = _policy(loaded.config)
    except CredentialsError as error:
        raise CredentialsError([*refused.problems, *error.problems]) from None
    except ConfigError:
        raise refused from None
    log_problems(refused.problems)
    log.error("the files of the configuration are wrong; the last good configuration is in force")
    return loaded, policy, refused.problems


def reload(files: ConfigFiles, listening: tuple[str, int] | None, app: App, supervisor: Supervisor) -> Config:
    """Apply *files* without disconnecting viewers; if they are wrong, change nothing. Return what is in force."""
    with app.settings.turn:  # what is saved meanwhile would be lost
        try:
            loaded = files.load()
            policy = Policy.make(loaded.config)
        except ConfigError as error:
            log_problems(error.problems)
            log.error("the configuration was not reloaded; the old one stays")
            app.observer.refuse(error.problems)
            app.events.refuse(error.problems)
            return app.observer.config
        files.keep(loaded)
        http = loaded.config.http
        if listening and (http.listen_address, http.port) != listening:
            log.warning("the new http.listen_address and http.port need a restart")
            # /state and the hash show the values in force: a comparison with the files tells that a restart is due
            loaded = loaded.with_values({"http.listen_address": listening[0], "http.port": listening[1]})
        new = loaded.config
        logs.setup(new.log.level)
        app.configure(policy)
        app.observer.configure(loaded)
        app.settings.configure(loaded)
        supervisor.configure(new, app.live_controls.configure(loaded.camera, new.camera))
    log.info("configuration reloaded")
    return new


def _policy(config: Config) -> Policy:
    """Return the rules of *config*. Its log level comes into force, since reading the files that it names may warn."""
    logs.setup(config.log.level)
    return Policy.make(config)


def log_problems(problems: Sequence[str]) -> None:
    """Log each problem of the configuration."""
    for problem in problems:
        log.error("%s", problem)
