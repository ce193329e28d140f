"""The camera as a device of an MQTT broker: a real mosquitto, and the whole daemon."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients import document
from tests.kit import certificates
from tests.kit.broker import Broker, broker, passwords
from tests.kit.certificates import Certificate
from tests.kit.daemon import REFUSED, RIG, Daemon, running
from tests.kit.events import event
from tests.kit.lateness import patience
from tests.kit.wait import free_port, until
from tests.server.test_metrics import value

ID = "yard-1"
TOPIC = f"homeassistant/device/{ID}/config"
CAMERA: dict[str, object] = {"source.kind": "csi", "video.width": 320, "video.height": 240, "small.width": 160}


def settings(port: int, **more: object) -> dict[str, object]:
    mqtt = {"host": "127.0.0.1", "port": port, "client_id": ID, "topic": "home/yard", **more}
    return {**CAMERA, "motion.enabled": True, **{f"mqtt.{key}": value for key, value in mqtt.items()}}


def said(daemon: Daemon) -> dict[str, Any]:
    found = daemon.state()["mqtt"]
    assert isinstance(found, dict)
    return found


def wait_for_connection(daemon: Daemon, seconds: float = 10.0) -> None:
    until("a connection", lambda: said(daemon) == {"connected": True, "error": None}, seconds)


def error(daemon: Daemon, words: str, seconds: float = 10.0) -> str:
    """Return what /state says is wrong, once *words* are in it."""
    found: str = until(words, lambda: (text := said(daemon)["error"] or "") and words in text and text, seconds)
    assert said(daemon)["connected"] is False and value(daemon, "pi_cam_mqtt_connected") == 0
    return found


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Broker]:
    """A broker to which everybody may speak."""
    with broker(tmp_path / "broker") as home:
        yield home


@pytest.fixture
def daemon(tmp_path: Path, home: Broker) -> Iterator[Daemon]:
    """A camera with controls that has said everything to *home*."""
    with running(tmp_path / "daemon", settings(home.port)) as daemon:
        home.wait_for("home/yard/controls/brightness", "0.0")
        yield daemon


# -- what it says


def test_the_camera_says_who_it_is_and_what_it_shows(daemon: Daemon, home: Broker) -> None:
    table = home.description()
    assert table["device"] | {"sw_version": "", "name": ""} == {
        "identifiers": [ID], "name": "", "manufacturer": "pi_cam_daemon", "model": "Camera", "sw_version": "",
        "configuration_url": f"http://127.0.0.1:{daemon.port}/",
    }  # fmt: skip
    entities = table["components"]
    assert {"connectivity", "state", "rate", "picture", "snapshot"} < set(entities)
    assert entities["control_brightness"] == {
        "platform": "number", "name": "Brightness", "unique_id": f"{ID}_control_brightness", "min": -1.0, "max": 1.0,
        "step": 0.01, "state_topic": "home/yard/controls/brightness", "entity_category": "config",
        "command_topic": "home/yard/controls/brightness/set", "availability_topic": "home/yard/status",
    }  # fmt: skip
    assert entities["control_shutter"]["min"] == 0, "0 is automatic"
    assert entities["control_awb"]["options"][0] == "auto" and entities["control_awb"]["name"] == "White balance"
    assert "control_roi" not in entities, "nothing shows a rectangle"
    assert "availability_topic" not in entities["connectivity"]
    home.wait_for("home/yard/state", "streaming")
    until("the rate", lambda: float(home.last("home/yard/rate") or 0) > 1)
    assert (home.last("home/yard/status"), home.last("home/yard/controls/awb")) == ("online", "auto")
    topics = {entity.get("state_topic", "home/yard/state") for entity in entities.values()}
    until("each entity has a state", lambda: topics <= {message.topic for message in home.heard()})
    wait_for_connection(daemon)
    assert value(daemon, "pi_cam_mqtt_connected") == 1
    assert daemon.log().count("connected to the MQTT broker") == 1


def test_only_the_description_is_kept_while_the_camera_is_there(daemon: Daemon, home: Broker) -> None:
    assert set(home.retained()) == {TOPIC}
    daemon.process.send_signal(signal.SIGKILL)
    home.wait_for("home/yard/status", "offline")
    kept = home.retained()
    assert set(kept) == {TOPIC, "home/yard/status"} and kept["home/yard/status"] == "offline"


def test_a_camera_that_is_stopped_says_so(daemon: Daemon, home: Broker) -> None:
    assert daemon.stop() == os.EX_OK
    home.wait_for("home/yard/status", "offline")
    assert home.retained()["home/yard/status"] == "offline"


def test_a_name_that_is_saved_on_the_page_is_told(daemon: Daemon, home: Broker) -> None:
    assert daemon.post("/settings", b'{"page.name": "Henhouse"}')[0] == 200
    until("the new name", lambda: home.description()["device"]["name"] == "Henhouse")


def test_motion_goes_on_and_off_with_a_picture(daemon: Daemon, home: Broker) -> None:
    assert home.description()["components"]["motion"]["device_class"] == "motion"
    home.wait_for("home/yard/motion", "OFF")
    daemon.fault("motion")
    home.wait_for("home/yard/motion", "ON")
    until("the picture", lambda: [m for m in home.heard() if m.topic == "home/yard/picture"])
    daemon.fault("motion-ends")
    home.wait_for("home/yard/motion", "OFF")
    pictures = [message for message in home.heard() if message.topic == "home/yard/picture"]
    assert [(m.payload[:2], m.payload[-2:], m.retained) for m in pictures] == [(b"\xff\xd8", b"\xff\xd9", False)]


def test_without_motion_detection_there_is_no_motion(daemon: Daemon, home: Broker) -> None:
    daemon.reload(settings(home.port) | {"motion.enabled": False})
    until("it is taken away", lambda: home.description()["components"]["motion"] == {"platform": "binary_sensor"})


# -- what it obeys


def test_a_control_is_set_and_a_refused_value_is_answered_by_the_old_one(daemon: Daemon, home: Broker) -> None:
    home.publish("home/yard/controls/brightness/set", "0.25")
    home.wait_for("home/yard/controls/brightness", "0.25")
    home.publish("home/yard/controls/awb/set", "daylight")
    home.wait_for("home/yard/controls/awb", "daylight")
    home.publish("home/yard/controls/flicker_period/set", "10000.0")  # as Home Assistant may write an integer
    home.wait_for("home/yard/controls/flicker_period", "10000")
    home.publish("home/yard/controls/brightness/set", "default")
    home.wait_for("home/yard/controls/brightness", "0.0")
    answers = []
    for wrong in ("99", "much", "nan"):
        home.publish("home/yard/controls/contrast/set", wrong)
        until(f"an answer to {wrong}", lambda wrong=wrong: "home/yard/controls/contrast" in after(home, wrong))
        answers.append(after(home, wrong)[: after(home, wrong).index("home/yard/controls/contrast")])
    assert any("home/yard/status" not in before for before in answers), "not before everything was repeated"
    home.publish("home/yard/controls/nothing/set", "1")
    until("the log", lambda: "MQTT cannot set nothing to 1: This camera has no such control" in daemon.log())
    assert {m.text for m in home.heard() if m.topic == "home/yard/controls/contrast"} == {"1.0"}
    refusal = "MQTT cannot set contrast to 99: 99 cannot be used; accepted: a number from 0.0 to 32.0"
    assert refusal in daemon.log() and daemon.log().count("MQTT cannot set contrast") == 1
    controls = json.loads(daemon.get("/controls")[2])["controls"]
    assert (controls["contrast"]["value"], controls["awb"]["value"]) == (1.0, "daylight")


def after(home: Broker, command: str) -> list[str]:
    """Return the topics of what was said after *command*."""
    heard = home.heard()
    at = max((index for index, message in enumerate(heard) if message.payload == command.encode()), default=len(heard))
    return [message.topic for message in heard[at:]]


def test_a_picture_is_taken_on_command(daemon: Daemon, home: Broker) -> None:
    home.publish("home/yard/snapshot", "PRESS")
    assert event(daemon, "snapshot", lambda one: one["picture"])
    until("the picture", lambda: any(m.topic == "home/yard/picture" for m in home.heard()))


def test_a_command_that_the_broker_has_kept_is_not_obeyed(daemon: Daemon, home: Broker) -> None:
    home.publish("home/yard/controls/brightness/set", "0.5", retain=True)
    home.wait_for("home/yard/controls/brightness", "0.5")  # as it came, it was a command like any other
    home.publish("home/yard/controls/brightness/set", "0")
    home.wait_for("home/yard/controls/brightness", "0.0")
    home.kill()
    home.start()
    home.publish("home/yard/controls/brightness/set", "0.5", retain=True)
    wait_for_connection(daemon)
    until("the log", lambda: "a retained command of MQTT is ignored: home/yard/controls/brightness/set" in daemon.log())
    assert json.loads(daemon.get("/controls")[2])["controls"]["brightness"]["value"] == 0.0


def test_what_an_earlier_start_described_and_is_no_more_is_taken_away(tmp_path: Path, home: Broker) -> None:
    gone = {"platform": "switch", "name": "Lamp"}
    kept = {"platform": "number", "name": "Old words", "state_topic": "x"}
    before = {"components": {"control_lamp": gone, "control_brightness": kept, "odd": 1, "odder": {"platform": 2}}}
    home.publish(TOPIC, json.dumps(before), retain=True)
    with running(tmp_path / "daemon", settings(home.port)):
        home.wait_for("home/yard/controls/brightness", "0.0")
        until(
            "it is taken away", lambda: home.description()["components"].get("control_lamp") == {"platform": "switch"}
        )
        assert home.description()["components"]["control_brightness"]["name"] == "Brightness"
        assert not {"odd", "odder"} & set(home.description()["components"])


def test_a_camera_that_does_not_start_keeps_the_entities_of_its_controls(tmp_path: Path, home: Broker) -> None:
    lamp = {"platform": "switch", "name": "Lamp"}
    home.publish(TOPIC, json.dumps({"components": {"control_lamp": lamp}}), retain=True)
    (tmp_path / "daemon").mkdir()
    (tmp_path / "daemon" / "fault").write_text("missing")
    with running(tmp_path / "daemon", settings(home.port)):
        home.wait_for("home/yard/state", "no-camera")
        until("its entities", lambda: home.description()["components"].get("control_lamp") == lamp)


def test_home_assistant_that_starts_is_told_everything_again(daemon: Daemon, home: Broker) -> None:
    wait_for_connection(daemon)
    before = len([m for m in home.heard() if m.topic == TOPIC])
    home.publish("homeassistant/status", "offline")
    home.publish("homeassistant/status", "online")
    until("the description again", lambda: len([m for m in home.heard() if m.topic == TOPIC]) == before + 1)
    home.wait_for("home/yard/status", "online")


# -- when there is no connection


def test_a_broker_that_dies_is_connected_again(daemon: Daemon, home: Broker) -> None:
    wait_for_connection(daemon)
    home.kill()
    assert "the connection was lost" in error(daemon, "connection") or "nothing listens" in said(daemon)["error"]
    error(daemon, "nothing listens there")
    viewer = daemon.watch()
    home.start()
    wait_for_connection(daemon, 30)
    until("everything again", lambda: home.retained().get(TOPIC))
    home.wait_for("home/yard/controls/brightness", "0.0")
    viewer.parts(3)
    viewer.close()
    assert daemon.log().count("connected to the MQTT broker") == 2


def test_a_wrong_address_is_named(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path / "daemon", settings(port)) as daemon:
        assert error(daemon, "nothing listens") == f"127.0.0.1:{port}: nothing listens there"
        daemon.reload(settings(port, host="no-such-host.invalid"))
        assert error(daemon, "not found", 30) == f"no-such-host.invalid:{port}: the name is not found"
        daemon.wait_for_state("streaming")


def test_a_broker_that_ends_each_connection_costs_one_line_of_the_log(tmp_path: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(patience(30))
        with running(tmp_path / "daemon", settings(server.getsockname()[1])) as daemon:
            for _ in range(3):
                server.accept()[0].close()
            error(daemon, "it ended the connection before an answer; does it expect one with TLS (mqtt.tls)?")
            assert daemon.log().count("MQTT") == 1
            daemon.wait_for_state("streaming")


def test_a_connection_that_breaks_while_the_camera_speaks_is_no_bug(tmp_path: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(patience(30))
        with running(tmp_path / "daemon", settings(server.getsockname()[1])) as daemon:
            daemon.wait_for_state("streaming")
            for _ in range(3):
                with server.accept()[0] as sock:
                    assert sock.recv(1000)
                    sock.sendall(b"\x20\x02\0\0")  # it is welcome
                    assert sock.recv(1000)  # it subscribes, and describes itself next
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # then a reset
            error(daemon, "the connection was lost")
            assert "bug" not in daemon.log()


def test_a_bug_ends_its_thread_alone(tmp_path: Path, home: Broker) -> None:
    (tmp_path / "fault").write_text("")
    argv = [sys.executable, RIG.with_name("buggy.py"), "mqtt", RIG, tmp_path / "fault"]
    with running(tmp_path / "daemon", settings(home.port), argv=argv) as daemon:
        error(daemon, "a bug ended its thread; the log tells more")
        assert "a bug ended the thread mqtt" in daemon.log()
        assert value(daemon, "pi_cam_thread_errors_total", thread="other") == 1
        daemon.wait_for_state("streaming")
        daemon.reload(settings(home.port, topic="elsewhere"))
        until("another try", lambda: value(daemon, "pi_cam_thread_errors_total", thread="other") == 2)
        assert daemon.stop() == os.EX_OK


def test_a_broker_that_says_nothing_is_named(tmp_path: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        with running(tmp_path / "daemon", settings(port)) as daemon:
            assert error(daemon, "said nothing", 15) == f"127.0.0.1:{port}: it took the connection and said nothing"
            daemon.wait_for_state("streaming")
            assert daemon.stop() == os.EX_OK


def test_a_refused_password_is_named_once_and_a_reload_brings_the_right_one(tmp_path: Path) -> None:
    lines = [passwords(tmp_path / "broker", camera="p4ss wört")]
    file = tmp_path / "password"
    file.write_text("wrong-secret\n")
    file.chmod(0o640)
    login = ["-u", "camera", "-P", "p4ss wört"]
    with broker(tmp_path / "broker", lines, login) as home:
        wanted = settings(home.port, user="camera", password_file=str(file))
        with running(tmp_path / "daemon", wanted) as daemon:
            told = error(daemon, "refused")
            assert "Not authorized" in told and "look at mqtt.user and mqtt.password_file" in told
            assert daemon.log().count(told) == 1
            file.write_text("p4ss wört\n")
            daemon.reload()
            wait_for_connection(daemon)
            home.wait_for("home/yard/controls/brightness", "0.0")
            file.write_text("")
            daemon.reload(said=REFUSED)
            assert "mqtt.password_file" in daemon.log()
            wait_for_connection(daemon)
            shown = daemon.log() + daemon.get("/state")[2].decode() + daemon.get("/metrics")[2].decode()
            assert "wrong-secret" not in shown and "p4ss" not in shown


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificates.make(tmp_path_factory.mktemp("certificate"))


def test_tls_needs_a_certificate_that_is_trusted(tmp_path: Path, certificate: Certificate) -> None:
    lines = [f"cafile {certificate.ca}", f"certfile {certificate.certificate}", f"keyfile {certificate.key}"]
    with (
        broker(tmp_path / "broker", lines, ["--cafile", str(certificate.ca)]) as home,
        running(tmp_path / "daemon", settings(home.port, tls=True)) as daemon,
    ):
        assert "its certificate is not trusted: " in error(daemon, "look at mqtt.tls_ca")
        daemon.reload(settings(home.port, tls=True, tls_ca=str(certificate.ca)))
        wait_for_connection(daemon)
        home.wait_for("home/yard/controls/brightness", "0.0")
        home.publish("home/yard/controls/brightness/set", "0.25")
        home.wait_for("home/yard/controls/brightness", "0.25")
        daemon.reload(settings(home.port))
        error(daemon, "one with TLS", 15)
    with broker(tmp_path / "plain") as plain, running(tmp_path / "other", settings(plain.port, tls=True)) as daemon:
        error(daemon, "without TLS", 15)


# -- a reload


def test_a_reload_turns_it_on_and_off_and_home_assistant_keeps_the_device(tmp_path: Path, home: Broker) -> None:
    with running(tmp_path / "daemon", CAMERA) as daemon:
        assert daemon.state()["mqtt"] is None and b"pi_cam_mqtt" not in daemon.get("/metrics")[2]
        daemon.reload(settings(home.port))
        home.wait_for("home/yard/controls/brightness", "0.0")
        home.wait_for("home/yard/status", "online")
        daemon.reload(settings(home.port, topic="elsewhere"))
        home.wait_for("home/yard/status", "offline")
        home.wait_for("elsewhere/status", "online")
        daemon.reload(CAMERA)
        home.wait_for("elsewhere/status", "offline")
        assert daemon.state()["mqtt"] is None
        assert json.loads(home.retained()[TOPIC])["components"]["state"]["state_topic"] == "elsewhere/state"
        daemon.reload(settings(home.port))
        home.wait_for("home/yard/status", "online")


def test_without_a_name_the_camera_makes_one_that_stays(tmp_path: Path, home: Broker) -> None:
    made = []
    for _ in range(2):
        with running(tmp_path / "daemon", settings(home.port, client_id="", topic="")) as daemon:
            wait_for_connection(daemon)
            made.append(until("a description", home.description)["device"]["identifiers"][0])
            assert daemon.stop() == os.EX_OK
    assert made[0] == made[1] and re.fullmatch("pi-cam-[0-9a-f]{12}", made[0])
    home.wait_for(f"{made[0]}/status", "offline")


# -- the document


def test_the_commands_of_the_document_show_and_set_what_it_says(tmp_path: Path) -> None:
    section = "Home Assistant by MQTT"
    file = tmp_path / "password"
    file.write_text("s3cret")
    own = {"192.168.1.5": "127.0.0.1", "/etc/pi-cam-daemon/mqtt-password": str(file)}
    table = tomllib.loads(document.block(section, 0, own))["mqtt"]
    lines = [passwords(tmp_path / "broker", camera="s3cret")]
    with broker(tmp_path / "broker", lines, ["-u", "camera", "-P", "s3cret"]) as home:
        with running(tmp_path / "daemon", settings(home.port, **table)) as daemon:
            home.wait_for("home/yard/controls/brightness", "0.0")

            def command(line: str) -> list[str]:
                line = line.replace("192.168.1.5", f"127.0.0.1 -p {home.port}").replace("PASSWORD", "s3cret")
                return shlex.split(line)

            (watch,) = document.block(section, 1, {}).splitlines()
            with subprocess.Popen(command(watch), stdout=subprocess.PIPE, text=True) as shown:
                assert shown.stdout
                # what is not kept comes with the next repetition, half a minute later at most
                lines = iter(shown.stdout.readline, "")
                brightness, snapshot = document.block(section, 2, {}).splitlines()
                subprocess.run(command(brightness), check=True, timeout=30)
                assert next(line for line in lines if line.startswith("home/yard/controls/brightness "))
                home.wait_for("home/yard/controls/brightness", "0.2")
                subprocess.run(command(snapshot), check=True, timeout=30)
                assert event(daemon, "snapshot")
                shown.kill()
            assert daemon.stop() == os.EX_OK
        (forget,) = document.block(section, 3, {}).splitlines()
        assert TOPIC.replace(ID, "yard") in home.retained()
        subprocess.run(command(forget), check=True, timeout=30)
        assert TOPIC.replace(ID, "yard") not in home.retained()
