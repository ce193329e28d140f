"""Shared by all tiers: reported figures and times, result files for scripts/test, and no silent skips."""

from __future__ import annotations

import os
import signal
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit.lateness import patience

# what they assert is explained as in a test
pytest.register_assert_rewrite("tests.kit.daemon", "tests.kit.sources", "tests.kit.wait", "tests.kit.wire")

TESTS = Path(__file__).parent
# A test that takes longer hangs. An emulated machine may take half an hour to boot.
_HANGS_SECONDS = 600.0
_HANGS_SECONDS_IMAGE = 4000.0

# Where to write down what passed and failed. Not for a pytest that a test starts.
_RESULTS = os.environ.pop("TEST_RESULTS", "")

# a daemon or command of a test does not read what somebody has saved on a page of this checkout
_STATE = tempfile.TemporaryDirectory(prefix="pi-cam-daemon-state-")
Path(_STATE.name).chmod(0o755)  # some tests give up the rights of root
os.environ["STATE_DIRECTORY"] = _STATE.name

# a shell starts what runs in its background deaf to Ctrl-C, and everything that a test starts would be deaf, too
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

Report = Callable[[str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="systemd, fleet, image, browser: for hours, with real periods")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each test a timeout, so that a test that hangs fails and is named; soak tests have none."""
    if config.pluginmanager.hasplugin("timeout") and not config.getoption("--soak"):
        for item in items:
            seconds = _HANGS_SECONDS_IMAGE if TESTS / "image" in item.path.parents else _HANGS_SECONDS
            item.add_marker(pytest.mark.timeout(patience(seconds)))


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--soak"))


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Record a figure that is printed at the end of the run with the name of its test."""
    return lambda figure: request.node.user_properties.append(("figure", f"{request.node.name}: {figure}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Count a skip as a failure with CI=true, so that the last line cannot hide it."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report  # type: ignore[return-value]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    seconds: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[Path(report.nodeid).parts[1]] += report.duration
                if report.when == "teardown":
                    for kind, figure in report.user_properties:
                        if kind == "figure":
                            terminalreporter.write_line(str(figure))
    for tier, duration in seconds.items():
        terminalreporter.write_line(f"tier {tier}: {duration:.0f} s")
    if _RESULTS:
        _write_results(terminalreporter.stats, Path(_RESULTS))


def _write_results(stats: dict[str, list[pytest.TestReport]], folder: Path) -> None:
    """Append to the files counts (of each outcome) and failed (test, a tab, and the error's first line)."""
    failed: dict[str, str] = {}
    for report in (*stats.get("failed", ()), *stats.get("error", ())):
        crash = getattr(report.longrepr, "reprcrash", None)
        told = report.longrepr[2] if isinstance(report.longrepr, tuple) else crash.message if crash else report.longrepr
        lines = str(told).strip().splitlines()
        failed.setdefault(report.nodeid, lines[0] if lines else "")
    with (folder / "failed").open("a") as file:
        file.writelines(f"{test}\t{error}\n" for test, error in failed.items())
    with (folder / "counts").open("a") as file:
        file.writelines(f"{outcome} {len(stats.get(outcome, ()))}\n" for outcome in ("passed", "skipped", "xfailed"))
