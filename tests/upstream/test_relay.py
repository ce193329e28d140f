"""A relay on a server as docs/scale.md describes it: one stream from the camera, hundreds of viewers."""

from __future__ import annotations

import hashlib
import json
import re
import statistics
import subprocess
import textwrap
import tomllib
from pathlib import Path

from tests.bench import meter
from tests.conftest import Report
from tests.kit.daemon import ROOT, RUN, running
from tests.kit.wire import Reading
from tests.usb.machine import compiled

FRAME_SECONDS = 1 / 25
VIEWERS = 300
SECONDS = 5


def settings(port: int) -> dict[str, object]:
    """Return the settings that the document gives for a relay, with all viewers allowed from one address."""
    block = re.search(r"(?:^    .*\n)+", (ROOT / "docs/scale.md").read_text("utf-8"), re.MULTILINE)
    assert block
    tables = tomllib.loads(textwrap.dedent(block[0]).replace("192.168.1.20:8000", f"127.0.0.1:{port}"))
    named = {f"{section}.{key}": value for section, table in tables.items() for key, value in table.items()}
    return named | {"http.max_viewers_per_address": VIEWERS + 1}


def test_three_hundred_watch_a_relay_less_than_a_frame_behind_the_camera(tmp_path: Path, report: Report) -> None:
    load = [compiled(ROOT / "tests/bench/load.c"), "-n", VIEWERS, "-w", 2, "-d", SECONDS]
    with (
        running(tmp_path / "camera", argv=RUN) as camera,
        running(tmp_path / "relay", settings(camera.port), argv=RUN) as relay,
    ):
        relay.wait_for_state("streaming", 30)
        straight, through = Reading(camera.watch()), Reading(relay.watch())
        with subprocess.Popen(
            [*map(str, load), str(relay.port), "/stream"], stdout=subprocess.PIPE, text=True
        ) as crowd:
            assert crowd.stdout
            assert crowd.stdout.readline() == "begin\n"
            before = meter.read(relay.process.pid)
            assert crowd.stdout.readline() == "end\n"
            cpu = meter.cpu_between(before, meter.read(relay.process.pid))
            seen = json.loads(crowd.stdout.readline())
            crowd.wait(60)
        # the same pictures, byte for byte: that is how they are told
        arrived = {hashlib.sha256(part.jpeg).digest(): part.arrived for part in straight.finish()}
        known = [(part, arrived.get(hashlib.sha256(part.jpeg).digest())) for part in through.finish()]
        later = [part.arrived - at for part, at in known if at is not None]
        camera_viewers = camera.state()["viewers"]
    fps = seen["pictures"] / seen["seconds"] / VIEWERS
    report(
        f"{VIEWERS} viewers: {100 * cpu / seen['seconds']:.0f} % of a core, {fps:.1f} pictures/s each;"
        f" {statistics.median(later) * 1000:.1f} ms behind the camera"
    )
    assert [seen[kind] for kind in ("ended", "errors", "corrupt")] == [0, 0, 0]
    assert camera_viewers == 2, "the relay, and the one that it is compared with"
    assert seen["fewest"] > SECONDS
    assert len(later) > 20 and statistics.median(later) < FRAME_SECONDS
