"""The sizes of one toy machine, from which every width follows."""

from __future__ import annotations

from dataclasses import dataclass

OPCODE_BITS = 8
REGISTER_FIELD_BITS = 4  # two register fields stand between the opcode and the immediate
WIDEST_WORD = 32  # what memory stores as one element


@dataclass(frozen=True, slots=True)
class Shape:
    """`words` that can be addressed, the `granule` of relocation in words, bits of a `word`.

    `installed` is the paper's q, how many words of storage there are; None: all that can be
    addressed. A virtual machine is a machine with the same instructions and less storage.

    `modes` is 2, or 4 as on rings: mode 0 is the paper's s, all others are u. With `unmapped`,
    addresses whose highest bit is 1 are the supervisor's to reach storage without R (MIPS: KSEG0).
    Raises ValueError saying what does not fit and what would.
    """

    words: int = 16384
    granule: int = 64
    word: int = 32
    modes: int = 2
    unmapped: bool = False
    installed: int | None = None

    def __post_init__(self) -> None:
        for name in ("words", "granule"):
            if not _is_power_of_two(getattr(self, name)):
                raise ValueError(f"{name} = {getattr(self, name)} is not a power of two")
        if self.modes not in (2, 4):
            raise ValueError(f"modes = {self.modes}: a machine has 2 modes, or 4 rings; choose one")
        if self.words < 2:
            raise ValueError(
                "words = 1 leaves no room: a trap stores into word 0 and loads from word 1"
            )
        if self.granule > self.words:
            raise ValueError(f"granule = {self.granule} is more than words = {self.words}")
        if self.narrowest_word > WIDEST_WORD:
            raise ValueError(
                f"words = {self.words} with granule = {self.granule}: {self._needs()}; choose "
                "fewer words or a larger granule"
            )
        if not self.narrowest_word <= self.word <= WIDEST_WORD:
            raise ValueError(
                f"word = {self.word} bits: {self._needs()}; choose {self.narrowest_word}.."
                f"{WIDEST_WORD} bits"
            )

        if not 2 <= self.storage <= self.words or self.storage % self.granule:
            raise ValueError(
                f"installed = {self.installed} words: choose a multiple of granule = "
                f"{self.granule} from 2 to words = {self.words}"
            )

    @property
    def storage(self) -> int:
        """How many words of storage there are: the paper's q."""
        return self.words if self.installed is None else self.installed

    def _needs(self) -> str:
        return (
            f"a PSW has {self.psw_bits} bits, an instruction {self._code_bits} bits, "
            f"and memory holds at most {WIDEST_WORD}"
        )

    @property
    def m_bits(self) -> int:
        """Width of M."""
        return self.modes.bit_length() - 1

    @property
    def least_privileged(self) -> int:
        """The value of M in which users' programs run."""
        return self.modes - 1

    @property
    def p_bits(self) -> int:
        """Width of the program counter: it can hold any address of storage."""
        return self.words.bit_length() - 1

    @property
    def granule_bits(self) -> int:
        """How many low bits of an address lie inside a granule."""
        return self.granule.bit_length() - 1

    @property
    def l_bits(self) -> int:
        """Width of the relocation register's base, in granules."""
        return max(self.p_bits - self.granule_bits, 1)

    @property
    def b_bits(self) -> int:
        """Width of its bound, in granules; one bit more, so that b = q ("all") can be said.

        The paper's R = (0, q-1) with a trap at a >= b would leave word q-1 out of reach.
        """
        return self.p_bits - self.granule_bits + 1

    @property
    def psw_bits(self) -> int:
        """M, P and R: the paper assumes that they fit one word; this machine makes sure."""
        return self.m_bits + self.p_bits + self.l_bits + self.b_bits

    @property
    def _code_bits(self) -> int:
        return OPCODE_BITS + 2 * REGISTER_FIELD_BITS + max(self.p_bits, REGISTER_FIELD_BITS)

    @property
    def narrowest_word(self) -> int:
        """Bits that both a PSW and an instruction with an address in it need."""
        return max(self.psw_bits, self._code_bits)

    @property
    def imm_bits(self) -> int:
        """Width of the immediate operand: what opcode and two registers leave of a word."""
        return self.word - OPCODE_BITS - 2 * REGISTER_FIELD_BITS

    @property
    def all_granules(self) -> int:
        """The bound that lets a program reach all of storage."""
        return self.storage // self.granule


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & number - 1 == 0
