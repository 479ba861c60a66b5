"""Devices, one file a chip."""
