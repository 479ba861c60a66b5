"""The assembler: what it makes, what it says when it cannot, and what it refuses."""

from __future__ import annotations

import io
import random
import struct
import time

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from emu.assembler import Assembled, AssemblyError, Limits, assemble, child, errors, flat
from emu.assembler import assemble as assemble_module
from emu.errors import GuestFileError
from emu.flat import image as flat_image
from emu.process import elf

BASE = 0x08048000


def refused(text: str, **options: object) -> AssemblyError:
    with pytest.raises(AssemblyError) as caught:
        assemble(text, "demo.asm", **options)  # type: ignore[arg-type]
    return caught.value


def code(text: str) -> bytes:
    return flat(text, "demo.asm")


# -- what it makes --------------------------------------------------------------------------


PROGRAM = """\
# four sections
        .globl _start
        .text
        nop
_start: mov     eax, offset word
        mov     ebx, [word + 4]
        call    routine
        .section .rodata
text:   .ascii  "hi \\"there\\"\\n"     ; a semicolon starts a comment, "not" in strings; see
        .data
        .byte   1
        .balign 4
word:   .long   text, 2
        .bss
room:   .space  100
        .text
routine:
        mov     ecx, offset room
        mov     edx, size
        ret
size = 12
"""


@pytest.fixture(scope="module")
def program() -> Assembled:
    return assemble(PROGRAM, "demo.asm")


def test_sections_start_pages_with_their_permissions(program: Assembled) -> None:
    """Code, constants, data: each has its own page; .bss takes no room in the file."""
    segments = elf.parse(program.image).segments
    assert [(s.address, s.permissions) for s in segments] == [
        (BASE, 5),
        (BASE + 0x1000, 4),
        (BASE + 0x2000, 6),
    ]
    assert segments[1].data == b'hi "there"\n'
    assert segments[2].data == struct.pack("<IIi", 1, BASE + 0x1000, 2)
    assert segments[2].memory_size == 12 + 100


def test_relocations(program: Assembled) -> None:
    """Absolute and relative references between sections."""
    symbols, text = program.symbols, elf.parse(program.image).segments[0].data
    assert text[1:6] == b"\xb8" + struct.pack("<I", symbols["word"])
    assert text[6:12] == b"\x8b\x1d" + struct.pack("<I", symbols["word"] + 4)
    assert text[12:17] == b"\xe8" + struct.pack("<i", symbols["routine"] - BASE - 17)
    assert text[17:22] == b"\xb9" + struct.pack("<I", symbols["room"])


def test_entry_symbols_and_lines(program: Assembled) -> None:
    """_start is the entry; addresses lead back to symbols and lines."""
    assert program.entry == program.symbols["_start"] == BASE + 1
    assert program.symbols["size"] == 12
    assert program.symbol_at(BASE + 3) == ("_start", 2)
    numbered = dict(enumerate(PROGRAM.splitlines(), 1))
    at = {address: program.line_at(address) for address in (BASE, BASE + 1, BASE + 8, BASE + 17)}
    assert {4, 5, 6, 18} == set(at.values())
    assert "offset room" in numbered[18]
    assert program.line_at(BASE + 0x500) is None
    assert "hi" in numbered[program.line_at(BASE + 0x1003) or 0]
    call = next(entry for entry in program.listing if "call" in entry.text)
    assert str(call).split() == ["0804800c", "e8", "00", "00", "00", "00", "7", "call", "routine"]


def test_other_tools_can_read_the_program(program: Assembled) -> None:
    """Section headers and the symbol table are there for objdump and gdb."""
    file = ELFFile(io.BytesIO(program.image))
    names = [section.name for section in file.iter_sections()]
    assert names[1:5] == [".text", ".rodata", ".data", ".bss"]
    table = file.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    (word,) = table.get_symbol_by_name("word") or []
    assert word["st_value"] == program.symbols["word"]


def test_without_start_the_first_byte_is_the_entry() -> None:
    """A fragment needs no ceremony."""
    made = assemble(".data\n.long 1\n.text\nmov eax, 1\n")
    assert made.entry == BASE
    assert made.image[4096:4097] == b"\xb8"


def test_a_section_may_be_written_and_executed() -> None:
    """For code that changes itself."""
    made = assemble('.section code, "awx", @progbits\n_start: nop')
    assert [(s.address, s.permissions) for s in elf.parse(made.image).segments] == [(BASE, 7)]


def test_common_and_weak_symbols() -> None:
    """.comm gets room in .bss; a weak symbol that nobody defines is 0."""
    made = assemble(".comm room, 8, 4\n.weak nobody\nmov eax, offset room\nmov ebx, offset nobody")
    assert made.image[4096:4106] == struct.pack("<BIBI", 0xB8, made.symbols["room"], 0xBB, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mov edx, n\nx: nop\nn = . - x", "ba01000000 90"),
        ("x: nop\n.equ n, . - x\npush n\nmov ecx, n / 1 + 4", "90 6a01 b905000000"),
        ("x: nop\nn = . - x\nmov eax, [esp + n]", "90 8b442401"),
        ("k = 5\nmov eax, k\nsub esp, k", "b805000000 83ec05"),
        ("push offset y + 2\ny:", "68 07800408"),
        ("mov ecx, OFFSET FLAT:x\nx:", "b905800408"),
        ("nop; nop", "90"),
        ("lock; inc dword ptr [eax]; rep; movsb", "f0ff00"),
        ("rep; movsb", "f3a4"),
        ("mov al, ';' # x\nmov al, '#' ; it's", "b03b b023"),
        ("/* nop\nnop */ ret // nop", "c3"),
        ("section .text\nglobal f, g\nextern h\nret", "c3"),
        (".macro twice what\n\\what\n\\what\n.endm\ntwice nop", "9090"),
        (".rept 3\nnop\n.endr\n.if 0\nfoo\n.else\nret\n.endif", "909090c3"),
        (".att_syntax\nmovl $1, %eax", "b801000000"),
        ('# 1 "other.c"\r\nret\r\n', "c3"),
        ('.ascii "\\"\\\\\\0é"', "225c00c3a9"),
        ("jmp x\n.byte 1\nx: .long x - 0x8048000", "eb0101 03000000"),
        (
            "lgdt [eax]\ninvlpg [ebx]\naam 16\ncmovz eax, ebx\nbswap eax",
            "0f0110 0f013b d410 0f44c3 0fc8",
        ),
        ("fld1\naddps xmm0, xmm1\ncpuid", "d9e8 0f58c1 0fa2"),
    ],
)
def test_bytes(text: str, expected: str) -> None:
    """Sources and the bytes they make."""
    assert bytes.fromhex(expected) == code(text)


def test_flat_images_have_an_origin() -> None:
    """A boot sector: 16-bit code at 0x7c00, filled up to its signature; .bss lies behind."""
    text = """
        jmp     over
        .long   room
over:   mov     al, [room]
        .org    510
        .word   0xaa55
        .bss
room:   .space  4
    """
    image = flat(text, "boot.asm", 0x7C00, bits=16)
    assert len(image) == 512
    assert image[510:] == b"\x55\xaa"
    assert image[:9] == b"\xeb\x04" + struct.pack("<I", 0x7E00) + b"\xa0\x00\x7e"


# -- what it says ---------------------------------------------------------------------------


def test_an_error_shows_line_and_caret() -> None:
    """File, line, column, the source line as it was written, a caret below the fault."""
    error = refused("        nop\n        movx    eax, 1   ; oops\n")
    assert str(error) == (
        "demo.asm:2:9: error: invalid instruction mnemonic 'movx'\n"
        "          movx    eax, 1   ; oops\n"
        "          ^"
    )
    assert isinstance(error, GuestFileError)
    assert error.where == "demo.asm:2:9"


def test_several_errors_at_once() -> None:
    """All are told, by line; a label stays though its instruction is wrong."""
    error = refused("mov al, ebx\nx: foo 1\njmp x\nmov eax, ebx ecx\npush rax\nret\n")
    assert [finding.line for finding in error.findings] == [1, 2, 4, 5]
    assert error.findings[3].hint == "The processor here is a 32-bit one"


def test_errors_end_somewhere() -> None:
    """A thousand wrong lines are not a thousand errors."""
    assert len(refused("foo\n" * 1000).findings) == child.MOST_ERRORS


def test_an_error_inside_a_macro_names_the_use() -> None:
    """LLVM says only where in the macro; the line that used it is what the author needs."""
    error = refused(".macro put a\nnop\nmov \\a, 3\n.endm\nput eax\nnop\nput 4\nnop\n")
    assert error.findings[0].line == 7


def test_columns_count_characters() -> None:
    """LLVM counts bytes."""
    finding = refused('.ascii "ééé", foo bar').findings[0]
    assert finding.source[finding.column - 1 :].startswith(("foo", "bar"))


def test_undefined_symbols_are_named_with_their_line() -> None:
    """Each once."""
    error = refused("nop\ncall printf\nmov eax, [table + 4]\ncall printf\n")
    assert [f"{f.line}:{f.column} {f.message.split('`')[1]}" for f in error.findings] == [
        "2:6 printf",
        "3:11 table",
    ]


def test_a_reference_too_far_for_its_operand() -> None:
    """The linker says so with the line."""
    finding = refused("nop\nhere: mov ax, offset here\n").findings[0]
    assert finding.line == 2
    assert "R_386_16" in finding.message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("x: db 1, 2", ".byte"),
        ("len equ 4", "name = value"),
        ("%define X 3", "name = value"),
        ("%macro f 1", ".macro"),
        ("times 4 nop", ".fill"),
        ("buffer resb 64", ".space"),
        ("bits 32", ".code32"),
        ("org 0x7c00", "flat image"),
        ("mov eax, %ebx", "no sign"),
        ("mov eax, dword [ebx]", "dword ptr"),
        ("int $0x80", ".att_syntax"),
        ("inc [eax]", "byte ptr"),
        ("größe: nop", "ASCII"),
    ],
)
def test_nasm_and_other_habits_get_a_hint(text: str, part: str) -> None:
    """What to write instead."""
    assert part in refused(text).findings[0].hint


def test_a_label_cannot_be_subtracted_in_an_address() -> None:
    """LLVM would add it without a word."""
    error = refused("nop\nx: lea eax, [esi - x - 1]\n")
    assert error.findings[0].line == 2
    assert "sub register, offset x" in error.findings[0].hint


def test_brackets_must_close() -> None:
    """LLVM would load from address 0 without a word."""
    finding = refused('mov eax, ebx # ]\nmov eax, [ebx   # ]\n.ascii "["').findings[0]
    assert (finding.line, finding.column) == (2, 10)


@pytest.mark.parametrize("text", ["", "# nothing\n", ".data\n.long 1\n", "_start = 5\n.data\n"])
def test_no_code(text: str) -> None:
    """A program needs an instruction."""
    with pytest.raises(GuestFileError):
        elf.parse(assemble(text).image)


def test_position_independent_code_is_refused() -> None:
    """There is no global offset table."""
    assert "relocation" in str(refused("mov eax, foo@GOT[ebx]\nfoo:"))


def test_a_crash_of_llvm_is_told_with_its_line() -> None:
    """This one trips an assertion in LLVM, if its build has them."""
    findings = refused("nop\nx: nop\n.byte y - 0x7c00\nnop\ny: nop\n").findings
    assert findings[0].line == 3


def test_warnings_are_kept() -> None:
    """`.warning` does not stop anything."""
    made = assemble('nop\n.warning "careful"\n.print "to nobody"\n')
    assert [(f.line, f.message) for f in made.warnings] == [(2, "careful")]


# -- what it refuses ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '.incbin "/etc/passwd"',
        '.include "/etc/passwd"',
        '.macro m a\n.inc\\a "/etc/passwd"\n.endm\nm bin',
        '.macro m a\n.inc\\a "/etc/passwd"\n.endm\nm lude',
        '.INCBIN "/etc/hostname"',
        '.incbin "/dev/stdin"',
        '.incbin "/proc/self/environ"',
    ],
)
def test_no_file_of_the_host_is_read(text: str) -> None:
    """Neither directly nor through a macro."""
    error = refused(text)
    assert "root" not in str(error)
    assert "cannot read files" in error.findings[0].hint


def test_text_cannot_leave_its_string() -> None:
    """Quotes and backslashes reach the assembler as they are, not LLVM's own syntax."""
    error = refused('nop\n"\ndefine void @f() { ret void }\nmodule asm "nop\n\\22\n')
    assert error.findings[0].line == 2


@pytest.mark.parametrize("bad", ["\0", "\udc80"])
def test_bytes_that_are_not_text(bad: str) -> None:
    """Refused before LLVM sees them, with their place."""
    finding = refused(f"nop\nmov eax{bad}, 1").findings[0]
    assert (finding.line, finding.column) == (2, 8)


@pytest.mark.parametrize(
    "text",
    [
        ".rept 1000000000\nnop\n.endr",
        ".fill 0x7fffffff, 1, 1",
        ".space 0x7fffffff",
        ".macro a\na\na\n.endm\na",
        ".org 0x7fffffff",
        ".bss\n.space 0x70000000\n.text\nnop",
    ],
)
def test_what_does_not_end_is_stopped(text: str) -> None:
    """By memory, time, or a rule of the assembler's."""
    refused(text, limits=Limits(seconds=2, memory=400 << 20))


def test_noise() -> None:
    """A megabyte of random bytes, as text, is an error and no more."""
    noise = random.Random(5).randbytes(1 << 20).decode("latin-1").replace("\0", " ")
    started = time.perf_counter()
    error = refused(noise)
    assert time.perf_counter() - started < 20
    assert len(str(error)) < 10_000


def test_damaged_sources_never_break_anything() -> None:
    """Sources with a piece cut out or doubled assemble or are refused."""
    choice = random.Random(7)
    for _ in range(12):
        start, end = sorted(choice.sample(range(len(PROGRAM)), 2))
        cut, doubled = PROGRAM[:start] + PROGRAM[end:], PROGRAM[:end] + PROGRAM[start:]
        for text in (cut, doubled):
            try:
                assemble(text)
            except AssemblyError as error:
                assert error.findings


def test_too_long_a_source() -> None:
    """Said at once."""
    assert "characters" in str(refused("nop\n" * (3 << 20)))


def test_a_host_without_an_assembler(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message, also when the host is no x86."""
    monkeypatch.setattr(assemble_module.__globals__["platform"], "machine", lambda: "aarch64")
    error = assemble_module.__globals__["_unavailable"]("demo.asm", "no parser")
    assert "aarch64" in str(error)
    assert "llvmlite" in error.advice


def test_a_long_line_is_shown_around_its_fault() -> None:
    """The caret stays below the fault."""
    finding = errors.Finding(1, 500, "error", "wrong", "a" * 499 + "!" + "b" * 500)
    _, line, caret = finding.render("demo.asm").split("\n")
    assert line[caret.index("^")] == "!"


# -- flat images ----------------------------------------------------------------------------


def test_a_flat_image_becomes_a_program() -> None:
    """Entered at its start, all of it readable, writable, executable."""
    image = elf.parse(flat_image(b"\x90\xc3", 0x10005))
    assert image.entry == 0x10005
    (segment,) = image.segments
    assert (segment.address, segment.data, segment.permissions) == (0x10005, b"\x90\xc3", 7)


@pytest.mark.parametrize(
    ("data", "address"),
    [(b"", BASE), (b"x", 0), (b"x", 0xFFFF), (b"xy", 0xBFFFFFFF), (b"x", -1), (b"x", 1 << 40)],
)
def test_flat_images_that_cannot_be(data: bytes, address: int) -> None:
    """Empty, or not in a process's address space."""
    with pytest.raises(GuestFileError):
        flat_image(data, address)


def test_flat_images_that_are_huge() -> None:
    """A disk is not a program."""
    with pytest.raises(GuestFileError, match="disk"):
        flat_image(bytes((64 << 20) + 1))
