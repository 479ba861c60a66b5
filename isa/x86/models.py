"""CPU models: what each processor has, and where it differs from the others. Data, no code.

8086: The 8086 Family User's Manual; 80286 Programmer's Reference Manual, appendix C; 386 to Pentium
II: SDM volume 3, chapter 22, "Architecture Compatibility". What the 8086 does beyond its manual is
what `tests/test_real_mode_vectors.py` compares with a real one.
"""

from __future__ import annotations

from isa.hints import Final, Iterable, Mapping
from isa.light import MappingProxyType
from isa.record import NamedTuple
from isa.registers import PackedRegister
from isa.x86.registers import CR0, CR4, EFLAGS

GENERATIONS: Final = ("8086", "286", "386", "486", "pentium", "pentium2", "pentium3", "pentium4")
"""The models, oldest first: each has every instruction that an older one has."""


def _bits(packed: PackedRegister, names: str) -> int:
    """The bits of the named parts of a packed register."""
    places = {register.name: (register.width, low) for register, low in packed.fields}
    return sum(((1 << places[n][0]) - 1) << places[n][1] for n in names.split())


class Identity(NamedTuple):
    """What CPUID tells besides the features.

    `caches` are the descriptor bytes of leaf 2 by register (SDM 2, CPUID, table 3-12); None: there
    is no leaf 2.
    """

    family: int
    model: int
    stepping: int
    vendor: bytes = b"GenuineIntel"
    caches: tuple[int, int, int, int] | None = None

    @property
    def signature(self) -> int:
        """Leaf 1's EAX, and EDX after a reset."""
        return self.family << 8 | self.model << 4 | self.stepping


class Model(NamedTuple):
    """A processor.

    `flags` are the bits of EFLAGS that can be written, `real_flags` those of them in real-address
    mode; `fixed_flags` always read as 1. `prefixes` are the bytes that are prefixes here, `aliases`
    opcodes that mean what another one does.
    """

    name: str
    identity: Identity
    flags: int
    real_flags: int
    fixed_flags: int = 1 << 1
    start: tuple[int, int, int] = (0xF000, 0xFFFF0000, 0xFFF0)  # CS, its base, IP after a reset
    cr0: int = 0
    cr4: int = 0
    prefixes: bytes = bytes.fromhex("26 2E 36 3E 64 65 66 67 F0 F2 F3")
    aliases: Mapping[int, int] = MappingProxyType({})
    longest: int = 15  # bytes of an instruction; longer ones are #GP(0)
    has_coprocessor: bool = True
    checks_lock: bool = True  # LOCK is #UD where it makes no sense
    is_8086: bool = False  # segments wrap, counts are whole, SP is pushed as it becomes; no #UD

    @property
    def generation(self) -> int:
        """Place among the generations."""
        return GENERATIONS.index(self.name)

    def has(self, since: str) -> bool:
        """Whether it has what there is since a model."""
        return GENERATIONS.index(since) <= self.generation


_COMMON_FLAGS: Final = "cf pf af zf sf tf if df of"
_FLAGS_286: Final = _bits(EFLAGS, f"{_COMMON_FLAGS} iopl nt")
_FLAGS_386: Final = _FLAGS_286 | _bits(EFLAGS, "rf vm")
_FLAGS_486: Final = _FLAGS_386 | _bits(EFLAGS, "ac")
_FLAGS_PENTIUM: Final = _FLAGS_486 | _bits(EFLAGS, "vif vip id")
_CR0_286: Final = _bits(CR0, "pe mp em ts")
_CR0_386: Final = _CR0_286 | _bits(CR0, "et pg")
_CR0_486: Final = _CR0_386 | _bits(CR0, "ne wp am nw cd")
_CR4_PENTIUM: Final = _bits(CR4, "vme pvi tsd de pse")
_SSE: Final = _bits(CR4, "osfxsr osxmmexcpt")
_CR4_PENTIUM2: Final = _CR4_PENTIUM | _bits(CR4, "pge pce umip")  # UMIP: a switch, not Intel's

_8086: Final = Model(
    "8086",
    Identity(0, 0, 0),
    flags=_bits(EFLAGS, _COMMON_FLAGS),
    real_flags=_bits(EFLAGS, _COMMON_FLAGS),
    fixed_flags=0xF002,
    start=(0xFFFF, 0xFFFF0, 0),
    prefixes=bytes.fromhex("26 2E 36 3E F0 F1 F2 F3"),
    aliases={n: n + 0x10 for n in range(0x60, 0x70)} | {n: n + 2 for n in (0xC0, 0xC1, 0xC8, 0xC9)},
    has_coprocessor=False,
    checks_lock=False,
    is_8086=True,
)
_286: Final = Model(
    "286",
    Identity(2, 0, 0),
    flags=_FLAGS_286,
    real_flags=_bits(EFLAGS, _COMMON_FLAGS),
    start=(0xF000, 0xFF0000, 0xFFF0),
    cr0=_CR0_286,
    prefixes=bytes.fromhex("26 2E 36 3E F0 F1 F2 F3"),
    longest=10,
    has_coprocessor=False,
    checks_lock=False,
)
_386: Final = Model(
    "386", Identity(3, 0, 8), _FLAGS_386, _FLAGS_386, cr0=_CR0_386, has_coprocessor=False
)
_486: Final = Model("486", Identity(4, 0, 4), _FLAGS_486, _FLAGS_486, cr0=_CR0_486)
_PENTIUM: Final = Model(
    "pentium", Identity(5, 2, 12), _FLAGS_PENTIUM, _FLAGS_PENTIUM, cr0=_CR0_486, cr4=_CR4_PENTIUM
)
# With 512 KiB of second-level cache: 4 KiB and 4 MiB TLBs, L1 of 16 + 16 KiB and L2 of 512 KiB,
# 4-way, 32-byte lines.
_PENTIUM2: Final = _PENTIUM._replace(
    name="pentium2",
    identity=Identity(6, 3, 4, caches=(0x03020101, 0, 0, 0x0C040843)),
    cr4=_CR4_PENTIUM2,
)

_PENTIUM3: Final = _PENTIUM2._replace(
    name="pentium3", identity=_PENTIUM2.identity._replace(model=7, stepping=3),
    cr4=_CR4_PENTIUM2 | _SSE,
)  # fmt: skip
# 64-byte lines: 64-entry TLBs, L1 of 8 KiB, a trace cache of 12 K, L2 of 256 KiB.
_PENTIUM4: Final = _PENTIUM3._replace(
    name="pentium4",
    identity=Identity(15, 2, 4, caches=(0x665B5001, 0, 0, 0x007A7040)),
)  # fmt: skip


def _by_name(models: Iterable[Model]) -> Mapping[str, Model]:
    return {model.name: model for model in models}


MODELS: Final = _by_name((_8086, _286, _386, _486, _PENTIUM, _PENTIUM2, _PENTIUM3, _PENTIUM4))
"""The models by the names that `--cpu` takes."""


USER: Final = "user:"
"""What names of processors without a system half, those of process machines, begin with."""


def model_of(name: str) -> Model:
    """The model of a mode; "", what nobody has chosen for a process machine, is a Pentium II."""
    return MODELS[name.removeprefix(USER) or "pentium2"]


def has_system(name: str) -> bool:
    """Whether a mode's model has a system half."""
    return bool(name) and not name.startswith(USER)
