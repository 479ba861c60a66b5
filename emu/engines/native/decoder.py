"""Bulk decoding in native code; what it does not know yet, it learns from `isa.x86.decode`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt

from emu.engines.native.decode_ir import SOURCE
from emu.engines.native.tables import ASK, RECORD, SLOTS, Flag, Stop, Stored, Tables
from isa.definition import Instruction, TruncatedError
from isa.trace import Trace, expander
from isa.x86.decode import MAX_LENGTH, decode
from isa.x86.form import Form
from isa.x86.mode import FLAT_USER, Mode
from isa.x86.recipe import Recipes

ROOM: Final = 64  # records for one call, if nobody says another number


class Description(NamedTuple):
    """What a caller says of a form: the fields that its records hold, and what it is marked with.

    `fields` are without `length`, which every record has. A form of more than SLOTS fields has no
    records: it is ABSENT.
    """

    fields: tuple[str, ...]
    flags: Flag = Flag(0)


class Decoded(NamedTuple):
    """Consecutive instructions: records (of RECORD), the bytes that they are, and what stopped."""

    records: npt.NDArray[Any]
    size: int
    stop: Stop


class Saved(NamedTuple):
    """All that a decoder has learned: plain arrays, forms and descriptions."""

    forms: list[Form]
    descriptions: list[Description]
    tables: dict[Mode, Stored]


def read_fields(trace: Trace) -> tuple[str, ...]:
    """The fields that a trace reads, sorted, without `length`."""
    nodes = expander().trace(trace).walk()
    return tuple(sorted({n.attribute[0] for n in nodes if n.op == "field"} - {"length"}))


class BulkDecoder:
    """Decodes runs of x86 instructions to records.

    `forms[record["form"]]` is a record's form, `descriptions` what `describe` said of it, once for
    each form when it was met first, and `flags` its flags (an array that native code reads; it may
    be written). What is learned does not depend on the code that it was learned from.
    """

    def __init__(self, describe: Callable[[Form], Description]) -> None:
        self.describe = describe
        self.forms: list[Form] = []
        self.descriptions: list[Description] = []
        self.flags = np.zeros(256, np.uint8)
        self.tables: dict[Mode, Tables] = {}
        self._numbers: dict[Form, int] = {}
        self._recipes = {size: Recipes(size) for size in (16, 32)}
        self._result = np.zeros(2, np.int64)
        self._native = native()

    def decode(
        self,
        code: bytes | memoryview | npt.NDArray[np.uint8],
        offset: int = 0,
        mode: Mode = FLAT_USER,
        *,
        room: int = ROOM,
        stop: Flag = Flag.ENDS,
    ) -> Decoded:
        """Decode from `offset` on, at most `room` instructions, and none after a form with `stop`.

        Stops with ROOM, SHORT (the bytes end, perhaps within an instruction), ENDS or ABSENT. Bytes
        behind `code` are never read.
        """
        octets = code if isinstance(code, np.ndarray) else np.frombuffer(code, np.uint8)
        octets = np.ascontiguousarray(octets[offset:], np.uint8)
        tables = self.tables.get(mode) or self._tables(mode)
        records = np.empty(room, RECORD)
        count = at = 0
        while True:
            made, size, why = self._run(octets[at:], tables, records[count:], stop)
            count, at = count + made, at + size
            if why == Stop.UNKNOWN:
                self._learn(octets[at : at + MAX_LENGTH].tobytes(), mode)
                continue
            if why == Stop.ASK:
                why, length = self._ask(octets[at : at + MAX_LENGTH], mode, records[count:], stop)
                count, at = count + bool(length), at + length
            if why:
                return Decoded(records[:count], at, Stop(why))

    def _run(
        self, code: npt.NDArray[np.uint8], tables: Tables, records: npt.NDArray[Any], stop: Flag
    ) -> tuple[int, int, int]:
        made = self._native(
            code.ctypes.data, code.size, tables.array.ctypes.data, self.flags.ctypes.data, stop,
            records.ctypes.data, len(records), self._result.ctypes.data,
        )  # fmt: skip
        return made, *self._result.tolist()

    def _tables(self, mode: Mode) -> Tables:
        self.tables[mode] = tables = Tables(mode.code_size)
        return tables

    def _learn(self, code: bytes, mode: Mode) -> None:
        """Enter what there is to know of the key of the instruction at the start of `code`."""
        recipes, tables = self._recipes[mode.code_size], self.tables[mode]
        parts = recipes.split(code)
        assert parts, "native code asks about instructions with many prefixes, and learns nothing"
        recipe = recipes.find(parts.key)
        tables.know(parts.key.opcode, recipes.opcode(parts.key.opcode))
        if recipe is None:
            tables.enter(parts.key, ASK, (), 0)
            return
        form = self._number(recipe.form._replace(mode=mode))
        sources = dict(recipe.sources)
        wanted = self.descriptions[form].fields[:SLOTS]
        tables.enter(parts.key, form, [sources[name] for name in wanted], recipe.immediate)

    def _ask(
        self, code: npt.NDArray[np.uint8], mode: Mode, records: npt.NDArray[Any], stop: Flag
    ) -> tuple[int, int]:
        """One instruction by the decoder itself: why to stop (0: do not), and its length."""
        try:
            found = decode(code.tobytes(), mode)
        except TruncatedError:
            return Stop.SHORT, 0
        assert isinstance(found.form, Form)
        form = self._number(found.form)
        if self.flags[form] & Flag.ABSENT:
            return Stop.ABSENT, 0
        self._record(records[0], form, found)
        return Stop.ENDS if self.flags[form] & stop else 0, found.length

    def _record(self, record: Any, form: int, found: Instruction) -> None:
        values = [found.fields[name] for name in self.descriptions[form].fields]
        record["form"], record["length"] = form, found.length
        record["fields"] = values + [0] * (SLOTS - len(values))

    def _number(self, form: Form) -> int:
        if form not in self._numbers:
            self._register(form, self.describe(form))
        return self._numbers[form]

    def _register(self, form: Form, description: Description) -> None:
        number = self._numbers[form] = len(self.forms)
        self.forms.append(form)
        self.descriptions.append(description)
        if number == len(self.flags):
            self.flags = np.concatenate([self.flags, np.zeros_like(self.flags)])
        too_many = len(description.fields) > SLOTS
        self.flags[number] = description.flags | (Flag.ABSENT if too_many else 0)

    def saved(self) -> Saved:
        """What was learned, to be stored by whoever likes to."""
        tables = {mode: tables.stored() for mode, tables in self.tables.items()}
        return Saved(list(self.forms), list(self.descriptions), tables)

    def load(self, saved: Saved) -> None:
        """Know what another decoder had learned; raises ValueError if it cannot be right.

        Only a decoder that has learned nothing yet can be told.
        """
        if self.forms:
            raise ValueError("this decoder has learned already: load into a new one")
        tables = {
            mode: Tables.of(mode.code_size, stored, len(saved.forms))
            for mode, stored in saved.tables.items()
        }
        for form, description in zip(saved.forms, saved.descriptions, strict=True):
            self._register(form, description)
        self.tables = tables


@cache
def native() -> Any:
    """`decode_run`, compiled once; its parameters are in `emu.engines.native.decode_ir`."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(opt=2, jit=True)
    module = llvm.parse_assembly(SOURCE)
    module.verify()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(2))
    builder.getModulePassManager().run(module, builder)
    jit = llvm.create_lljit_compiler(machine)
    library = llvm.JITLibraryBuilder().add_ir(str(module)).add_current_process()
    tracker = library.export_symbol("decode_run").link(jit, "decoder")
    word, pointer = ctypes.c_int64, ctypes.c_void_p
    function = ctypes.CFUNCTYPE(
        word, pointer, word, pointer, pointer, ctypes.c_uint8, pointer, word, pointer
    )(tracker["decode_run"])
    function.owner = tracker, jit  # type: ignore[attr-defined]  # keeps the code alive
    return function
