"""Tokens and expressions of the toy assembler."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from isa.hints import Final
from isa.toy.source import Mistake

LARGEST: Final = 1 << 64  # values beyond are a mistake, not something to compute with
DEEPEST: Final = 50  # nested parentheses

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\", '"': '"', "'": "'"}
_TOKEN = re.compile(
    r"""(?P<space>[ \t]+|;.*)
    |(?P<number>0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|[0-9][0-9_]*)
    |(?P<char>'(?:\\.|[^'\\])')
    |(?P<string>"(?:\\.|[^"\\])*")
    |(?P<name>@?[A-Za-z_][A-Za-z_0-9]*(?:\#[0-9]+)?|\.[A-Za-z]+)
    |(?P<sign><<|>>|[-+*/%&|^~(),:.\[\]=])""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a line; `kind` is number, char, string, name, sign or end."""

    kind: str
    text: str
    column: int


Tokens = list[Token]


def tokenize(text: str) -> Tokens:
    """The tokens of a line without its comment; raises Mistake."""
    tokens, column = [], 0
    while column < len(text):
        match = _TOKEN.match(text, column)
        if match is None:
            raise Mistake(column, _unreadable(text, column))
        kind = match.lastgroup or ""
        if kind != "space":
            tokens.append(Token(kind, match[0], column))
        column = match.end()
    return tokens


def _unreadable(text: str, column: int) -> str:
    if text[column] == '"':
        return 'this text has no closing "'
    if text[column] == "'":
        return "a character is one sign between quotes, as in 'a' or '\\n'"
    if text[column] == "\\":
        return "no parameter of this macro has that name"
    return f"unexpected {text[column]!r}"


def unescape(token: Token) -> str:
    """The characters of a string or character token; raises Mistake."""

    def one(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            column = token.column + 1 + match.start()
            raise Mistake(column, f"unknown escape {match[0]}; known are {' '.join(_ESCAPES)}")
        return _ESCAPES[match[1]]

    return re.sub(r"\\(.)", one, token.text[1:-1])


Lookup = Callable[[Token], int]
_LEVELS: Final = (("|",), ("^",), ("&",), ("<<", ">>"), ("+", "-"), ("*", "/", "%"))
_BINARY: Final[dict[str, Callable[[int, int], int]]] = {
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "&": lambda a, b: a & b,
    "<<": lambda a, b: a << b,
    ">>": lambda a, b: a >> b,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b,
    "%": lambda a, b: a % b,
}


class Expression:
    """Evaluates one expression that takes all of `tokens`: C's operators and precedences."""

    def __init__(self, tokens: Tokens, end: int, lookup: Lookup) -> None:
        self._tokens = [*tokens, Token("end", "", end)]
        self._at = 0
        self._depth = 0
        self._lookup = lookup

    def value(self) -> int:
        """The number; raises Mistake."""
        result = self._binary(0)
        rest = self._tokens[self._at]
        if rest.kind != "end":
            raise Mistake(rest.column, f"unexpected {rest.text!r} after an expression")
        return result

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _binary(self, level: int) -> int:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while self._tokens[self._at].text in _LEVELS[level]:
            sign = self._next()
            left = _computed(sign, left, self._binary(level + 1))
        return left

    def _unary(self) -> int:
        token = self._next()
        if token.text in ("-", "+", "~"):
            value = self._deeper(token, self._unary)
            return {"-": -value, "+": value, "~": ~value}[token.text]
        if token.text == "(":
            value = self._deeper(token, lambda: self._binary(0))
            if self._next().text != ")":
                raise Mistake(token.column, "this parenthesis is never closed")
            return value
        return self._leaf(token)

    def _deeper(self, token: Token, parse: Callable[[], int]) -> int:
        self._depth += 1
        if self._depth > DEEPEST:
            raise Mistake(token.column, f"more than {DEEPEST} levels; use .equ for a part of it")
        value = parse()
        self._depth -= 1
        return value

    def _leaf(self, token: Token) -> int:
        if token.kind == "number":
            return _number(token)
        if token.kind == "char":
            return ord(unescape(token))
        if token.kind == "name" or token.text == ".":
            return self._lookup(token)
        what = f"not {token.text!r}" if token.text else "but the line ends"
        raise Mistake(token.column, f"expected a number or a name, {what}")


def _number(token: Token) -> int:
    try:
        value = int(token.text, 0 if token.text[0] == "0" and len(token.text) > 1 else 10)
    except ValueError:
        hint = "; octal numbers start with 0o" if token.text.startswith("0") else ""
        raise Mistake(token.column, f"{token.text[:20]!r} is no number{hint}") from None
    return _bounded(token, value)


def _computed(sign: Token, left: int, right: int) -> int:
    if sign.text in ("/", "%") and right == 0:
        raise Mistake(sign.column, "division by zero")
    if sign.text in ("<<", ">>") and not 0 <= right <= 64:
        raise Mistake(sign.column, f"cannot shift by {right}")
    return _bounded(sign, _BINARY[sign.text](left, right))


def _bounded(token: Token, value: int) -> int:
    if not -LARGEST < value < LARGEST:
        raise Mistake(token.column, "the value does not fit 64 bits")
    return value
