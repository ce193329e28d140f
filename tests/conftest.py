"""What all tiers share: their figures and times at the end, and no silent skips where a machine judges."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

_REPORTED = pytest.StashKey[list[str]]()
Report = Callable[[str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="systemd, fleet, image, browser: for hours, with real periods")


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--soak"))


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Takes a figure that the end of the run shows, with the name of its test."""
    figures = request.config.stash.setdefault(_REPORTED, [])
    return lambda figure: figures.append(f"{request.node.name}: {figure}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """With CI=true a skip is a failure: whoever only reads the last line must not be deceived."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report  # type: ignore[return-value]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for figure in terminalreporter.config.stash.get(_REPORTED, []):
        terminalreporter.write_line(figure)
    seconds: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[Path(report.nodeid).parts[1]] += report.duration
    for tier, duration in seconds.items():
        terminalreporter.write_line(f"tier {tier}: {duration:.0f} s")
