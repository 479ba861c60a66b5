"""The theory and the monitors, and the `vmm` command."""
