"""Instructions that real machines had, brought to the toy: each stands for a family of mistakes.

A file for each family of machines. What each instruction breaks, if anything, is for `vmm check`
to find out. What all reductions share:

* A trap does what the toy's trap does: it exchanges PSWs through E[0] and E[1], whatever stacks,
  vectors or registers the real machine uses; so a register like EPC holds what programs put there.
* R is active in both modes, as in the paper: translation by pages or segments becomes R.
* Supervisor mode masks all interrupts; a machine's own mask matters in user mode, in addition.
* Where a manual says "unpredictable in user mode", the docstring says what the toy does.
"""

from isa.toy.museum import (  # noqa: F401  # they fill the table
    arm,
    ia32,
    m68000,
    mips,
    paper,
    pdp11,
    riscv,
    s360,
    vax,
)
