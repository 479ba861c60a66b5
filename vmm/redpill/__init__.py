"""The sensitive instructions on the reader's own processor, in user mode."""
