"""Paged memory that native code reaches through a window (see `window`): without a look."""

from __future__ import annotations

from emu.engines.native.layout import CODE, SLOW_MOST, Word
from emu.engines.native.spaces import Access, PagedSpace, either
from emu.engines.native.window import MARK, Window
from emu.memory import AddressSpace, Reachable
from isa.hints import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from emu.engines.native.lowering import Lowering
    from isa.bits import Bits

_MARK: Final = ".byte " + ",".join(map(hex, MARK)) + r"\0A.long ${2:l}-1f\0A1: "
_LOADS: Final = {8: ("movzbl", 32), 16: ("movzwl", 32), 32: ("movl", 32), 64: ("movq", 64)}
"""By width: what loads that, and the width of what it leaves."""
_STORES: Final = {8: ("movb", "qi"), 16: ("movw", "ri"), 32: ("movl", "ri"), 64: ("movq", "r")}
"""... what stores that, and where the value may be."""


class MappedSpace(PagedSpace):
    """A process's bytes. Whatever the tables say holds for the window, too; who looks something up
    in them finds it in storage as well."""

    kind = "mapped"
    spans = False

    def __init__(self, number: int, memory: AddressSpace) -> None:
        """Raises OSError if there is no window to be had."""
        super().__init__(number, memory)
        self._window = Window()
        self.base = Word.WINDOWS + number

    def words(self) -> dict[int, int]:
        """See `Space`."""
        return super().words() | {self.base: self._window.address}

    def _enter(self, table: int, run: Reachable) -> bool:
        """See `PagedSpace`."""
        if table != CODE:
            try:
                self._window.show(run._replace(where=self.memory.physical.address + run.where))
            except OSError:  # it is in too many pieces
                self.flush()
                return False
        return super()._enter(table, run)

    def flush(self) -> None:
        """See `Space`."""
        super().flush()
        self._window.hide_all()

    def flush_pages(self, pages: list[int]) -> None:
        """See `Space`."""
        super().flush_pages(pages)
        self._window.hide(pages)

    # -- lowering --------------------------------------------------------------------------------

    def _storage(self, low: Lowering, entry: str, address: str) -> str:
        """See `PagedSpace`: it lies in the window as the guest sees it."""
        return self._place(low, address)

    def _place(self, low: Lowering, address: str) -> str:
        index = low.emit(f"zext i32 {address} to i64")
        return low.emit(f"getelementptr i8, ptr %space{self.number}.storage, i64 {index}")

    def _alone(self, low: Lowering, node: Bits, address: str, access: Access) -> str:
        """See `PagedSpace`: what is small needs no look at the tables, but a load that asks whether
        a store could be done."""
        asks = node.op == "load_for_write" and not access.written
        if asks or node.attribute[1] // 8 > SLOW_MOST:
            return super()._alone(low, node, address, access)
        place, result = self._place(low, address), low.name()
        text = _load(node, place) if access.value is None else _store(node, place, access.value)

        def branch(plain: str, aside: str) -> None:
            head = f"{result} = " if access.value is None else ""
            low.line(f"{head}callbr {text} to label %{plain} [label %{aside}]")

        def usual() -> str:
            if access.value is not None:
                return ""
            # LLVM's passes forget that nothing stands between a callbr and where its value goes
            # (they put what follows from it before it), so something must
            low.line('call void asm sideeffect "", ""()')
            width = _LOADS[node.width][1]
            narrow = width > node.width
            return low.emit(f"trunc i{width} {result} to i{node.width}") if narrow else result

        if low.context.is_patient:
            return either(low, node, branch, usual, access.slow)
        plain = low.fresh("plain")
        branch(plain, low.context.given_up())
        low.start(plain)
        return usual()


def _load(node: Bits, place: str) -> str:
    """What a callbr does that loads."""
    instruction, width = _LOADS[node.width]
    text = f'asm sideeffect "{_MARK}{instruction} $1, $0", "=r,*m,!i"'
    known = f"noundef range(i{width} 0, {1 << node.width}) " if width > node.width else ""
    return f"{known}i{width} {text}(ptr elementtype(i{node.width}) {place})"


def _store(node: Bits, place: str, value: str) -> str:
    """What one does that stores."""
    width = node.args[1].width
    instruction, where = _STORES[width]
    text = f'asm sideeffect "{_MARK}{instruction} $1, $0", "=*m,{where},!i"'
    return f"void {text}(ptr elementtype(i{width}) {place}, i{width} {value})"
