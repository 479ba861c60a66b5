"""Boxes: isolation at the level of system calls, as containers have it."""

from emu.box.box import Box
from emu.box.boxes import Boxes
from emu.box.running import Running

__all__ = ["Box", "Boxes", "Running"]
