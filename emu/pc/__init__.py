"""The PC: a whole x86 machine with its devices."""
