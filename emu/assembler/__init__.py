"""x86 assembly for guests: Intel syntax, GNU directives, assembled by LLVM and linked here.

`assemble` makes a program, `flat` the bytes alone. In the source, `;` `#` `//` and `/* */` are
comments; a statement ends with its line.
"""

from emu.assembler.assemble import Assembled, Limits, Listed, assemble, flat
from emu.assembler.errors import AssemblyError, Finding

__all__ = ["Assembled", "AssemblyError", "Finding", "Limits", "Listed", "assemble", "flat"]
