"""Whole guest systems, generated: a kernel with a trap handler, processes, interrupts, wild code.

The kernel is code in supervisor mode with R = (0, q): it saves the registers, does a few random
things (console, disk, timer, another R, words of a process changed, a wild instruction), sometimes
steps over the instruction that trapped, and goes on with one of the processes. A process is random
code in a window of its own, which may overlap another's; it loops, calls, traps and writes itself.

All comes from one seed: systems are large, and their first divergence says more than a smaller
system would.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from isa.toy import Toy

GRANULES = 16
Q = GRANULES * 64
CODE = 24  # words of a process
HANDLER = 128  # real addresses in the kernel
COUNTING = 9  # in the handler: the word that counts traps
SAVED, TRAPS, BLOCKS = 96, 104, 108
PORTS = (0, 1, 2, 8, 8, 9, 10, 10, 16, 17, 18, 18, 19, 20, 5)
P_ONE = 2  # of LUI: one more in the PSW's P
OFTEN = ("SVC", "SVC", "LPSW", "LR", "STIMER", "IN", "OUT", "JMP", "BNZ", "ST", "STA", "LD", "POP")
MUSEUM = ("JRST1", "SPLX", "LRA", "LRA_P", "RDMODE", "MFPI", "DECB")


@dataclass(frozen=True)
class System:
    """What a machine of Q words starts with."""

    image: tuple[int, ...]
    entry: int
    given: bytes


def word(isa: Toy, name: str, **fields: int) -> int:
    """The word of an instruction; fields left out are 0."""
    row = isa.rows[name]
    return isa.encoding.encode(row, {f: fields.get(f, 0) for f in row.fields})


class Generator:
    """Makes one system."""

    def __init__(self, isa: Toy, random: Random) -> None:
        self.isa = isa
        self.random = random
        self.often = [n for n in (*OFTEN, *MUSEUM * 2) if n in isa.rows]

    def chance(self, of: int) -> bool:
        """True once in a while."""
        return self.random.randrange(of) == 0

    def below(self, end: int) -> int:
        """A number."""
        return self.random.randrange(end)

    def system(self) -> System:
        """A kernel with processes, or wild code."""
        return self.wild() if self.chance(4) else self.kernel()

    # -- words -------------------------------------------------------------------------------

    def instruction(self, near: int, without: tuple[str, ...] = ()) -> int:
        """A word: mostly an instruction whose addresses lie near, sometimes anything."""
        if self.chance(24):
            return self.random.getrandbits(32)
        names = self.often if self.chance(4) else list(self.isa.rows)
        name = self.random.choice([n for n in names if n not in without])
        fields = {f: self.below(8) for f in self.isa.rows[name].fields}
        if "imm" in fields:
            fields["imm"] = self.below(1 << 16) if self.chance(8) else self.below(near)
            if self.chance(12):
                fields["imm"] = self.edge()
        return word(self.isa, name, **fields)

    def edge(self) -> int:
        """An address at which a window or storage may end."""
        return max(64 * self.below(GRANULES + 2) - 1 + self.below(3), 0)

    def psw(self, mode: int, p: int, base: int, bound: int) -> int:
        """A PSW; sometimes with something else in it."""
        values = [0] * len(self.isa.known)
        values[8:12] = mode, p, base, bound
        packed = self.isa.known.psw.pack(values)
        return packed ^ self.random.getrandbits(32) if self.chance(60) else packed

    # -- kernels -----------------------------------------------------------------------------

    def kernel(self) -> System:
        """E[1] leads to a handler that does its activities and resumes a process."""
        image = [0] * Q
        mode = int(self.chance(30))
        image[1] = self.psw(mode, HANDLER, 0, self.random.choice([GRANULES, GRANULES, 256, 4]))
        processes = 1 + self.below(3)
        for number in range(processes):
            self.process(image, number)
        start = list(self.activities(self.below(3)))
        self.put(image, 2, [*self.li(7, Q - 1), *start, word(self.isa, "LPSW", imm=BLOCKS)])
        self.put(image, HANDLER, self.handler(processes))
        return System(tuple(image), 2, bytes(self.below(256) for _ in range(self.below(4))))

    def put(self, image: list[int], address: int, words: list[int]) -> None:
        """Words into the image, as far as they fit."""
        words = words[: Q - address]
        image[address : address + len(words)] = words

    def process(self, image: list[int], number: int) -> None:
        """A window with code, and the PSW that enters it."""
        base, bound = 4 + self.below(12), self.random.choice([1, 1, 2, 3, 6, 0, 200])
        image[BLOCKS + number] = self.psw(int(not self.chance(20)), self.below(4), base, bound)
        calm = ("LPSW", "IN", "OUT", "HALT", "STIMER", "LR") if self.chance(2) else ()
        code = [self.instruction(CODE + 3, calm) for _ in range(CODE)]
        self.put(image, base * 64, [*code, word(self.isa, "JMP", imm=self.below(CODE))])

    def li(self, register: int, value: int) -> list[int]:
        """Load a word."""
        return [
            word(self.isa, "LUI", rd=register, imm=value >> 16),
            word(self.isa, "ORI", rd=register, ra=register, imm=value & 0xFFFF),
        ]

    def handler(self, processes: int) -> list[int]:
        """Save, count traps and halt after some, be active, step over, resume."""

        def w(name: str, **operands: int) -> int:
            return word(self.isa, name, **operands)

        chosen = BLOCKS + self.below(processes)
        code = [w("STA", rd=r, imm=SAVED + r) for r in range(8)]
        code += [w("LDA", rd=4, imm=TRAPS), w("ADDI", rd=4, ra=4, imm=1)]
        code += [w("STA", rd=4, imm=TRAPS), w("LI", rd=3, imm=2 + self.below(12))]
        code += [w("BLT", rd=4, ra=3, imm=HANDLER + len(code) + 2), w("HALT")]
        code += [w("IN", rd=1, imm=0), w("IN", rd=2, imm=1)]
        code += self.activities(self.below(5))
        code.append(w("LDA", rd=4, imm=0))
        if not self.chance(4):
            code += [w("LUI", rd=3, imm=P_ONE), w("ADD", rd=4, ra=4, rb=3)]
        if not self.chance(6):
            code.append(w("STA", rd=4, imm=chosen))
        code += [w("LDA", rd=r, imm=SAVED + r) for r in range(8)]
        return [*code, w("LPSW", imm=chosen)]

    def activities(self, count: int) -> Iterator[int]:
        """What a kernel does with r1 to r4."""
        for _ in range(count):
            yield from self.random.choice(
                (self.timer, self.timer, self.output, self.input, self.disk, self.change,
                 self.rewrite, self.relocate, self.any)
            )()  # fmt: skip

    def timer(self) -> list[int]:
        """An interrupt soon."""
        return [*self.li(1, self.below(40)), word(self.isa, "STIMER", ra=1)]

    def output(self) -> list[int]:
        """Something to some port."""
        return [*self.li(1, self.below(70)), self.out(self.random.choice(PORTS))]

    def out(self, port: int) -> int:
        """r1 to a port."""
        return word(self.isa, "OUT", rd=1, imm=port)

    def input(self) -> list[int]:
        """Something from some port."""
        return [word(self.isa, "IN", rd=1 + self.below(4), imm=self.random.choice(PORTS))]

    def disk(self) -> list[int]:
        """A command that may reach outside of storage."""
        values = ((16, self.below(17)), (17, self.below(Q + 64)), (18, self.below(4)))
        return [w for port, value in values for w in (*self.li(1, value), self.out(port))]

    def change(self) -> list[int]:
        """Another word somewhere, perhaps of code."""
        place = self.random.choice(
            [self.below(Q + 8), HANDLER + self.below(60), self.below(150), self.edge()]
        )
        return [*self.li(2, self.instruction(70)), word(self.isa, "STA", rd=2, imm=place)]

    def rewrite(self) -> list[int]:
        """The handler's own counting of traps: from the next trap on it counts faster."""
        faster = word(self.isa, "ADDI", rd=4, ra=4, imm=2 + self.below(3))
        return [*self.li(2, faster), word(self.isa, "STA", rd=2, imm=HANDLER + COUNTING)]

    def relocate(self) -> list[int]:
        """Another R for the kernel itself, which is then often elsewhere."""
        base, bound = self.random.choice([0, 0, 0, 1]), self.random.choice([3, 4, 16, 300])
        return [*self.li(1, base), *self.li(2, bound), word(self.isa, "LR", ra=1, rb=2)]

    def any(self) -> list[int]:
        """A wild instruction in supervisor mode."""
        return [self.instruction(Q)]

    # -- wild code ---------------------------------------------------------------------------

    def wild(self) -> System:
        """Random words, and a trap PSW that leads back into them."""
        image = [0] * Q
        base = self.below(3)
        image[1] = self.psw(self.below(2), 4, base, self.random.choice([1, 2, 16, 300]))
        code = [self.instruction(2 * CODE) for _ in range(2 * CODE)]
        self.put(image, base * 64 + 4, code)
        image[2:4] = [self.instruction(2 * CODE), self.psw(1, 5, base, 9)]
        return System(tuple(image), self.random.choice([2, 4, 5, 64 * base + 4]), b"in")
