"""Run the benchmark for `scripts/bench`: measure, print the figures, check their limits."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench import chart, measures, soak
from tests.bench.figures import Figure, table
from tests.bench.servers import Rig
from tests.usb.machine import CACHE, compiled, fake_v4l2

_HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two short rounds, within 4 minutes")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must is missed, and name each")
    parser.add_argument("--soak", action="store_true", help="an hour of viewers, faults and reloads instead")
    parser.add_argument("--page", action="store_true", help="what the page costs a browser instead, about 3 minutes")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long the soak lasts")
    parser.add_argument("--output", type=Path, default=CACHE / "bench", help="folder for bench.json and bench.svg")
    parser.add_argument("--spyglass", type=Path, help="folder with spyglass; without it, it is left out")
    options = parser.parse_args()
    if options.page:
        from tests.bench import page  # needs Playwright and Chromium

        figures = page.run(_say)
        print(table(figures))
        return _verdict(figures, [], options.check)
    options.output.mkdir(parents=True, exist_ok=True)
    built = {
        "fakev4l": fake_v4l2(),
        "load": compiled(_HERE / "load.c"),
        "floor": compiled(_HERE / "floor.c"),
    }
    if options.spyglass:
        built["spyglass"] = options.spyglass
    # the load opens 1000 connections, and whoever meters must not wait behind it
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(6))
    with tempfile.TemporaryDirectory(prefix="pi-cam-bench-") as folder:
        rig = Rig(built, Path(folder))
        if options.soak:
            figures = soak.run(rig, CACHE, options.minutes * 60, _say)
            print(table(figures))
            return _verdict(figures, [], options.check)
        depth = measures.QUICK if options.quick else measures.FULL
        began, load_before = time.monotonic(), os.getloadavg()[0]
        bench = measures.Bench(rig, CACHE, depth, _say)
        _say(f"set up in {time.monotonic() - began:.0f} s")
        began = time.monotonic()
        runs = bench.curves()
        figures = bench.all_rows(runs)
    points = measures.summary(runs)
    _say(f"measured in {time.monotonic() - began:.0f} s")
    machine = _machine() | {"load_before": load_before, "quick": options.quick}
    _write_json(options.output / "bench.json", machine, points, figures, bench.flaws)
    (options.output / "bench.svg").write_text(chart.svg(points))
    print(f"{machine['processor']}, {machine['kernel']}, Python {machine['python']}, load {load_before:.1f}\n")
    print(measures.curve_table(points), table(figures), sep="\n\n")
    _say(f"{options.output}/bench.json and bench.svg are written")
    return _verdict(figures, bench.flaws, options.check)


def _verdict(figures: list[Figure], flaws: list[str], check: bool) -> int:
    missed = [figure for figure in figures if figure.verdict == "MISSED"]
    for figure in missed:
        _say(f"missed: {figure.name}: {figure.value:.4g} {figure.unit}, must be {figure.limit(figure.must)}")
    for flaw in flaws:
        _say(f"missed: every viewer gets the same whole pictures: {flaw}")
    return 1 if check and (missed or flaws) else 0


def _machine() -> dict[str, Any]:
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("model name", "Model"))
    ]
    return {
        "processor": f"{os.cpu_count()} x {models[-1].partition(':')[2].strip() if models else platform.machine()}",
        "kernel": f"Linux {platform.release()}",
        "python": platform.python_version(),
    }


def _write_json(
    file: Path,
    machine: dict[str, Any],
    points: dict[str, list[dict[str, float]]],
    figures: list[Figure],
    flaws: list[str],
) -> None:
    rows = [
        {key: value for key, value in dataclasses.asdict(figure).items() if value is not None}
        | {"verdict": figure.verdict}
        for figure in figures
    ]
    file.write_text(
        json.dumps({"machine": machine, "servers": points, "figures": rows, "flaws": flaws}, indent=1) + "\n"
    )


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
