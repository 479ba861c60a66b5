"""Windows: what native code reaches by the host's own means, and what happens where it may not."""

from __future__ import annotations

import gc
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from machines import CODE, DATA, NO_CACHE, PAGE, agrees, picture, user_state, x86_machine

from emu.engines.native import window
from emu.engines.native.engine import Native, NativeSession
from emu.engines.native.layout import BEST
from emu.engines.native.mapped import MappedSpace
from emu.engines.native.spaces import PagedSpace
from emu.engines.reference import Reference
from emu.memory import AddressSpace, PhysicalMemory

pytestmark = pytest.mark.skipif(not window.can_be(), reason="no windows on this host")

ENGINES = {
    "regions": lambda: Native(hot=0, wait=True, level=BEST, cache=NO_CACHE),
    "stitched": lambda: Native(hot=1 << 30, wait=True, cache=NO_CACHE, stitch=0),
    "handlers": lambda: Native(hot=1 << 30, wait=True, cache=NO_CACHE),
    "looks": lambda: Native(hot=0, wait=True, level=BEST, cache=NO_CACHE, looks=True),
}
END = DATA + 3 * PAGE  # of what is mapped; the last page is read-only
READS = {1: "0fb603", 2: "0fb703", 4: "8b03", 8: "f30f7e03"}  # movzx, mov eax, [ebx]; movq xmm0
STARTS = (DATA - 9, DATA - 4, DATA + PAGE - 4, END - PAGE - 4, END - 9, END - 4, 0xFFFFFFF8)
WRITES = {1: "8803", 2: "668903", 4: "8903", 8: "660fd603"}


@pytest.fixture(params=ENGINES)
def engine(request):
    return ENGINES[request.param]()


def code(text):
    return bytes.fromhex(text)


def space_of(engine, state):
    session = engine._session_of(state)
    assert isinstance(session, NativeSession)
    return session.spaces["linear"]


def looped(access):
    """An access eight times, each a byte further; then a system call."""
    return code(f"b908000000 {access} 43 49 75{256 - len(code(access)) - 4:02x} cd80")


def test_a_process_has_a_window_unless_it_shall_look():
    for name, make in ENGINES.items():
        engine, state = make(), x86_machine(looped("8b03"), {"ebx": DATA})
        engine.run(state, 1 << 20)
        assert isinstance(space_of(engine, state), MappedSpace) == (name != "looks")


# -- wherever an access is ----------------------------------------------------------------------


@pytest.mark.parametrize("size", READS)
@pytest.mark.parametrize("accesses", [READS, WRITES], ids=["reads", "writes"])
def test_accesses_at_the_ends_of_pages(engine, size, accesses):
    """Inside, from one page into the next, into one that must not be written or that is not there,
    and behind the last address of all: the same as without a window, faults included."""
    data = random.Random(size).randbytes(3 * PAGE)
    expected, state = (x86_machine(looped(accesses[size]), {}, data) for _ in "12")
    for start in STARTS:
        for machine in (expected, state):
            machine["eip"], machine["ebx"], machine["eax"] = CODE, start, 0x1234567
        until = state.count + 100
        wanted = Reference().run(expected, until)
        assert picture(state, engine.run(state, until)) == picture(expected, wanted), hex(start)


def test_what_asks_only_whether_it_could_store(engine):
    """fistp of what is too large, with its exception unmasked: nothing is stored, but where it
    could not be, that is the fault, though it was read before."""
    word, number, there = (a.to_bytes(4, "little").hex() for a in (DATA, DATA + 8, END - PAGE))
    program = code(f"8b1d{there} d92d{word} dd05{number} db1d{there} 90 cd80")
    data = (0x37E).to_bytes(8, "little") + struct.pack("<d", 1e300)
    expected, state = (x86_machine(program, {}, data) for _ in "12")
    wanted = Reference().run(expected, 100)
    assert wanted.reason == "fault"
    assert picture(state, engine.run(state, 100)) == picture(expected, wanted)


def test_rights_that_change_are_noticed(engine):
    """A page that was written becomes read-only, then is taken away."""
    state = x86_machine(looped("8903"), {"ebx": DATA, "eax": 5})
    engine.run(state, 1 << 20)
    for change in ("protect", "unmap", "map"):
        space = state.memory["linear"]
        if change == "protect":
            space.protect(DATA, PAGE, 4)
        elif change == "unmap":
            space.unmap(DATA, PAGE)
        else:
            space.map(DATA, PAGE, 6, "new")
        state["eip"], state["ebx"] = CODE, DATA
        stop = engine.run(state, state.count + 100)
        assert stop.reason == ("interrupt" if change == "map" else "fault"), change
    assert space.read(DATA, 4) == code("05050505")


def test_what_is_shared_is_copied_before_it_is_written(engine):
    """After a copy of the address space each writes to its own pages."""
    state = x86_machine(looped("8903"), {"ebx": DATA, "eax": 1})
    engine.run(state, 1 << 20)
    space = state.memory["linear"]
    mine, other = space.mappings, space.copy()
    for mappings, value in ((other, 2), (mine, 3), (other, 4)):
        space.use(mappings)
        state["eip"], state["ebx"], state["eax"] = CODE, DATA, value
        engine.run(state, state.count + 100)
    assert space.read(DATA, 1) == b"\4"
    space.use(mine)
    assert space.read(DATA, 1) == b"\3"


def test_code_that_is_written_is_noticed():
    """In the middle of its own block: mov byte [next + 1], cl; mov eax, imm."""
    program = code(
        f"b964000000 880d{(CODE + 12).to_bytes(4, 'little').hex()} b807000000 49 75f2 cd80"
    )
    for make in ENGINES.values():
        assert agrees(program, make())["eax"] == 1


def test_a_page_that_is_written_through_to_a_file_is_told_once(engine):
    """Nobody but its own writes may make it writable: but those do."""
    state = x86_machine(code("b9e8030000 8903 49 75fb cd80"), {"ebx": DATA, "eax": 7})
    state.memory["linear"].log_writes(set())
    seen = []
    space = space_of(engine, state)
    fill = space.fill
    space.fill = lambda *given: seen.append(given) or fill(*given)
    assert engine.run(state, 1 << 20).reason == "interrupt"
    assert len(seen) < 5


def test_writes_beside_code_stay_in_native_code(engine):
    """A page with code and data: a hundred thousand writes, and hardly one that Python sees."""
    at = (CODE + 0x800).to_bytes(4, "little").hex()
    state = x86_machine(code(f"b9a0860100 890d{at} 49 75f7 cd80"))
    session = engine._session_of(state)
    seen = []
    fill = session.spaces["linear"].fill
    session.spaces["linear"].fill = lambda *given: seen.append(given) or fill(*given)
    assert engine.run(state, 1 << 30).reason == "interrupt"
    assert len(seen) < 200


# -- what the host may refuse -------------------------------------------------------------------


def test_a_window_in_too_many_pieces_begins_anew(monkeypatch):
    """The host gives a process 65,530 pieces of memory."""
    shown, real = [], window.Window.show

    def show(self, run):
        shown.append(run)
        if len(shown) % 3 == 0:
            raise OSError
        real(self, run)

    monkeypatch.setattr(window.Window, "show", show)
    program = looped("8b03 8903 81c300100000")
    for make in ENGINES.values():
        agrees(program, make(), {"ebx": DATA})
    assert len(shown) > 3


def test_pieces_are_counted(monkeypatch):
    """A guest that touches pages in the wildest order leaves the process the pieces it needs."""
    monkeypatch.setattr(window, "MOST_PIECES", 200)
    space = AddressSpace(PhysicalMemory(600 * PAGE))
    space.map(DATA, 512 * PAGE, 6, "data")
    space.map(CODE, PAGE, 7, "code")
    space.poke(CODE, code("8903 01fb 49 75f9 cd80"))  # mov [ebx], eax; add ebx, edi; dec; jne
    state = user_state(space, {"eip": CODE, "ebx": DATA, "edi": 32 * PAGE, "ecx": 16})
    engine = ENGINES["regions"]()
    pieces = []
    for start in range(512):
        state["eip"], state["ebx"], state["ecx"] = CODE, DATA + (start * 37 % 512) * PAGE, 1
        state["eax"] = start
        assert engine.run(state, state.count + 100).reason == "interrupt"
        pieces.append(space_of(engine, state)._window._pieces)
    assert max(pieces) <= 200 + window.OFTEN
    assert min(pieces[100:]) < 64  # it began anew
    assert all(space.read(DATA + n * 37 % 512 * PAGE, 2) == n.to_bytes(2, "little") for n in (0, 9))


@pytest.mark.parametrize(("name", "value"), [("_EMPTY", -1), ("_can_map", lambda: False)])
def test_without_room_for_a_window_pages_are_looked_up(monkeypatch, name, value):
    """Or where the host does not map memory twice."""
    assert window._can_map()
    monkeypatch.setattr(window, name, value)
    engine, state = ENGINES["regions"](), x86_machine(looped("8b03"), {"ebx": DATA})
    assert engine.run(state, 1 << 20).reason == "interrupt"
    assert type(space_of(engine, state)) is PagedSpace


def test_windows_are_given_back():
    def windows():
        gc.collect()  # those of machines that other tests have left
        maps = Path("/proc/self/maps").read_text().splitlines()
        spans = [line.split()[0].split("-") for line in maps]
        return sum(int(end, 16) - int(start, 16) >= 1 << 31 for start, end in spans)

    before = windows()
    for _ in range(20):
        window.Window()
    assert windows() == before


HOST_FAULT = """
import ctypes, faulthandler, sys
{first}
from emu.engines.native.window import Window
opened = Window()
{second}
ctypes.string_at(opened.address)
"""


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("faulthandler.enable()", "", "Fatal Python error"),
        ("", "", ""),
        ("", "faulthandler.enable()", "Fatal Python error"),
    ],
)
def test_other_faults_are_left_to_others(first, second, told):
    """A bug of the host's kills the process as always, and whoever tells of that does."""
    program = HOST_FAULT.format(first=first, second=second)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == -11
    assert told in done.stderr


def test_whoever_takes_our_place_is_respected():
    """Then there are no more windows."""
    program = """
import faulthandler
from emu.engines.native.window import Window
Window()
faulthandler.enable()
try:
    Window()
except OSError as error:
    print(error)
faulthandler.disable()
Window()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "the host's faults are another one's\n")


def test_a_mark_says_where_to_go_on():
    """The instruction before an access does nothing, and its distance is the access's."""
    from emu.engines.native.branches import straight

    # jmp over; mark, mov eax, [rax]; jmp next; elsewhere: jmp again
    access = window.MARK + (7).to_bytes(4, "little") + code("8b00")
    text = access + code("e900000000 e900000000")
    made = straight(text, frozenset({len(access) + 1, len(text) - 4}))
    assert made is not None and made.away == [3]
    assert made.code == window.MARK + bytes(4) + code("8b00 e900000000")
    assert window._ACTION_OF.size == 152
