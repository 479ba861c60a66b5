"""Machines that run: memory, engines, devices, loaders and the `emu` command (see emu/README.md)."""
