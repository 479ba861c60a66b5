"""The PC: a processor, its memory and a board, run by an engine."""

from __future__ import annotations

import hashlib

from emu.engines import Engine
from emu.engines.reference import evaluate
from emu.exit import UNTIL, Exit
from emu.memory import PhysicalMemory
from emu.pc.board import PLAIN, Board
from emu.pc.memory import PhysicalMap
from emu.pc.options import Options
from emu.pc.paging import attach_memory
from emu.pc.rest import Rest
from emu.state import State
from isa.fault import Fault
from isa.x86.delivery import nmi_interruptible
from isa.x86.machine import X86
from isa.x86.mode import mode_of
from isa.x86.models import model_of
from isa.x86.registers import IF
from isa.x86.reset import reset_values
from isa.x86.vectors import NMI

MEBIBYTE = 1 << 20
_EVENT = Exit("event")  # a handler has served an exit, and a device wants something now


class PcMachine:
    """A PC just after power-on: the processor begins at the reset vector, 16 bytes below 4 GiB.

    `run` answers with an Exit: "until"; "halt" (nothing will ever wake the processor); "shutdown"
    (a triple fault: `state.shut_down` has its faults); "off" (the guest ended the machine,
    `board.exit_code`); "breakpoint"; "unimplemented"; and, with `state.intercept_traps`, "fault".
    """

    def __init__(
        self,
        engine: Engine,
        *,
        model: str = "pentium2",
        memory: int = 64 * MEBIBYTE,
        options: Options = PLAIN,
        storage: PhysicalMemory | None = None,
    ) -> None:
        """`storage`: where its memory lies, if not in an array of its own (a virtual machine)."""
        self.engine = engine
        self.isa = X86(model)
        self.state = State(self.isa, {})
        self.memory = PhysicalMap(memory, storage)
        self.linear = attach_memory(self.state, self.memory)
        self.board = Board(
            self.memory.physical,
            options,
            a20_changed=self.memory.set_a20,
            pam_changed=self.memory.shadow,
        )
        self._rest = Rest(options.serial, options.mips)
        self.halted = False
        self._nmi = False  # one waits, at the board or in the processor
        self._horizon = 0  # of the engine's run under way
        self.state.handlers |= {
            "port_read": self._read_port,
            "port_write": self._write_port,
            "window": self._interrupt,
            "halt": self._halt,
        }
        self.reset()

    def reset(self) -> None:
        """What the RESET line does to the processor; memory and devices stay."""
        self.halted, self.state.shut_down, self._nmi = False, (), False
        for register, value in reset_values(model_of(self.isa.model)).items():
            self.state.write(register, value)
        self.memory.changed()

    def digest(self) -> str:
        """SHA-256 of everything a guest could notice: processor, memory, devices, time.

        Whether the processor has halted counts, what engines have cached does not.
        """
        found = hashlib.sha256(self.memory.physical.view[: self.memory.ram])
        snapshot = self.board.snapshot()
        state = self.state
        found.update(repr((state.count, self.halted, state.shut_down, self._nmi)).encode())
        found.update(repr((self.state.registers(), snapshot)).encode())
        return found.hexdigest()

    def request_nmi(self) -> None:
        """Raise the NMI line, as a watchdog or a button does: the processor takes one NMI, once the
        board (port 70h, bit 7) lets it pass and none is being handled; it ends a HLT."""
        self._nmi = True

    # -- running -----------------------------------------------------------------------------

    def run(self, until: int) -> Exit:
        """Run until `state.count` reaches `until` or something stops the machine."""
        state = self.state
        while state.count < until:
            self._tick()
            if self.board.exit_code is not None:
                return Exit("off")
            if self._nmi_waits and self._nmi_window():
                self._nmi = False
                intercepted = self._take(Fault(NMI))
                if intercepted is not None:
                    return intercepted
                continue
            if self.halted and not self._wakes():
                if not self._sleep(until):
                    return Exit("halt")
                continue
            self._horizon = min(until, self._deadline())
            if self._nmi_waits:  # for the end of a handler, or what holds interrupts back
                self._horizon = state.count + 1
            stop = self.engine.run(state, self._horizon)
            if stop is not _EVENT and stop is not UNTIL:
                return stop
        return UNTIL

    def _tick(self) -> None:
        """Let everything happen that is due, and look at the lines to the processor."""
        if self._deadline() <= self.state.count:
            self.board.tick(self.state.count)
        if self.board.reset_requested:
            self.board.reset_requested = False
            self.reset()
        self.state.interrupt_requested = self.board.interrupt_requested

    def _deadline(self) -> int:
        deadline = self.board.deadline()
        return 1 << 62 if deadline is None else deadline

    @property
    def _nmi_waits(self) -> bool:
        return self._nmi and not self.board.nmi_masked

    def _nmi_window(self) -> bool:
        """Whether the processor would take an NMI now; it is between two instructions."""
        state = self.state
        if state.reply is not None or state.shut_down:
            return False
        return evaluate(state, nmi_interruptible(mode_of(state.values, self.isa.model))) == 1

    def _wakes(self) -> bool:
        return self.state.interrupt_requested and bool(self.state.values[IF.slot])

    def _sleep(self, until: int) -> bool:
        """Move time on to the next event; False if there is none that could wake the processor.

        Where somebody may type, the host rests as long as the processor does, or until he types.
        """
        deadline = self.board.deadline()
        if deadline is None or not self.state.values[IF.slot]:
            return False
        wakes = max(self.state.count, min(deadline, until))
        self._rest.during(self.state.count, wakes)
        self.state.count = wakes
        return True

    # -- what the processor asks for: handlers, called between two instructions ------------------

    def _changed(self) -> Exit | None:
        """Whether a device now wants something before the engine would stop for it."""
        board = self.board
        same = (
            board.interrupt_requested == self.state.interrupt_requested
            and not board.reset_requested
            and not self._nmi_waits
            and board.exit_code is None
            and self._deadline() >= self._horizon
        )
        return None if same else _EVENT

    def _read_port(self, port: int, size: int) -> Exit | None:
        self.state.reply = self.board.read_port(port, size, self.state.count)
        return self._changed()

    def _write_port(self, port: int, size: int, value: int) -> Exit | None:
        self.board.write_port(port, size, value, self.state.count)
        return self._changed()

    def _interrupt(self) -> Exit | None:
        """The processor takes the interrupt that the board asks for."""
        return self._take(Fault(self.board.acknowledge())) or _EVENT

    def _take(self, interrupt: Fault) -> Exit | None:
        """Deliver an interrupt; who intercepts traps gets it instead."""
        self.halted = False
        if self.state.intercept_traps:
            return Exit("fault", interrupt)
        self.engine.deliver(self.state, interrupt)
        return None

    def _halt(self) -> Exit | None:
        self.halted = True
        return _EVENT
