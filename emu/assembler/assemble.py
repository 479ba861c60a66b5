"""From source text to a program: LLVM in a child process, then our linker."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emu.assembler import linker
from emu.assembler.child import MOST_ERRORS
from emu.assembler.errors import AssemblyError, Finding, failure, hint_for
from isa.hints import Any

CHILD = Path(__file__).with_name("child.py")
LONGEST_SOURCE = 8 << 20
SHOWN_BYTES = 8
HOSTS = ("x86_64", "amd64", "i386", "i486", "i586", "i686", "x86")

# NASM's words for the commonest directives cost a macro each.
PRELUDE = """\
.intel_syntax noprefix
.code{bits}
.macro section name:vararg
.section \\name
.endm
.macro global names:vararg
.globl \\names
.endm
.macro extern names:vararg
.endm
"""
_TOKEN = re.compile(
    r"""("(?:\\.|[^"\\\n])*"|'(?:\\.|[^\\\n])')"""
    r"""|(?<=lock)\ *;|(?<=rep)\ *;|(?<=rep[enz])\ *;|(?<=repn[ez])\ *;"""
    r"""|([;\#][^\n]*|//[^\n]*|/\*.*?(?:\*/|\Z))""",
    re.S | re.X | re.I,
)
# LLVM's parser takes `push offset name` for a push of 16 bits.
_PUSH = re.compile(
    r"^([ \t]*(?:[\w.$]+:[ \t]*)?)push[ \t]+(?:dword[ \t]+ptr[ \t]+)?offset[ \t]+([^\n]+)$",
    re.M | re.I,
)
_FLAT = re.compile(r"\b(offset[ \t]+)flat:", re.I)  # gcc -masm=intel writes it
_NAME = r"[A-Za-z_.$][\w.$]*"
_LABEL = re.compile(rf"^[ \t]*({_NAME}):", re.M)
_STRING = re.compile(r"""\"(?:\\.|[^"\\\n])*"|'(?:\\.|[^\\\n])'""")
_OPEN_BRACKET = re.compile(r"\[(?=[^]\n]*$)", re.M)
_SUBTRACTED = re.compile(rf"\[[^]\n]*-[ \t]*({_NAME})[^]\n]*\]")


@dataclass(frozen=True, slots=True)
class Limits:
    """What an assembly may cost."""

    seconds: int = 5
    memory: int = 512 << 20


@dataclass(frozen=True, slots=True)
class Listed:
    """Bytes of the image and the source line that they come from; .bss has a size and no bytes."""

    address: int
    size: int
    line: int
    data: bytes = b""
    text: str = ""

    def __str__(self) -> str:
        shown = self.shown(SHOWN_BYTES)
        return f"{self.address:08x}  {shown:<{3 * SHOWN_BYTES + 3}}  {self.line:5}  {self.text}"

    def shown(self, most: int) -> str:
        """The bytes in hexadecimal, so many of them at the most."""
        return self.data[:most].hex(" ") + (" ..." if len(self.data) > most else "")


@dataclass(frozen=True, slots=True)
class Assembled:
    """A linked program with what a debugger wants to know of it."""

    image: bytes
    entry: int
    symbols: Mapping[str, int]
    listing: tuple[Listed, ...]
    source: tuple[str, ...]
    warnings: tuple[Finding, ...] = ()

    def line_at(self, address: int) -> int | None:
        """Return the number of the source line that made the byte at `address`."""
        index = bisect_right(self.listing, address, key=lambda entry: entry.address) - 1
        if index < 0 or address >= self.listing[index].address + self.listing[index].size:
            return None
        return self.listing[index].line

    def symbol_at(self, address: int) -> tuple[str, int] | None:
        """Return the nearest symbol at or below `address`, and the distance from it."""
        below = [(value, name) for name, value in self.symbols.items() if value <= address]
        if not below:
            return None
        value, name = max(below)
        return name, address - value


def assemble(text: str, file: str = "source", *, limits: Limits = Limits()) -> Assembled:
    """Assemble and link a static i386 program. Raises AssemblyError.

    It starts at `_start`, or at the first byte of .text.
    """
    return _assembled(text, file, 32, limits)


def assemble_flat(
    text: str,
    file: str = "source",
    origin: int = linker.BASE,
    *,
    bits: int = 32,
    limits: Limits = Limits(),
) -> Assembled:
    """Assemble the bytes that stand at `origin`, without a header: they are `image`.

    Sections follow one another, .text first; .bss takes addresses behind the last byte, no bytes.
    Raises AssemblyError.
    """
    if bits not in (16, 32):
        raise ValueError(f"code has 16 or 32 bits, not {bits}")
    return _assembled(text, file, bits, limits, origin)


def flat(
    text: str,
    file: str = "source",
    origin: int = linker.BASE,
    *,
    bits: int = 32,
    limits: Limits = Limits(),
) -> bytes:
    """The `image` of `assemble_flat`. Raises AssemblyError."""
    return assemble_flat(text, file, origin, bits=bits, limits=limits).image


def _assembled(
    text: str, file: str, bits: int, limits: Limits, origin: int | None = None
) -> Assembled:
    """A program, or what stands at `origin`."""
    compiled, lines, warnings = _objects(text, file, bits, limits)
    where = linker.BASE if origin is None else origin
    paged = origin is None  # only a program has pages with permissions
    linked = _link(compiled, lines, text, file, where, paged)
    recorded = linker.link(lines, file, origin=where, paged=paged) if lines else None
    source = tuple(text.splitlines())
    return Assembled(
        image=linked.flat() if origin is not None else linked.image(),
        entry=linked.entry,
        symbols=linked.symbols,
        listing=_listing(linked, recorded, source),
        source=source,
        warnings=warnings,
    )


def _objects(
    text: str, file: str, bits: int, limits: Limits
) -> tuple[bytes, bytes, tuple[Finding, ...]]:
    """Return the object, the object with line records, and warnings."""
    text = text.replace("\r\n", "\n")
    _check_text(text, file)
    plain = _FLAT.sub(r"\1     ", _without_comments(text))
    if bits == 32 and ".code16" not in plain:
        plain = _PUSH.sub(r"\1.byte 0x68; .long \2", plain)
    answer, data = _ask(plain, file, PRELUDE.format(bits=bits), limits)
    if "unavailable" in answer:
        raise _unavailable(file, str(answer["unavailable"]))
    lines = text.split("\n")
    findings = [_finding(lines, limits, *entry) for entry in sorted(answer["findings"])]
    errors = [finding for finding in findings if finding.kind == "error"]
    errors = sorted(errors + _misread(plain, lines), key=lambda error: error.line)[:MOST_ERRORS]
    if errors:
        raise AssemblyError(file, errors)
    size = answer["sizes"][0]
    return data[:size], data[size:], tuple(findings)


def _check_text(text: str, file: str) -> None:
    """Refuse what LLVM would misread."""
    if len(text) > LONGEST_SOURCE:
        raise failure(file, f"the source has {len(text)} characters, the most is {LONGEST_SOURCE}")
    for index, line in enumerate(text.split("\n"), 1):
        bad = next((c for c in line if c == "\0" or "\ud800" <= c <= "\udfff"), None)
        if bad is not None:
            what = "a zero byte" if bad == "\0" else "a byte that is not UTF-8"
            column = line.index(bad) + 1
            hint = "This does not look like text; a program is run without assembling it"
            raise AssemblyError(file, [Finding(index, column, "error", what, line, hint)])


def _misread(plain: str, lines: Sequence[str]) -> list[Finding]:
    """Find what LLVM assembles without a word, but not as it is written.

    [esi - label] would be [esi + label], and `[ebx` without its end would be [0].
    """
    bare = _STRING.sub(lambda match: "_" * len(match[0]), plain)
    labels = set(_LABEL.findall(bare))
    found: list[tuple[int, str, str]] = []
    for match in _SUBTRACTED.finditer(bare):
        if match[1] in labels:
            message = "an address cannot have a label subtracted from it"
            hint = f"Subtract first: sub register, offset {match[1]}"
            found.append((match.start(1), message, hint))
    for match in _OPEN_BRACKET.finditer(bare):
        found.append((match.start(), "this bracket is not closed", "Write ] after the address"))
    return [_at(plain, lines, *entry) for entry in sorted(found)[:MOST_ERRORS]]


def _at(plain: str, lines: Sequence[str], offset: int, message: str, hint: str) -> Finding:
    """Return an error at an offset in the source."""
    line = plain.count("\n", 0, offset) + 1
    column = offset - plain.rfind("\n", 0, offset)
    return Finding(line, column, "error", message, lines[line - 1], hint)


def _without_comments(text: str) -> str:
    """Blank out comments, in place. `;` starts one, but not in `lock; add` and `rep; movsb`."""

    def blank(match: re.Match[str]) -> str:
        return match[0] if match[2] is None else re.sub(r"[^\n]", " ", match[0])

    return _TOKEN.sub(blank, text)


def _ask(text: str, file: str, prelude: str, limits: Limits) -> tuple[dict[str, Any], bytes]:
    """Run the child; return its answer and the bytes behind it.

    The child gets our own search path, and -S spares it the 20 ms of finding one.
    """
    if os.name != "posix":
        raise _unavailable(file, "it is started in a way that only POSIX systems know")
    request = {"prelude": prelude, "seconds": limits.seconds, "memory": limits.memory}
    process = subprocess.Popen(
        [sys.executable, "-P", "-S", str(CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )
    try:
        output, complaint = process.communicate(
            json.dumps(request).encode() + b"\n" + text.encode(), timeout=2 * limits.seconds + 5
        )
    except subprocess.TimeoutExpired:
        raise failure(file, _costly("time", limits), _SMALLER) from None
    finally:
        _end(process)
    heading, newline, data = output.partition(b"\n")
    if not newline:
        why = complaint.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise failure(file, f"the assembler stopped without an answer ({why})")
    return json.loads(heading), data


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a child that is still at work, with the fork that it may have."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


_SMALLER = "Look for a .rept, .fill or macro that does not end, or make it smaller"


def _costly(what: str, limits: Limits) -> str:
    if what == "time":
        return f"assembling took more than {limits.seconds} seconds"
    return f"assembling took more than {limits.memory >> 20} MiB of memory"


def _finding(
    lines: list[str], limits: Limits, line: int, column: int, kind: str, message: str
) -> Finding:
    """Return a finding of the child's in the user's terms."""
    if line == 0:
        if message == "distance":
            text = "a distance between labels depends on itself"
        elif message in ("time", "memory"):
            text = _costly(message, limits)
        else:
            text = f"the assembler broke down ({message})"
        return Finding(0, 0, kind, text, hint=_SMALLER)
    source = lines[line - 1] if line <= len(lines) else ""
    before = source.encode()[: column - 1].decode("utf-8", "ignore")  # LLVM counts bytes
    return Finding(line, len(before) + 1, kind, message, source, hint_for(message, source))


def _unavailable(file: str, why: str) -> AssemblyError:
    if platform.machine().lower() not in HOSTS:
        why = f"this host is {platform.machine()}, and llvmlite assembles only for its own host"
    return failure(
        file,
        f"there is no assembler here: {why}",
        "pip install llvmlite on an x86 host with Linux or macOS; assembled programs (ELF) run "
        "without it",
    )


def _link(
    compiled: bytes,
    lines: bytes,
    text: str,
    file: str,
    origin: int,
    paged: bool,
) -> linker.Linked:
    """Link the object; an error is told with its line if the object with line records knows it."""
    try:
        return linker.link(compiled, file, origin=origin, paged=paged)
    except AssemblyError:
        if lines:
            source = text.splitlines()
            linker.link(lines, file, origin=origin, paged=paged, source=source)
        raise


def _listing(
    linked: linker.Linked, recorded: linker.Linked | None, source: Sequence[str]
) -> tuple[Listed, ...]:
    """Return the listing, empty when records would have changed the code."""
    image = linked.flat()
    if recorded is None or recorded.flat() != image:
        return ()
    origin = min(part.address for part in linked.parts)
    entries = sorted(recorded.lines, key=lambda entry: entry[0])  # stable: later lines stay behind
    listing = []
    for (start, line), (following, _) in zip(entries, [*entries[1:], (1 << 32, 0)], strict=True):
        size = max(0, min(following, linked.end_of(start)) - start)
        data = image[start - origin :][:size]
        listing.append(Listed(start, size, line, data, source[line - 1]))
    return tuple(listing)
