"""Machines that run: memory, engines, devices, loaders, the `emu` command (see emu/README.md)."""
