"""The arithmetic of the x87 unit: pure functions of bits, and the unit's state around them."""
