"""`emu explain`: what an instruction is, does, changes and raises, all read off its trace."""

from __future__ import annotations

import json

from emu.cli.disasm import hex_bytes
from emu.errors import GuestFileError
from isa.bits import Bits
from isa.definition import Instruction, InstructionSet
from isa.hints import Any
from isa.ops import OPS
from isa.registers import Role
from isa.text import describe
from isa.trace import Trace, specialise


def explain_instruction(
    text: str, hexadecimal: bool, isa: str | None, cpu: str, as_json: bool
) -> int:
    """Print everything that is known of one instruction; returns the exit code.

    `isa` is a toy's configuration, or None for the x86 named `cpu`.
    """
    facts = _toy(text, hexadecimal, isa) if isa is not None else _x86(text, hexadecimal, cpu)
    print(json.dumps(facts) if as_json else render(facts))
    return 0


def _x86(text: str, hexadecimal: bool, cpu: str) -> dict[str, Any]:
    from emu.process.processor import Processor
    from isa.x86.form import Form
    from isa.x86.machine import X86
    from isa.x86.mode import FLAT_USER
    from isa.x86.table import INSTRUCTIONS
    from isa.x86.tracing import form_name
    from isa.x86.vectors import NAMES

    code = hex_bytes(text) if hexadecimal else _assembled(text)
    model = Processor(cpu).instruction_set
    machine = X86(model)
    instruction = machine.decode(code.ljust(15, b"\x90"), FLAT_USER._replace(model=model))
    form = instruction.form
    assert isinstance(form, Form)
    entry = INSTRUCTIONS.get(form.mnemonic)
    facts = describe_instruction(machine, instruction, code[: instruction.length])
    facts["form"] = form_name(form)
    facts["manual"] = manual(entry.heading) if entry else "not an instruction of this processor"
    facts["faults"] = [NAMES.get(v, f"vector {v}") for v in facts["faults"]] + facts.pop("memory")
    return facts


def manual(heading: str) -> str:
    """Where SDM volume 2 has a heading: its parts are ordered by the alphabet."""
    part = {"A": "ABCDEFGHIJKL", "B": "MNOPQRSTU", "D": "WXYZ"}
    letter = next((p for p, letters in part.items() if heading[0] in letters), "C")
    chapter = {"A": "3", "B": "4", "C": "5", "D": "6"}[letter]
    return f"SDM volume 2{letter}, chapter {chapter}, {heading}"


def _assembled(text: str) -> bytes:
    from emu.assembler import flat

    code: bytes = flat(text + "\n", "<instruction>")
    if not code:
        raise GuestFileError(f"{text!r} assembles to nothing", advice="Write one instruction")
    return code


def _toy(text: str, hexadecimal: bool, isa: str) -> dict[str, Any]:
    from isa.toy import Toy
    from isa.toy.assembler import assemble
    from isa.toy.traps import TITLES

    machine = Toy(isa)
    if hexadecimal:
        word = hex_bytes(text)
    else:
        program = assemble(text + "\n", "<instruction>", machine)
        word = program.image[program.entry].to_bytes(4, "little")
    facts = describe_instruction(machine, machine.decode(word, None), word)
    facts["faults"] = [TITLES.get(v, f"trap {v}") for v in facts["faults"]]
    facts["manual"] = "Popek and Goldberg, CACM 17(7), 1974, section 2"
    del facts["memory"]
    return facts


def describe_instruction(
    isa: InstructionSet, instruction: Instruction, code: bytes
) -> dict[str, Any]:
    """Facts that hold for any instruction set, derived from the instruction's own trace."""
    rewriter = specialise(instruction.fields, {}, {})
    trace = rewriter.trace(isa.trace(instruction.form))
    nodes = list(trace.walk())
    return {
        "text": isa.text(code, 0),
        "bytes": code.hex(" "),
        "length": instruction.length,
        "fields": dict(instruction.fields),
        "meaning": describe(trace),
        "reads": _reads(trace),
        "writes": sorted(r.name for r in trace.written() if r.role is not Role.FLAG),
        "flags_written": [r.name for r in isa.registers if r in trace.written() and
                          r.role is Role.FLAG],
        "undefined": sorted({str(n.attribute) for n in nodes if n.op == "undefined"}),
        "faults": sorted({n.attribute[0] for n in nodes if n.op == "fault"}),
        "memory": ["#PF page fault"] if any(map(_reaches_memory, nodes)) else [],
    }  # fmt: skip


def _reaches_memory(node: Bits) -> bool:
    return OPS[node.op].faults and node.op != "fault"


def _reads(trace: Trace) -> list[str]:
    return sorted(register.name for register in trace.read())


def render(facts: dict[str, Any]) -> str:
    """The facts for a reader."""
    lines = [f"{facts['text']}", f"  encoding   {facts['bytes']}  ({facts['length']} units)"]
    if "form" in facts:
        lines.append(f"  form       {facts['form']}")
    lines.append("  fields     " + " ".join(f"{k}={v:#x}" for k, v in facts["fields"].items()))
    lines += ["  meaning    " + facts["meaning"][0]]
    lines += ["             " + step for step in facts["meaning"][1:]]
    for key, title in (
        ("reads", "reads"), ("writes", "writes"), ("flags_written", "flags"),
        ("undefined", "undefined"), ("faults", "faults"),
    ):  # fmt: skip
        lines.append(f"  {title:<10} {', '.join(facts[key]) or 'none'}")
    return "\n".join([*lines, f"  manual     {facts['manual']}"])
