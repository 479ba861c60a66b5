"""From a critical instruction of the x86 to a guest of the PC that diverges by it."""
