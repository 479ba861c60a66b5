"""The child process that calls LLVM's assembler; it imports nothing of ours.

In Intel syntax LLVM takes `mov edx, size` behind `size = . - text` for a load from memory, where
GNU as sees a number. So distances are measured in one round and given as numbers in the next.

LLVM ends the process at the first error, so each attempt runs in a fork of this one: the error is
noted, its line left out, and the rest tried again, which finds several errors in one go. An attempt
may not open files (`.incbin` and `.include` would read the host's), and has little time and memory.

Standard input: one JSON line (prelude, limits), then the source. Standard output: one JSON line,
then the object and the object with line records.
"""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import sys
from dataclasses import dataclass

TRIPLE = "i386-unknown-linux-gnu"
MARK = 987654321  # a numeric label that no program has
LINES_SECTION = ".popek_lines"
LARGEST_OBJECT = 64 << 20
LONGEST_REPORT = 1 << 20
MOST_ERRORS = 10
MOST_SEARCHES = 100
MOST_ROUNDS = 5
MEASURED = "popek$"  # what stands for a distance's name while its value is given

_HEADING = re.compile(
    rb"^(error|warning|note): (?:<(inline asm|instantiation)>:(\d+):(\d+): )?(.*)$", re.M
)
_DISTANCE = re.compile(
    r"^([ \t]*(?:\.(?:set|equ)[ \t]+)?)([A-Za-z_][\w.$]*)([ \t]*[=,][^=\n]*-[^\n]*)$", re.M
)
_OPENS_BLOCK = re.compile(r"\s*(\.(rept|irp|irpc|macro|if\w*)\b|$)")
_LABEL = re.compile(r"\s*[A-Za-z_.$][\w.$]*:")


@dataclass(frozen=True)
class Attempt:
    """What came of assembling once: the object if it went well, LLVM's words, and the status."""

    output: bytes
    report: bytes
    status: int

    @property
    def failed(self) -> bool:
        """Whether there is no object."""
        return self.status != 0


def module(text: str) -> str:
    """Return an LLVM module that holds `text` as its assembly."""
    escaped = "".join(
        chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:02x}" for b in text.encode()
    )
    return f'target triple = "{TRIPLE}"\nmodule asm "{escaped}"\n'


class Assembler:
    """LLVM, set up once; every attempt is made in a fork."""

    def __init__(self, prelude: str, seconds: int, memory: int) -> None:
        from llvmlite import binding

        # Releases before 0.45 want `initialize`, later ones refuse it.
        for name in ("initialize", "initialize_all_targets", "initialize_all_asmprinters"):
            try:
                getattr(binding, name)()
            except (AttributeError, RuntimeError):
                continue
        binding.initialize_native_asmparser()
        target = binding.Target.from_triple(TRIPLE)
        self._machine = target.create_target_machine(cpu="i686", reloc="static", opt=0)
        self._parse = binding.parse_assembly
        self.prelude, self._seconds, self._memory = prelude, seconds, memory

    def attempt(self, text: str) -> Attempt:
        """Assemble `text` behind the prelude."""
        report_read, report_write = os.pipe()
        output_read, output_write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(report_read)
            os.close(output_read)
            self._assemble(text, report_write, output_write)
        os.close(report_write)
        os.close(output_write)
        with os.fdopen(report_read, "rb") as stream:
            report = stream.read(LONGEST_REPORT)
        with os.fdopen(output_read, "rb") as stream:
            output = stream.read(LARGEST_OBJECT + 1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return Attempt(output, report, status)

    def _assemble(self, text: str, report: int, output: int) -> None:
        """Run in the fork; never returns."""
        status = 1
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)  # `.print` writes there
            os.dup2(report, 2)
            os.close(report)
            _limit(self._seconds, self._memory)
            data = self._machine.emit_object(self._parse(module(self.prelude + text)))
            os.close(2)  # the report is complete; now the object can be read
            status = 0 if _write(output, data) else 3
        except MemoryError:
            status = 4
        except BaseException as error:  # the fork must end here, whatever happens
            os.write(2, f"error: {error}\n".encode())
        finally:
            os._exit(status)


def _limit(seconds: int, memory: int) -> None:
    import resource  # not on every host; constants of this module are wanted on all

    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def _write(descriptor: int, data: bytes) -> bool:
    if len(data) > LARGEST_OBJECT:
        return False
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return True


class Source:
    """A text with the distances that are known of it."""

    def __init__(self, text: str, prelude: str) -> None:
        names = [m[2] for m in _DISTANCE.finditer(text)]
        self.names = {n for n in names if names.count(n) == 1 and not _assigned_twice(n, text)}
        self._text, self._prelude = text, prelude
        self._values: dict[str, int] = {}

    @property
    def text(self) -> str:
        """The source, known distances measured under another name."""
        return _DISTANCE.sub(self._measured, self._text)

    @property
    def prelude(self) -> str:
        """The lines in front, with the known distances as numbers."""
        numbers = "; ".join(f"{name} = {value}" for name, value in self._values.items())
        return self._prelude + numbers + "\n"

    def _measured(self, match: re.Match[str]) -> str:
        if match[2] not in self._values:
            return match[0]
        return f"{match[1]}{MEASURED}{match[2]}{match[3]}"

    def learn(self, output: bytes) -> bool:
        """Take the distances from an object; return whether that is any news."""
        before = dict(self._values)
        for name, value in absolutes(output):
            measured = name.startswith(MEASURED)
            name = name.removeprefix(MEASURED)
            if name in self.names and (measured or name not in before):
                self._values[name] = value
        return before != self._values


def _assigned_twice(name: str, text: str) -> bool:
    """Whether a name is a variable rather than a constant."""
    place = re.escape(name)
    return (
        len(re.findall(rf"^[ \t]*{place}[ \t]*(?:=|:)|\.(?:set|equ)\s+{place}\b", text, re.M)) > 1
    )


def absolutes(output: bytes) -> list[tuple[str, int]]:
    """Return the symbols of an object that are numbers, not places."""
    offset, *_ = struct.unpack_from("<I", output, 32)
    size, count, _ = struct.unpack_from("<HHH", output, 46)
    headers = [struct.unpack_from("<10I", output, offset + i * size) for i in range(count)]
    table = next((h for h in headers if h[1] == 2), None)  # SHT_SYMTAB
    if table is None:
        return []
    start, found = headers[table[6]][4], []
    for entry in range(table[4], table[4] + table[5], 16):
        name, value, _, info, _, section = struct.unpack_from("<IIIBBH", output, entry)
        if section == 0xFFF1 and info & 15 == 0:  # SHN_ABS, STT_NOTYPE
            end = output.index(b"\0", start + name)
            signed = value - (value >> 31 << 32)
            found.append((output[start + name : end].decode("utf-8", "replace"), signed))
    return found


def settle(assembler: Assembler, source: Source) -> tuple[Attempt, list[list[object]]]:
    """Diagnose in rounds, until the distances are settled."""
    for _ in range(MOST_ROUNDS):
        assembler.prelude = source.prelude
        first, last, findings = diagnose(assembler, source.text)
        if last.failed or not source.names or not source.learn(last.output):
            break
    else:
        findings.append([0, 0, "error", "distance"])
    return first, findings


def diagnose(assembler: Assembler, text: str) -> tuple[Attempt, Attempt, list[list[object]]]:
    """Assemble until all is well or there are errors enough.

    Returns the first attempt, the last one, and [line, column, kind, message] for each finding.
    Line 0 stands for the source as a whole.
    """
    first = attempt = assembler.attempt(text)
    findings = _warnings(assembler, first)
    lines = text.split("\n")
    while attempt.failed and len(findings) < MOST_ERRORS:
        line, column, message = _error(assembler, lines, attempt)
        findings.append([line, column, "error", message])
        if line == 0 or _OPENS_BLOCK.match(lines[line - 1]):
            break  # what follows would be about the missing line
        lines[line - 1] = _without_statement(lines[line - 1], column)
        attempt = assembler.attempt("\n".join(lines))
    return first, attempt, findings


def _without_statement(line: str, column: int = 1 << 30) -> str:
    """Return what stays of a line that is left out: its label, if that is not at fault."""
    label = _LABEL.match(line)
    return label[0] if label and column > label.end() else ""


def _warnings(assembler: Assembler, attempt: Attempt) -> list[list[object]]:
    prelude = assembler.prelude.count("\n")
    return [
        [int(m[3]) - prelude, int(m[4]), "warning", m[5].decode("utf-8", "replace")]
        for m in _HEADING.finditer(attempt.report)
        if m[1] == b"warning" and m[2] == b"inline asm"
    ]


def _error(assembler: Assembler, lines: list[str], attempt: Attempt) -> tuple[int, int, str]:
    """Return line, column and message of an attempt's error."""
    found = [m for m in _HEADING.finditer(attempt.report) if m[1] == b"error"]
    if b"Assertion" in attempt.report:
        return _culprit(assembler, lines), 1, _assertion(attempt.report)
    if attempt.status != 1 or not found:
        return 0, 0, _crash(attempt)
    error = found[0]
    message = error[5].decode("utf-8", "replace")
    line = int(error[3] or 0) - assembler.prelude.count("\n")
    if error[2] == b"inline asm" and 0 < line <= len(lines):
        return line, int(error[4]), message
    return _search(assembler, lines, message), 1, message


def _crash(attempt: Attempt) -> str:
    if attempt.status in (-signal.SIGKILL, -signal.SIGXCPU):
        return "time"
    if attempt.status in (3, 4, -signal.SIGABRT):
        return "memory"
    return f"crash {attempt.status}"


def _search(assembler: Assembler, lines: list[str], message: str) -> int:
    """Find the line that first brings about an error which LLVM places inside a macro."""
    low, high = 0, len(lines)
    while high - low > 1:
        middle = (low + high) // 2
        attempt = assembler.attempt("\n".join(lines[:middle]))
        heading = _HEADING.search(attempt.report)
        same = attempt.failed and heading is not None and heading[5].decode("utf-8", "replace")
        low, high = (low, middle) if same == message else (middle, high)
    return high


def _assertion(report: bytes) -> str:
    """Return what LLVM's own check says."""
    said = re.search(rb'"([^"]+)"', report)
    return "LLVM breaks down here" + (f": {said[1].decode('utf-8', 'replace')}" if said else "")


def _culprit(assembler: Assembler, lines: list[str]) -> int:
    """Find a line that breaks LLVM, by leaving out what can be without mending it."""
    kept = list(lines)
    size, tries = len(kept), MOST_SEARCHES
    while size and tries:
        for start in range(0, len(kept), size):
            part = kept[start : start + size]
            bare = [_without_statement(line) for line in part]
            if bare != part and tries:
                tries -= 1
                shorter = [*kept[:start], *bare, *kept[start + size :]]
                if assembler.attempt("\n".join(shorter)).status == -signal.SIGABRT:
                    kept = shorter
        size //= 2
    left = (n for n, line in enumerate(kept, 1) if _without_statement(line) != line)
    return next(left, 0)


def marked(text: str) -> str:
    """Return the source with a record of address and number in front of each line."""
    return "\n".join(
        f"{MARK}: .pushsection {LINES_SECTION}; .long {MARK}b, {number}; .popsection; {line}"
        if line.strip()
        else line
        for number, line in enumerate(text.split("\n"), 1)
    )


def main() -> None:
    """Serve one source."""
    request = json.loads(sys.stdin.buffer.readline())
    text = sys.stdin.buffer.read().decode()
    answer: dict[str, object]
    objects = [b"", b""]
    try:
        assembler = Assembler(request["prelude"], request["seconds"], request["memory"])
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        answer = {"unavailable": str(error)}
    else:
        source = Source(text, request["prelude"])
        attempt, findings = settle(assembler, source)
        if not attempt.failed:
            objects = [attempt.output, assembler.attempt(marked(source.text)).output]
        answer = {"findings": findings, "sizes": [len(data) for data in objects]}
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + b"".join(objects))


if __name__ == "__main__":
    main()
