"""The x86: registers, operands, decoding and meanings by family."""
