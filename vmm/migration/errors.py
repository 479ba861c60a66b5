"""What goes wrong between two monitors. Each error has the exit code of the command it ends."""

from __future__ import annotations

from typing import Final

from emu.errors import GuestFileError

EXIT_CUT: Final = 74  # the connection was cut, or the other side stalled (sysexits: EX_IOERR)
EXIT_UNSETTLED: Final = 75  # only the other side knows who runs the guest (EX_TEMPFAIL)
EXIT_PROTOCOL: Final = 76  # another version, or damaged messages (EX_PROTOCOL)
EXIT_STRANGER: Final = 77  # the other side does not know the secret (EX_NOPERM)
EXIT_REFUSED: Final = 78  # one side has not what the migration needs (EX_CONFIG)


class MigrationError(GuestFileError):
    """A migration that cannot go on."""

    exit_code = EXIT_CUT


class CutError(MigrationError):
    """The connection is gone, or the other side has said nothing for too long."""


class ClosedError(CutError):
    """The other side has closed the connection, or its process has ended."""


class ProtocolError(MigrationError):
    """What came is not what the protocol says."""

    exit_code = EXIT_PROTOCOL


class StrangerError(MigrationError):
    """The other side does not prove that it knows the secret."""

    exit_code = EXIT_STRANGER


class RefusedError(MigrationError):
    """The other side, or this one, says no."""

    exit_code = EXIT_REFUSED


class UnsettledError(MigrationError):
    """The connection was lost at the hand-over, and nobody has told how it ended."""

    exit_code = EXIT_UNSETTLED
