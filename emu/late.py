"""numpy, imported when somebody first asks for something in it.

That takes longer than all that a short run needs otherwise, and such a run does without.
"""

from __future__ import annotations

from isa.hints import TYPE_CHECKING
from isa.late import Late

if TYPE_CHECKING:
    import numpy as np
else:
    np = Late("numpy")

__all__ = ["np"]
