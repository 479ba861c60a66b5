"""The `emu` command, also as `python -m emu`."""

from __future__ import annotations

from emu.garbage import look_seldom


def main() -> None:
    """Run the command; see `emu.cli`."""
    look_seldom()  # from the first import on
    from emu.cli import main as command

    command()


if __name__ == "__main__":
    main()
