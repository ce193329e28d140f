"""The report at the end of a run: host, release, state, rate and address of each camera, reached or not."""

from __future__ import annotations

from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: cameras
type: aggregate
short_description: Reports each camera at the end of a run
description: One line for each camera, from the statistics that the role pi_cam_daemon sets.
"""


class CallbackModule(CallbackBase):
    """The callback, as Ansible looks for it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "cameras"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._hosts: list[str] = []

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Note the hosts of the group cameras."""
        inventory = play.get_variable_manager()._inventory
        for host in inventory.get_hosts("cameras"):
            if host.name not in self._hosts:
                self._hosts.append(host.name)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print the table, a problem in red and a camera that is missed by nobody in yellow."""
        reported = {host: data["pi_cam_daemon"] for host, data in stats.custom.items() if "pi_cam_daemon" in data}
        if not reported:
            return
        rows = [("host", "release", "state", "rate", "address", "", "")]
        for host in self._hosts:
            left = (host, "", "", "", "", _outcome(host, stats), "")
            rows += _rows(host, reported[host]) if host in reported else [left]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        self._display.banner("CAMERAS")
        for row in rows:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width).rstrip()
            *_, problem, note = row
            self._display.display(line, color="red" if problem else "yellow" if note else None)


def _rows(host: str, report: dict[str, Any]) -> list[tuple[str, ...]]:
    cameras = report.get("cameras") or {"": {}}
    return [
        (
            _name(host, unit),
            report.get("release", ""),
            camera.get("state", ""),
            f"{camera['rate']:.1f}/s" if "rate" in camera else "",
            f"{report['scheme']}://{report['address']}:{camera['port']}/" if camera.get("port") else report["address"],
            report["problem"],
            "" if report["problem"] else camera.get("note", ""),
        )
        for unit, camera in cameras.items()
    ]


def _name(host: str, unit: str) -> str:
    """Return the host, for a further camera as host@name."""
    return f"{host}@{unit.partition('@')[2].removesuffix('.service')}" if "@" in unit else host


def _outcome(host: str, stats: Any) -> str:
    if host in stats.dark:
        return "did not answer"
    if host in stats.failures:
        return "failed"
    return "untouched"
