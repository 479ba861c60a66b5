"""`python -m tests.silicon [count] [mnemonic …]`: put the reference engine before the oracle."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from .cases import Forms
from .compare import compare_forms
from .executor import Executor, form_of
from .native import Silicon


def main(count: int, mnemonics: set[str]) -> None:
    """Compare `count` cases over the forms of the mnemonics (all, if none is named)."""

    def wanted(code: bytes) -> str | None:
        form = form_of(code)
        known = form is not None and (not mnemonics or not mnemonics.isdisjoint(form.split(" ")))
        return form if known else None

    forms = Forms(wanted)
    with tempfile.TemporaryDirectory() as directory, Silicon.build(Path(directory)) as silicon:
        executor = Executor(low=silicon.low)
        print(compare_forms(silicon, executor, forms, count, seed=1, keep=10, progress=print))


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 10_000, set(sys.argv[2:]))
