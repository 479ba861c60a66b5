"""Seeded faults in the PC's monitors, and whether generated systems catch each of them.

A mutant is caught if a system that runs equivalently and in control under the right monitor does
not under the wrong one, as in `vmm.mutation`, which does the same for the toy's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, lru_cache
from random import Random
from typing import Any, Final

from emu.engines.stepper import Stepper
from emu.exit import Exit
from emu.memory import READ
from emu.room import copy_of
from isa.fault import Fault
from isa.registers import Register
from isa.trace import Trace
from isa.x86 import registers as r
from isa.x86.form import Form
from isa.x86.tracing import trace, trace_behind
from isa.x86.vectors import PAGE_FAULT
from vmm.pc import assist, control_program, direct, processor, translated, translation
from vmm.pc.assist import HardwareAssist
from vmm.pc.control_program import Monitor
from vmm.pc.direct import Hybrid
from vmm.pc.processor import Processor
from vmm.pc.sensitivity import Sensitivity, at_level
from vmm.pc.shadow import OWN_LINEAR, Shadow
from vmm.pc.systems.generator import System, generate
from vmm.pc.systems.laboratory import Bench, Laboratory, Noted, new_bare
from vmm.pc.translated import Kernel
from vmm.pc.translation import Translation, Unit
from vmm.pc.vmx import io
from vmm.pc.vmx.ept import Ept
from vmm.pc.vmx.nested_paging import NestedPaging
from vmm.pc.vmx.shadow_paging import ShadowPaging
from vmm.pc.window import PhysicalWindow
from vmm.seeded import Caught, Mutant, StuckError, Wrong, instead, then, watched

SYSTEMS: Final = 150  # generated for each mutant at most


@dataclass(frozen=True, slots=True)
class Trial:
    """Under which monitor a mutant is tried, and with which paging if that is hardware assistance.

    `units`: ring 0 runs unit by unit, as translation has it on a machine that is virtual itself.
    """

    monitor: str
    paging: str | None = None
    units: bool = False

    def __str__(self) -> str:
        how = f" with {self.paging} paging" * bool(self.paging) + " by units" * self.units
        return f"{self.monitor}{how} on the PC"

    def laboratory(self) -> Laboratory:
        """One with the monitor alone, which is right as long as nothing is planted."""
        if not self.units:
            return self._laboratory()
        below = Mutant(
            "units", "the machine below is a virtual one", translation, "is_real",
            instead(lambda *_: False), self,
        )  # fmt: skip
        with below.planted():
            return self._laboratory()

    def _laboratory(self) -> Laboratory:
        return Laboratory(monitors=(self.monitor,), bare=_bare(), paging=self.paging)


# -- the property --------------------------------------------------------------------------------


@cache
def _bare() -> Bench:
    return Bench(new_bare(Stepper()))


@lru_cache(maxsize=512)
def _noted(seed: int) -> tuple[System, Noted]:
    system = generate(Random(seed))
    return system, Laboratory(monitors=(), bare=_bare()).note(system)


def violation(laboratory: Laboratory, seed: int) -> str:
    """What is wrong with one generated system; "" if nothing."""
    system, noted = _noted(seed)
    try:
        with watched(Monitor):
            found = laboratory.compare(system, noted)
    except StuckError:
        return "equivalence: the monitor goes on and on and its guest does not"
    except Exception as error:  # a monitor that fails is no monitor
        return f"the monitor fails: {type(error).__name__}: {error}"
    return "" if found is None else str(found)


def attempt(mutant: Mutant[Trial], systems: int = SYSTEMS) -> Caught[Trial]:
    """Try one mutant on generated systems until one catches it."""
    laboratory = mutant.trial.laboratory()
    for seed in range(systems):
        _noted(seed)  # what is right is not noted under a wrong monitor
        with mutant.planted():
            found = violation(laboratory, seed)
        if found and _sound(mutant.trial, seed):
            return Caught(mutant, found, seed + 1)
    return Caught(mutant, "", systems)


@lru_cache(maxsize=1 << 12)
def _sound(trial: Trial, seed: int) -> bool:
    """Whether the right monitor does it right."""
    return not violation(trial.laboratory(), seed)


# -- wrong code -----------------------------------------------------------------------------------


def _without(*registers: Register) -> Wrong:
    """Some registers are left as the guest has them: constants, by slot."""
    slots = {register.slot for register in registers}
    return lambda right: [(slot, value) for slot, value in right if slot not in slots]


def _with(register: Register, number: int) -> Wrong:
    """Another constant."""
    return lambda right: [(s, number if s == register.slot else v) for s, v in right]


def _computed(register: Register, change: Any) -> Wrong:
    """Another value of what is computed at each entry."""

    def wrong(right: Any, self: Processor, state: Any, user: bool) -> Any:
        found = right(self, state, user)
        return found | {register: change(self, state, user, found[register])}

    return instead(wrong)


def _mark_only(_: Any, self: Shadow, state: Any) -> None:
    self._mark, _pages = state.memory["linear"].changes_since(self._mark)


def _only_the_users(_: Any, self: Shadow) -> None:
    self.trees[True].clear()
    self._below.linear.invalidate(0, 2)


def _filling(**changes: bool) -> Wrong:
    """Another access is looked up than the one that was made."""

    def wrong(right: Any) -> Any:
        return lambda self, state, address, **asked: right(self, state, address, **asked | changes)

    return wrong


def _fill_split(right: Any) -> Any:
    def wrong(self: Shadow, state: Any, address: int, *, write: bool, user: bool) -> Any:
        found = right(self, state, address, write=write, user=user)
        memory = state.memory["linear" if user else "system"]
        where = memory.translate(address, 2 if write else 4)
        if found or isinstance(where, Fault) or address >= OWN_LINEAR:
            return found
        self._map(user, address, self._allocation.base + where, True)
        return True

    return wrong


def _reflected(right: Any, self: Monitor, state: Any, stop: Exit) -> Any:
    if stop.fault is None or stop.fault.vector == PAGE_FAULT:
        return right(self, state, stop)
    return None if self.deliver(state, stop.fault) else stop


def _hidden_always(right: Any, self: Monitor, state: Any, fault: Fault) -> bool:
    return bool(right(self, state, fault)) or fault.vector == PAGE_FAULT


def _reply_lost(right: Any, self: Monitor, state: Any, until: int) -> Any:
    if state.reply is not None:
        state.reply = 0
    return right(self, state, until)


def _delivered(**changes: int) -> Wrong:
    """What a fault's delivery is told is wrong."""
    return instead(
        lambda right, self, state, trace, fields: right(self, state, trace, fields | changes)
    )


def _counted(by: int) -> Wrong:
    def late(self: Any, state: Any, *_: Any) -> None:
        state.count += by

    return then(late)


def _anytime(right: Any, state: Any, first: bool) -> Any:
    return Exit("window") if state.interrupt_requested else right(state, first)


def _never(right: Any, state: Any, first: bool) -> Any:
    stop = right(state, first)
    return None if stop is not None and stop.reason == "window" else stop


def _sensitive_by(*kept: str) -> Wrong:
    """Some reasons of sensitivity do not count."""
    plain = {"reads": (), "writes": (), "by_level": False}
    forgotten = {name: value for name, value in plain.items() if name not in kept}
    return instead(lambda right, form: replace(right(form), **forgotten))


def _never_again(right: Any, self: Translation, state: Any, mode: Any) -> Unit:
    address = (state["cs_base"] + state.pc) & 0xFFFFFFFF
    known = self._units.get((mode, address))
    found: Unit = right(self, state, mode) if known is None else known
    return found


def _longer(right: Any, self: Translation, *arguments: Any) -> Unit:
    unit: Unit = right(self, *arguments)
    return replace(unit, length=unit.length + 1) if unit.length and not unit.repeats else unit


def _inline(*registers: Register) -> Wrong:
    """What changes one of some registers is no call-out."""

    def wrong(right: Any, form: Form) -> str:
        written = trace(form).written()
        return translated.INLINE if written & set(registers) else right(form)

    return instead(wrong)


def _inline_at_level_3(right: Any, self: translated.Translated, form: Form) -> Trace:
    found: Trace = right(self, form)
    return trace(at_level(form, 3)) if translated.kind(form) is translated.INLINE else found


def _left_out(_: Any, form: Form, __: int) -> Trace:
    return trace_behind(form, lambda _: True)


def _request_unseen(right: Any, self: Any, state: Any, *rest: Any) -> Any:
    asked, state.interrupt_requested = state.interrupt_requested, False
    try:
        return right(self, state, *rest)
    finally:
        state.interrupt_requested = asked


def _walking(**changes: Any) -> Wrong:
    """Another access is walked for than the one that is made."""

    def wrong(right: Any) -> Any:
        return lambda self, address, access, *, user: right(
            self, address, **{"access": access, "user": user} | changes
        )

    return wrong


def _no_output(right: Any, self: Any, state: Any, reads: bool, *rest: Any) -> Any:
    return right(self, state, reads, *rest) if reads else None


def _code_lost(right: Any, self: Any, state: Any, fault: Fault) -> Any:
    return right(self, state, fault._replace(code=fault.code and 0))


def _without_below(_: Any, self: PhysicalWindow, address: int, data: bytes) -> None:
    self.view[address : address + len(data)] = data


def _kept_selectors(right: Any, self: Processor, state: Any) -> None:
    loaded, self._loaded = self._loaded, copy_of(self._loaded)
    for slot in processor._SELECTORS:
        self._loaded[slot] = 0xFFFF
    right(self, state)
    self._loaded = loaded


def _registers_lost(*names: str) -> Wrong:
    """Left as they were when the guest got the processor."""

    def wrong(right: Any, self: Processor, state: Any) -> None:
        old = [state[name] for name in names]
        right(self, state)
        for name, value in zip(names, old, strict=True):
            state[name] = value

    return instead(wrong)


# -- the list -------------------------------------------------------------------------------------

_HYBRID, _TRANSLATION, _ASSIST = (
    Trial(name) for name in ("hybrid", "translation", "hardware-assist")
)
_INTERPRETATION: Final = Trial("interpretation")
_UNITS: Final = Trial("translation", units=True)
_SHADOWED: Final = Trial("hardware-assist", paging="shadow")
_CONSTANTS: Final = "_CONSTANT_SLOTS"

MUTANTS: Final[tuple[Mutant[Trial], ...]] = (
    Mutant("shadow-remembers", "INVLPG and CR3 do not reach the shadow tables", Shadow, "refresh",
           instead(_mark_only), _HYBRID),
    Mutant("shadow-remembers-kernel", "only the user's shadow tables forget", Shadow, "_clear",
           instead(_only_the_users), _TRANSLATION),
    Mutant("shadow-writable", "each page is mapped writable: dirty bits are missed", Shadow, "_map",
           instead(lambda right, s, user, at, where, _: right(s, user, at, where, True)), _HYBRID),
    Mutant("shadow-never-writable", "pages are never mapped writable", Shadow, "_map",
           instead(lambda right, s, user, at, where, _: right(s, user, at, where, False)), _HYBRID),
    Mutant("shadow-frame-high", "a page is mapped to the next frame", Shadow, "_map",
           instead(lambda right, s, user, at, where, w: right(s, user, at, where + 4096, w)),
           _HYBRID),
    Mutant("shadow-unmoved", "frames are not moved by the allocation", Shadow, "_map",
           instead(lambda right, s, user, at, where, w: right(
               s, user, at, where - s._allocation.base, w)), _HYBRID),
    Mutant("shadow-other-tree", "the user's pages go to the supervisor's tree", Shadow, "_map",
           instead(lambda right, s, user, at, where, w: right(s, not user, at, where, w)), _HYBRID),
    Mutant("shadow-supervisors-rights", "user programs have the supervisor's rights", Shadow,
           "fill", _filling(user=False), _HYBRID),
    Mutant("shadow-reads-only", "a write's right is not asked for, and never given", Shadow, "fill",
           _filling(write=False), _HYBRID),
    Mutant("shadow-dirty-early", "a read asks for the right to write", Shadow, "fill",
           _filling(write=True), _HYBRID),
    Mutant("shadow-split", "what reads and writes find apart is mapped as one", Shadow, "fill",
           _fill_split, _HYBRID),
    Mutant("tables-unaligned", "a descriptor table is shown from the start of its page", Shadow,
           "show", instead(lambda right, *given: right(*given) & ~0xFFF), _HYBRID),
    Mutant("iopl-3", "the guest runs with IOPL 3", processor, _CONSTANTS, _with(r.IOPL, 3),
           _HYBRID),
    Mutant("real-sysenter", "SYSENTER is left to the guest", processor, _CONSTANTS,
           _without(r.SYSENTER_CS, r.SYSENTER_ESP, r.SYSENTER_EIP), _HYBRID),
    Mutant("no-umip", "UMIP is not switched on", Processor, "_computed",
           _computed(r.UMIP, lambda *_: 0), _HYBRID),
    Mutant("no-alignment", "alignment is never checked", Processor, "_computed",
           _computed(r.AM, lambda *_: 0), _HYBRID),
    Mutant("other-rights", "each side has the other's shadow tables", Processor, "_computed",
           _computed(r.CR3, lambda s, state, user, _: s._shadow.trees[not user].directory),
           _TRANSLATION),
    Mutant("real-time", "the time stamp is the machine's below", Processor, "_computed",
           _computed(r.TSC_OFFSET, lambda s, state, *_: state.values[r.TSC_OFFSET.slot]), _HYBRID),
    Mutant("short-gdt", "the GDT is shown without its second half", Processor, "_computed",
           _computed(r.GDT_LIMIT, lambda s, state, user, found: found // 2), _HYBRID),
    Mutant("no-ldt", "the LDT is not shown", Processor, "_computed",
           _computed(r.LDT_LIMIT, lambda *_: 0), _HYBRID),
    Mutant("tree-not-switched", "nothing is forgotten between the two rings", Processor, "_switch",
           instead(lambda *_: None), _UNITS),
    Mutant("kept-left-behind", "what the monitor keeps becomes the guest's", processor,
           "_KEPT_SLOTS", lambda right: right[:3], _HYBRID),
    Mutant("level-shown", "CS and SS keep the real level", Processor, "leave",
           instead(_kept_selectors), _UNITS),
    Mutant("flag-lost", "the carry of direct code is not stored", Processor, "leave",
           _registers_lost("cf"), _HYBRID),
    Mutant("segment-lost", "ES is not stored", Processor, "leave",
           _registers_lost("es", "es_base", "es_limit", "es_attributes"), _HYBRID),
    Mutant("count-high", "a direct run counts one instruction too many", Monitor, "_let_run",
           _counted(1), _HYBRID),
    Mutant("one-more", "the guest keeps the processor for one instruction more", Monitor,
           "_let_run", instead(lambda right, s, v, until: right(s, v, until + 1)), _TRANSLATION),
    Mutant("traps-reflected", "the real processor's traps are given to the guest", Monitor,
           "dispatch", instead(_reflected), _HYBRID),
    Mutant("faults-hidden", "page faults of the guest are taken for the monitor's", Monitor,
           "_hidden", instead(_hidden_always), _HYBRID),
    Mutant("input-lost", "IN always reads 0", Monitor, "_continue", instead(_reply_lost),
           _INTERPRETATION),
    Mutant("address-lost", "a page fault does not tell its address", Stepper, "enter_handler",
           _delivered(address=0), _INTERPRETATION),
    Mutant("code-lost", "a fault's error code is 0", Stepper, "enter_handler", _delivered(code=0),
           _HYBRID),
    Mutant("no-code", "a fault has no error code", Stepper, "enter_handler", _delivered(coded=0),
           _TRANSLATION),
    Mutant("interrupt-anytime", "interrupts come whatever IF says", control_program, "before",
           instead(_anytime), _INTERPRETATION),
    Mutant("interrupt-never", "interrupts never come", control_program, "before",
           instead(_never), _INTERPRETATION),
    Mutant("delivery-uncounted", "a delivered interrupt takes no time", Monitor, "deliver",
           _counted(-1), _INTERPRETATION),
    Mutant("interpreter-late", "an interpreted instruction counts twice", Monitor, "interpret",
           _counted(1), _HYBRID),
    Mutant("v86-direct", "virtual-8086 mode runs directly", direct, "is_protected",
           instead(lambda _, state: bool(state.values[r.PE.slot])), _HYBRID),
    Mutant("flags-shown", "ring 3 runs directly whatever its IF and IOPL", direct, "looks_alike",
           instead(lambda *_: True), _HYBRID),
    Mutant("kernel-direct", "the hybrid monitor runs ring 0 directly", Hybrid, "advance",
           instead(lambda right, s, v, until: s.direct(v, until)
                   if direct.is_protected(v) and not v["cpl"] else right(s, v, until)), _HYBRID),
    Mutant("ring-1-direct", "the hybrid monitor runs ring 1 directly", Hybrid, "advance",
           instead(lambda right, s, v, until: s.direct(v, until)
                   if direct.is_protected(v) and v["cpl"] == 1 else right(s, v, until)), _HYBRID),
    Mutant("reads-innocuous", "what reads the monitor's registers runs directly", translation,
           "sensitivity", _sensitive_by("writes", "by_level"), _UNITS),
    Mutant("all-innocuous", "everything runs directly", translation, "sensitivity",
           instead(lambda *_: Sensitivity((), (), by_level=False)), _UNITS),
    Mutant("unit-stale", "a unit is never looked at again", Translation, "_unit",
           instead(_never_again), _UNITS),
    Mutant("unit-goes-on", "a unit goes on behind a store", translation, "_STORES",
           lambda _: frozenset(), _UNITS),
    Mutant("unit-too-long", "a unit ends one instruction late", Translation, "_scan",
           instead(_longer), _UNITS),
    Mutant("assist-more", "hardware assist runs one instruction more", HardwareAssist, "run",
           instead(lambda right, s, v, until: right(s, v, until + 1)), _ASSIST),
    Mutant("assist-uninjected", "an interrupt is acknowledged and not injected", HardwareAssist,
           "deliver", instead(lambda *_: True), _ASSIST),
    Mutant("assist-no-output", "output is let through to nobody", HardwareAssist, "_port",
           instead(_no_output), _ASSIST),
    Mutant("assist-no-halt", "exits for HLT are lost", HardwareAssist, "_simple",
           instead(lambda *_: None), _ASSIST),
    Mutant("assist-ports", "no port exits: the real devices are the guest's", io, "exits",
           instead(lambda *_: False), _ASSIST),
    Mutant("assist-anytime", "interrupts are injected where no window is open", assist,
           "window_open", instead(lambda *_: True), _ASSIST),
    Mutant("assist-code-lost", "an injected exception has 0 for its error code", HardwareAssist,
           "_inject", instead(_code_lost), _SHADOWED),
    Mutant("ept-frame-high", "a page of the guest's is mapped to the next frame", Ept, "map",
           instead(lambda right, s, at, where, rights: right(s, at, where + 4096, rights)),
           _ASSIST),
    Mutant("nested-supervisors-rights", "walks have the supervisor's rights", NestedPaging,
           "_evaluated", instead(lambda right, s, at, access, _: right(s, at, access, False)),
           _ASSIST),
    Mutant("assist-no-flush", "the shadow tables of non-root operation forget nothing",
           ShadowPaging, "invalidated", instead(lambda *_: None), _SHADOWED),
    Mutant("assist-writable", "shadow tables of non-root operation let everything be written",
           ShadowPaging, "_map", instead(lambda right, s, at, where, _, user: right(
               s, at, where, True, user)), _SHADOWED),
    Mutant("call-outs-left-out", "call-outs do nothing", translated, "faulting",
           instead(_left_out), _TRANSLATION),
    Mutant("all-identical", "all translations are identical", translated, "kind",
           instead(lambda *_: translated.IDENTICAL), _TRANSLATION),
    Mutant("cr3-inline", "CR3 is loaded inline", translated, "kind", _inline(r.CR3), _TRANSLATION),
    Mutant("level-inline", "changes of the level are no call-outs", translated, "kind",
           _inline(r.CPL), _TRANSLATION),
    Mutant("inline-at-level-3", "what is inline means what it does in ring 3",
           translated.Translated, "trace", instead(_inline_at_level_3), _TRANSLATION),
    Mutant("kernel-remembers", "translated code keeps translations that were flushed", Kernel,
           "forget", instead(lambda *_: None), _TRANSLATION),
    Mutant("kernel-late", "translated code counts one instruction too many", Kernel, "run",
           _counted(1), _TRANSLATION),
    Mutant("kernel-uninterrupted", "translated code does not stop at an interrupt's window",
           Kernel, "run", instead(_request_unseen), _TRANSLATION),
    Mutant("kernel-writable", "translated code stores where it may read", translated._Tree,
           "translated", _walking(access=READ), _TRANSLATION),
    Mutant("kernel-unmoved", "translated code finds pages not moved back", translated._Tree,
           "place", instead(lambda right, s, found, access: right(s, found, access) + 4096),
           _TRANSLATION),
    Mutant("code-unseen", "the engine below is not told of writes to its code", PhysicalWindow,
           "write", instead(_without_below), _HYBRID),
)  # fmt: skip
