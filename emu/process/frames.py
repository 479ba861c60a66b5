"""Signal frames on the guest's stack, and the way back (arch/x86/kernel/signal_32.c).

Above each frame lies the state of x87 and SSE, where `fpstate` points to: a handler begins with an
initial one, and what it leaves there is loaded on the way back. It is what FSAVE stores; where the
processor has FXSAVE, what that stores follows, of which SSE's part counts.
"""

from __future__ import annotations

import struct

from emu.process import x87_state
from emu.process.descriptors import USER_CODE_SELECTOR, USER_DATA_SELECTOR
from emu.process.process import Process
from emu.process.signals import (
    AUDIT_ARCH_I386,
    SA_NODEFER,
    SA_ONSTACK,
    SA_RESETHAND,
    SA_RESTORER,
    SA_SIGINFO,
    SS_AUTODISARM,
    SS_DISABLE,
    SS_ONSTACK,
    UNBLOCKABLE,
    Action,
    Info,
    Signal,
    bit,
)

SIGCONTEXT = "<22I"  # struct sigcontext_32
SIGCONTEXT_SIZE = 88
UNUSED_SIZE = 624  # struct _fpstate_32 in the old frame, where it was once
UNIT_SIZE = x87_state.SIZE + 4  # struct _fpstate_32 up to magic
UNIT_ALIGNMENT = 64
SIGINFO_SIZE = 128
UCONTEXT = "<5I"  # uc_flags, uc_link, uc_stack
MASK = 0xFFFF_FFFF  # addresses wrap
OLD_FRAME_SIZE = 8 + SIGCONTEXT_SIZE + UNUSED_SIZE + 4 + 8
RT_FRAME_SIZE = 16 + SIGINFO_SIZE + 20 + SIGCONTEXT_SIZE + 8 + 8

# popl %eax; movl $sigreturn,%eax; int $0x80 - and movl $rt_sigreturn,%eax; int $0x80
RETURN_CODE = bytes.fromhex("58 b8 77000000 cd80")
RT_RETURN_CODE = bytes.fromhex("b8 ad000000 cd80 00")

_SEGMENTS = ("gs", "fs", "es", "ds")
_GENERAL = ("edi", "esi", "ebp", "esp", "ebx", "edx", "ecx", "eax")
_RESTORED_FLAGS = 0x0005_0DD5  # FIX_EFLAGS: AC RF OF DF TF SF ZF AF PF CF
_CLEARED_FLAGS = 0x0001_0500  # RF DF TF are clear in a handler


def enter_handler(process: Process, info: Info, action: Action) -> bool:
    """Build a frame and point the registers at the handler; False if the stack cannot hold it."""
    rt = bool(action.flags & SA_SIGINFO)
    frame = _rt_frame if rt else _old_frame
    size = RT_FRAME_SIZE if rt else OLD_FRAME_SIZE
    unit = _unit_address(process, _stack_top(process, action))
    pointer = ((unit - size + 4 & ~15) - 4) & MASK  # 16-byte aligned, but for a return address
    data, info_address, context_address = frame(process, info, action, pointer, unit)
    for address, content in ((unit, _unit(process)), (pointer, data)):
        if process.space.write(address, content) is not None:
            return False
    if process.signals.disarms:
        process.signals.set_stack(0, SS_DISABLE, 0)
    _block(process, info.number, action)
    _jump(process, pointer, action.handler, (info.number, info_address, context_address))
    return True


def _stack_top(process: Process, action: Action) -> int:
    """Return below which address there is room."""
    pointer, signals = process.state["esp"], process.signals
    if action.flags & SA_ONSTACK and signals.stack_size and not signals.on_stack(pointer):
        pointer = signals.stack + signals.stack_size
    return pointer


def _unit_address(process: Process, top: int) -> int:
    """Where the struct _fpstate_32 goes below an address (fpu__alloc_mathframe): FXSAVE's image
    begins at a multiple of 64, or without one all of it."""
    if process.table.processor.has_fast_state:
        return (top - x87_state.FAST_SIZE & -UNIT_ALIGNMENT) - UNIT_SIZE & MASK
    return top - UNIT_SIZE & -UNIT_ALIGNMENT & MASK


def _unit(process: Process) -> bytes:
    """The struct _fpstate_32 as far as it is there: FSAVE's image, its status word again, and the
    magic number that says whether FXSAVE's image follows: X86_FXSR_MAGIC, 0, or FFFFh. The words
    that would tell of a state of XSAVE are 0 in that."""
    image = x87_state.pack(process.state)
    if not process.table.processor.has_fast_state:
        return image + image[4:6] + b"\xff\xff"
    fast = x87_state.pack_fast(process.state, process.table.processor.model)
    return image + image[4:6] + bytes(2) + fast


def _old_frame(
    process: Process, info: Info, action: Action, pointer: int, unit: int
) -> tuple[bytes, int, int]:
    """The struct sigframe_ia32: return address, number, context, and code that returns."""
    mask = _mask_to_restore(process)
    code = pointer + 8 + SIGCONTEXT_SIZE + UNUSED_SIZE + 4 & MASK
    back = action.restorer if action.flags & SA_RESTORER else code
    head = struct.pack("<II", back, info.number)
    tail = struct.pack("<I", mask >> 32) + RETURN_CODE
    return head + _context(process, info, mask, unit) + bytes(UNUSED_SIZE) + tail, 0, 0


def _rt_frame(
    process: Process, info: Info, action: Action, pointer: int, unit: int
) -> tuple[bytes, int, int]:
    """The struct rt_sigframe_ia32, with siginfo and ucontext."""
    mask, signals = _mask_to_restore(process), process.signals
    info_address = pointer + 16 & MASK
    context_address = info_address + SIGINFO_SIZE & MASK
    code = context_address + 20 + SIGCONTEXT_SIZE + 8 & MASK
    back = action.restorer if action.flags & SA_RESTORER else code
    head = struct.pack("<IIII", back, info.number, info_address, context_address)
    flags = stack_flags(process, process.state["esp"])
    stack = struct.pack(UCONTEXT, 0, 0, signals.stack, flags, signals.stack_size)
    context = stack + _context(process, info, mask, unit) + struct.pack("<Q", mask)
    return head + _siginfo(info) + context + RT_RETURN_CODE, info_address, context_address


def stack_flags(process: Process, pointer: int) -> int:
    """Return ss_flags of the alternate stack."""
    if not process.signals.stack_size:
        return SS_DISABLE
    if process.signals.disarms:
        return SS_AUTODISARM
    return SS_ONSTACK if process.signals.on_stack(pointer) else 0


def _mask_to_restore(process: Process) -> int:
    saved, process.signals.saved_mask = process.signals.saved_mask, None
    return process.signals.blocked if saved is None else saved


def _siginfo(info: Info) -> bytes:
    """The struct siginfo: si_signo, si_errno, si_code, then address, or sender and its user."""
    head = struct.pack("<Iii", info.number, 0, info.code)
    if info.number == Signal.SIGSYS:
        rest = struct.pack("<III", info.address, info.status, AUDIT_ARCH_I386)
    elif info.fault is not None:
        rest = struct.pack("<I", info.address)
    else:
        rest = struct.pack("<III", info.sender, info.user, info.status)
    return (head + rest).ljust(SIGINFO_SIZE, b"\0")


def _context(process: Process, info: Info, mask: int, unit: int) -> bytes:
    """The interrupted registers, and what the trap was."""
    state, fault = process.state, info.fault
    trap = (fault.vector, fault.code or 0) if fault else (0, 0)
    cr2 = fault.address or 0 if fault and fault.vector == 14 else 0
    return struct.pack(
        SIGCONTEXT,
        *(state[name] for name in _SEGMENTS),
        *(state[name] for name in _GENERAL),
        *trap,
        state["eip"],
        state["cs"],
        state["eflags"],
        state["esp"],
        state["ss"],
        unit,
        mask & MASK,
        cr2,
    )


def _block(process: Process, number: int, action: Action) -> None:
    own = 0 if action.flags & SA_NODEFER else bit(number)
    process.signals.blocked |= (action.mask | own) & ~UNBLOCKABLE
    if action.flags & SA_RESETHAND:
        process.signals.actions.pop(number, None)


def _jump(process: Process, pointer: int, handler: int, arguments: tuple[int, int, int]) -> None:
    state = process.state
    state["esp"], state["eip"] = pointer, handler
    state["eax"], state["edx"], state["ecx"] = arguments  # for handlers built with regparm(3)
    state["eflags"] = state["eflags"] & ~_CLEARED_FLAGS
    _reset_unit(process)
    for name in ("ds", "es", "ss"):
        _set_segment(process, name, USER_DATA_SELECTOR)
    _set_segment(process, "cs", USER_CODE_SELECTOR)


def _set_segment(process: Process, name: str, selector: int) -> None:
    """Load a selector if it changes: what is behind an unchanged one stays, whatever the table."""
    if process.state[name] != selector:
        process.load_segment(name, selector)


def leave_old_handler(process: Process) -> None:
    """Serve sigreturn: the old frame starts 8 bytes below the stack pointer."""
    frame = (process.state["esp"] - 8) & MASK
    words = process.unpack(SIGCONTEXT, frame + 8)
    extra = process.unpack("<I", frame + 8 + SIGCONTEXT_SIZE + UNUSED_SIZE)[0]
    _restore(process, words, words[20] | extra << 32)


def leave_rt_handler(process: Process) -> None:
    """Serve rt_sigreturn: the frame starts 4 bytes below the stack pointer."""
    context = (process.state["esp"] - 4 + 16 + SIGINFO_SIZE) & MASK
    words = process.unpack(SIGCONTEXT, context + 20)
    (mask,) = process.unpack("<Q", context + 20 + SIGCONTEXT_SIZE)
    _, _, stack, flags, size = process.unpack(UCONTEXT, context)
    if not flags & SS_ONSTACK:
        process.signals.set_stack(stack, flags, size)
    _restore(process, words, mask)


def _restore(process: Process, words: tuple[int, ...], mask: int) -> None:
    """Put the interrupted registers back; a guest may have changed them, but not its privilege.

    Without an `fpstate` its unit is an initial one.
    """
    state = process.state
    for name, value in zip(_SEGMENTS, words[:4], strict=True):
        _set_segment(process, name, value & 0xFFFF)
    for name, value in zip(_GENERAL, words[4:12], strict=True):
        state[name] = value
    state["eip"] = words[14]
    _set_segment(process, "cs", words[15] & 0xFFFF | 3)
    _set_segment(process, "ss", words[18] & 0xFFFF | 3)
    state["eflags"] = state["eflags"] & ~_RESTORED_FLAGS | words[16] & _RESTORED_FLAGS
    process.signals.blocked = mask & ~UNBLOCKABLE
    _restore_unit(process, words[19])


def _restore_unit(process: Process, address: int) -> None:
    """What a handler has left in a struct _fpstate_32 (fpu__restore_sig)."""
    if not address:
        _reset_unit(process)
        return
    state, processor = process.state, process.table.processor
    image = process.read(address, x87_state.SIZE)
    if processor.has_fast_state:
        fast = process.read(address + UNIT_SIZE & MASK, x87_state.FAST_SIZE)
        x87_state.put_sse(state, fast, processor.model)
    x87_state.put(state, image)


def _reset_unit(process: Process) -> None:
    x87_state.put(process.state, x87_state.INITIAL)
    if process.table.processor.has_fast_state:
        x87_state.reset_sse(process.state)
