"""The toy assembler: two passes over a source, every mistake reported with its place.

    label:  add r1, r2, r3      ; comment
    @inner: bnz r1, @inner      ; a label of its own below each ordinary label or macro
            .equ SIZE, 4*16     ; .org .align .space .word .ascii .string .psw .entry .macro

`.machine toy/clean` names the configuration that a source is written for. A program that runs with
an R of its own stands between `.window name` and `.endwindow`: labels inside count from the start
of the window; `name` and `name_end` are the real addresses around it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from isa.hints import Final
from isa.toy.definition import Toy
from isa.toy.expression import Expression, Token, Tokens, tokenize, unescape
from isa.toy.macros import Preprocessor, split_at_commas
from isa.toy.ports import Port
from isa.toy.registers import GENERAL_REGISTERS, STACK_POINTER, SUPERVISOR
from isa.toy.source import AssemblyError, Line, Mistake, Problem
from isa.toy.table import INSTRUCTIONS, OPERANDS, Row
from isa.toy.traps import Trap

ORIGIN: Final = 2  # words 0 and 1 hold the old and the new PSW
MOST_PROBLEMS: Final = 20

_REGISTERS = {name: i for i, name in enumerate(GENERAL_REGISTERS)} | {"sp": STACK_POINTER}
_MODES = ("s", "u")


@dataclass(slots=True)
class Program:
    """An assembled source: words from address 0, where to start, and what stands where."""

    image: list[int]
    entry: int
    psw: int  # supervisor mode at the entry, with all of storage
    symbols: dict[str, int]
    lines: dict[int, Line]  # by address, of each instruction and word of data


@dataclass(slots=True)
class _Statement:
    """What a line says after its labels, with the address and the scope where it stands."""

    line: Line
    name: Token
    operands: list[Tokens]
    end: int
    address: int = 0
    scope: str = ""
    base: int = 0  # what `.` counts from


@dataclass(slots=True)
class _Constant:
    """An .equ, computed when somebody asks."""

    statement: _Statement
    busy: bool = False


@dataclass(slots=True)
class _Window:
    """A `.window` that is open."""

    statement: _Statement
    name: Token
    base: int


@dataclass(slots=True)
class _Words:
    """The words assembled so far."""

    limit: int
    values: dict[int, int] = field(default_factory=dict)
    lines: dict[int, Line] = field(default_factory=dict)

    def put(self, address: int, word: int, statement: _Statement) -> None:
        if address >= self.limit:
            raise Mistake(statement.name.column, f"address {address:#x} is outside of storage")
        if address in self.values:
            there = self.lines[address].place
            message = f"address {address:#x} has been filled already, at {there}"
            raise Mistake(statement.name.column, message)
        self.values[address] = word
        self.lines[address] = statement.line


def machine_named(text: str) -> str | None:
    """The configuration that a source asks for by `.machine toy/…`, if it does."""
    found = re.search(r"^[ \t]*\.machine[ \t]+([^\s;]+)", text, re.MULTILINE)
    return found[1] if found else None


def assemble(text: str, file: str = "<source>", isa: Toy | None = None) -> Program:
    """Assemble a source for a machine, by default the one it names, else the clean one.

    Raises AssemblyError, and ConfigurationError for a machine that does not exist.
    """
    if isa is None:
        isa = Toy(machine_named(text) or "toy/clean")
    return _Assembler(isa).assemble(text, file)


class _Assembler:
    def __init__(self, isa: Toy) -> None:
        self.isa = isa
        self.problems: list[Problem] = []
        self.symbols: dict[str, int | _Constant] = dict(_predefined(isa))
        self.places: dict[str, Line] = {}
        self.words = _Words(isa.shape.storage)
        self.entry: _Statement | None = None
        self.here = ORIGIN
        self.window: _Window | None = None
        self.scope = ""

    def assemble(self, text: str, file: str) -> Program:
        statements = [s for line in self._lines(text, file) for s in self._parse(line)]
        for statement in statements:
            self._guarded(statement.line, partial(self._write, statement))
        if self.window is not None:
            missing = Mistake(self.window.name.column, "this window has no .endwindow")
            self._report(self.window.statement.line, missing)
        program = None if self.problems else self._program(statements)
        if program is None or self.problems:
            raise AssemblyError(sorted(self.problems, key=_order)[:MOST_PROBLEMS])
        return program

    def _lines(self, text: str, file: str) -> Iterator[Line]:
        source = (Line(file, i, t) for i, t in enumerate(text.splitlines(), 1))
        return Preprocessor(self._report).lines(source)

    def _report(self, line: Line, mistake: Mistake) -> None:
        self.problems.append(Problem(line, mistake.column, mistake.message))

    def _guarded(self, line: Line, action: Callable[[], object]) -> None:
        try:
            action()
        except Mistake as mistake:
            self._report(line, mistake)

    # -- first pass: labels and addresses ------------------------------------------------------

    def _parse(self, line: Line) -> list[_Statement]:
        found: list[_Statement] = []
        self._guarded(line, lambda: found.extend(self._statement(line)))
        return found

    def _statement(self, line: Line) -> Iterator[_Statement]:
        tokens = tokenize(line.text)
        while len(tokens) > 1 and tokens[1].text == ":":
            self._label(line, tokens[0])
            tokens = tokens[2:]
        if not tokens:
            return
        name, rest = tokens[0], tokens[1:]
        if name.kind != "name":
            raise Mistake(name.column, "expected a label, an instruction or a directive")
        end = len(line.text.split(";")[0].rstrip())
        operands = split_at_commas(rest)
        base = self._base
        statement = _Statement(line, name, operands, end, self.here, self.scope, base)
        yield from self._place(statement)

    def _label(self, line: Line, token: Token) -> None:
        if token.kind != "name" or token.text.startswith("."):
            raise Mistake(token.column, f"{token.text!r} cannot be a label")
        if not token.text.startswith("@"):
            self.scope = token.text
        self._define(line, token, self.here - self._base)

    @property
    def _base(self) -> int:
        """What labels count from."""
        return 0 if self.window is None else self.window.base

    def _define(self, line: Line, token: Token, value: int | _Constant) -> None:
        name = self._scoped(token.text, self.scope)
        if name.lower() in _REGISTERS:
            raise Mistake(token.column, f"{token.text} is a register")
        if name in self.symbols:
            before = self.places.get(name)
            where = "by the assembler itself" if before is None else f"at {before.place}"
            raise Mistake(token.column, f"{token.text} has been defined already, {where}")
        self.symbols[name] = value
        self.places[name] = line

    @staticmethod
    def _scoped(name: str, scope: str) -> str:
        local = name.startswith("@") and "#" not in name
        return f"{scope}{name}" if local else name

    def _place(self, statement: _Statement) -> Iterator[_Statement]:
        """Give the statement its address; carry out what decides addresses."""
        name = statement.name.text.lower()
        if name in _PLACING:
            _PLACING[name](self, statement)
            return
        self.here += _size(statement)
        yield statement

    def _machine(self, statement: _Statement) -> None:
        """Read before assembling (`machine_named`); who runs the program may choose another."""
        _exactly(statement, ".machine name")

    def _org(self, statement: _Statement) -> None:
        self.here = self._base + self._address(statement, *_exactly(statement, ".org address"))

    def _align(self, statement: _Statement) -> None:
        step = self._value(statement, *_exactly(statement, ".align words"))
        if step < 1:
            raise Mistake(statement.name.column, f"cannot align to {step} words")
        self.here += -self.here % step

    def _space(self, statement: _Statement) -> None:
        self.here += self._address(statement, *_exactly(statement, ".space words"))

    def _open_window(self, statement: _Statement) -> None:
        (tokens,) = _exactly(statement, ".window name")
        if len(tokens) != 1 or tokens[0].kind != "name":
            raise Mistake(_column(tokens, statement), "a window needs a name")
        if self.window is not None:
            raise Mistake(statement.name.column, "windows cannot stand in windows")
        self.here += -self.here % self.isa.shape.granule
        self._define(statement.line, tokens[0], self.here)
        self.window = _Window(statement, tokens[0], self.here)

    def _close_window(self, statement: _Statement) -> None:
        _exactly(statement, ".endwindow")
        if self.window is None:
            raise Mistake(statement.name.column, ".endwindow without .window")
        name, self.window = self.window.name, None
        self.here += -self.here % self.isa.shape.granule
        end = Token("name", f"{name.text}_end", statement.name.column)
        self._define(statement.line, end, self.here)

    def _equ(self, statement: _Statement) -> None:
        name, value = _exactly(statement, ".equ name, value")
        if len(name) != 1 or name[0].kind != "name" or name[0].text.startswith("."):
            raise Mistake(statement.name.column, "write it as .equ name, value")
        statement.operands = [value]
        self._define(statement.line, name[0], _Constant(statement))

    def _entry(self, statement: _Statement) -> None:
        statement.operands = [*_exactly(statement, ".entry address")]
        self.entry = statement

    def _address(self, statement: _Statement, tokens: Tokens) -> int:
        value = self._value(statement, tokens)
        if not 0 <= value <= self.isa.shape.storage:
            message = f"{value} lies outside of storage ({self.isa.shape.storage} words)"
            raise Mistake(_column(tokens, statement), message)
        return value

    # -- expressions ---------------------------------------------------------------------------

    def _value(self, statement: _Statement, tokens: Tokens) -> int:
        end = tokens[-1].column + len(tokens[-1].text) if tokens else statement.end
        return Expression(tokens, end, lambda token: self._lookup(statement, token)).value()

    def _lookup(self, statement: _Statement, token: Token) -> int:
        if token.text == ".":
            return statement.address - statement.base
        found = self.symbols.get(self._scoped(token.text, statement.scope))
        if found is None:
            raise Mistake(token.column, self._unknown(token.text))
        if isinstance(found, int):
            return found
        return self._constant(found, token)

    def _unknown(self, name: str) -> str:
        if name.lower() in _REGISTERS:
            return f"{name} is a register; a number is needed here"
        return f"unknown name {name}" + _close(name, [n for n in self.symbols if "#" not in n])

    def _constant(self, constant: _Constant, token: Token) -> int:
        if constant.busy:
            raise Mistake(token.column, f"{token.text} is defined by itself")
        constant.busy = True
        try:
            value = self._value(constant.statement, constant.statement.operands[0])
        except (Mistake, RecursionError) as error:
            place = constant.statement.line.place
            raise Mistake(token.column, f"{token.text} ({place}): {error}") from None
        finally:
            constant.busy = False
        return value

    # -- second pass: words --------------------------------------------------------------------

    def _write(self, statement: _Statement) -> None:
        words = self._encoded(statement)
        for offset, word in enumerate(words):
            self.words.put(statement.address + offset, word, statement)

    def _encoded(self, statement: _Statement) -> list[int]:
        name = statement.name.text.lower()
        if name in (".ascii", ".string"):
            return _characters(statement)
        if name == ".word":
            return [self._word(statement, tokens) for tokens in statement.operands]
        if name == ".psw":
            return [self._psw(statement)]
        return [self._instruction(statement, self._row(statement))]

    def _word(self, statement: _Statement, tokens: Tokens) -> int:
        value, bits = self._value(statement, tokens), self.isa.shape.word
        if not -(1 << bits - 1) <= value < 1 << bits:
            message = f"{value} does not fit a word of {bits} bits"
            raise Mistake(_column(tokens, statement), message)
        return value & (1 << bits) - 1

    def _psw(self, statement: _Statement) -> int:
        """`.psw s, handler, 0, WORDS`: mode, P, and R in words."""
        mode, p, base, bound = _exactly(statement, ".psw s|u, p, base, bound")
        if len(mode) != 1 or mode[0].text not in _MODES:
            raise Mistake(_column(mode, statement), "the mode is s or u")
        known, values = self.isa.known, [0] * len(self.isa.known)
        values[known.m.slot] = (
            SUPERVISOR if mode[0].text == "s" else self.isa.shape.least_privileged
        )
        values[known.p.slot] = self._address(statement, p) % self.isa.shape.words
        values[known.l.slot] = self._granules(statement, base, known.l.width)
        values[known.b.slot] = self._granules(statement, bound, known.b.width)
        return known.psw.pack(values)

    def _granules(self, statement: _Statement, tokens: Tokens, bits: int) -> int:
        value, granule = self._address(statement, tokens), self.isa.shape.granule
        if value % granule or value // granule >= 1 << bits:
            message = f"{value} words are no multiple of the granule, {granule} words"
            raise Mistake(_column(tokens, statement), message)
        return value // granule

    def _row(self, statement: _Statement) -> Row:
        name, column = statement.name.text, statement.name.column
        row = self.isa.rows.get(name.upper())
        if row is not None:
            return row
        if name.upper() in INSTRUCTIONS:
            message = f"{name} exists, but not on this machine ({self.isa.name}); choose another"
            raise Mistake(column, message)
        kind = "directive" if name.startswith(".") else "instruction or macro"
        known = [*_DIRECTIVES] if name.startswith(".") else [r.mnemonic for r in _rows(self.isa)]
        raise Mistake(column, f"unknown {kind} {name}{_close(name.lower(), known)}")

    def _instruction(self, statement: _Statement, row: Row) -> int:
        usage = f"{row.mnemonic} {', '.join(row.operands)}".rstrip()
        fields: dict[str, int] = {}
        for kind, tokens in zip(row.operands, _exactly(statement, usage), strict=True):
            self._operand(statement, kind, tokens, fields)
        return self.isa.encoding.encode(row, fields)

    def _operand(
        self, statement: _Statement, kind: str, tokens: Tokens, fields: dict[str, int]
    ) -> None:
        if kind in ("rd", "ra", "rb"):
            fields[kind] = _register(tokens, statement)
            return
        if kind == "[ra+offset]":
            base, tokens = _memory(tokens, statement)
            fields["ra"] = base
        fields["imm"] = self._immediate(statement, tokens, OPERANDS[kind].signed)

    def _immediate(self, statement: _Statement, tokens: Tokens, signed: bool) -> int:
        value, bits = self._value(statement, tokens), self.isa.shape.imm_bits
        low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
        if not low <= value < high:
            hint = "; make it with lui and ori" if signed else ""
            message = f"{value} does not fit here: {low}..{high - 1}{hint}"
            raise Mistake(_column(tokens, statement), message)
        return value

    # -- result --------------------------------------------------------------------------------

    def _program(self, statements: list[_Statement]) -> Program:
        symbols: dict[str, int] = {}
        for name, line in self.places.items():
            self._guarded(line, partial(self._resolve, name, symbols))
        image = [0] * (max(self.words.values, default=-1) + 1)
        for address, word in self.words.values.items():
            image[address] = word
        entry = self._start(statements)
        values = [0] * len(self.isa.known)
        values[self.isa.known.p.slot] = entry
        values[self.isa.known.b.slot] = self.isa.shape.all_granules
        return Program(image, entry, self.isa.known.psw.pack(values), symbols, self.words.lines)

    def _resolve(self, name: str, into: dict[str, int]) -> None:
        value = self.symbols[name]
        if isinstance(value, _Constant):
            value = self._constant(value, value.statement.name)
        into[name] = value

    def _start(self, statements: list[_Statement]) -> int:
        """`.entry`, or the label start, or the first instruction."""
        entry = self.entry
        if entry is not None:
            found: list[int] = []
            tokens = entry.operands[0]
            self._guarded(entry.line, lambda: found.append(self._address(entry, tokens)))
            return found[0] if found else 0
        start = self.symbols.get("start")
        if isinstance(start, int):
            return start
        code = (s.address - s.base for s in statements if not s.name.text.startswith("."))
        return next(code, ORIGIN)


_PLACING: Final[dict[str, Callable[[_Assembler, _Statement], None]]] = {
    ".machine": _Assembler._machine,
    ".org": _Assembler._org,
    ".align": _Assembler._align,
    ".space": _Assembler._space,
    ".window": _Assembler._open_window,
    ".endwindow": _Assembler._close_window,
    ".equ": _Assembler._equ,
    ".entry": _Assembler._entry,
}
_DIRECTIVES: Final = (*_PLACING, ".word", ".ascii", ".string", ".psw", ".macro", ".endm")


def _order(problem: Problem) -> tuple[int, int]:
    line = problem.line
    while line.caller is not None:
        line = line.caller
    return line.number, problem.column


def _predefined(isa: Toy) -> dict[str, int]:
    """Ports, trap numbers and sizes, so that programs need not repeat them."""
    names = {port.name: int(port) for port in Port}
    names |= {f"TRAP_{trap.name}": int(trap) for trap in Trap}
    shape = isa.shape
    p_low = dict(isa.known.psw.fields)[isa.known.p]
    names["P_ONE"] = 1 << p_low  # added to a PSW, it moves P on by one
    return names | {"WORDS": shape.storage, "GRANULE": shape.granule, "ALL": shape.all_granules}


def _rows(isa: Toy) -> list[Row]:
    return list(isa.rows.values())


def _close(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def _size(statement: _Statement) -> int:
    name = statement.name.text.lower()
    if name == ".word":
        return len(statement.operands)
    return len(_characters(statement)) if name in (".ascii", ".string") else 1


def _characters(statement: _Statement) -> list[int]:
    """One word for each byte of UTF-8; .string puts a zero behind each text."""
    words: list[int] = []
    closing = [0] if statement.name.text.lower() == ".string" else []
    for tokens in statement.operands:
        if len(tokens) != 1 or tokens[0].kind != "string":
            raise Mistake(_column(tokens, statement), 'expected a text in quotes, "like this"')
        words += [*unescape(tokens[0]).encode(), *closing]
    return words


def _exactly(statement: _Statement, usage: str) -> list[Tokens]:
    """The operands, if there are as many as the usage shows."""
    wanted = usage.count(",") + 1 if " " in usage else 0
    if len(statement.operands) != wanted:
        message = f"{len(statement.operands)} operands; write it as {usage}"
        raise Mistake(statement.name.column, message)
    return statement.operands


def _column(tokens: Tokens, statement: _Statement) -> int:
    return tokens[0].column if tokens else statement.end


def _register(tokens: Tokens, statement: _Statement) -> int:
    if len(tokens) == 1 and tokens[0].text.lower() in _REGISTERS:
        return _REGISTERS[tokens[0].text.lower()]
    raise Mistake(_column(tokens, statement), "expected a register, r0 to r7 or sp")


def _memory(tokens: Tokens, statement: _Statement) -> tuple[int, Tokens]:
    """The base register of [ra], [ra+x] or [ra-x], and the tokens of the offset."""
    if len(tokens) < 3 or tokens[0].text != "[" or tokens[-1].text != "]":
        raise Mistake(_column(tokens, statement), "expected [register+offset]")
    base = _register(tokens[1:2], statement)
    offset = tokens[2:-1]
    if offset and offset[0].text not in ("+", "-"):
        raise Mistake(offset[0].column, "expected + or - and an offset")
    return base, offset or [Token("number", "0", tokens[1].column)]
