"""No deadlines, as machines differ; few examples, as the default suite shall take five minutes and
draws others each time; and a summary of what tests measured.

A test says what it measured by `record_property("measured", text)`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("popek", parent=settings(), deadline=None, max_examples=25)
settings.load_profile("popek")


LONG = ("test_soak", "test_lockstep")
"""Modules whose tests take minutes: begun first, they do not keep one worker while others idle."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A folder for programs that the processor runs."""
    from tests.needs import missing  # what most tests do not need
    from tests.silicon.native import Silicon

    reason = Silicon.available()
    return tmp_path if reason is None else missing(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long tests first."""
    order = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured, whichever worker ran them."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    lines = [
        f"{report.head_line}: {value}"
        for report in reports
        for name, value in report.user_properties
        if name == "measured"
    ]
    if lines:
        terminalreporter.section("measured")
        terminalreporter.write_line("\n".join(sorted(lines)))
