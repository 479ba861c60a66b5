"""Errors that a user can do something about; each says what, where, why, and what to do."""

from __future__ import annotations

from isa.hints import StrPath


class GuestFileError(Exception):
    """A guest that cannot be started: the file, its arguments or its machine is at fault.

    `what` is the finding, `where` the place in the file, `why` the rule that is broken, `advice`
    what the user can do.
    """

    def __init__(self, what: str, *, where: str = "", why: str = "", advice: str = "") -> None:
        self.what, self.where, self.why, self.advice = what, where, why, advice
        place = f" ({where})" if where else ""
        parts = [what + place, why, advice]
        super().__init__(". ".join(part for part in parts if part))


def unwritable(path: StrPath, error: OSError) -> GuestFileError:
    """The error of an output file that cannot be written."""
    return GuestFileError(
        f"{path} cannot be written", why=error.strerror or "", advice="Choose another file"
    )


class LoaderError(GuestFileError):
    """The file is not a program that the loader can map."""
