"""What is wrong with an assembly source, said with the line, a caret and a way out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from emu.errors import GuestFileError

WIDEST = 96

_NO_FILES = (
    "A guest's source cannot read files: what is assembled must not depend on the host. "
    "Write the bytes with .byte, or let the program open a file when it runs"
)
_HINTS = tuple(
    (re.compile(pattern, re.I), hint)
    for pattern, hint in (
        (r"^\s*(\S+\s+)?db\b", 'Write .byte for numbers, .ascii "text" for text'),
        (r"^\s*(\S+\s+)?dw\b", "Write .word"),
        (r"^\s*(\S+\s+)?dd\b", "Write .long"),
        (r"^\s*(\S+\s+)?dq\b", "Write .quad"),
        (r"^\s*(\S+\s+)?res[bwdq]\b", "Write .space and the number of bytes, in .bss"),
        (r"^\s*\S+\s+equ\b", "Write name = value, before the lines that use it"),
        (r"^\s*times\b", "Write .fill count, size, value, or .rept count ... .endr"),
        (r"^\s*%(define|assign)\b", "Write name = value"),
        (
            r"^\s*%i?macro\b",
            "Write .macro name parameters ... .endm; a parameter is used as \\name",
        ),
        (r"^\s*%(include|pragma)\b", _NO_FILES),
        (r"^\s*%", "NASM's preprocessor is not here; GNU directives are: .macro .rept .if"),
        (r"^\s*\[?\s*(bits|use)\s*(16|32)\b", "Write .code16 or .code32; .code32 is the default"),
        (r"^\s*org\b", "Leave it out; a flat image gets its address when it is assembled or run"),
        (r"^\s*align\b", "Write .balign"),
        (r"^\s*\[\s*(section|global|extern)\b", "Leave out the square brackets"),
        (r"\$\$", "$$ is NASM's; put a label at the start of the section and use that"),
        (
            r"%(e?[abcd][xlh]|e?[sd]i|e[sb]p)\b|\s\$-?\w",
            "Registers and numbers have no sign in Intel syntax: mov eax, 1. For AT&T syntax, "
            "begin the source with .att_syntax",
        ),
        (r"\b(byte|word|dword|qword)\s*\[", "Write the size with ptr: dword ptr [eax]"),
    )
)
_MESSAGES = (
    ("in 64-bit mode", "The processor here is a 32-bit one"),
    ("ambiguous operand size", "Say the size: byte ptr, word ptr or dword ptr [...]"),
    ("incbin file", _NO_FILES),
    ("include file", _NO_FILES),
    ("invalid character", "Outside of strings and comments a source is ASCII"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One error or warning. Line and column count from 1; line 0 is the source as a whole."""

    line: int
    column: int
    kind: str
    message: str
    source: str = ""
    hint: str = ""

    def render(self, file: str) -> str:
        """Return the finding as a compiler prints it, with the source line and a caret."""
        if self.line == 0:
            return f"{file}: {self.kind}: {self.message}" + self._advice()
        heading = f"{file}:{self.line}:{self.column}: {self.kind}: {self.message}"
        start = max(0, self.column - WIDEST * 3 // 4) if len(self.source) > WIDEST else 0
        shown = self.source[start : start + WIDEST].expandtabs(1)
        shown = "".join(c if c.isprintable() else "?" for c in shown)
        return f"{heading}\n  {shown}\n  {' ' * (self.column - 1 - start)}^{self._advice()}"

    def _advice(self) -> str:
        return f"\n  {self.hint}." if self.hint else ""


class AssemblyError(GuestFileError):
    """A source that does not assemble or link; `findings` has every error that was found."""

    def __init__(self, file: str, findings: Sequence[Finding]) -> None:
        self.file, self.findings = file, tuple(findings)
        first = self.findings[0]
        place = f"{file}:{first.line}:{first.column}" if first.line else file
        super().__init__(first.message, where=place, why=first.source.strip(), advice=first.hint)

    def __str__(self) -> str:
        return "\n".join(finding.render(self.file) for finding in self.findings)


def failure(file: str, message: str, hint: str = "") -> AssemblyError:
    """Return an error about the source as a whole."""
    return AssemblyError(file, [Finding(0, 0, "error", message, hint=hint)])


def hint_for(message: str, source: str) -> str:
    """Return what the author may have meant."""
    for part, hint in _MESSAGES:
        if part in message:
            return hint
    return next((hint for pattern, hint in _HINTS if pattern.search(source)), "")
