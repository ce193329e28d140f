"""monitoring.yml with a real Prometheus that reads its files."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.conftest import UNIT, Controller
from tests.kit.daemon import ROOT
from tests.kit.lateness import patience
from tests.kit.wait import until

PORT = 19090
MONITORING = ROOT / "ansible/monitoring"


def promtool(*argv: str | Path) -> str:
    program = shutil.which("promtool")
    assert program, "scripts/test fleet brings it"
    done = subprocess.run([program, *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ask(path: str, **arguments: str) -> Any:
    url = f"http://127.0.0.1:{PORT}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)["data"]


def query(expression: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask("query", query=expression)["result"]
    return found


@contextlib.contextmanager
def prometheus(folder: Path) -> Iterator[None]:
    """Run a Prometheus that is configured as ansible/README.md says, but scrapes more often."""
    program = shutil.which("prometheus")
    assert program, "scripts/test fleet brings it"
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yml")],
        "scrape_configs": [
            {"job_name": "pi-cam-daemon", "file_sd_configs": [{"files": [str(folder / "targets.json")]}]}
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    argv = [
        program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{PORT}",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(patience(20))
            print((folder / "log").read_text())


def test_each_alert_fires_when_it_should() -> None:
    rules = MONITORING / "rules.yml"
    assert promtool("check", "rules", rules)
    promtool("test", "rules", ROOT / "tests/fleet/rules_test.yml")
    tested = (ROOT / "tests/fleet/rules_test.yml").read_text()
    names = [line.split(": ")[1] for line in rules.read_text().splitlines() if "- alert: " in line]
    assert names and [name for name in names if f"alertname: {name}" not in tested] == []


@pytest.fixture
def watched(deployed: Controller) -> Iterator[Controller]:
    """Two hosts with a Pi's sensors; one of them has two cameras."""
    deployed.own = {"pi1": {"pi_cam_daemon_cameras": [{"name": "yard", "port": 8001}]}, "pi2": {}}
    deployed.deploys()
    pi = deployed.pis["pi1"]
    # the test machine may have no hwmon of its own to put this over
    pi.run("mount", "-t", "tmpfs", "tmpfs", "/sys/class")
    try:
        for name, text in {
            "thermal/thermal_zone0/temp": "48312",
            "hwmon/hwmon0/name": "rpi_volt",
            "hwmon/hwmon0/in0_lcrit_alarm": "0",
        }.items():
            pi.run("sh", "-c", 'mkdir -p "${1%/*}" && echo "$2" >"$1"', "sh", f"/sys/class/{name}", text)
        pi.run("systemctl", "restart", UNIT)
        yield deployed
    finally:
        pi.run("umount", "--lazy", "/sys/class")


def test_prometheus_finds_the_cameras_and_every_query_of_the_dashboard_has_data(
    watched: Controller, tmp_path: Path
) -> None:
    def write() -> None:
        watched.types("ansible-playbook monitoring.yml", f"-e monitoring_directory={tmp_path}")

    write()
    with prometheus(tmp_path):
        until("its answer", lambda: reachable(), 20)
        until("three cameras", lambda: len(query('up{job="pi-cam-daemon"} == 1')) == 3, 30)
        labels = {(found["metric"]["camera"], found["metric"]["host"]) for found in query("up")}
        assert labels == {("pi1", "pi1"), ("pi1@yard", "pi1"), ("pi2", "pi2")}
        dashboard = json.loads((tmp_path / "dashboard.json").read_text())
        expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        assert len(expressions) >= 12
        for expression in expressions:
            until(expression, lambda expression=expression: query(expression), 20)
        groups = ask("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert len(rules) == (MONITORING / "rules.yml").read_text().count("- alert: ")
        until("the rules evaluated", lambda: all(rule["lastEvaluation"] > "1" for rule in rules))
        assert {rule["health"] for rule in ask("rules")["groups"][0]["rules"]} == {"ok"}

        watched.own["pi3"] = {}
        write()
        until("the fourth camera without a restart", lambda: len(query("up")) == 4, 30)


def reachable() -> bool:
    try:
        return bool(ask("status/buildinfo"))
    except OSError:
        return False
