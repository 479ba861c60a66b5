"""Generated systems: kernels and programs that nobody thought of, to try monitors on."""
