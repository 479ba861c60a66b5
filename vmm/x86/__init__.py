"""Popek and Goldberg's classes of the x86's instructions, derived from their meanings."""
