"""The hooks of a guest: who wants to be told what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from emu.script.calls import FunctionCall, SystemCall
from emu.script.errors import ScriptError
from emu.script.watch import READ, WRITE, Watch
from isa.hints import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emu.script.guest import ScriptGuest
    from isa.fault import Fault

EVERYWHERE = (0, 1 << 32)
BLOCK, INSTRUCTION, MEMORY, POINT = "block", "instruction", "memory", "point"
CALL, FAULT, INTERRUPT = "call", "fault", "interrupt"
PORT_READ, PORT_WRITE = "port_read", "port_write"


@dataclass(eq=False, slots=True)
class Hook:
    """What was set by one of the methods of `guest.hook`; `remove` takes it back.

    Used in a `with` statement, it is removed at the end.
    """

    kind: str
    callback: Callable[..., object]
    low: int = 0
    high: int = 1 << 32
    name: str = ""
    before: Callable[..., object] | None = None
    accesses: tuple[str, ...] = ()
    returns: dict[int, list[FunctionCall]] = field(default_factory=dict)
    active: bool = True
    _hooks: Hooks | None = None

    def remove(self) -> None:
        """No callback of it from the next instruction on; removing it twice is no error."""
        if self.active and self._hooks is not None:
            self.active = False
            self._hooks.forget(self)

    def __enter__(self) -> Hook:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Hooks:
    """`guest.hook`: each method sets a hook, which holds from the next instruction on.

    Hooks may be set and removed at any time, from other hooks too. What a callback raises leaves
    `guest.run`, with the machine between two instructions; the next run goes on from there.
    """

    def __init__(self, guest: ScriptGuest, watch: Watch) -> None:
        self._guest = guest
        self._watch = watch
        self.all: list[Hook] = []
        self.points: dict[int, list[Callable[[int], None]]] = {}

    # -- setting -------------------------------------------------------------------------------

    def instruction(self, callback: Callable[[int], object], where: Any = None) -> Hook:
        """Before each instruction in `where`: callback(address)."""
        return self._add(INSTRUCTION, callback, where)

    def block(self, callback: Callable[[int], object], where: Any = None) -> Hook:
        """Before the first instruction of each basic block that is entered: callback(address).

        A block begins where a jump, call or return, an exit (INT, HLT), a port access or a fault
        has led, taken or not; the rounds of a repeated instruction are one block.
        """
        return self._add(BLOCK, callback, where)

    def memory(
        self, callback: Callable[[str, int, int, int, int], object], where: Any = None
    ) -> Hook:
        """After an instruction, for each of its accesses that touches `where`:
        callback("read" or "write", address, size, value, pc)."""
        return self._add(MEMORY, callback, where, accesses=(READ, WRITE))

    def read(self, callback: Callable[[int, int, int, int], object], where: Any = None) -> Hook:
        """The same for reads: callback(address, size, value, pc)."""
        return self._add(MEMORY, _without_kind(callback), where, accesses=(READ,))

    def write(self, callback: Callable[[int, int, int, int], object], where: Any = None) -> Hook:
        """The same for writes: callback(address, size, value, pc)."""
        return self._add(MEMORY, _without_kind(callback), where, accesses=(WRITE,))

    def call(
        self,
        name: str | None = None,
        after: Callable[[SystemCall], object] | None = None,
        *,
        before: Callable[[SystemCall], object] | None = None,
    ) -> Hook:
        """System calls by name, or all: after(call) when one was served, before(call) before.

        `before` may call `call.replace(result)`, `after` may set `call.result`.
        """
        self._only("system calls", "process")
        if after is None and before is None:
            raise ScriptError("A system call's hook does nothing", advice="Give it a callback")
        if name is not None:
            _known_call(name)
        return self._add(CALL, after or _nothing, None, name=name or "", before=before)

    def function(
        self,
        where: int | str,
        enter: Callable[[FunctionCall], object] | None = None,
        leave: Callable[[FunctionCall], object] | None = None,
    ) -> Hook:
        """A function by symbol or address: enter(call) before its first instruction, leave(call)
        when it has returned to its caller."""
        if enter is None and leave is None:
            raise ScriptError("A function's hook does nothing", advice="Give it a callback")
        address = self._guest.address_of(where)
        name = where if isinstance(where, str) else self._guest.name_of(address)
        hook = Hook(POINT, enter or _nothing, address, address + 1, name=name)
        hook._hooks = self
        self._at(address, lambda _: self._entered(hook, enter, leave))
        return self._put(hook)

    def fault(self, callback: Callable[[Fault], object]) -> Hook:
        """A fault that the processor does not deliver itself: callback(fault). If that answers
        True, the instruction is tried again."""
        self._only("faults", "process", "code")
        return self._add(FAULT, callback, None)

    def interrupt(self, callback: Callable[[int], object]) -> Hook:
        """After INT n: callback(vector). If that answers True, nobody else serves it."""
        self._only("interrupts", "process", "code")
        return self._add(INTERRUPT, callback, None)

    def port_read(self, callback: Callable[[int, int], int | None]) -> Hook:
        """An instruction reads a port: callback(port, size) answers with the value, or None to let
        others answer."""
        return self._add(PORT_READ, callback, None)

    def port_write(self, callback: Callable[[int, int, int], object]) -> Hook:
        """An instruction has written a port: callback(port, size, value). If that answers True, no
        device sees it."""
        return self._add(PORT_WRITE, callback, None)

    def _only(self, what: str, *machines: str) -> None:
        if self._guest.machine_kind not in machines:
            raise ScriptError(
                f"There are no hooks of {what} here",
                where=f"a guest of the kind {self._guest.machine_kind!r}",
                why="Its processor delivers them to the guest itself",
                advice="Hook the function that they lead to, by its address",
            )

    def _add(
        self,
        kind: str,
        callback: Callable[..., object],
        where: Any,
        *,
        name: str = "",
        before: Callable[..., object] | None = None,
        accesses: tuple[str, ...] = (),
    ) -> Hook:
        if not callable(callback):
            raise ScriptError(f"{callback!r} cannot be called", why="A hook is a function")
        low, high = EVERYWHERE if where is None else self._guest.range_of(where)
        hook = Hook(kind, callback, low, high, name, before, accesses)
        return self._put(hook)

    def _put(self, hook: Hook) -> Hook:
        hook._hooks = self
        self.all.append(hook)
        self._watch.changed = True
        return hook

    def forget(self, hook: Hook) -> None:
        """A hook was removed."""
        self.all.remove(hook)
        self._watch.changed = True
        if hook.kind == POINT:
            self._rebuild_points()

    def of(self, kind: str) -> list[Hook]:
        """The hooks of a kind, in the order in which they were set."""
        return [hook for hook in self.all if hook.kind == kind]

    # -- functions -----------------------------------------------------------------------------

    def _at(self, address: int, callback: Callable[[int], None]) -> None:
        self.points.setdefault(address, []).append(callback)
        self._watch.changed = True

    def _rebuild_points(self) -> None:
        """Drop the callbacks of hooks that are gone."""
        kept = {hook.low for hook in self.of(POINT)}
        kept |= {address for hook in self.of(POINT) for address in hook.returns}
        self.points = {a: found for a, found in self.points.items() if a in kept}

    def _entered(
        self,
        hook: Hook,
        enter: Callable[[FunctionCall], object] | None,
        leave: Callable[[FunctionCall], object] | None,
    ) -> None:
        if not hook.active:
            return
        call = self._guest.function_call(hook.name, hook.low)
        if enter is not None:
            enter(call)
        if call.skipped:
            self._watch.changed = True
        elif leave is not None:
            if call.return_address not in hook.returns:
                hook.returns[call.return_address] = []
                self._at(call.return_address, lambda at: self._returned(hook, at, leave))
            hook.returns[call.return_address].append(call)

    def _returned(self, hook: Hook, address: int, leave: Callable[[FunctionCall], object]) -> None:
        """Somebody came to where a function returns to: those calls are over whose return address
        lies below the stack; only the outermost has returned, the others were abandoned."""
        if not hook.active:
            return
        pending, stack, ended = hook.returns[address], self._guest.registers["esp"], None
        while pending and pending[-1].stack < stack:
            ended = pending.pop()
        if ended is not None:
            ended.returned()
            leave(ended)

    # -- what the engines are told ---------------------------------------------------------------

    def settle(self) -> None:
        """Let the watch call what is set now."""
        watch = self._watch
        watch.instructions, watch.low, watch.high = _joined(self.of(INSTRUCTION))
        blocks = self.of(BLOCK)
        watch.blocks, low, high = _joined(blocks)
        if blocks and (low, high) != EVERYWHERE:
            watch.blocks = _inside(low, high, watch.blocks)
        self._settle_memory()

    def _settle_memory(self) -> None:
        watch, hooks = self._watch, self.of(MEMORY)
        watch.accesses = None
        if not hooks:
            return
        watch.access_low = min(h.low for h in hooks)
        watch.access_high = max(h.high for h in hooks)
        if len(hooks) == 1 and len(hooks[0].accesses) == 2:
            watch.accesses = hooks[0].callback
            return

        def accesses(kind: str, address: int, size: int, value: int, pc: int) -> None:
            for h in hooks:
                touches = address < h.high and address + size > h.low
                if h.active and kind in h.accesses and touches:
                    h.callback(kind, address, size, value, pc)

        watch.accesses = accesses

    def at_point(self, address: int) -> None:
        """Execution has come to a point."""
        for callback in list(self.points.get(address, ())):
            callback(address)


def _joined(told: list[Hook]) -> tuple[Callable[[int], object] | None, int, int]:
    """One callback for several hooks, and the range that holds all of theirs."""
    if not told:
        return None, 0, 0
    low, high = min(hook.low for hook in told), max(hook.high for hook in told)
    if len(told) == 1:
        return told[0].callback, low, high

    def tell(address: int) -> None:
        for hook in told:
            if hook.low <= address < hook.high and hook.active:
                hook.callback(address)

    return tell, low, high


def _inside(low: int, high: int, callback: Any) -> Callable[[int], object]:
    def tell(address: int) -> None:
        if low <= address < high:
            callback(address)

    return tell


def _without_kind(callback: Callable[[int, int, int, int], object]) -> Callable[..., object]:
    def tell(_: str, address: int, size: int, value: int, pc: int) -> None:
        callback(address, size, value, pc)

    return tell


def _nothing(_: object) -> None:
    """Stands for a callback that nobody gave."""


def _known_call(name: str) -> None:
    from emu.process.syscalls.names import NUMBERS

    if name not in NUMBERS:
        near = sorted(known for known in NUMBERS if name in known or known in name)[:5]
        raise ScriptError(
            f"Linux has no system call {name!r}",
            advice=f"Do you mean {', '.join(near)}?" if near else "See `man 2 syscalls`",
        )
