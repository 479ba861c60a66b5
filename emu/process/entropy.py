"""A guest's randomness: that of its seed, and nothing of the host's."""

from __future__ import annotations

from _random import Random  # `random` says the same, and takes as long to import as many a guest


class Entropy(Random):
    """Numbers that follow from a seed, as `random.Random` makes them."""

    def randbytes(self, size: int) -> bytes:
        """So many bytes."""
        return self.getrandbits(8 * size).to_bytes(size, "little")
