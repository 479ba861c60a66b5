"""No deadlines, as machines differ; and a summary of what tests measured.

A test says what it measured by `record_property("measured", text)`.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("without deadline", parent=settings(), deadline=None)
settings.load_profile("without deadline")


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
