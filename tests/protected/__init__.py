"""Protected mode, condition by condition, against a model of the manual's pseudo-code.

The model (`cpu`, `segments`, `transfers`, `interrupts`, `tasks`, `instructions`) is written in
plain numbers and shares nothing with `isa`; `machine` has tables in memory, `conditions` what is
tried.
"""
