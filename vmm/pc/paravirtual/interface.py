"""Xen's 32-bit interface as data: numbers, structures and places, from its public headers.

`xen/include/public/` of Xen 3.0 without PAE: xen.h, arch-x86_32.h, event_channel.h, grant_table.h,
memory.h, sched.h, vcpu.h, version.h. All numbers are little-endian, structures have no padding that
is not named by an `x` in their format.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final

VECTOR: Final = 0x82  # INT 82h: EAX number; EBX ECX EDX ESI EDI arguments; EAX result, or -errno
FAST_VECTOR: Final = 0x80  # the one that may go from ring 3 to ring 1 without the monitor
ARGUMENTS: Final = ("ebx", "ecx", "edx", "esi", "edi")

HYPERCALLS: Final = {
    0: "set_trap_table", 1: "mmu_update", 2: "set_gdt", 3: "stack_switch", 4: "set_callbacks",
    5: "fpu_taskswitch", 6: "sched_op_compat", 7: "platform_op", 8: "set_debugreg",
    9: "get_debugreg", 10: "update_descriptor", 12: "memory_op", 13: "multicall",
    14: "update_va_mapping", 15: "set_timer_op", 16: "event_channel_op_compat", 17: "xen_version",
    18: "console_io", 19: "physdev_op_compat", 20: "grant_table_op", 21: "vm_assist",
    22: "update_va_mapping_otherdomain", 23: "iret", 24: "vcpu_op", 25: "set_segment_base",
    26: "mmuext_op", 27: "xsm_op", 28: "nmi_op", 29: "sched_op", 30: "callback_op",
    31: "xenoprof_op", 32: "event_channel_op", 33: "physdev_op", 34: "hvm_op", 35: "sysctl",
    36: "domctl", 37: "kexec_op", 38: "tmem_op", 39: "argo_op", 40: "xenpmu_op", 41: "dm_op",
    42: "hypfs_op", 48: "arch_0", 49: "arch_1", 50: "arch_2", 51: "arch_3", 52: "arch_4",
    53: "arch_5", 54: "arch_6", 55: "arch_7",
}  # fmt: skip

DOMID_SELF: Final = 0x7FF0

# -- linear addresses ------------------------------------------------------------------------------

VIRTUAL_START: Final = 0xFC000000  # from here on everything is the monitor's
MACHINE_TO_PHYSICAL: Final = VIRTUAL_START  # the table that the guest may read
SEGMENT_END: Final = 0xFC400000  # no segment of a guest reaches further
INVALID_FRAME: Final = 0xFFFFFFFF

# -- segments --------------------------------------------------------------------------------------

FIRST_RESERVED_GDT_PAGE: Final = 14
FIRST_RESERVED_GDT_ENTRY: Final = FIRST_RESERVED_GDT_PAGE * 512
KERNEL_CODE, KERNEL_DATA, USER_CODE, USER_DATA = 0xE019, 0xE021, 0xE02B, 0xE033
FLAT: Final = {
    KERNEL_CODE: 0x00CFBA000000C3FF, KERNEL_DATA: 0x00CFB2000000C3FF,
    USER_CODE: 0x00CFFA000000C3FF, USER_DATA: 0x00CFF2000000C3FF,
}  # fmt: skip
"""Flat segments for ring 1 and ring 3, in the part of the GDT that is the monitor's."""
MOST_LDT_ENTRIES: Final = 8192

# -- memory management -----------------------------------------------------------------------------


class MmuCommand(IntEnum):
    """Bits 0 and 1 of an mmu_update's pointer."""

    NORMAL_PT_UPDATE = 0
    MACHPHYS_UPDATE = 1
    PT_UPDATE_PRESERVE_AD = 2


class MmuExtended(IntEnum):
    """Commands of mmuext_op."""

    PIN_L1_TABLE = 0
    PIN_L2_TABLE = 1
    PIN_L3_TABLE = 2
    PIN_L4_TABLE = 3
    UNPIN_TABLE = 4
    NEW_BASEPTR = 5
    TLB_FLUSH_LOCAL = 6
    INVLPG_LOCAL = 7
    TLB_FLUSH_MULTI = 8
    INVLPG_MULTI = 9
    TLB_FLUSH_ALL = 10
    INVLPG_ALL = 11
    FLUSH_CACHE = 12
    SET_LDT = 13
    NEW_USER_BASEPTR = 15


class MemoryCommand(IntEnum):
    """Commands of memory_op; from bit 6 on stands where an interrupted one goes on."""

    INCREASE_RESERVATION = 0
    DECREASE_RESERVATION = 1
    MAXIMUM_RAM_PAGE = 2
    CURRENT_RESERVATION = 3
    MAXIMUM_RESERVATION = 4
    POPULATE_PHYSMAP = 6
    MACHPHYS_MAPPING = 12


EXTENT_SHIFT: Final = 6
MMU_UPDATE: Final = Struct("<QQ")  # pointer and command, value
MMUEXT_OP: Final = Struct("<III")  # command, frame or address, entries
MULTICALL_ENTRY: Final = Struct("<Ii6I")  # number, result, arguments
TRAP_INFO: Final = Struct("<BBHI")  # vector, flags, CS, address
RESERVATION: Final = Struct("<IIIIH2x")  # frames, how many, order, address bits, domain
MACHPHYS_MAPPING: Final = Struct("<III")
TRAP_LEVEL, TRAP_MASKS = 3, 4  # of a trap's flags: its gate's DPL; events are masked

# -- events ----------------------------------------------------------------------------------------

PORTS: Final = 1024


class EventCommand(IntEnum):
    """Commands of event_channel_op."""

    BIND_INTERDOMAIN = 0
    BIND_VIRQ = 1
    BIND_PIRQ = 2
    CLOSE = 3
    SEND = 4
    STATUS = 5
    ALLOC_UNBOUND = 6
    BIND_IPI = 7
    BIND_VCPU = 8
    UNMASK = 9
    RESET = 10


class Virq(IntEnum):
    """Virtual interrupts."""

    TIMER = 0
    DEBUG = 1
    CONSOLE = 2
    DOM_EXC = 3
    TBUF = 4
    DEBUGGER = 6
    XENOPROF = 7


class ChannelStatus(IntEnum):
    """What a port is."""

    CLOSED = 0
    UNBOUND = 1
    INTERDOMAIN = 2
    PIRQ = 3
    VIRQ = 4
    IPI = 5


BIND_INTERDOMAIN: Final = Struct("<H2xI")  # domain, its port; behind it the local port
STATUS_QUERY: Final = Struct("<H2xI")  # domain, port; behind it status, VCPU and two words
ALLOC_UNBOUND: Final = Struct("<HH")  # domain, remote domain; behind them the port

# -- grants ----------------------------------------------------------------------------------------


class GrantCommand(IntEnum):
    """Commands of grant_table_op."""

    MAP_GRANT_REF = 0
    UNMAP_GRANT_REF = 1
    SETUP_TABLE = 2
    TRANSFER = 4
    QUERY_SIZE = 6


class GrantStatus(IntEnum):
    """What became of one grant operation."""

    OKAY = 0
    GENERAL_ERROR = -1
    BAD_DOMAIN = -2
    BAD_GNTREF = -3
    BAD_HANDLE = -4
    BAD_VIRT_ADDR = -5
    NO_DEVICE_SPACE = -7
    PERMISSION_DENIED = -8
    BAD_PAGE = -9


PERMIT_ACCESS, ACCEPT_TRANSFER, GRANT_TYPE = 1, 2, 3
GRANT_READONLY, GRANT_READING, GRANT_WRITING = 4, 8, 16
TRANSFER_COMMITTED, TRANSFER_COMPLETED = 4, 8
HOST_MAP, MAP_READONLY = 2, 4
GRANT_ENTRY: Final = Struct("<HHI")  # flags, domain, frame
MAP_GRANT: Final = Struct("<QIIHhIQ")  # address, flags, reference, domain; status, handle, bus
UNMAP_GRANT: Final = Struct("<QQIh2x")  # address, bus address, handle; status
SETUP_TABLE: Final = Struct("<H2xIh2xI")  # domain, frames, status, list
TRANSFER: Final = Struct("<IH2xIh2x")  # frame, domain, reference, status
QUERY_SIZE: Final = Struct("<H2xIIh2x")  # domain, frames, most frames, status

# -- scheduling, time, and the rest ----------------------------------------------------------------


class SchedCommand(IntEnum):
    """Commands of sched_op."""

    YIELD = 0
    BLOCK = 1
    SHUTDOWN = 2
    POLL = 3


SHUTDOWN_REASONS: Final = {0: "poweroff", 1: "reboot", 2: "suspend", 3: "crash"}
POLL: Final = Struct("<IIQ")  # ports, how many, until when


class VcpuCommand(IntEnum):
    """Commands of vcpu_op."""

    IS_UP = 3
    SET_PERIODIC_TIMER = 6
    STOP_PERIODIC_TIMER = 7
    SET_SINGLESHOT_TIMER = 8
    STOP_SINGLESHOT_TIMER = 9


class VersionCommand(IntEnum):
    """Commands of xen_version."""

    VERSION = 0
    EXTRAVERSION = 1
    CAPABILITIES = 3
    PLATFORM_PARAMETERS = 5
    GET_FEATURES = 6
    PAGESIZE = 7


CONSOLE_WRITE, CONSOLE_READ = 0, 1
CALLBACK_REGISTER: Final = Struct("<HHII")  # kind, flags, CS, EIP
CALLBACK_EVENT, CALLBACK_FAILSAFE = 0, 1
VERSION: Final = 3 << 16
CAPABILITIES: Final = b"xen-3.0-x86_32"

# -- what lies in the shared pages -----------------------------------------------------------------

UPCALL_PENDING, UPCALL_MASK, PENDING_SELECTOR = 0, 1, 4  # of VCPU 0, at the page's start
VCPU_CR2, VCPU_TIME = 8, 32
TIME_INFO: Final = Struct("<I4xQQIb3x")  # version, TSC and time of it, multiplier, shift
EVENTS_PENDING, EVENTS_MASK, WALL_CLOCK = 2048, 2176, 2304
WALL_CLOCK_INFO: Final = Struct("<III")  # version, seconds, nanoseconds
MAX_PHYSICAL_FRAME: Final = 2316

START_INFO: Final = Struct("<32s12I1024s")
"""magic, nr_pages, shared_info, flags, store_mfn, store_evtchn, console_mfn, console_evtchn,
pt_base, nr_pt_frames, mfn_list, mod_start, mod_len, cmd_line."""
