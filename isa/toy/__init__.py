"""The third-generation machine of Popek and Goldberg (CACM 17(7), 1974)."""

from isa.toy import control, museum, ordinary  # noqa: F401  # they fill the table
from isa.toy.configuration import Configuration, ConfigurationError
from isa.toy.definition import Toy

__all__ = ["Configuration", "ConfigurationError", "Toy"]
