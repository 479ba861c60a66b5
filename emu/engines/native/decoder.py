"""Bulk decoding in native code; what it does not know yet, it learns from `isa.x86.decode`."""

from __future__ import annotations

from _thread import allocate_lock

from emu.engines.native.cache import DiskCache
from emu.engines.native.decode_tables import (
    ASK,
    RECORD,
    SLOTS,
    Flag,
    Stop,
    Stored,
    Tables,
    record_type,
)
from emu.engines.native.linking import Library, kept, linker
from emu.foreign import CFUNCTYPE, address_of, address_of_bytes, c_int64, c_uint8, c_void_p
from emu.late import np
from emu.room import Room
from isa.definition import Instruction, TruncatedError
from isa.hints import TYPE_CHECKING, Any, Callable, Final, Iterable
from isa.light import cache
from isa.record import NamedTuple
from isa.x86.form import Form
from isa.x86.limits import MAX_LENGTH
from isa.x86.mode import FLAT_USER, Mode

if TYPE_CHECKING:
    import numpy.typing as npt

    from isa.trace import Trace
    from isa.x86.recipe import Recipes

GO_ON: Final = 0  # no reason to stop
ROOM: Final = 64  # records for one call, if nobody says another number


Fields = tuple[str, ...]
"""Names of fields, sorted, without `length`."""


class Description(NamedTuple):
    """What a caller says of a form: which of its fields its records hold, how it is marked, and
    what the caller calls it.

    A form with more than SLOTS such fields has no records: it is ABSENT.
    """

    fields: Fields
    flags: int = 0
    name: str = ""


class Decoded(NamedTuple):
    """Consecutive instructions: records (of RECORD), the bytes that they are, and what stopped."""

    records: npt.NDArray[Any]
    size: int
    stop: Stop


class Saved(NamedTuple):
    """All that a decoder has learned: plain arrays, the forms' flags and what the caller calls
    them, and last what is asked for when something new is learned or compiled."""

    tables: dict[Mode, Stored]
    flags: bytes
    names: list[str]
    told: Callable[[], tuple[list[Form], list[Description]]]


def read_fields(trace: Trace) -> Fields:
    """The fields that a trace reads."""
    from isa.trace import expander

    nodes = expander().trace(trace).walk()
    return tuple(sorted({n.attribute[0] for n in nodes if n.op == "field"} - {"length"}))


class BulkDecoder:
    """Decodes runs of x86 instructions to records.

    `forms[record["form"]]` is a record's form, `descriptions` what `describe(form, fields)` said of
    it when it was met first, `names` the name in that, and `flags` its flags (an array that native
    code reads; it may be written). What is learned of a key does not depend on the code in which it
    was met.
    """

    def __init__(self, describe: Callable[[Form, Fields], Description]) -> None:
        self.describe = describe
        self.names: list[str] = []
        self._forms: list[Form] = []
        self._descriptions: list[Description] = []
        self._flags = Room(256)
        self.tables: dict[Mode, Tables] = {}
        self._numbers: dict[Form, int] = {}
        self._untold: Saved | None = None  # whose forms nobody has asked for
        self._telling = allocate_lock()  # compilers ask in their threads
        self._recipes: dict[tuple[int, str], Recipes] = {}
        result = Room(16)
        self._result, self._result_at = result.view.cast("q"), result.address
        self._native, _ = native()

    def decode(
        self,
        code: bytes | memoryview | npt.NDArray[np.uint8],
        offset: int = 0,
        mode: Mode = FLAT_USER,
        *,
        room: int = ROOM,
        stop: int = Flag.ENDS,
    ) -> Decoded:
        """Decode from `offset` on, at most `room` instructions, and none after a form with `stop`.

        Stops with ROOM, SHORT (the bytes end, perhaps within an instruction), ENDS or ABSENT. Bytes
        behind `code` are never read. Raises ValueError if `code` is an array of something else
        than bytes in a row, or `offset` is outside of it.
        """
        octets = code if isinstance(code, np.ndarray) else np.frombuffer(code, np.uint8)
        if octets.dtype != np.uint8 or octets.ndim != 1 or not octets.flags.c_contiguous:
            raise ValueError("code is contiguous bytes")
        if not 0 <= offset <= len(octets):
            raise ValueError(f"offset {offset} is outside of {len(octets)} bytes of code")
        rest = octets[offset:]
        records, size, why = self._run(rest.data, rest.ctypes.data, mode, room, stop)
        return Decoded(np.frombuffer(records, record_type()), size, why)

    def decode_code(self, code: bytes, mode: Mode, room: int) -> memoryview:
        """The records of `code` up to a form that ends a block, as words of 32 bits."""
        start = address_of_bytes(code)
        records, _, _ = self._run(memoryview(code), start, mode, room, Flag.ENDS)
        return records.cast("I")

    def _run(
        self, code: memoryview, start: int, mode: Mode, room: int, stop: int
    ) -> tuple[memoryview, int, Stop]:
        """Records, how many bytes they are, and what stopped; the code lies at `start`."""
        tables = self.tables.get(mode) or self._tables(mode)
        records = bytearray(room * RECORD.size)
        to = address_of(memoryview(records)) if room else 0
        count, at = 0, 0
        while True:
            count += self._native(
                start + at, len(code) - at, tables.address, self.flags_address, stop,
                to + count * RECORD.size, room - count, self._result_at,
            )  # fmt: skip
            size, why = self._result
            at += size
            here = code[at : at + MAX_LENGTH]
            if why == Stop.UNKNOWN:
                self._learn(here.tobytes(), mode)
            elif why == Stop.ASK:
                why, length = self._ask(here.tobytes(), mode, records, count, stop)
                count, at = count + bool(length), at + length
            if why not in (GO_ON, Stop.UNKNOWN):
                return memoryview(records)[: count * RECORD.size], at, Stop(why)

    @property
    def forms(self) -> list[Form]:
        """The forms by number."""
        self._tell()
        return self._forms

    @property
    def descriptions(self) -> list[Description]:
        """What was said of forms, by their numbers."""
        self._tell()
        return self._descriptions

    def _tell(self) -> None:
        """Take over the forms that were loaded; most short runs never ask for them."""
        with self._telling:
            if self._untold is not None:
                self._forms, self._descriptions = self._untold.told()
                self._numbers = {form: number for number, form in enumerate(self._forms)}
                self._untold = None

    @property
    def flags(self) -> memoryview:
        """The flags of the forms; they may be written."""
        return self._flags.view

    def keys(self, mode: Mode) -> int:
        """Where the tables of a mode are, for native code; learning may move them."""
        return (self.tables.get(mode) or self._tables(mode)).address

    @property
    def flags_address(self) -> int:
        """Where `flags` are, for native code; learning may move them."""
        return self._flags.address

    def _tables(self, mode: Mode) -> Tables:
        self.tables[mode] = tables = Tables(mode.code_size)
        return tables

    def _recipes_of(self, mode: Mode) -> Recipes:
        """What holds for all modes of a model that have code of this size."""
        key = mode.code_size, mode.model
        if key not in self._recipes:
            from isa.x86.recipe import Recipes  # earlier runs may have learned everything

            self._recipes[key] = Recipes(*key)
        return self._recipes[key]

    def _learn(self, code: bytes, mode: Mode) -> None:
        """Enter what there is to know of the key of the instruction at the start of `code`."""
        recipes, tables = self._recipes_of(mode), self.tables[mode]
        parts = recipes.split(code)
        assert parts, "native code asks about instructions with many prefixes, and learns nothing"
        recipe = recipes.find(parts.key)
        tables.know(parts.key.opcode, recipes.opcode(parts.key.opcode))
        if recipe is None:
            tables.enter(parts.key, ASK, (), 0)
            return
        sources = dict(recipe.sources)
        form = self._number(recipe.form._replace(mode=mode), sources)
        wanted = self.descriptions[form].fields[:SLOTS]
        tables.enter(parts.key, form, [sources[name] for name in wanted], recipe.immediate)

    def _ask(
        self, code: bytes, mode: Mode, records: bytearray, count: int, stop: int
    ) -> tuple[int, int]:
        """One instruction by the decoder itself: why to stop, if at all, and its length."""
        from isa.x86.decode import decode  # few instructions ask for it

        try:
            found = decode(code, mode)
        except TruncatedError:
            return Stop.SHORT, 0
        assert isinstance(found.form, Form)
        form = self._number(found.form, found.fields)
        if self.flags[form] & Flag.ABSENT:
            return Stop.ABSENT, 0
        self._record(records, count, form, found)
        return Stop.ENDS if self.flags[form] & stop else GO_ON, found.length

    def _record(self, records: bytearray, number: int, form: int, found: Instruction) -> None:
        values = [found.fields[name] for name in self.descriptions[form].fields]
        values += [0] * (SLOTS - len(values))
        RECORD.pack_into(records, number * RECORD.size, form, *values, found.length)

    def _number(self, form: Form, fields: Iterable[str]) -> int:
        self._tell()
        if form not in self._numbers:
            names = tuple(sorted({*fields} - {"length"}))
            self._register(form, self.describe(form, names))
        return self._numbers[form]

    def _register(self, form: Form, description: Description) -> None:
        number = self._numbers[form] = len(self.names)
        self._forms.append(form)
        self._descriptions.append(description)
        self.names.append(description.name)
        if number == len(self.flags):
            old, self._flags = self._flags, Room(2 * number)
            self.flags[:number] = old.view
        too_many = len(description.fields) > SLOTS
        self.flags[number] = Flag.ABSENT if too_many else description.flags

    def saved(self) -> Saved:
        """What was learned, to be stored by whoever likes to."""
        tables = {mode: tables.stored() for mode, tables in self.tables.items()}
        flags, names = bytes(self.flags[: len(self.names)]), list(self.names)
        told = list(self.forms), list(self.descriptions)
        return Saved(tables, flags, names, lambda: told)

    def load(self, saved: Saved) -> None:
        """Know what another decoder had learned; raises ValueError if it cannot be right.

        Only a decoder that has learned nothing yet can be told.
        """
        if self.names:
            raise ValueError("this decoder has learned already: load into a new one")
        tables = {
            mode: Tables.of(stored, len(saved.names)) for mode, stored in saved.tables.items()
        }
        count = len(saved.names)
        self._flags = Room(max(256, 2 * count))
        self.flags[:count] = saved.flags
        self.names, self.tables, self._untold = list(saved.names), tables, saved


@cache
def native() -> tuple[Any, Library]:
    """`decode_run`, and the library that keeps it alive; see `decode_ir` for its parameters."""
    library = linker().link(kept(DiskCache.users(), "decoder", _source, ["decode_run"]))
    word, pointer = c_int64, c_void_p
    function = CFUNCTYPE(word, pointer, word, pointer, pointer, c_uint8, pointer, word, pointer)(
        library.addresses["decode_run"]
    )
    return function, library


def _source() -> str:
    from emu.engines.native.decode_ir import SOURCE  # compiled once for all runs

    return SOURCE
