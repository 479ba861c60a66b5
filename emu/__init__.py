"""Machines that run: memory, engines, devices, loaders, the `emu` command (see README.md)."""
