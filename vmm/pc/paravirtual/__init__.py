"""The paravirtual monitor of the PC: Xen's 32-bit interface, for kernels that were ported to it."""
