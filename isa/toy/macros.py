"""Macros of the toy assembler: `.macro name a, b` … `.endm`, `\\a` for an argument.

A label `@name` in a body is new in every expansion. Substitution leaves strings alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from isa.hints import Final
from isa.toy.expression import Token, Tokens, tokenize
from isa.toy.source import Line, Mistake

DEEPEST: Final = 30  # macros in macros
LONGEST: Final = 100_000  # lines that one source may expand to

_PIECE = re.compile(
    r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])'|\\([A-Za-z_]\w*)|@([A-Za-z_]\w*)(?!\w|\#)"""
)

Report = Callable[[Line, Mistake], None]


@dataclass(slots=True)
class Macro:
    """A macro under its name, with parameters and body as they were written."""

    name: str
    parameters: list[str]
    defined: Line
    body: list[Line] = field(default_factory=list)

    def expand(self, caller: Line, arguments: list[str], number: int) -> Iterator[Line]:
        """The body's lines with the arguments in it."""
        values = dict(zip(self.parameters, arguments, strict=True))

        def piece(match: re.Match[str]) -> str:
            if match[2] is not None:
                return f"@{match[2]}#{number}"
            return values.get(match[1] or "", match[0])

        for line in self.body:
            text = _PIECE.sub(piece, line.text)
            yield Line(line.file, line.number, text, self.name, caller)


class Preprocessor:
    """Collects macros and yields the lines that are left, expanded."""

    def __init__(self, report: Report) -> None:
        self.macros: dict[str, Macro] = {}
        self._report = report
        self._open: Macro | None = None
        self._expansions = 0
        self._lines = 0

    def lines(self, source: Iterator[Line]) -> Iterator[Line]:
        """Every line to assemble; mistakes go to `report`."""
        yield from self._each(source)
        if self._open is not None:
            self._report(self._open.defined, Mistake(0, "this macro has no .endm"))

    def _each(self, source: Iterator[Line]) -> Iterator[Line]:
        for line in source:
            self._lines += 1
            if self._lines > LONGEST:
                raise Mistake(0, f"the source expands to more than {LONGEST} lines")
            try:
                yield from self._one(line)
            except Mistake as mistake:
                self._report(line, mistake)
                if self._lines > LONGEST:
                    return

    def _one(self, line: Line) -> Iterator[Line]:
        word = _first_word(line.text)
        if word == ".endm":
            self._end(line)
        elif self._open is not None:
            self._open.body.append(line)
        elif word == ".macro":
            self._open = self._begin(line, tokenize(line.text))
        elif word in self.macros:
            yield from self._use(line, self.macros[word])
        else:
            yield line

    def _begin(self, line: Line, tokens: Tokens) -> Macro:
        names = [t.text for t in tokens[1:] if t.text != ","]
        if not names or any(t.kind != "name" for t in tokens[1:] if t.text != ","):
            self._open = Macro("", [], line)  # swallow the body all the same
            raise Mistake(len(line.text), "a macro needs a name: .macro name first, second")
        return Macro(names[0].lower(), names[1:], line)

    def _end(self, line: Line) -> None:
        if self._open is None:
            raise Mistake(0, ".endm without .macro")
        if self._open.name:
            self.macros[self._open.name] = self._open
        self._open = None

    def _use(self, line: Line, macro: Macro) -> Iterator[Line]:
        label, rest = _split_label(line.text)
        if label:
            yield Line(line.file, line.number, label, line.macro, line.caller)
        arguments = _arguments(rest)
        if len(arguments) != len(macro.parameters):
            wanted = ", ".join(macro.parameters) or "nothing"
            raise Mistake(
                len(label),
                f"{macro.name} takes {wanted}, not {len(arguments)} arguments "
                f"(defined at {macro.defined.place})",
            )
        if line.depth >= DEEPEST:
            raise Mistake(len(label), f"macros more than {DEEPEST} deep: does one use itself?")
        self._expansions += 1
        yield from self._each(macro.expand(line, arguments, self._expansions))


def _split_label(text: str) -> tuple[str, str]:
    match = re.match(r"\s*(?:[@A-Za-z_][\w#]*\s*:\s*)*", text)
    end = match.end() if match else 0
    return text[:end], text[end:]


def _first_word(text: str) -> str:
    match = re.match(r"\.?[A-Za-z_]\w*", _split_label(text)[1])
    return match[0].lower() if match else ""


def _arguments(rest: str) -> list[str]:
    """The texts between commas that stand outside of brackets."""
    tokens = tokenize(rest)[1:]
    if not tokens:
        return []
    groups = split_at_commas(tokens)
    ends = [t.column + len(t.text) for t in tokens]
    by_column = dict(zip((t.column for t in tokens), ends, strict=True))
    return [rest[g[0].column : by_column[g[-1].column]] if g else "" for g in groups]


def split_at_commas(tokens: Tokens) -> list[list[Token]]:
    """Groups of tokens between commas that stand outside of brackets; none for no tokens."""
    groups: list[list[Token]] = [[]] if tokens else []
    depth = 0
    for token in tokens:
        depth += (token.text in "([") - (token.text in ")]") if token.kind == "sign" else 0
        if token.text == "," and depth == 0:
            groups.append([])
        else:
            groups[-1].append(token)
    return groups
