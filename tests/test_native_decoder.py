"""Decoding in bulk in native code: the decoder's own answers as records, and precise stops."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("llvmlite")

from emu.engines.native.decode_tables import SLOTS, Flag, Stop, entry_type, record_type
from emu.engines.native.decoder import BulkDecoder, Decoded, Description, Fields, Saved, read_fields
from isa.definition import TruncatedError
from isa.x86.decode import decode
from isa.x86.encoding import PREFIXES
from isa.x86.form import Form
from isa.x86.limits import MAX_LENGTH
from isa.x86.mode import FLAT_USER, Mode
from isa.x86.models import MODELS
from isa.x86.recipe import Recipes
from isa.x86.tracing import trace
from tests.test_x86_recipes import MODES, WITH_SSE, drawn, prefixed

oracle = decode.__wrapped__
EVERYWHERE = 0  # stop at no form
LOOP = bytes.fromhex("8b 44 8b 10 01 c2 48 75 f7 c3")  # MOV, ADD, DEC, JNE, RET


def all_fields(_: Form, fields: Fields) -> Description:
    return Description(fields)


def jumps_end(form: Form, fields: Fields) -> Description:
    return Description(fields, Flag.ENDS if form.mnemonic == "jne" else 0)


def assert_is(decoder: BulkDecoder, found: Decoded, code: bytes, mode: Mode) -> None:
    """Every record says what the decoder says of the bytes at its place."""
    at = 0
    columns = (found.records[name].tolist() for name in ("form", "fields", "length"))
    for form, fields, length in zip(*columns, strict=True):
        expected = oracle(code[at : at + MAX_LENGTH], mode)
        names = decoder.descriptions[form].fields
        assert decoder.forms[form] == expected.form, code[at : at + MAX_LENGTH].hex(" ")
        assert fields[: len(names)] == [expected.fields[name] for name in names]
        assert fields[len(names) :] == [0] * (SLOTS - len(names))
        assert length == expected.length
        at += length
    assert at == found.size


def assert_sweep(code: bytes, mode: Mode) -> None:
    decoder = BulkDecoder(all_fields)
    for _ in ("cold", "warm"):
        found = decoder.decode(code, mode=mode, room=len(code), stop=EVERYWHERE)
        assert found.stop == Stop.SHORT
        assert_is(decoder, found, code, mode)
    if found.size < len(code):
        with pytest.raises(TruncatedError):
            oracle(code[found.size :], mode)


@pytest.mark.parametrize("size", MODES)
def test_random_bytes_are_decoded_as_the_decoder_does(size: int) -> None:
    assert_sweep(b"".join(drawn(400, seed=size)), MODES[size])


@pytest.mark.parametrize("model", MODELS)
def test_models_that_decode_otherwise_do_so_in_bulk(model: str) -> None:
    """Older processors have fewer prefixes, and other instructions behind the same bytes."""
    mode = FLAT_USER._replace(code_size=16, model=model)
    assert_sweep(b"".join(drawn(150, seed=len(model))), mode)


@pytest.mark.parametrize("name", WITH_SSE)
def test_prefixes_that_are_part_of_an_opcode(name: str) -> None:
    assert_sweep(b"".join(prefixed(step=200)), WITH_SSE[name])


@pytest.mark.heavy
@pytest.mark.parametrize("size", MODES)
def test_hundreds_of_thousands_of_random_instructions(size: int) -> None:
    assert_sweep(b"".join(drawn(80_000, seed=size + 2)), MODES[size])


def test_records_hold_what_the_trace_reads() -> None:
    decoder = BulkDecoder(lambda form, _: Description(read_fields(trace(form))))
    found = decoder.decode(LOOP, room=5, stop=EVERYWHERE)
    assert_is(decoder, found, LOOP, FLAT_USER)
    mov = found.records[0]
    assert decoder.descriptions[mov["form"]].fields == ("base1", "disp1", "index1", "reg0")
    assert mov["fields"].tolist() == [3, 0x10, 1, 0, 0, 0]


def test_it_stops_after_a_form_that_ends_a_block() -> None:
    decoder = BulkDecoder(jumps_end)
    for _ in ("cold", "warm"):
        found = decoder.decode(LOOP)
        assert (len(found.records), found.size, found.stop) == (4, 9, Stop.ENDS)
    found = decoder.decode(LOOP, stop=EVERYWHERE)
    assert (len(found.records), found.size, found.stop) == (5, 10, Stop.SHORT)


def test_it_stops_before_a_form_that_is_absent() -> None:
    decoder = BulkDecoder(all_fields)
    first = decoder.decode(LOOP)
    decoder.flags[first.records[2]["form"]] = Flag.ABSENT
    found = decoder.decode(LOOP)
    assert (len(found.records), found.size, found.stop) == (2, 6, Stop.ABSENT)


def test_an_enter_that_is_absent_has_no_record_either() -> None:
    decoder = BulkDecoder(lambda _, fields: Description(fields, Flag.ABSENT))
    found = decoder.decode(bytes.fromhex("c8 10 00 01"))
    assert (len(found.records), found.size, found.stop) == (0, 0, Stop.ABSENT)


def test_more_fields_than_a_record_has_make_a_form_absent() -> None:
    decoder = BulkDecoder(lambda _, fields: Description(fields * 7))
    assert decoder.decode(b"\x01\xc2").stop == Stop.ABSENT
    assert decoder.decode(b"\x90").stop == Stop.SHORT, "NOP has no field"


def test_it_stops_when_the_room_is_used_up_and_goes_on_from_an_offset() -> None:
    decoder = BulkDecoder(all_fields)
    found = decoder.decode(LOOP, room=2)
    assert (len(found.records), found.size, found.stop) == (2, 6, Stop.ROOM)
    rest = decoder.decode(LOOP, offset=found.size)
    assert (len(rest.records), rest.size, rest.stop) == (3, 4, Stop.SHORT)
    assert decoder.decode(LOOP, room=0).stop == Stop.ROOM
    assert decoder.decode(b"").stop == Stop.SHORT


@pytest.mark.parametrize("tail", ["00", "ff"])
def test_bytes_behind_the_code_do_not_matter(tail: str) -> None:
    decoder = BulkDecoder(all_fields)
    whole = bytes.fromhex("66 c7 84 88 78 56 34 12 bc 9a")  # MOV word [eax+ecx*4+…], imm16
    for _ in ("cold", "warm"):
        for size in range(len(whole) + 1):
            code = np.frombuffer(whole[:size] + bytes.fromhex(tail) * 40, np.uint8)[:size]
            found = decoder.decode(code)
            assert found.stop == Stop.SHORT
            assert len(found.records) == (size == len(whole))
            assert_is(decoder, found, whole, FLAT_USER)


@pytest.mark.parametrize("byte", PREFIXES)
def test_any_number_of_a_prefix(byte: int) -> None:
    for number in range(17):
        code = bytes([byte] * number) + bytes.fromhex("01 04 8b") + b"\x90" * 20
        assert_sweep(code, FLAT_USER)


def test_each_mode_has_its_own_forms() -> None:
    decoder = BulkDecoder(all_fields)
    for mode in (FLAT_USER, MODES[16], FLAT_USER._replace(cpl=0), FLAT_USER):
        assert_is(decoder, decoder.decode(LOOP, mode=mode), LOOP, mode)


def test_tables_grow() -> None:
    decoder = BulkDecoder(all_fields)
    code = b"".join(drawn(2_000, seed=7))
    decoder.decode(code, room=len(code), stop=EVERYWHERE)
    assert decoder.tables[FLAT_USER].used > 600
    assert_is(decoder, decoder.decode(code, room=len(code), stop=EVERYWHERE), code, FLAT_USER)


def learned() -> tuple[BulkDecoder, bytes]:
    decoder = BulkDecoder(jumps_end)
    code = LOOP + b"".join(drawn(100, seed=8))
    for mode in MODES.values():
        decoder.decode(code, mode=mode, room=len(code), stop=EVERYWHERE)
    return decoder, code


def test_what_was_saved_need_not_be_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, code = learned()
    other = BulkDecoder(jumps_end)
    other.load(decoder.saved())
    monkeypatch.setattr(Recipes, "find", None)
    for mode in MODES.values():
        found = other.decode(code, mode=mode, room=len(code), stop=EVERYWHERE)
        assert_is(other, found, code, mode)
    assert other.decode(LOOP).stop == Stop.ENDS


def change_entries(saved: Saved, entries: npt.NDArray[Any]) -> None:
    tables = saved.tables
    tables[FLAT_USER] = tables[FLAT_USER]._replace(entries=entries.tobytes())


@pytest.mark.parametrize(
    ("column", "value"), [("form", 1 << 20), ("sources", 99), ("immediate", 200)]
)
def test_a_damaged_table_is_refused(column: str, value: int) -> None:
    saved = learned()[0].saved()
    entries = np.frombuffer(saved.tables[FLAT_USER].entries, entry_type()).copy()
    entries[column][entries["key"] != 0xFFFFFFFF] = value
    change_entries(saved, entries)
    with pytest.raises(ValueError, match="damaged"):
        BulkDecoder(jumps_end).load(saved)


def test_a_table_without_an_end_is_refused() -> None:
    saved = learned()[0].saved()
    entries = np.frombuffer(saved.tables[FLAT_USER].entries, entry_type()).copy()
    entries["key"] = 1
    change_entries(saved, entries)
    with pytest.raises(ValueError, match="damaged"):
        BulkDecoder(jumps_end).load(saved)


def test_only_a_new_decoder_can_load() -> None:
    decoder, _ = learned()
    with pytest.raises(ValueError, match="new one"):
        decoder.load(decoder.saved())


@pytest.mark.parametrize("offset", [-1, 11])
def test_an_offset_outside_of_the_code_is_refused(offset: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        BulkDecoder(all_fields).decode(LOOP, offset)


def test_code_is_bytes_in_a_row() -> None:
    octets = np.frombuffer(LOOP, np.uint8)
    decoder = BulkDecoder(all_fields)
    for code in (octets[::2], octets.astype(np.uint16), octets.reshape(2, 5)):
        with pytest.raises(ValueError, match="contiguous bytes"):
            decoder.decode(code)
    assert_is(decoder, decoder.decode(memoryview(LOOP)), LOOP, FLAT_USER)


def test_a_record_has_the_size_that_handlers_rely_on() -> None:
    assert record_type().itemsize == 32
    assert record_type().fields is not None
    assert [record_type().fields[name][1] for name in ("form", "fields", "length")] == [0, 4, 28]


def test_random_offsets_start_where_they_say() -> None:
    code = b"".join(drawn(200, seed=9))
    decoder, random = BulkDecoder(all_fields), Random(10)
    for offset in (random.randrange(len(code)) for _ in range(100)):
        assert_is(decoder, decoder.decode(code, offset, room=9), code[offset:], FLAT_USER)
