"""x86 assembly for guests: Intel syntax, GNU directives, assembled by LLVM and linked here.

`assemble` makes a program, `assemble_flat` one without a header, `flat` the bytes alone. In the
source, `;` `#` `//` and `/* */` are comments; a statement ends with its line.
"""

from emu.assembler.assemble import Assembled, Limits, Listed, assemble, assemble_flat, flat
from emu.assembler.errors import AssemblyError, Finding

__all__ = [
    "Assembled",
    "AssemblyError",
    "Finding",
    "Limits",
    "Listed",
    "assemble",
    "assemble_flat",
    "flat",
]
