"""The domain builder: a kernel in its memory, its first page tables, and start_info.

Linear address p is physical address p at the start (VIRT_BASE is 0). Behind the kernel lie, page by
page, the list of frames, start_info, the page tables, which are read-only, and a stack; mapped is
everything up to the next 4 MiB behind 512 KiB more.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

from emu.errors import LoaderError
from emu.memory import PAGE_BITS, PAGE_SIZE
from emu.pc.kinds import multiboot_header
from emu.pc.loaders.kernel_image import KernelImage
from emu.pc.loaders.multiboot import image_of
from isa.x86 import registers as r
from vmm.pc.paravirtual import interface as xen
from vmm.pc.paravirtual.domain import Domain
from vmm.pc.paravirtual.frames import Kind
from vmm.pc.paravirtual.hypervisor import Hypervisor

MAGIC: Final = b"xen-3.0-x86_32"
Write = Callable[[int, bytes], None]
PAD: Final = 512 << 10
_TABLE_SPAN: Final = 4 << 20
_PAGE: Final = 0x23  # present, writable, accessed
_READ_ONLY: Final = 0x21
_TABLE: Final = 0x67  # a directory's entry: present, writable, ring 3's, accessed and dirty
_DATA, _CODE = 0xCB3, 0xCBB  # attributes of the flat segments of ring 1, accessed
FLAT_LIMIT: Final = xen.SEGMENT_END - 1


def build(monitor: Hypervisor, domain: Domain, kernel: bytes, line: str = "") -> None:
    """Load a kernel with a Multiboot header, and begin at its entry in ring 1."""
    header = multiboot_header(kernel)
    if header is None:
        raise LoaderError("This is no kernel for a domain", why="it has no Multiboot header")
    image = image_of(kernel, header)
    place = _Layout(domain, image)
    write = monitor.below.memory.physical.write
    for address, content in image.pieces:
        _put(domain, write, address, content)
    _put(domain, write, place.list, struct.pack(f"<{len(domain.memory)}I", *domain.memory))
    _put(domain, write, place.info, _start_info(domain, place, line))
    for number, table in enumerate(place.page_tables()):
        _put(domain, write, place.tables + number * PAGE_SIZE, table)
    _enter(monitor, domain, image, place)


def _put(domain: Domain, write: Write, address: int, data: bytes) -> None:
    """Put bytes at a physical address of the domain's."""
    while data:
        frame = domain.memory[address >> PAGE_BITS]
        count = PAGE_SIZE - address % PAGE_SIZE
        write((frame << PAGE_BITS) + address % PAGE_SIZE, data[:count])
        address, data = address + count, data[count:]


class _Layout:
    """Where everything lies, in the domain's physical addresses."""

    def __init__(self, domain: Domain, image: KernelImage) -> None:
        self._memory = domain.memory
        end = image.end
        self.list = _up(end)
        self.info = _up(self.list + 4 * len(domain.memory))
        self.tables = self.info + PAGE_SIZE
        self.spans = 1
        while self._behind() > self.spans * _TABLE_SPAN:
            self.spans += 1
        self.stack = self.tables + (1 + self.spans) * PAGE_SIZE
        if self._behind() > len(domain.memory) * PAGE_SIZE:
            raise LoaderError(
                f"The kernel needs {self._behind():#x} bytes",
                why=f"the domain has {len(domain.memory) * PAGE_SIZE:#x}",
                advice="Give it more: --memory",
            )

    def _behind(self) -> int:
        return self.tables + (2 + self.spans) * PAGE_SIZE + PAD

    def page_tables(self) -> Iterator[bytes]:
        """The directory, and the tables that map everything of `spans`."""
        first = self.tables >> PAGE_BITS
        tables = range(first, first + 1 + self.spans)
        entries = [self._memory[page] << PAGE_BITS | _TABLE for page in tables[1:]]
        yield struct.pack(f"<{len(entries)}I", *entries).ljust(PAGE_SIZE, b"\0")
        for span in range(self.spans):
            pages = range(span << 10, min(span + 1 << 10, len(self._memory)))
            words = [
                self._memory[page] << PAGE_BITS | (_READ_ONLY if page in tables else _PAGE)
                for page in pages
            ]
            yield struct.pack(f"<{len(words)}I", *words).ljust(PAGE_SIZE, b"\0")


def _up(address: int) -> int:
    return -(-address // PAGE_SIZE) * PAGE_SIZE


def _start_info(domain: Domain, place: _Layout, line: str) -> bytes:
    return xen.START_INFO.pack(
        MAGIC, len(domain.memory), domain.shared.address, 0, 0, 0, 0, 0,
        place.tables, 1 + place.spans, place.list, 0, 0, line.encode()[:1023],
    )  # fmt: skip


def _enter(monitor: Hypervisor, domain: Domain, image: KernelImage, place: _Layout) -> None:
    monitor.switch_to(domain)
    directory = domain.memory[place.tables >> PAGE_BITS]
    domain.tables.pin(directory, Kind.PAGE_DIRECTORY)
    monitor.set_directory(domain, directory)
    state = monitor.state
    for name in r.SEGMENT_NAMES:
        code = name == "cs"
        state[name] = xen.KERNEL_CODE if code else xen.KERNEL_DATA
        state[f"{name}_base"], state[f"{name}_limit"] = 0, FLAT_LIMIT
        state[f"{name}_attributes"] = _CODE if code else _DATA
    state["cpl"], state["eip"] = 1, image.entry
    state["esp"], state["esi"] = place.stack + PAGE_SIZE, place.info
