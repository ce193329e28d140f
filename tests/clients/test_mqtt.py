"""Home Assistant finds the camera by MQTT, and notices when it is gone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.test_integrations import RIG, VENVS
from tests.conftest import Report
from tests.kit.broker import Broker, broker
from tests.kit.daemon import running
from tests.kit.lateness import patience
from tests.kit.network import CAMERA, Host, hosts, ip, wire
from tests.kit.wait import free_port, until
from tests.kit.wire import ask
from tests.server.test_mqtt import settings

PYTHON = VENVS / "homeassistant-mqtt" / "python"
# a device that is not there
GONE = {"unavailable", "off"}


class HomeAssistant:
    """A Home Assistant that has the broker. *states* are those of its entities by their ids."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, output: Path) -> None:
        self._process = process
        self.port = port
        self._output = output
        until("Home Assistant is ready", lambda: "ready\n" in output.read_text(), 60)

    def states(self) -> dict[str, dict[str, Any]]:
        """Return the newest state of each entity."""
        lines = self._output.read_text().splitlines(keepends=True)
        tables = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
        return {table["entity_id"]: table for table in tables}

    def state(self, entity: str) -> str | None:
        return self.states().get(entity, {}).get("state")

    def call(self, service: str, entity: str, **data: object) -> None:
        domain, _, name = service.partition(".")
        assert self._process.stdin
        self._process.stdin.write(f"{domain} {name} {json.dumps({'entity_id': entity, **data})}\n".encode())
        self._process.stdin.flush()


@contextlib.contextmanager
def home_assistant(folder: Path, home: Broker, host: Host = CAMERA) -> Iterator[HomeAssistant]:
    if not PYTHON.exists():
        pytest.skip("needs the Home Assistant that scripts/test brings")
    folder.mkdir()
    port = free_port()
    inside = ["ip", "netns", "exec", host.name] if host.name else []
    argv = [*inside, PYTHON, "-P", RIG / "homeassistant_mqtt.py", str(port), str(home.port)]
    output, errors = folder / "output", folder / "errors"
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=out, stderr=err, process_group=0)
    try:
        yield HomeAssistant(process, port, output)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        print("--- Home Assistant", errors.read_text(errors="replace"), sep="\n")


def test_home_assistant_shows_the_camera_with_all_it_has_and_controls_it(tmp_path: Path, report: Report) -> None:
    with broker(tmp_path / "broker") as home, home_assistant(tmp_path / "home", home) as assistant:
        begun = time.monotonic()
        with running(tmp_path / "daemon", settings(home.port) | {"page.name": "Yard"}) as daemon:
            # buttons and the picture are unknown until something happens, and what the camera decides itself stays so
            unknown = {"button", "image", "number.yard_lens_position"}

            def complete() -> bool:
                described = home.description().get("components", {})
                states = {name: table["state"] for name, table in assistant.states().items()}
                known = [name for name in states if not {name, name.partition(".")[0]} & unknown]
                return (
                    "control_brightness" in described
                    and len(states) == len(described)
                    and "unavailable" not in states.values()
                    and "unknown" not in [states[name] for name in known]
                )

            until("every entity", complete, 5)
            report(f"every entity {time.monotonic() - begun:.1f} s after the start of the daemon")
            kinds = {name.partition(".")[0] for name in assistant.states()}
            assert kinds == {"binary_sensor", "sensor", "image", "button", "number", "select"}
            assert assistant.state("sensor.yard_state") == "streaming"
            assert assistant.state("binary_sensor.yard_connectivity") == "on"
            assert assistant.state("number.yard_brightness") == "0.0"
            assert float(assistant.state("sensor.yard_rate") or 0) > 1

            assistant.call("number.set_value", "number.yard_brightness", value=0.25)
            until("the new value", lambda: assistant.state("number.yard_brightness") == "0.25")
            assistant.call("select.select_option", "select.yard_white_balance", option="daylight")
            until("the new option", lambda: assistant.state("select.yard_white_balance") == "daylight")
            assistant.call("number.set_value", "number.yard_exposure_time", value=3)  # 0 or more than 25 µs
            until("the refusal", lambda: "MQTT cannot set shutter to 3" in daemon.log())
            assert assistant.state("number.yard_exposure_time") == "0"

            assistant.call("button.press", "button.yard_take_a_picture")
            until("a picture", lambda: assistant.state("image.yard_last_event") not in ("unknown", "unavailable"))
            path = assistant.states()["image.yard_last_event"]["attributes"]["entity_picture"]
            status, _, picture = ask(f"http://127.0.0.1:{assistant.port}{path}")
            assert status == 200 and picture.startswith(b"\xff\xd8")

            assert assistant.state("binary_sensor.yard_motion") == "off"
            daemon.fault("motion")
            until("motion", lambda: assistant.state("binary_sensor.yard_motion") == "on")
            daemon.fault("motion-ends")
            until("no motion", lambda: assistant.state("binary_sensor.yard_motion") == "off")

            killed = time.monotonic()
            daemon.process.send_signal(signal.SIGKILL)
            until("it is gone", lambda: {table["state"] for table in assistant.states().values()} == GONE, 60)
            report(f"unavailable {time.monotonic() - killed:.1f} s after SIGKILL")


def test_a_camera_whose_network_is_cut_is_unavailable_within_a_minute(tmp_path: Path, report: Report) -> None:
    with hosts(1, beside_us=True) as (house,):
        wire(CAMERA, house, {"eth0": "10.9.0.1/24"}, {"eth0": "10.9.0.2/24"})
        # the camera by the network, Home Assistant on the broker's own machine
        lines = ["listener 1883 10.9.0.2", "allow_anonymous true"]
        with (
            broker(tmp_path / "broker", lines, host=house) as home,
            running(tmp_path / "daemon", settings(1883, host="10.9.0.2") | {"page.name": "Yard"}) as daemon,
            # which starts later than the camera
            home_assistant(tmp_path / "home", home, house) as assistant,
        ):
            until("the device", lambda: assistant.state("sensor.yard_state") == "streaming", 20)
            until("all is said", lambda: assistant.state("select.yard_metering") == "centre", 20)
            ip("link", "set", "eth0", "down")
            cut = time.monotonic()
            until("it is gone", lambda: {table["state"] for table in assistant.states().values()} == GONE, 60)
            took = time.monotonic() - cut
            report(f"unavailable {took:.0f} s after the network was cut")
            assert took < patience(60)
            until("the camera knows", lambda: not daemon.state()["mqtt"]["connected"], 60)
            ip("link", "set", "eth0", "up")
            until("it is back", lambda: assistant.state("sensor.yard_state") == "streaming", 60)
