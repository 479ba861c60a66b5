"""SSE: what its instructions have in common, and its arithmetic as functions of the IR."""
