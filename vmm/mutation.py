"""Seeded faults in monitors, and whether the properties catch each of them.

A mutant replaces one method or function of a monitor by a wrong one while it is tried. It is caught
if a generated guest system that runs equivalently and in control under the right monitor does not
under the wrong one. A mutant that nothing catches says what the properties or the generated systems
cannot see: better those, not this list.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from random import Random
from typing import Any, Final

from emu.engines.python import Python
from emu.exit import Exit
from emu.toy.machine import ToyMachine
from emu.toy.memory import WindowMemory
from emu.toy.run import BLANK_DISK
from isa.fault import Fault
from isa.registers import Role
from isa.toy import Toy
from isa.toy.registers import SUPERVISOR, USER
from isa.toy.traps import Trap
from vmm import partitions
from vmm.equivalence import Observed, differences, lockstep
from vmm.monitors import (
    MONITORS,
    Allocation,
    Monitor,
    Paravirtual,
    Translation,
    VirtualMachine,
    control_program,
    interpreters,
    machine,
    smaller,
    translation,
)  # fmt: skip
from vmm.monitors.allocation import Allocator
from vmm.partitions import Partitions, alone
from vmm.seeded import Caught, Mutant, StuckError, Wrong, instead, then, watched
from vmm.systems import Generator, Q, System

SYSTEMS: Final = 400  # generated for each mutant at most
BOUNDARIES: Final = 700
POISON: Final = 0xA5A5A5A5
BASE: Final = 19 * 64


@dataclass(frozen=True, slots=True)
class Trial:
    """Where a mutant is tried: under which monitor, on which configuration, how deep."""

    monitor: str = "trap-and-emulate"
    isa: str = "toy/clean"
    depth: int = 1
    partitions: bool = False

    def __str__(self) -> str:
        where = " in partitions" if self.partitions else f" {self.depth} deep" * (self.depth > 1)
        return f"{self.monitor} on {self.isa}{where}"


# -- the properties -----------------------------------------------------------------------------


@cache
def _isa(name: str) -> Toy:
    return Toy(name)


@lru_cache(maxsize=4096)
def _system(name: str, seed: int) -> System:
    return Generator(_isa(name), Random(seed)).system()


def violation(trial: Trial, seed: int) -> str:
    """What is wrong with one generated system under a monitor; "" if nothing."""
    try:
        with watched(Monitor):
            return _shared(trial, seed) if trial.partitions else _alone(trial, seed)
    except StuckError:
        return "equivalence: the monitor goes on and on and its guest does not"
    except Exception as error:  # a monitor that fails is no monitor
        return f"the monitor fails: {type(error).__name__}: {error}"


def _double(isa: Toy, system: System) -> Observed:
    output = io.BytesIO()
    bare = ToyMachine(
        smaller(isa, Q), system.image, engine=Python(), entry=system.entry, output=output,
        source=io.BytesIO(system.given), disk=BLANK_DISK,
    )  # fmt: skip
    return Observed(bare, output)


def _alone(trial: Trial, seed: int) -> str:
    isa, system = _isa(trial.isa), _system(trial.isa, seed)
    monitor, output = MONITORS[trial.monitor], io.BytesIO()
    bare = ToyMachine(isa, engine=Python(), disk=BLANK_DISK)
    bare.memory.array[:] = POISON
    below: ToyMachine = bare
    for _ in range(trial.depth - 1):
        below = VirtualMachine(monitor, below, Allocation(64, below.isa.shape.storage - 128))
        below.memory.write(0, [POISON] * below.memory.size)
    virtual = VirtualMachine(
        monitor, below, Allocation(BASE, Q), system.image, entry=system.entry, output=output,
        source=io.BytesIO(system.given), disk=BLANK_DISK,
    )  # fmt: skip
    every = (1, 7, 64)[seed % 3]
    found = lockstep((_double(isa, system), Observed(virtual, output)), BOUNDARIES, every)
    if found is not None:
        return f"equivalence: {found.part} should be {found.expected} and is {found.actual}"
    first = BASE + 64 * (trial.depth - 1)
    start = first if monitor.keeps_words else 0
    words = bare.memory.array
    if (words[start:first] != POISON).any() or (words[first + Q :] != POISON).any():
        return "resource control: a word outside of the allocation has changed"
    if any(bare.state[r.name] for r in isa.registers.with_role(Role.RESOURCE)):
        return "resource control: the bare machine's timer or latches have changed"
    return ""


def _shared(trial: Trial, seed: int) -> str:
    """Three systems in partitions, with a share and a size that change."""
    isa, random = _isa(trial.isa), Random(seed)
    found = Partitions(ToyMachine(isa, engine=Python()), monitor=MONITORS[trial.monitor], quantum=9)
    doubles = []
    for number in range(3):
        system, output = _system(trial.isa, 3 * seed + number), io.BytesIO()
        found.add(str(number), Q, system.image, share=number + 1, entry=system.entry,
                  output=output, source=io.BytesIO(system.given), disk=BLANK_DISK)  # fmt: skip
        doubles.append((_double(isa, system), output))
    for turn in range(40):
        before = [p.count for p in found.members]
        partition = found.turn()
        for member, was in zip(found.members, before, strict=True):
            if member.count - was > (member.share * 9 if member is partition else 0):
                return f"resource control: partition {member.name} kept the processor too long"
            if (
                member is partition
                and member.stop is None
                and member.count - was < member.share * 9
            ):
                return f"resource control: partition {member.name} got less than its share"
        if turn % 12 == 11:
            found.resize(str(random.randrange(3)), Q + 64 * random.randrange(1, 9))
    for partition, (double, output) in zip(found.members, doubles, strict=True):
        bare = Observed(alone(partition.sizes, double.machine, partition.count), double.output)
        wrong = _first_difference(bare, Observed(partition.machine, output))
        if wrong:
            return f"equivalence: in partition {partition.name}, {wrong}"
    return "" if found.in_control() else "resource control: a word that is nobody's has changed"


def _first_difference(bare: Observed, virtual: Observed) -> str:
    """The first difference of two states."""
    for part, expected, actual in differences(bare, virtual):
        return f"{part} should be {expected} and is {actual}"
    return ""


@lru_cache(maxsize=1 << 16)
def _sound(trial: Trial, seed: int) -> bool:
    """Whether the right monitor does it right, as it must where the theorem's condition holds."""
    return not violation(trial, seed)


def attempt(mutant: Mutant[Trial], systems: int = SYSTEMS) -> Caught[Trial]:
    """Try one mutant on generated systems until one catches it."""
    for seed in range(systems):
        with mutant.planted():
            found = violation(mutant.trial, seed)
        if found and _sound(mutant.trial, seed):
            return Caught(mutant, found, seed + 1)
    return Caught(mutant, "", systems)


# -- the list -----------------------------------------------------------------------------------


def _keeping(*names: str) -> Wrong:
    """A change of the virtual state that forgets some registers (the state is an argument)."""

    def wrong(right: Any) -> Any:
        def forgetful(*arguments: Any) -> Any:
            state = next(a for a in arguments if hasattr(a, "values") and hasattr(a, "isa"))
            old = [state[name] for name in names]
            outcome = right(*arguments)
            for name, value in zip(names, old, strict=True):
                state[name] = value
            return outcome

        return forgetful

    return wrong


def _window(base: int, bound: Callable[[Allocator, int, int], int]) -> Wrong:
    """Another R for the processor: moved by `base` more, with another bound."""
    return instead(
        lambda _, a, at, b: (max(a._first + at + base, 0) & 0xFF, max(bound(a, at, b), 0) & 0x1FF)
    )


def _clipped(a: Allocator, at: int, b: int) -> int:
    return min(b, max(a._granules - at, 0))


def _slot(state: Any, name: str) -> int:
    return int(state.isa.registers[name].slot)


def _without(name: str) -> Wrong:
    """Registers loaded or stored, all but one."""

    def wrong(right: Any) -> Any:
        def forgetful(self: Monitor, state: Any, real: Any) -> None:
            slots = self._slots
            self._slots = [s for s in slots if s != _slot(state, name)]
            right(self, state, real)
            self._slots = slots

        return forgetful

    return wrong


def _fault(change: Callable[[Any, Any, Fault], Fault]) -> Wrong:
    """Another trap than the one that occurred."""
    return instead(lambda right, self, state, fault: right(self, state, change(self, state, fault)))


def _set(state: Any, name: str, value: int) -> bool:
    state[name] = value
    return True


def _counted(by: int) -> Wrong:
    def late(self: Any, state: Any, *_: Any) -> None:
        state.count += by

    return then(late)


def _as_supervisor(right: Any, self: Monitor, state: Any, fault: Fault) -> Any:
    was, state["mode"] = state["mode"], SUPERVISOR
    loads = self.isa.decode_word(fault.code or 0).form in ("LPSW", "JRST1")
    outcome = right(self, state, fault)
    if not loads:
        state["mode"] = was
    return outcome


def _skipped(*vectors: Trap) -> Wrong:
    """The guest steps over what traps, and is not told."""

    def skip(right: Any, self: Monitor, state: Any, fault: Fault) -> Any:
        if fault.vector not in vectors:
            return right(self, state, fault)
        state["p"] = state["p"] + 1
        state.count += 1
        return None

    return instead(skip)


def _from_the_old(self: Monitor, state: Any, fault: Fault) -> None:
    state["psw"] = state.memory["physical"].load(0, 1)


def _unmoved(allocator: Allocator, virtual: Any, base: int, bound: int) -> None:
    if (base, bound) != allocator._real:
        virtual["l"] = base


def _timer_late(by: int) -> Wrong:
    def late(trace: Any, state: Any, instruction: Any) -> None:
        if instruction.form == "STIMER":
            state["timer"] = state["timer"] + by

    return then(late)


def _only(form: str, wrong: Wrong) -> Wrong:
    """The fault in one interpreter routine."""

    def made(right: Any) -> Any:
        bad = wrong(right)
        return lambda trace, state, instruction: (bad if instruction.form == form else right)(
            trace, state, instruction
        )

    return made


def _without_timer_exit(right: Any, *arguments: Any) -> Any:
    outcome = right(*arguments)
    return None if isinstance(outcome, Exit) and outcome.reason == "timer" else outcome


def _without_output(right: Any, *arguments: Any) -> Any:
    outcome = right(*arguments)
    return None if isinstance(outcome, Exit) and outcome.reason == "port_write" else outcome


def _anytime(right: Any, state: Any, first: bool) -> Any:
    return Exit("window") if state.interrupt_requested else right(state, first)


def _never(right: Any, state: Any, first: bool) -> Any:
    stop = right(state, first)
    return None if stop is not None and stop.reason == "window" else stop


def _reply_lost(right: Any, self: Monitor, state: Any, until: int) -> Any:
    if state.reply is not None:
        state.reply = 0
    return right(self, state, until)


class _Dirty(WindowMemory):
    """Forgets to clear what was there."""

    _cleared = False

    def write(self, address: int, words: Any) -> None:
        """Lose the first write."""
        if self._cleared:
            super().write(address, words)
        self._cleared = True


def _real_disk(self: VirtualMachine, *_: Any, **__: Any) -> None:
    self.disk._memory = self.below.memory


def _virtual_init(change: Callable[..., None]) -> Wrong:
    def wrong(right: Any) -> Any:
        def init(self: Any, *arguments: Any, **options: Any) -> None:
            right(self, *arguments, **options)
            change(self)

        return init

    return wrong


def _lagging(right: Any, self: Allocator, virtual: Any) -> Any:
    if self.changes:
        return self._real
    return right(self, virtual)


def _only_base(right: Any, self: Allocator, virtual: Any) -> Any:
    return self._real if virtual["l"] == self._virtual[0] and self.changes else right(self, virtual)


def _one_more(right: Any, self: Monitor, state: Any, until: int) -> Any:
    return right(self, state, until + 1)


def _sees_mode(right: Any, state: Any) -> int:
    return int(state["mode"])


def _hypercall_for_all(right: Any, self: Any, state: Any, fault: Fault) -> Any:
    if fault.vector == Trap.SVC and (fault.code or 0) & 0x8000:
        return self._hypercall(state, 0x8003)
    return right(self, state, fault)


def _plain_roles(right: Any, trace: Any, isa: Toy) -> bool:
    return not trace.has("load", "store", "load_for_write", "clock", "exit")


def _one_window(right: Any, self: Translation, state: Any) -> Any:
    for (_, p), slot in self.cache.slots.items():
        if p == state["p"]:
            return slot
    return right(self, state)


def _unmapped(right: Any, self: Translation, state: Any, until: int, slot: int) -> Any:
    outcome = right(self, state, until, slot)
    if outcome is None and state["mode"] == SUPERVISOR:
        state["p"] = self.below.state["p"]
    return outcome


def _register_lost(new: Any, old: Any) -> None:
    if isinstance(new, VirtualMachine):  # not the bare double
        new.state["r5"] = 0


def _timer_lost(new: Any, old: Any) -> None:
    if isinstance(new, VirtualMachine):
        new.state["armed"] = 0


def _older(new: Any, old: Any) -> None:
    if isinstance(new, VirtualMachine):
        new.state.count += 1


def _free_elsewhere(right: Any, self: Partitions, name: str, words: int, who: Any = None) -> Any:
    found = right(self, name, words, who)
    inside = found.base >= 128
    return Allocation(found.base - 64, found.words) if inside else found


def _forgotten_storage(right: Any, self: Partitions, m: VirtualMachine, a: Allocation) -> None:
    m.memory.close()


_PDP10 = Trial("hybrid", "toy/pdp10")
_TRANSLATION = Trial("translation", "toy/pdp10")
_DECB = Trial("trap-and-emulate", "toy/decb")
_SHARED = Trial(partitions=True)
_NESTED = Trial(depth=2)
_R = "_moved_and_clipped"


def _mutant(
    name: str, what: str, owner: Any, attribute: str, wrong: Wrong, trial: Trial = Trial()
) -> Mutant[Trial]:
    return Mutant(name, what, owner, attribute, wrong, trial)


MUTANTS: Final[tuple[Mutant[Trial], ...]] = (
    _mutant("allocator-no-shift", "R is not moved to the allocation", Allocator, _R,
           instead(lambda _, a, at, b: (at, _clipped(a, at, b)))),
    _mutant("allocator-no-clip", "the bound is not clipped to the allocation", Allocator, _R,
           _window(0, lambda a, at, b: b)),
    _mutant("allocator-clip-high", "the clipped bound is one granule too large", Allocator, _R,
           _window(0, lambda a, at, b: min(b, a._granules - at + 1))),
    _mutant("allocator-clip-low", "the clipped bound is one granule too small", Allocator, _R,
           _window(0, lambda a, at, b: min(b, a._granules - at - 1))),
    _mutant("allocator-clip-without-base", "clips the bound but forgets the base", Allocator, _R,
           _window(0, lambda a, at, b: min(b, a._granules))),
    _mutant("allocator-shift-high", "R is moved one granule too far", Allocator, _R,
           _window(1, _clipped)),
    _mutant("allocator-shift-low", "R is moved one granule too little", Allocator, _R,
           _window(-1, _clipped)),
    _mutant("allocator-bound-7-bits", "the bound loses its higher bits", Allocator, _R,
           _window(0, lambda a, at, b: _clipped(a, at, b & 7))),
    _mutant("allocator-first-r", "the first R is kept for ever", Allocator, "real",
           instead(_lagging)),
    _mutant("allocator-base-only", "a new bound with the old base goes unnoticed", Allocator,
           "real", instead(_only_base)),
    _mutant("allocator-blind", "R that a guest changed itself is not looked at", Allocator,
           "observe", instead(lambda *_: None), _DECB),
    _mutant("allocator-observes-real", "R that a guest changed itself is kept unmoved", Allocator,
           "observe", then(_unmoved), _DECB),
    _mutant("real-supervisor", "virtual supervisor mode runs in real supervisor mode", Monitor,
           "_real_mode", instead(_sees_mode)),
    _mutant("enter-without-p", "the processor is entered with the P it had", Monitor, "_enter",
           instead(lambda right, s, v, m: _kept_p(right, s, v, m))),
    _mutant("leave-without-p", "P is not stored when the guest stops", Monitor, "_leave",
           _keeping("p")),
    _mutant("load-without-r0", "r0 is not loaded", Monitor, "_load", _without("r0"),
           _SHARED),
    _mutant("load-without-r7", "the stack pointer is not loaded", Monitor, "_load", _without("r7"),
           _SHARED),
    _mutant("store-without-r3", "r3 is not stored", Monitor, "_store", _without("r3")),
    _mutant("store-without-r7", "the stack pointer is not stored", Monitor, "_store",
           _without("r7")),
    _mutant("count-high", "every direct run counts one instruction too many", Monitor, "_let_run",
           _counted(1)),
    _mutant("count-low", "every direct run counts one instruction too few", Monitor, "_let_run",
           _counted(-1)),
    _mutant("one-more", "the guest keeps the processor for one instruction more", Monitor,
           "_let_run", instead(_one_more)),
    _mutant("delivery-uncounted", "a delivered trap takes no time", Monitor, "deliver",
           _counted(-1)),
    _mutant("delivery-twice-counted", "a delivered trap counts as two", Monitor, "deliver",
           _counted(1)),
    _mutant("old-psw-moved-on", "the old PSW points behind the instruction that trapped", Monitor,
           "reflect", _fault(lambda s, v, f: (_set(v, "p", v["p"] + 1), f)[1])),
    _mutant("old-psw-supervisor", "the old PSW always says supervisor mode", Monitor, "reflect",
           _fault(lambda s, v, f: (_set(v, "mode", SUPERVISOR), f)[1])),
    _mutant("old-psw-user", "the old PSW always says user mode", Monitor, "reflect",
           _fault(lambda s, v, f: (_set(v, "mode", USER), f)[1])),
    _mutant("new-psw-is-old", "the new PSW is loaded from E[0]", Monitor, "deliver",
           then(_from_the_old)),
    _mutant("handler-in-old-r", "the trap handler runs in the R of what trapped", Monitor,
           "deliver", _keeping("l", "b")),
    _mutant("handler-in-old-mode", "the trap handler runs in the mode of what trapped", Monitor,
           "deliver", _keeping("mode")),
    _mutant("wrong-cause", "privileged instructions are reflected as illegal ones", Monitor,
           "reflect", _fault(lambda s, v, f: Fault(
               Trap.ILLEGAL if f.vector == Trap.PRIVILEGED else f.vector, f.code, f.address))),
    _mutant("lost-info", "a trap's INFO is lost", Monitor, "reflect",
           _fault(lambda s, v, f: Fault(f.vector))),
    _mutant("stale-cause", "the latch CAUSE keeps what it held", Monitor, "deliver",
           _keeping("cause")),
    _mutant("real-address", "a memory trap tells the address moved by the allocation", Monitor,
           "reflect", _fault(lambda s, v, f: Fault(f.vector, f.code, None if f.address is None
                                                   else f.address + BASE))),
    _mutant("skipped-memory-trap", "an address out of the window is stepped over", Monitor,
           "reflect", _skipped(Trap.MEMORY)),
    _mutant("skipped-svc", "supervisor calls are not reflected", Monitor, "reflect",
           _skipped(Trap.SVC)),
    _mutant("skipped-division", "a division by zero goes on", Monitor, "reflect",
           _skipped(Trap.ARITHMETIC)),
    _mutant("reflect-ignores-monitor", "a trap for a monitor in the guest goes to the guest",
           Monitor, "reflect", instead(lambda right, s, v, f: s.deliver(v, f) and None), _NESTED),
    _mutant("mode-not-checked", "privileged instructions of virtual user mode are carried out",
           Monitor, "privileged", instead(_as_supervisor)),
    _mutant("never-interpreted", "privileged instructions are always the guest's trap", Monitor,
           "privileged", instead(lambda right, s, v, f: s.reflect(v, f))),
    _mutant("in-forgets-register", "IN does not write its register", Monitor, "interpret",
           _keeping("r1", "r2", "r3", "r4")),
    _mutant("interpreter-forgets-p", "interpreter routines do not move P on", interpreters,
           "carry_out", _keeping("p")),
    _mutant("lpsw-forgets-mode", "LPSW does not load M", interpreters, "carry_out",
           _only("LPSW", _keeping("mode"))),
    _mutant("lpsw-forgets-r", "LPSW does not load R", interpreters, "carry_out",
           _only("LPSW", _keeping("l", "b"))),
    _mutant("lr-forgets-bound", "LR does not load the bound", interpreters, "carry_out",
           _only("LR", _keeping("b"))),
    _mutant("lr-forgets-base", "LR does not load the base", interpreters, "carry_out",
           _only("LR", _keeping("l"))),
    _mutant("stimer-forgets-flag", "STIMER does not arm the timer", interpreters, "carry_out",
           _only("STIMER", _keeping("armed"))),
    _mutant("timer-late", "the timer fires one instruction late", interpreters, "carry_out",
           _timer_late(1)),
    _mutant("timer-early", "the timer fires one instruction early", interpreters, "carry_out",
           _timer_late(-1)),
    _mutant("timer-not-restarted", "STIMER leaves an old interrupt pending", interpreters,
           "carry_out", instead(_without_timer_exit)),
    _mutant("output-lost", "OUT does not reach the device", interpreters, "carry_out",
           instead(_without_output)),
    _mutant("interrupt-in-supervisor", "interrupts come in virtual supervisor mode too",
           control_program, "before", instead(_anytime)),
    _mutant("interrupt-never", "interrupts never come", control_program, "before",
           instead(_never)),
    _mutant("input-lost", "IN always reads 0", Monitor, "_continue", instead(_reply_lost)),
    _mutant("storage-not-cleared", "a virtual machine finds what others left", machine,
           "WindowMemory", lambda right: _Dirty, _SHARED),
    _mutant("disk-unmoved", "the disk's addresses are not moved to the allocation", VirtualMachine,
           "__init__", _virtual_init(_real_disk)),
    _mutant("hybrid-direct", "the hybrid monitor runs virtual supervisor mode directly",
           MONITORS["hybrid"], "advance",
           instead(lambda right, s, v, until: s.direct(v, until)), _PDP10),
    _mutant("hybrid-mode-stuck", "the interpreter forgets the mode that JRST 1 sets", Monitor,
           "interpret", _keeping("mode"), _PDP10),
    _mutant("interpreter-forgets-flag", "interpretation does not keep the timer's flag", Monitor,
           "interpret", _keeping("armed"), _PDP10),
    _mutant("translation-stale", "the cache is not checked after storage has changed", Translation,
           "_validate", instead(lambda *_: None), _TRANSLATION),
    _mutant("translation-runs-all", "sensitive instructions run from the cache",
           translation, "_touches_registers_only", instead(_plain_roles),
           Trial("translation", "toy/popf")),
    _mutant("translation-unlinked", "jumps in the cache go to the guest's addresses", Translation,
           "_jump_to", instead(lambda right, s, word, slot: word), _TRANSLATION),
    _mutant("translation-no-way-back", "P is left as an address of the cache", Translation,
           "_run_copy", instead(_unmapped), _TRANSLATION),
    _mutant("translation-one-window", "the cache forgets that R belongs to an address", Translation,
           "_slot", instead(_one_window), _TRANSLATION),
    _mutant("hypercall-for-all", "user programs may make hypercalls", Paravirtual, "reflect",
           instead(_hypercall_for_all), Trial("paravirtual")),
    _mutant("turn-too-long", "a turn lasts one instruction too long", Partitions, "_slice",
           instead(lambda right, s, p: right(s, p) + 1), _SHARED),
    _mutant("share-ignored", "every partition gets one share", Partitions, "_slice",
           instead(lambda right, s, p: s.quantum), _SHARED),
    _mutant("partitions-overlap", "a partition begins in another's last granule", Partitions,
           "_place", instead(_free_elsewhere), _SHARED),
    _mutant("moved-without-r5", "a partition that moves loses a register", partitions, "take_over",
           then(_register_lost), _SHARED),
    _mutant("moved-without-timer", "a partition that moves loses its timer", partitions,
           "take_over", then(_timer_lost), _SHARED),
    _mutant("move-takes-time", "a partition that moves is one instruction older", partitions,
           "take_over", then(_older), _SHARED),
    _mutant("storage-left-behind", "what a moved partition had stays behind", Partitions, "_free",
           instead(_forgotten_storage), _SHARED),
)  # fmt: skip


def _kept_p(right: Any, self: Monitor, state: Any, real: Any) -> None:
    was = real["p"]
    right(self, state, real)
    real["p"] = was
