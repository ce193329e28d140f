"""Try on a Raspberry Pi what no test can try elsewhere and needs no hands, and write a report to send.

It starts daemons of its own on free ports of this machine. Nothing else may use the camera meanwhile.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
import tomllib
from functools import partial
from pathlib import Path

from pi_cam_daemon.commands import support
from pi_cam_daemon.config import loading
from pi_cam_daemon.errors import ConfigError
from tests.hardware import machine
from tests.hardware.report import Report
from tests.hardware.trial import FULL, QUICK, Trial
from tests.kit.daemon import ROOT, RUN

# of the whole time: stills take what the steps before them leave
_STARTS_SHARE = 0.25
# the longest that the other steps may take, on a Zero 2 W
_RECOVERY_SECONDS, _LOAD_SECONDS, _QUALITIES_SECONDS, _CONTROLS_SECONDS = 120.0, 180.0, 300.0, 120.0
# for what a step has begun when its time is over
_LAST_SECONDS = 120.0
_MOST_MINUTES = 1000.0


def main() -> int:
    """Run the command line and return the exit status: 1 if something failed."""
    options = _options()
    try:
        report = Report(options.out)
    except OSError as error:
        print(f"try-on-a-pi: {options.out}: {error.strerror}", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="pi-cam-trial-") as folder:
            _try(report, Path(folder), options)
    except KeyboardInterrupt:
        report.text("interrupted", "the steps after this one are missing")
        return 130
    finally:
        report.close()
        print(f"{options.out}: please read it before you send it to somebody")
    return 1 if report.failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("scripts/try-on-a-pi", description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("try-on-a-pi.txt"), help="the report; default %(default)s")
    parser.add_argument("--minutes", type=float, default=10.0, help="the time for all; default %(default)g")
    parser.add_argument("--quick", action="store_true", help="each step in a short form: does it work at all?")
    parser.add_argument(
        "--set", metavar="key=value", action="append", default=[], dest="settings",
        help="a setting for each daemon, as in --set 'source.kind=\"usb\"'",
    )  # fmt: skip
    parser.add_argument(
        "--daemon", metavar="COMMAND", type=shlex.split, default=RUN,
        help="the command that gets a configuration file and serves it; default: this checkout's",
    )  # fmt: skip
    options = parser.parse_args()
    if not 0 < options.minutes < _MOST_MINUTES:
        parser.error(f"--minutes: a number above 0 and below {_MOST_MINUTES:g}")
    try:
        loading.load(loading.DEFAULTS, options.settings)
    except ConfigError as error:
        parser.error("; ".join(error.problems))
    return options


def _value(setting: str) -> tuple[str, object]:
    """Return key and value of a valid *setting*."""
    key, _, value = setting.partition("=")
    return key.strip(), tomllib.loads(f"value = {value}")["value"]


def _try(report: Report, folder: Path, options: argparse.Namespace) -> None:
    begun = time.monotonic()
    seconds = 60 * options.minutes
    depth = QUICK if options.quick else FULL
    trial = Trial(report, folder, depth, options.daemon, dict(map(_value, options.settings)))
    checkout = partial(support.output_of, "git", "-C", str(ROOT), "describe", "--always", "--dirty")
    report.text("scripts/try-on-a-pi", f"{time.strftime('%Y-%m-%d')}, {shlex.join(sys.argv[1:]) or 'no options'}")
    report.text("checkout", support.text_of(checkout), redact=False)
    report.text("versions", support.versions(), redact=False)
    report.text("memory", machine.memory())
    report.text("power", support.power())
    report.text("cameras", support.text_of(support.cameras))
    report.text("sensor modes", support.text_of(machine.sensor_modes))
    share = _STARTS_SHARE * seconds
    report.step("start and stop", share + _LAST_SECONDS, partial(trial.starts_and_stops, share))
    report.step("recovery", _RECOVERY_SECONDS, trial.recovery)
    report.step("load", _LOAD_SECONDS, trial.load)
    report.step("quality", _QUALITIES_SECONDS, trial.qualities)
    report.step("controls", _CONTROLS_SECONDS, trial.controls)
    late = begun + seconds
    left = max(0.0, late - time.monotonic())
    report.step("stills", left + _LAST_SECONDS, partial(trial.stills, late))
    report.text("memory afterwards", machine.memory())
    report.text("power afterwards", support.power())
    report.text("the kernel's messages", support.text_of(support.kernel))
    took = time.monotonic() - begun
    report.text("end", f"{report.count} results, {report.failed} FAILED, in {took / 60:.1f} minutes")


if __name__ == "__main__":
    sys.exit(main())
