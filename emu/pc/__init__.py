"""The PC: its board, and what the host has on the other side of it."""
