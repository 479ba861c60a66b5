"""The toy assembler and disassembler: what they make, that they agree, and how they complain."""

from __future__ import annotations

from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_machines import quick, toy, word

from isa.toy import ConfigurationError
from isa.toy.assembler import assemble, machine_named
from isa.toy.source import AssemblyError

ISA = toy("toy/all")


def words(text, isa=ISA):
    """The words from address 2 on."""
    return assemble(dedent(text), isa=isa).image[2:]


def complaint(text, isa=ISA):
    """The whole message about a source that does not assemble."""
    with pytest.raises(AssemblyError) as error:
        assemble(dedent(text), "prog.asm", isa)
    return str(error.value)


# -- agreement ----------------------------------------------------------------------------------


@st.composite
def instructions(draw):
    """Words that decode, of every instruction alike."""
    row = draw(st.sampled_from(list(ISA.rows.values())))
    fields = {f: draw(st.integers(0, 7 if f != "imm" else 0xFFFF)) for f in sorted(row.fields)}
    return ISA.encoding.encode(row, fields)


@settings(quick, max_examples=300)
@given(code=instructions() | st.integers(0, 2**32 - 1))
def test_word_to_text_to_word(code):
    """Every word has a text, which assembles to the same word."""
    text = ISA.text(code.to_bytes(4, "little"), 0)
    assert words(text) == [code]


@settings(quick, max_examples=300)
@given(code=instructions())
def test_text_to_word_to_text(code):
    """Instructions have one text each: the disassembler writes what the assembler reads."""
    text = ISA.text(code.to_bytes(4, "little"), 0)
    (assembled,) = words(f"here: {text} ; comment")
    assert ISA.text(assembled.to_bytes(4, "little"), 0) == text
    assert not text.startswith(".word")


@quick
@given(code=st.integers(0, 2**32 - 1))
def test_what_is_no_instruction_is_data(code):
    """Decoding refuses unknown opcodes, registers above r7, and bits that nobody reads."""
    decoded = ISA.decode(code.to_bytes(4, "little"), None)
    assert ISA.text(code.to_bytes(4, "little"), 0).startswith(".word") == (
        decoded.form == "illegal"
    )


@pytest.mark.parametrize("code", [0, 0x10800000, 0x10000010, 0x01000001, 0x02000001, 0xFFFFFFFF])
def test_illegal_words(code):
    assert ISA.decode(code.to_bytes(4, "little"), None).form == "illegal"


# -- what it makes ------------------------------------------------------------------------------


def test_forms_of_operands():
    assert words("ld r1, [sp]\nst r2, [r3 - 4*2]\nLI R4, -1\nlui r1, 0x8000") == [
        word(ISA, "LD", rd=1, ra=7),
        word(ISA, "ST", rd=2, ra=3, imm=-8),
        word(ISA, "LI", rd=4, imm=0xFFFF),
        word(ISA, "LUI", rd=1, imm=0x8000),
    ]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("-7 / 2", 2**32 - 4),
        ("7 % 4 << 2", 12),
        ("0xF0 | 0b1010 & 0o7", 0xF2),
        ("~0 ^ 1", 0xFFFFFFFE),
        ("'a' + '\\n' - '\\''", 97 + 10 - 39),
        ("1_000", 1000),
        (". + 1", 3),
        ("CONSOLE_DATA", 8),
        ("TRAP_TIMER", 16),
        ("WORDS / GRANULE - ALL", 0),
    ],
)
def test_expressions(expression, value):
    assert words(f".word {expression}") == [value]


def test_constants_may_be_defined_later():
    assert words(".word A\n.equ A, B * 2\n.equ B, C + 1\n.equ C, 4") == [10]


def test_layout():
    program = assemble(
        dedent("""
            .equ HERE, 10
            .org HERE
    first:  .word 1, 2
            .align 4
    second: .space 2
    third:  .ascii "a;b"        ; a comment with "quotes"
            .string "", "c"
    """)
    )
    assert program.symbols == {"HERE": 10, "first": 10, "second": 12, "third": 14}
    assert program.image[10:] == [1, 2, 0, 0, 97, 59, 98, 0, 99, 0]
    assert program.lines[11].number == 4


def test_entry():
    """`.entry`, else the label start, else the first instruction; in supervisor mode, all of E."""
    assert assemble("nop\nstart: nop").entry == 3
    assert assemble("nop\nstart: nop\nend: nop\n.entry end").entry == 4
    assert assemble(".word 1, 2\nnop").entry == 4
    assert assemble("start: nop").psw == 2 << 17 | 256


def test_source_names_its_machine():
    """`.machine` decides what exists, unless the caller gives a machine."""
    source = "; comment\n  .machine toy/pdp10 ; this one\n jrst1 5"
    assert machine_named(source) == "toy/pdp10"
    assert assemble(source).image[2:] == [word(ISA, "JRST1", imm=5)]
    assert "not on this machine (toy/lra)" in complaint(source, toy("toy/lra"))
    with pytest.raises(ConfigurationError, match="toy/none"):
        assemble(".machine toy/none")


def test_psw_directive():
    known = toy().known
    (psw,) = words(".psw u, 5, 128, 192")
    assert {r.name: v for r, v in known.psw.unpack(psw).items()} == {
        "mode": 1, "p": 5, "l": 2, "b": 3,
    }  # fmt: skip


def test_window_counts_from_its_own_start():
    program = assemble(
        dedent("""
            jmp user
            .window user
            nop
    main:   jmp main
            .word .
            .endwindow
    after:  nop
    """)
    )
    symbols = program.symbols
    assert (symbols["user"], symbols["main"], symbols["user_end"]) == (64, 1, 128)
    assert symbols["after"] == 128
    assert program.image[65:67] == [word(ISA, "JMP", imm=1), 2]


def test_local_labels_belong_to_the_label_above():
    assert words("a: nop\n@x: jmp @x\nb: nop\n@x: jmp @x")[1::2] == [
        word(ISA, "JMP", imm=3),
        word(ISA, "JMP", imm=5),
    ]


def test_macros():
    """Arguments are text; @labels are new in each use; macros may use macros; strings stay."""
    source = """
        .macro count register, from
                li   \\register, \\from
        @again: addi \\register, \\register, -1
                bnz  \\register, @again
        .endm
        .macro twice x
                count r1, \\x
                count r2, (\\x) * 2
                .ascii "\\n"
        .endm
        a:  twice 1 + 1
            count r3, 9
    """
    plain = """
        a:  li r1, 2
        b:  addi r1, r1, -1
            bnz r1, b
            li r2, 4
        c:  addi r2, r2, -1
            bnz r2, c
            .ascii "\\n"
            li r3, 9
        d:  addi r3, r3, -1
            bnz r3, d
    """
    assert words(source) == words(plain)


# -- how it complains ---------------------------------------------------------------------------


def test_message_shows_place_line_and_caret():
    assert complaint("nop\n   addd r1, r2, r3 ; sum\n") == (
        "prog.asm:2:4: unknown instruction or macro addd; did you mean add?\n"
        "       addd r1, r2, r3 ; sum\n"
        "       ^"
    )


def test_message_in_a_macro_shows_both_places():
    source = ".macro twice x\n  add \\x, \\x\n.endm\n\nstart: twice r1\n"
    assert complaint(source) == (
        "prog.asm:2:3: 2 operands; write it as add rd, ra, rb\n"
        "      add r1, r1\n"
        "      ^\n"
        "  in macro twice, used at prog.asm:5:\n"
        "    start: twice r1"
    )


def test_several_mistakes_are_told_in_order():
    text = complaint("foo\nli r9, 1\nadd r1, r2\nld r1, r2\njmp nowhere\n")
    assert [line[:11] for line in text.splitlines() if line.startswith("prog")] == [
        "prog.asm:1:", "prog.asm:2:", "prog.asm:3:", "prog.asm:4:", "prog.asm:5:",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("li r1, 40000", "1:8: 40000 does not fit here: -32768..32767; make it with lui and ori"),
        ("ori r1, r1, -1", "1:13: -1 does not fit here: 0..65535"),
        ("li r1, r2", "r2 is a register; a number is needed here"),
        ("li 5, 1", "1:4: expected a register, r0 to r7 or sp"),
        ("ld r1, [r2", "expected [register+offset]"),
        ("ld r1, [r2 * 2]", "1:12: expected + or - and an offset"),
        ("li r1, 1 +", "1:11: expected a number or a name, but the line ends"),
        ("li r1, (1", "1:8: this parenthesis is never closed"),
        ("li r1, 1 2", "1:10: unexpected '2' after an expression"),
        ("li r1, 1/0", "1:9: division by zero"),
        ("li r1, 1 << 99", "cannot shift by 99"),
        ("li r1, 0777", "octal numbers start with 0o"),
        (f".word {'9' * 9000}", "is no number"),
        ("li r1, " + "(" * 2000, "more than 50 levels"),
        ("li r1, " + "-" * 2000 + "1", "more than 50 levels"),
        ("li r1, lbel\nlabel: nop", "unknown name lbel; did you mean label?"),
        ("a: nop\na: nop", "2:1: a has been defined already, at prog.asm:1"),
        ("CAUSE: nop", "CAUSE has been defined already, by the assembler itself"),
        ("r1: nop", "r1 is a register"),
        (".equ A, B\n.equ B, A\n.word A", "A is defined by itself"),
        (".equ A", "1 operands; write it as .equ name, value"),
        (".wrd 1", "unknown directive .wrd; did you mean .word?"),
        (".word 4294967296", "does not fit a word of 32 bits"),
        (".org later\nlater: nop", "unknown name later"),
        (".org 20000", "20000 lies outside of storage (16384 words)"),
        (".space 16383\nnop\nnop", "is outside of storage"),
        (".space -1", "-1 lies outside of storage"),
        (".align 0", "cannot align to 0 words"),
        ("nop\n.org 2\nnop", "address 0x2 has been filled already, at prog.asm:1"),
        ('.string "open', '1:9: this text has no closing "'),
        (".string 5", "expected a text in quotes"),
        ('.string "\\q"', "1:10: unknown escape \\q"),
        ("li r1, 'ab'", "a character is one sign between quotes"),
        ("nop €", "1:5: unexpected '€'"),
        ("5 nop", "expected a label, an instruction or a directive"),
        (".psw x, 0, 0, 64", "the mode is s or u"),
        (".psw s, 0, 1, 64", "1 words are no multiple of the granule, 64 words"),
        (".window a\n.window b", "2:1: windows cannot stand in windows"),
        (".window a\nnop", "1:9: this window has no .endwindow"),
        (".endwindow", ".endwindow without .window"),
        (".macro m\nnop", "1:1: this macro has no .endm"),
        (".endm", ".endm without .macro"),
        (".macro", "a macro needs a name"),
        (".macro m a\nnop\n.endm\nm", "m takes a, not 0 arguments (defined at prog.asm:1)"),
        (".macro m a\nli \\b, 1\n.endm\nm 1", "no parameter of this macro has that name"),
        (".macro m\nm\n.endm\nm", "macros more than 30 deep: does one use itself?"),
        (".macro m\nm\nm\n.endm\nm", "more than"),
        (".entry nowhere\nnop", "unknown name nowhere"),
    ],
)
def test_mistakes(text, message):
    assert message in complaint(text)


def test_instruction_of_another_machine():
    message = complaint("jrst1 5", toy("toy/clean"))
    assert "jrst1 exists, but not on this machine (toy/clean)" in message


@quick
@given(text=st.text(st.sampled_from("abr1 ,:;.@\\'\"[]()+-#$\n\t\0é"), max_size=60))
def test_noise_is_a_mistake_and_nothing_worse(text):
    try:
        assemble(text)
    except AssemblyError as error:
        assert error.problems


@quick
@given(st.lists(st.sampled_from(
    [".macro m x", ".endm", "m r1", "@l: nop", "\\x: bz r1, @l", ".window w", ".endwindow",
     ".equ A, B", ".equ B, A", ".org A", "a: jmp a", ".space 9", ".word .", "m m", ".align A"]
), max_size=12))  # fmt: skip
def test_nonsense_is_a_mistake_and_nothing_worse(lines):
    try:
        assemble("\n".join(lines))
    except AssemblyError as error:
        assert error.problems
