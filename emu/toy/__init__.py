"""The bare toy machine, and running programs on it."""
