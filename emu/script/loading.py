"""From files, sources and bytes to guests for scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from emu.errors import LoaderError
from emu.guests import image_of, is_for_pc, read_file, source_text
from emu.process.processor import DEFAULT
from emu.script.guest import ScriptGuest
from emu.script.machines import CodeScript, PcScript, ProcessScript
from emu.script.symbols import Symbol, Symbols, symbols_of
from isa.hints import Any

STANDARD_MEMORY = 256 << 20


def load(path: str | Path, arguments: Sequence[str] = (), *, engine: str = "auto",
         **options: Any) -> ScriptGuest:  # fmt: skip
    """A guest from a file: an ELF program, an x86 source, a flat image, or something for a PC
    (a disk, a kernel, a source that says `.machine pc/…`).

    `engine` is "auto", "native", "python" or "reference". Options of a program: `env`, `root`,
    `writable`, `net`, `memory`, `seed`, `mips`, `cwd`, and `stdin`, `stdout`, `stderr` (binary
    streams, our own by default), `cpu` ("386" to "pentium4"). Options of a PC: those of `emu run`
    (`cpu`, `memory`, `mips`, `serial`, …).
    """
    file = Path(path)
    if is_for_pc(file):
        return _pc(file, engine, options)
    data = read_file(file)
    text = source_text(file, data)
    if text is not None:
        return source(text, arguments, name=str(file), engine=engine, **options)
    image = bytes(image_of(file, data))
    return _process(image, [file.name, *arguments], engine, symbols_of(image), options, str(file))


def source(text: str, arguments: Sequence[str] = (), *, name: str = "source", engine: str = "auto",
           **options: Any) -> ScriptGuest:  # fmt: skip
    """A guest from the text of an x86 program (Intel syntax); options as of `load`.

    Raises AssemblyError.
    """
    from emu.assembler import assemble

    assembled = assemble(text, name)
    symbols = [Symbol(symbol, address) for symbol, address in assembled.symbols.items()]
    argv = [Path(name).name, *arguments]
    return _process(assembled.image, argv, engine, symbols, options, name)


def code(data: bytes | str, at: int = 0x1000, *, engine: str = "auto",
         memory: int = STANDARD_MEMORY, cpu: str = DEFAULT) -> ScriptGuest:  # fmt: skip
    """Bytes of 32-bit code (or a text to assemble) at an address, in flat memory, with a stack and
    no operating system. More memory is mapped by `guest.memory.map`. `cpu` is as of a program.

    `guest.run()` ends behind the last byte.
    """
    if isinstance(data, str):
        from emu.assembler import flat

        data = flat(f"{data}\n", "code", at)
    return ScriptGuest(CodeScript(data, at, memory, cpu), engine, Symbols([]))


def _process(image: bytes, argv: list[str], engine: str, symbols: list[Symbol],
             options: dict[str, Any], name: str) -> ScriptGuest:  # fmt: skip
    from emu.process.elf import parse

    try:
        base = parse(image).base
        machine = ProcessScript(image, argv, **options)
    except LoaderError as error:
        raise LoaderError(
            f"{name}: {error.what}", where=error.where, why=error.why, advice=error.advice
        ) from None
    moved = [Symbol(s.name, s.address + base, s.size) for s in symbols]
    return ScriptGuest(machine, engine, Symbols(moved))


_CHOSEN: Mapping[str, Any] = {
    "cpu": "pentium2", "bios": None, "fda": None, "fdb": None, "hda": None, "hdb": None,
    "kernel": None, "initrd": None, "append": "", "serial": (), "boot": "ac", "typed": "",
    "display": "none", "no_pci": False, "memory": None, "mips": None, "writable": False,
}  # fmt: skip


def _pc(path: Path, engine: str, options: dict[str, Any]) -> ScriptGuest:
    from emu.pc.choose import pc_guest

    guest = pc_guest(path, {**_CHOSEN, "engine": engine, **options})
    return ScriptGuest(PcScript(guest), engine, Symbols([]))
