"""Engines: each runs any machine that `isa` defines; none knows an instruction by name."""
