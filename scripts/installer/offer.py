"""A release before it is installed: whether this host may have it, and its name."""

from __future__ import annotations

from pathlib import Path

from installer.artefact import Artefact, load
from installer.machine import Failed, this_host
from installer.releases import ROOT, check_room, current, is_older


def admit(artefact: Artefact, downgrade: bool) -> None:
    """Raise Failed if there is no room for *artefact*, or, without *downgrade*, if it is older than what serves."""
    if not downgrade and is_older(artefact.release, current()):
        raise Failed(f"{artefact.release} is older than {current()}, which serves; nothing was changed")
    check_room(artefact.size)


class _Admitted(Exception):
    """Ends the reading of an artefact."""


def show(source: Path, downgrade: bool) -> None:
    """Print the name that the release in the artefact *source* has on this host. Raises Failed if it is refused."""

    def admitted(artefact: Artefact) -> None:
        admit(artefact, downgrade)
        raise _Admitted(artefact.release)

    try:
        load(source, this_host(), ROOT, admitted)
    except _Admitted as found:
        print(found)
