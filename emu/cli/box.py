"""`emu box run` and `emu box up`."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from emu.box import Box, Boxes, Running
from emu.box.description import read_boxes
from emu.box.prefix import Prefixed
from emu.cli.run import check_engine, environment, size, tell, tell_call
from emu.errors import GuestFileError
from emu.report import EXIT_INTERRUPTED, Report
from isa.hints import Any


def run_box(program: str, arguments: list[str], chosen: dict[str, Any], as_json: bool) -> int:
    """Run one box on our own streams; returns the exit code of its first process."""
    check_engine(chosen["engine"])
    rest, trace = dict(chosen), chosen["trace"]
    del rest["trace"]
    rest["environment"] = environment(rest.pop("env"))
    for name in ("memory", "storage"):
        rest[name] = size(rest[name])
    on_call = tell_call if trace else None
    running = Running(
        Box(program=program, arguments=tuple(arguments), **rest), (None, None, None), on_call
    )
    try:
        Boxes([running]).run()
    except KeyboardInterrupt:
        running.kill()
    assert running.report is not None
    tell(running.report, as_json)
    return running.report.exit_code


def run_boxes(path: Path, kills: Sequence[str], as_json: bool) -> int:
    """Run all boxes of a file; returns the first exit code that is not 0."""
    described = read_boxes(path)
    deadlines = dict(_kill(text, [box.name for box in described]) for text in kills)
    boxes, speakers = _started(described)
    try:
        boxes.run(deadlines, lambda box: _finish(speakers[box.box.name]))
        interrupted = 0
    except KeyboardInterrupt:
        for name in boxes.boxes:
            boxes.kill(name)
        interrupted = EXIT_INTERRUPTED
    reports = [box.report for box in boxes.boxes.values() if box.report is not None]
    print(json.dumps([r.facts() for r in reports]) if as_json else table(reports), file=sys.stderr)
    return interrupted or next((r.exit_code for r in reports if r.exit_code), 0)


def _started(described: list[Box]) -> tuple[Boxes, dict[str, tuple[Prefixed, Prefixed]]]:
    width = max(len(box.name) for box in described)
    speakers = {
        box.name: (
            Prefixed(box.name, width, sys.stdout.buffer),
            Prefixed(box.name, width, sys.stderr.buffer),
        )
        for box in described
    }
    started = [Running(box, (io.BytesIO(), *speakers[box.name])) for box in described]
    return Boxes(started), speakers


def _finish(speakers: tuple[Prefixed, Prefixed]) -> None:
    for speaker in speakers:
        speaker.finish()


def _kill(text: str, names: list[str]) -> tuple[str, int]:
    name, _, count = text.rpartition("@")
    if name not in names or not count.isdecimal():
        raise GuestFileError(
            f"--kill {text!r} is not NAME@COUNT",
            advice=f"Names are {', '.join(names)}; COUNT is a number of the box's instructions",
        )
    return name, int(count)


def table(reports: Sequence[Report]) -> str:
    """How each box ended, a line each."""
    lines = [f"{'box':<16} {'ended':<8} {'code':>4} {'instructions':>14} {'memory':>10}"]
    for report in reports:
        memory = f"{report.details['memory_peak'] >> 10:,} K"
        name = report.details["box"]
        lines.append(
            f"{name:<16} {report.stop:<8} {report.exit_code:>4} {report.instructions:>14,} "
            f"{memory:>10} {report.message}".rstrip()
        )
    return "\n".join(lines)
