"""The third-generation machine of Popek and Goldberg (CACM 17(7), 1974)."""

from __future__ import annotations

from isa.hints import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isa.toy.configuration import Configuration, ConfigurationError
    from isa.toy.definition import Toy

__all__ = ["Configuration", "ConfigurationError", "Toy"]


def __getattr__(name: str) -> Any:
    """Load the machine when somebody asks for it, not when a part of this package is wanted."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from isa.toy import configuration, control, definition, museum, ordinary  # noqa: F401

    found = definition if name == "Toy" else configuration
    return getattr(found, name)
