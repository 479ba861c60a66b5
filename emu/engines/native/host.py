"""The host that native code is for."""

from __future__ import annotations

import os
import sys


def processor() -> str:
    """As `uname -m` calls it."""
    if hasattr(os, "uname"):  # `platform` takes two thousandths of a second to say the same
        return os.uname().machine
    import platform

    return platform.machine()


def is_usual() -> bool:
    """Whether it is one for whose memory and signals there is code of our own."""
    return sys.platform.startswith("linux") and processor() == "x86_64"
