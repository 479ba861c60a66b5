"""What machines are: instruction sets as pure definitions (see isa/README.md)."""
