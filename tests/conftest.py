"""Test settings: examples few enough for every commit; no deadline, as machines differ.

A test may say what it measured with `record_property("measured", text)`; the summary prints that.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("quick", max_examples=20, deadline=None)
settings.load_profile("quick")


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
