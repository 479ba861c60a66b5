"""What the bulk decoder has learned, kept on disk from run to run."""

from __future__ import annotations

import marshal

from emu.engines.native.cache import DiskCache
from emu.engines.native.decode_tables import Stored
from emu.engines.native.decoder import BulkDecoder, Description, Saved
from isa.hints import Any, Sequence
from isa.x86.form import Form, Imm, Level, Mem, Mm, Reg, Seg, Shape, Special, St, Xmm
from isa.x86.mode import Mode

_SHAPES: dict[str, type[Shape]] = {
    kind.__name__: kind for kind in (Reg, Imm, Level, Mem, Seg, Special, St, Mm, Xmm)
}
MOST_KEPT = 1 << 14  # keys and forms: what loads in a few hundredths of a second


def amount(decoder: BulkDecoder) -> int:
    """How much a decoder knows; it only grows."""
    return len(decoder.names) + sum(tables.used for tables in decoder.tables.values())


def save(cache: DiskCache, name: str, decoder: BulkDecoder) -> None:
    """Keep everything that a decoder knows, unless a guest taught it more than is worth loading."""
    if amount(decoder) > MOST_KEPT:
        return
    saved = decoder.saved()
    forms, descriptions = saved.told()
    modes = list(dict.fromkeys([*saved.tables, *(form.mode for form in forms)]))
    numbers = {mode: number for number, mode in enumerate(modes)}
    head = {
        "modes": [tuple(mode) for mode in modes],
        "names": saved.names,
        "tables": [(numbers[mode], *map(len, stored)) for mode, stored in saved.tables.items()],
    }
    rows = [row_of(form, numbers) for form in forms]
    import zlib  # which most runs do without

    told = [rows, [(d.fields, int(d.flags), d.name) for d in descriptions]]
    packed = zlib.compress(marshal.dumps(told), 1)  # most runs load it without a look
    arrays = [part for stored in saved.tables.values() for part in stored]
    cache.save(name, head, b"".join([saved.flags, *arrays, packed]))


def load(cache: DiskCache, name: str, decoder: BulkDecoder) -> None:
    """Tell a new decoder what was kept, if there is something that can be right."""
    found = cache.load(name)
    if found is None:
        return
    try:
        head, content = found
        decoder.load(_saved(head, bytes(content)))
    except (KeyError, TypeError, ValueError, IndexError):
        return


def row_of(form: Form, numbers: dict[Mode, int]) -> list[Any]:
    """A form as the cache can tell it; modes by number."""
    shapes = [[type(shape).__name__, *shape] for shape in form.shapes]
    return [*form._replace(shapes=())[:-1], numbers[form.mode], shapes]


def _saved(head: dict[str, Any], content: bytes) -> Saved:
    modes = [mode_of(told) for told in head["modes"]]
    at = len(head["names"])
    tables, flags = {}, content[:at]
    for number, before, behind in head["tables"]:
        middle, end = at + before, at + before + behind
        tables[modes[number]] = Stored(content[at:middle], content[middle:end])
        at = end
    return Saved(tables, flags, head["names"], lambda: _told(modes, content[at:]))


def _told(modes: Sequence[Mode], packed: bytes) -> tuple[list[Form], list[Description]]:
    """Forms and descriptions."""
    import zlib

    rows, said = marshal.loads(zlib.decompress(packed))
    shapes: dict[tuple[Any, ...], Shape] = {}
    descriptions = [Description(tuple(fields), flags, name) for fields, flags, name in said]
    return [form_of(row, modes, shapes) for row in rows], descriptions


def mode_of(told: Sequence[Any]) -> Mode:
    """A mode as the cache told it."""
    found = Mode(*told)
    return found._replace(flat=tuple(found.flat))


def form_of(
    row: Sequence[Any], modes: Sequence[Mode], shapes: dict[tuple[Any, ...], Shape]
) -> Form:
    """The form of a row."""
    mnemonic, _, operand_size, address_size, repeat, lock, segment, mode, told = row
    found = tuple(_shape(tuple(one), shapes) for one in told)
    return Form(mnemonic, found, operand_size, address_size, repeat, lock, segment, modes[mode])


def _shape(told: tuple[Any, ...], shapes: dict[tuple[Any, ...], Shape]) -> Shape:
    """A shape, one object for all that are equal."""
    if told not in shapes:
        shapes[told] = _SHAPES[told[0]](*told[1:])
    return shapes[told]
