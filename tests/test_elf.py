"""The loader: what runs is mapped right, what cannot run is refused in words, always."""

from __future__ import annotations

import random
import struct
import time

import pytest
from process_guest import BASE, CODE, EHDR, IDENT, PHDR, Guest, tiny_elf

from emu.errors import GuestFileError, LoaderError
from emu.memory import PAGE_SIZE, READ, WRITE, AddressSpace, PhysicalMemory
from emu.process import elf
from emu.process.execute import NoState
from emu.process.machine import ProcessMachine
from isa.fault import Fault

TEXT = (1, 0, BASE, BASE, 0x1000, 0x1000, 5, 0x1000)


def space(size: int = 1 << 20) -> AddressSpace:
    return AddressSpace(PhysicalMemory(size))


def test_a_tiny_program_is_mapped() -> None:
    """Segments stand where they ask, with their permissions; entry and heap follow."""
    image, memory = elf.parse(tiny_elf()), space()
    elf.load(image, memory)
    assert memory.read(image.entry, len(CODE)) == CODE
    assert isinstance(memory.translate(BASE, WRITE), Fault)
    assert memory.read(BASE + 0x1000, 4) == bytes(4)
    assert memory.write(BASE + 0x8FFF, b"x") is None
    assert image.end == BASE + 0x9000
    assert image.header_address == BASE + EHDR.size


def test_position_independent_programs_get_a_base() -> None:
    """ET_DYN is moved as a whole."""
    image = elf.parse(tiny_elf(kind=3, base=0x10000))
    assert image.base == 0x400000
    assert image.entry == 0x410000 + EHDR.size + 2 * PHDR.size


def test_segments_may_share_a_page() -> None:
    """The shared page holds both segments' bytes and both permissions."""
    low = (1, 0, BASE, BASE, 0x800, 0x800, 5, 0x1000)
    high = (1, 0x900, BASE + 0x900, BASE + 0x900, 0x100, 0x3000, 6, 0x1000)
    memory = space()
    elf.load(elf.parse(tiny_elf([low, high], data=CODE.ljust(0xF00, b"\xaa"))), memory)
    assert memory.read(BASE + 0x900, 4) == b"\xaa" * 4
    assert memory.write(BASE + 0x900, b"x") is None
    assert memory.read(BASE + 0x3800, 1) == b"\0"


def patched(offset: int, layout: str, value: int) -> bytes:
    data = bytearray(tiny_elf())
    struct.pack_into(layout, data, offset, value)
    return bytes(data)


def one(**fields: int) -> bytes:
    """A program with one segment, some of whose fields are changed."""
    names = ("type", "offset", "vaddr", "paddr", "filesz", "memsz", "flags", "align")
    values = {**dict(zip(names, TEXT, strict=True)), **fields}
    return tiny_elf([tuple(values[name] for name in names)], entry=BASE + 0x54)


INTERPRETER = (3, 0x200, BASE + 0x200, 0, 19, 19, 4, 1)
DYNAMIC = tiny_elf([TEXT, INTERPRETER], data=bytes(0x200 - 116) + b"/lib/ld-linux.so.2\0")

REFUSED = {
    "empty": (b"", "not an ELF"),
    "text": (b"#!/bin/sh\necho", "not an ELF"),
    "magic only": (b"\x7fELF", "class"),
    "64-bit": (patched(4, "B", 2), "64-bit"),
    "class 9": (patched(4, "B", 9), "class"),
    "big-endian": (patched(5, "B", 2), "little-endian"),
    "short header": (tiny_elf()[:40], "ends inside the file header"),
    "ARM": (patched(18, "<H", 40), "ARM"),
    "x86-64": (patched(18, "<H", 62), "x86-64"),
    "object": (patched(16, "<H", 1), "object file"),
    "core": (patched(16, "<H", 4), "core dump"),
    "no headers": (patched(44, "<H", 0), "0 entries"),
    "header size": (patched(42, "<H", 56), "56 bytes"),
    "headers outside": (patched(28, "<I", 0xFFFFFFF0), "program header table"),
    "no load": (one(type=4), "meant to be loaded"),
    "empty load": (one(memsz=0, filesz=0), "meant to be loaded"),
    "file > memory": (one(memsz=0x10), "p_filesz"),
    "beyond the end": (one(filesz=0x8000, memsz=0x8000), "ends inside a segment"),
    "offset outside": (one(offset=0xFFFFF000), "ends inside a segment"),
    "not congruent": (one(offset=4, filesz=8), "low 12 bits"),
    "kernel space": (one(vaddr=0xC0000000), "user space"),
    "null page": (one(vaddr=0), "user space"),
    "wraps": (one(vaddr=0xBFFFF000, memsz=0xFFFFFFFF), "user space"),
    "on the stack": (one(vaddr=0xBFFF0000), "user space"),
    "entry": (tiny_elf(entry=0x1234), "entry point"),
    "overlap": (tiny_elf([TEXT, TEXT]), "overlap"),
    "dynamic": (DYNAMIC, "dynamically linked"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_is_refused_in_words(name: str) -> None:
    """The message says what, and what to do."""
    data, words = REFUSED[name]
    with pytest.raises(LoaderError) as caught:
        ProcessMachine(data, ["guest"])
    assert words in str(caught.value)
    assert caught.value.advice


def test_a_dynamic_linker_in_the_root_is_used(tmp_path) -> None:
    """With shared objects in the guest's root, the program starts in its interpreter."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/ld-linux.so.2").write_bytes(tiny_elf(kind=3, base=0))
    state, machine = NoState(), ProcessMachine(DYNAMIC, ["guest"], root=tmp_path)
    machine.start(state)
    assert machine.space.read(state["eip"], len(CODE)) == CODE
    assert state["eip"] > 0xB0000000


def test_too_big_for_the_machine() -> None:
    """A segment with more file bytes than there is memory is refused before it is mapped."""
    big = (1, 0, BASE, BASE, 0x100000, 0x100000, 5, 0x1000)
    with pytest.raises(LoaderError, match="more memory"):
        elf.load(elf.parse(tiny_elf([big], data=bytes(0x100000))), space(0x40000))


def test_a_huge_bss_costs_nothing() -> None:
    """2 GiB of zeros are mapped, not allocated."""
    memory = space()
    elf.load(elf.parse(one(memsz=2 << 30)), memory)
    assert len(memory.frames) == 1


def mutants(count: int) -> list[bytes]:
    """Damage the headers of a valid file: bytes, words of interest, and its length."""
    source, made = random.Random(2026), []
    words = [0, 1, 0x7F, 0xFFF, 0x1000, 0x7FFFFFFF, 0x80000000, 0xBFFFFFFF, 0xFFFFF000, 0xFFFFFFFF]
    for _ in range(count):
        data = bytearray(tiny_elf())
        for _ in range(source.randint(1, 4)):
            offset = source.randrange(0, EHDR.size + 2 * PHDR.size - 4)
            if source.random() < 0.5:
                data[offset] = source.randrange(256)
            else:
                struct.pack_into("<I", data, offset & ~3, source.choice(words))
        made.append(bytes(data[: source.choice([len(data), source.randrange(len(data))])]))
    return made


def test_mutants_load_or_are_refused() -> None:
    """2,500 damaged files end in LoaderError or a mapped program; quickly, and nothing else."""
    began, outcomes = time.thread_time(), {"loaded": 0, "refused": 0}
    for data in mutants(2500):
        memory = space()
        try:
            elf.load(elf.parse(data), memory)
            outcomes["loaded"] += 1
        except LoaderError as error:
            assert error.advice
            outcomes["refused"] += 1
        assert len(memory.frames) <= 64
    assert outcomes["loaded"] > 50
    assert outcomes["refused"] > 500
    assert time.thread_time() - began < 15


def start_stack(argv: list[str], env: dict[str, str]) -> tuple[Guest | None, list[int], object]:
    """Start a program and return the words on its stack."""
    state, machine = NoState(), ProcessMachine(tiny_elf(), argv, env)
    machine.start(state)
    assert state["esp"] % 16 == 0
    size = 0xC0000000 - state["esp"]
    data = machine.space.read(state["esp"], size)
    assert isinstance(data, bytes)
    return None, list(struct.unpack(f"<{size // 4}I", data[: size & ~3])), machine


def test_the_initial_stack() -> None:
    """argc, argv, envp and the auxiliary vector are as Linux leaves them."""
    _, words, machine = start_stack(["prog", "one", "two"], {"A": "1", "B": "2"})
    assert isinstance(machine, ProcessMachine)
    text = machine.space.read_string
    assert words[0] == 3
    assert [text(w) for w in words[1:4]] == [b"prog", b"one", b"two"]
    assert [text(w) for w in words[5:7]] == [b"A=1", b"B=2"]
    assert (words[4], words[7]) == (0, 0)
    vector = dict(zip(words[8::2], words[9::2], strict=False))
    assert vector[6] == PAGE_SIZE
    assert vector[3] == BASE + EHDR.size
    assert (vector[4], vector[5]) == (32, 2)
    assert vector[9] == elf.parse(tiny_elf()).entry
    assert text(vector[31]) == b"prog"
    assert text(vector[15]) == b"i686"
    assert isinstance(machine.space.read(vector[25], 16), bytes)
    assert 33 not in vector  # no vDSO


@pytest.mark.parametrize("count", range(8))
def test_the_stack_is_aligned_for_any_argument_count(count: int) -> None:
    """esp is a multiple of 16 at the entry (System V ABI, i386 supplement, section 2.3.1)."""
    start_stack(["x" * i for i in range(count + 1)], {})


def test_registers_at_entry() -> None:
    """Zero but for the pointers, flags and selectors."""
    guest = Guest()
    general = [guest.state[n] for n in ("eax", "ecx", "edx", "ebx", "ebp", "esi", "edi")]
    assert general == [0] * 7
    selectors = [guest.state[n] for n in ("cs", "ss", "ds", "es", "fs", "gs")]
    assert selectors == [0x73, 0x7B, 0x7B, 0x7B, 0, 0]


@pytest.mark.parametrize("argument", ["x" * (128 << 10), "nul\0"])
def test_arguments_that_cannot_be_passed(argument: str) -> None:
    """Limits of the kernel are told, not hit."""
    with pytest.raises(GuestFileError, match="argument"):
        ProcessMachine(tiny_elf(), ["prog", argument])


def test_too_many_arguments() -> None:
    """The list may take a quarter of the stack."""
    with pytest.raises(GuestFileError, match="too long"):
        ProcessMachine(tiny_elf(), ["prog"] + ["x" * 1000] * 3000)


@pytest.mark.parametrize("memory", [0, -1, 1 << 40])
def test_impossible_memory_sizes(memory: int) -> None:
    """A machine of no or endless memory is refused."""
    with pytest.raises(GuestFileError, match="memory"):
        ProcessMachine(tiny_elf(), ["prog"], memory=memory)


def test_an_interpreter_that_lies(tmp_path) -> None:
    """A damaged dynamic linker is refused like a damaged program."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/ld-linux.so.2").write_bytes(IDENT)
    with pytest.raises(LoaderError):
        ProcessMachine(DYNAMIC, ["guest"], root=tmp_path)


def test_no_root_directory() -> None:
    """A root that is not there is told."""
    with pytest.raises(GuestFileError, match="root directory"):
        ProcessMachine(tiny_elf(), ["prog"], root="/nonexistent/directory")


def test_reading_is_allowed_where_readable() -> None:
    """The text can be read through the ordinary path."""
    guest = Guest()
    assert isinstance(guest.space.translate(BASE, READ), int)
