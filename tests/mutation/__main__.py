"""Put small faults into modules, one at a time, and name those that no test notices."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from tests.mutation.faults import Fault, faults
from tests.mutation.runs import Copies
from tests.usb.machine import fake_v4l2

# the tests of each module; of any other unit/test_<its name>.py
_TESTS = {
    "server/streams": "unit/test_streams unit/test_pace",
    "core/link": "unit/test_link",
    "core/supervisor": "unit/test_supervisor server/test_supervisor",
    "core/health": "unit/test_health unit/test_last_camera",
    "server/access": "unit/test_access unit/test_logins",
    "server/hosts": "unit/test_hosts",
    "server/logins": "unit/test_logins",
    "imaging/jpeg": "unit/test_jpeg unit/test_exif unit/test_orientation",
    "ipc/parts": "unit/test_parts",
    "camera/jpeg_stream": "unit/test_jpeg_stream unit/test_multipart_streams",
    "config/loading": "unit/test_config unit/test_last_good unit/test_documents",
    "config/converters": "unit/test_config unit/test_upstream_url",
    "camera/csi": "unit/test_csi unit/test_csi_bitrate unit/test_csi_controls",
    "camera/csi_controls": "unit/test_csi_controls",
    "camera/usb": "usb/rig/under_fake",
    "boot/wifi": "unit/test_boot unit/test_pi_cam_toml",
    "installer/releases": "unit/test_installer",
}
_PACKAGE = Path("pi_cam_daemon")
_ARGUED = Path("scripts/mutate.argued")
_COLUMNS = "| module | faults | argued | tried | unnoticed | share | seconds |\n|---|---:|---:|---:|---:|---:|---:|"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__)
    parser.add_argument("modules", nargs="*", help=f"below {_PACKAGE}, or installer/…; without any: {' '.join(_TESTS)}")
    parser.add_argument("--most", type=int, metavar="N", help="try at most N faults of each module, drawn by lot")
    parser.add_argument("--seed", type=int, default=0, help="another number draws others")
    options = parser.parse_args()
    made = {}
    for name in options.modules or _TESTS:
        path = _path(name)
        if not path.is_file():
            parser.error(f"{name}: there is no {path}")
        made[name] = list(faults(path.read_text()))
    argued = _argued(made)
    rows = [_COLUMNS]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # some tests become another user
        if any("usb/rig/" in _TESTS.get(name, "") for name in made):
            # from the start of the processes
            dev = Path(folder) / "dev"
            dev.mkdir()
            os.environ |= {"LD_PRELOAD": str(fake_v4l2()), "FAKEV4L_DEV": str(dev)}
        copies = Copies(Path.cwd(), Path(folder))
        for name, found in made.items():
            open_ = [fault for fault in found if (name, fault.code, fault.change) not in argued]
            tried = open_ if options.most is None else _drawn(open_, options.most, options.seed)
            begun, unnoticed = time.monotonic(), 0
            path = _path(name)
            tests = [f"tests/{stem}.py" for stem in _TESTS.get(name, f"unit/test_{path.stem}").split()]
            for fault, reached in copies.unnoticed(path, tests, tried):
                unnoticed += 1
                print(f"{path}:{fault.line}: {fault.change}{'' if reached else ' (no test gets there)'}")
                print(f"    {fault.code}", flush=True)
            counts = f"{len(found)} | {len(found) - len(open_)} | {len(tried)} | {unnoticed}"
            share = 100 * unnoticed / max(1, len(tried))
            rows.append(f"| {name} | {counts} | {share:.0f} % | {time.monotonic() - begun:.0f} |")
    print(*rows, sep="\n")
    return 0


def _path(name: str) -> Path:
    return (Path("scripts") if name.startswith("installer/") else _PACKAGE) / f"{name}.py"


def _drawn(found: list[Fault], most: int, seed: int) -> list[Fault]:
    """Return at most *most* of the faults, in their order."""
    numbers = random.Random(seed).sample(range(len(found)), min(most, len(found)))
    return [found[number] for number in sorted(numbers)]


def _argued(made: dict[str, list[Fault]]) -> set[tuple[str, str, str]]:
    """Return module, code and change of the faults that change nothing; exit if an entry is no fault of its module."""
    try:
        entries = tomllib.loads(_ARGUED.read_text())["argued"] if _ARGUED.exists() else []
        argued = {(entry["module"], entry["code"], change) for entry in entries for change in entry["changes"]}
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise SystemExit(f"{_ARGUED}: an entry has module, code, changes and why: {error}") from None
    known = {(name, fault.code, fault.change) for name, found in made.items() for fault in found}
    stale = [entry for entry in sorted(argued) if entry[0] in made and entry not in known]
    if stale:
        lines = (f"{module}: {code}: {change}" for module, code, change in stale)
        raise SystemExit("\n".join([f"{_ARGUED} names what is not there:", *lines]))
    return argued


if __name__ == "__main__":
    sys.exit(main())
