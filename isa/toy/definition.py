"""The toy machine as an instruction set, for one configuration."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache

from isa.definition import Instruction, TruncatedError
from isa.fault import Fault
from isa.registers import Register, RegisterSet
from isa.toy.builder import ToyBuilder
from isa.toy.configuration import Configuration
from isa.toy.control import deliver
from isa.toy.encoding import Encoding
from isa.toy.registers import ToyRegisters
from isa.toy.table import INSTRUCTIONS
from isa.toy.text import data_text, instruction_text
from isa.toy.traps import Trap
from isa.trace import Trace

BYTES_PER_WORD = 4  # of code as engines see it, whatever the word's width
ILLEGAL = "illegal"  # the form of words that are no instruction


class Toy:
    """The machine of Popek and Goldberg's paper, section 2, with what a configuration adds.

    A form is an instruction's name. Nothing in decoding or meaning depends on the state, so there
    is one mode, None; but after a change of M or of a mask an interrupt may be taken, so engines
    look again.
    """

    code_space = "physical"
    max_length = 1

    def __init__(self, configuration: Configuration | str = "toy/clean") -> None:
        if isinstance(configuration, str):
            configuration = Configuration.load(configuration)
        self.configuration = configuration
        self.name = configuration.name
        self.fingerprint = repr(configuration)
        self.shape = configuration.shape
        self.known = ToyRegisters(self.shape, configuration.registers)
        self.registers: RegisterSet = self.known
        self.pc: Register = self.known.p
        self.mode_registers: frozenset[Register] = frozenset({self.known.m, *self.known.masks})
        self.spaces: Mapping[str, int] = {"physical": self.shape.word, "port": self.shape.word}
        self.rows = {name: INSTRUCTIONS[name] for name in configuration.behaviours}
        self.encoding = Encoding(self.shape, self.rows.values())
        self.decode_word = lru_cache(maxsize=1 << 16)(self._decode_word)
        self.trace = cache(self._trace)
        self._fetch = self._fetch_trace()
        self._delivery = self._delivery_trace()
        self._interruptible = self._interruptible_trace()

    def with_storage(self, words: int) -> Toy:
        """The same machine with less storage, such as a virtual machine has; ValueError."""
        shape = replace(self.shape, installed=words)
        return Toy(replace(self.configuration, shape=shape))

    def builder(self) -> ToyBuilder:
        """An empty builder for this machine's widths."""
        return ToyBuilder(self.shape, self.known)

    # -- decoding ----------------------------------------------------------------------------

    def mode(self, values: Sequence[int]) -> Hashable:
        """One mode only: M and R are looked at while instructions run."""
        return None

    def decode(self, code: bytes, mode: Hashable) -> Instruction:
        """Decode one word."""
        if len(code) < BYTES_PER_WORD:
            raise TruncatedError
        return self.decode_word(int.from_bytes(code[:BYTES_PER_WORD], "little"))

    def _decode_word(self, word: int) -> Instruction:
        found = self.encoding.decode(word)
        if found is None:
            return Instruction(ILLEGAL, {"word": word}, 1)
        row, fields = found
        return Instruction(row.name, {**fields, "word": word}, 1)

    def text(self, code: bytes, address: int) -> str:
        """The first word as the assembler would take it."""
        word = int.from_bytes(code[:BYTES_PER_WORD], "little")
        found = self.encoding.decode(word)
        return data_text(word) if found is None else instruction_text(*found, self.shape)

    # -- meanings ----------------------------------------------------------------------------

    def fetch(self, mode: Hashable) -> Trace:
        """P is relative to R: fetching relocates and traps as any other reference."""
        return self._fetch

    def _fetch_trace(self) -> Trace:
        m = self.builder()
        real = m.real_address(m.get(self.known.p).zext(self.shape.word))
        return m.finish("fetch", real)

    def _trace(self, form: Hashable) -> Trace:
        """The form's trace; the same object every time."""
        m = self.builder()
        if form == ILLEGAL:
            m.fault(Trap.ILLEGAL, m.field("word", self.shape.word))
            return m.finish(ILLEGAL)
        row = self.rows[str(form)]
        m.move_on()
        row.carry_out(m, self.configuration.behaviours[row.name])
        return m.finish(row.name)

    def delivery(self, mode: Hashable) -> Trace | None:
        """How the machine takes a trap, with the fields vector, code and address."""
        return self._delivery

    def _delivery_trace(self) -> Trace:
        m = self.builder()
        vector, code, address = (
            m.field(name, self.shape.word) for name in ("vector", "code", "address")
        )
        deliver(m, vector, (vector == Trap.MEMORY).select(address, code))
        return m.finish("delivery")

    def combined(self, first: Fault, second: Fault) -> Fault | None:
        """Never asked: taking a trap cannot fail."""
        return second

    def interruptible(self, mode: Hashable) -> Trace | None:
        """Interrupts are taken in user mode only: supervisor state is the mask; see builder."""
        return self._interruptible

    def _interruptible_trace(self) -> Trace:
        m = self.builder()
        return m.finish("interruptible", m.interruptible)
