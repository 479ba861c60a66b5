"""Migrations between two monitors in one process, with connections that are cut where one says."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, cast

from emu.devices.disk_image import DiskImage
from emu.pc.guest import Choice
from emu.pc.serial import MemorySerial
from tests.pc_machines import PROGRAMS
from tests.pc_monitor_guests import EPILOGUE, PROLOGUE, binary, guest, system
from vmm.migration import destination, source
from vmm.migration.channel import Channel, Role, Stream
from vmm.migration.destination import Arrived, Destination, Prepared
from vmm.migration.errors import CutError, MigrationError, RefusedError
from vmm.migration.image import Disk, disk_digest, shape_of
from vmm.migration.protocol import Kind
from vmm.migration.records import CONFIRMED, RELEASED, Records
from vmm.migration.rounds import Policy
from vmm.migration.secret import Secret
from vmm.migration.source import Fate, Outcome, Source
from vmm.pc import MONITORS
from vmm.pc.guest import Guest
from vmm.pc.machine import VirtualPc

SECRET = Secret(b"nobody else knows this one")
TIMEOUT = 60.0  # seconds: the host may be busy
GRID = 500  # instructions between two states of the run that is not moved
LONGEST = 60_000_000
FAST = Policy(least=2000, most=20_000, leave=1, step=0)

DISK = """
    mov edi, 5                  # rounds
again:
    mov ecx, 1                  # sector 1 is read, changed, and written
    call seek
    mov al, 0x20
    out dx, al
    call ready
    mov edi, 0x140000
    mov ecx, 256
    mov dx, 0x1F0
    cld
    rep insw
    inc dword ptr [0x140000]
    mov eax, dword ptr [0x140000]
    add al, 0x30
    mov dx, 0x3F8
    out dx, al
    mov ecx, 1
    call seek
    mov al, 0x30
    out dx, al
    call ready
    mov esi, 0x140000
    mov ecx, 256
    mov dx, 0x1F0
    rep outsw
    call idle
    cmp dword ptr [0x140000], 9
    jb again
    cli
    hlt
seek:
    call idle
    mov dx, 0x1F2
    mov al, 1
    out dx, al
    inc edx
    mov al, cl
    out dx, al
    inc edx
    xor eax, eax
    out dx, al
    inc edx
    out dx, al
    inc edx
    mov al, 0xE0
    out dx, al
    inc edx
    ret
idle:
    mov dx, 0x1F7
1:  in al, dx
    test al, 0x80
    jnz 1b
    ret
ready:
    mov dx, 0x1F7
2:  in al, dx
    and al, 0x88
    cmp al, 8
    jne 2b
    ret
"""


def disk_guest(engine: str = "python") -> Guest:
    """A kernel that writes to its hard disk, sector by sector."""
    image = DiskImage.of(bytes(512) + (3).to_bytes(4, "little") + bytes(5000 * 512))
    choice = Choice(engine=engine, memory=4 << 20, kernel=binary(PROLOGUE + DISK + EPILOGUE),
                    kernel_name="disk", disks=(image,))  # fmt: skip
    return Guest(Path("disk.asm"), choice)


@cache
def writer(pages: int, pause: int, rounds: int, table: int) -> bytes:
    """programs/x86/pc/writer.asm with other numbers."""
    text = (PROGRAMS / "writer.asm").read_text()
    for name, value in {"PAGES": pages, "PAUSE": pause, "ROUNDS": rounds,
                        "TABLE_PAGES": table}.items():  # fmt: skip
        head, tail = text.split(f".set {name}, ", 1)
        text = f"{head}.set {name}, {value}\n{tail.split(chr(10), 1)[1]}"
    return binary(text)


def small_writer(engine: str = "python") -> Guest:
    """It has rounds to copy within a few thousand instructions."""
    return guest(writer(5, 20, 8, 1), engine=engine)


def timer(engine: str = "python") -> Guest:
    """Interrupts, HLT, and a key that is still to be pressed."""
    return guest(binary((PROGRAMS / "timer.asm").read_text()), engine=engine, typed="x")


GUESTS: dict[str, Callable[[str], Guest]] = {
    "writer": small_writer, "timer": timer, "disk": disk_guest,
    **{f"system {seed}": lambda engine, seed=seed: system(seed) for seed in (1, 5, 11)},
}  # fmt: skip


# -- a run that is not moved -----------------------------------------------------------------


@dataclass(slots=True)
class Unmoved:
    """What a guest does on the bare machine: digests by count, and its end."""

    digests: dict[int, str]
    count: int
    digest: str
    output: bytes


@cache
def unmoved(name: str) -> Unmoved:
    """The run of one of `GUESTS`, to its end."""
    serial = MemorySerial()
    machine = GUESTS[name]("python").bare(serial).machine
    digests: dict[int, str] = {}
    step, stop = GRID, machine.run(GRID)
    while stop.reason == "until":
        digests[machine.state.count] = machine.digest()
        step = step if len(digests) < 24 else step * 2
        stop = machine.run(machine.state.count + step)
    return Unmoved(digests, machine.state.count, machine.digest(), bytes(serial.output))


def check_to_the_end(name: str, machine: VirtualPc, outputs: bytes, serial: MemorySerial) -> None:
    """From where it is now: the same states at the same counts, the same end, the same output."""
    expected, start = unmoved(name), len(serial.output)
    later = [count for count in expected.digests if count > machine.state.count]
    for count in later[:2] + later[-1:]:
        machine.run(count)
        assert machine.digest() == expected.digests[count], f"at {count}"
    machine.run(LONGEST)
    assert machine.state.count == expected.count
    assert machine.digest() == expected.digest
    assert outputs + bytes(serial.output[start:]) == expected.output


# -- connections that are cut ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a connection ends: at the nth message of a kind that one side sends.

    `how`: "before" (the sender notices), "lost" (it does not), "middle" (half of it arrives),
    "after" (it arrives and nothing else), "garbled", "silent" (the line stays open).
    """

    sender: Role
    kind: Kind
    how: str
    nth: int = 1


class CutChannel(Channel):
    """A channel that may be cut."""

    cut: Cut | None = None
    network: Network
    _seen = 0
    _mute = False

    def send(self, kind: int, body: bytes = b"") -> None:
        """See `Channel`."""
        cut = self.cut
        if self._mute:
            return None
        if cut is None or cut.sender != self.role or cut.kind != kind:
            return super().send(kind, body)
        self._seen += 1
        if self._seen != cut.nth:
            return super().send(kind, body)
        return self._end(cut, kind, body)

    def _end(self, cut: Cut, kind: int, body: bytes) -> None:
        self.network.cut += 1
        if cut.how == "silent":
            self._mute = True
            return
        if cut.how in ("middle", "garbled"):
            stream = self._stream
            self._stream = cast(Stream, _Halved(stream, garbled=cut.how == "garbled"))
            super().send(kind, body)
            self._stream = stream
            if cut.how == "garbled":
                return
        if cut.how == "after":
            super().send(kind, body)
        self.close()
        if cut.how == "before":
            raise CutError("cut by the test")


class _Halved:
    def __init__(self, stream: Stream, *, garbled: bool) -> None:
        self._sent, self._garbled = stream, garbled

    def settimeout(self, seconds: float | None) -> None:
        self._sent.settimeout(seconds)

    def sendall(self, data: bytes) -> None:
        half = len(data) // 2
        if self._garbled:
            self._sent.sendall(data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :])
        else:
            self._sent.sendall(data[:half])

    def close(self) -> None:
        self._sent.close()


class Network:
    """Both ends of every connection. The first one is cut at `cuts[0]`, and so on; behind the last
    of them `again` tells whether there is another connection."""

    def __init__(self, cuts: list[Cut], *, again: bool, dialer: Role, timeout: float) -> None:
        self._cuts = cuts
        self._again = again
        self._dialer = dialer
        self._timeout = timeout
        self._made = 0
        self.cut = 0  # connections that were cut so far
        self._waiting: queue.Queue[tuple[socket.socket, int]] = queue.Queue()
        self.closed = False

    def connect(self, role: Role) -> Channel:
        """What source and destination call."""
        number, stream = self._dial() if role == self._dialer else self._accept()
        channel = CutChannel(
            stream, SECRET, role, connected=role == self._dialer, timeout=self._timeout
        )
        channel.cut = self._cuts[number] if number < len(self._cuts) else None
        channel.network = self
        return channel

    def _dial(self) -> tuple[int, socket.socket]:
        if self.closed or (self._made and not self._again):
            raise CutError("nobody answers")
        mine, its = socket.socketpair()
        number, self._made = self._made, self._made + 1
        self._waiting.put((its, number))
        return number, mine

    def _accept(self) -> tuple[int, socket.socket]:
        try:
            stream, number = self._waiting.get(timeout=0.02 if self.closed else 0.5)
        except queue.Empty:
            raise CutError("nobody has connected") from None
        return number, stream


# -- one migration ---------------------------------------------------------------------------


@dataclass(slots=True)
class Trial:
    """What happens to whom."""

    guest: str
    under: str = "hardware-assist"
    monitor: str = "hardware-assist"
    engine: str = "python"
    at: int = 1500
    policy: Policy = FAST
    cuts: list[Cut] = field(default_factory=list)
    again: bool = True
    dialer: Role = Role.SOURCE
    patience: float = 20.0
    timeout: float = TIMEOUT


@dataclass(slots=True)
class Happened:
    """How it ended on both sides, before any operator."""

    trial: Trial
    machine: VirtualPc
    serial: MemorySerial
    outcome: Outcome
    arrived: Arrived | None
    error: Exception | None
    there: Destination
    theirs: MemorySerial
    their_records: Records
    cuts: int  # that were made


class _Careful(Prepared):
    """Looks, when a guest becomes the destination's, at what the source has on its disk."""

    ours: Records

    def activate(self, certificate: str) -> Arrived:
        """See `Prepared`."""
        arrived = super().activate(certificate)
        record = self.ours.read(self.record.identifier, "source")
        assert record.state in (RELEASED, CONFIRMED), "two running copies"
        return arrived


def happen(trial: Trial, directory: Path, monkeypatch: Any, engine: str = "") -> Happened:
    """Run it, with both sides in this process."""
    for module in (source, destination):
        monkeypatch.setattr(module, "PAUSE", 0.005)
    ours, theirs = Records(directory / "source"), Records(directory / "destination")
    careful = type("Careful", (_Careful,), {"ours": ours})
    monkeypatch.setattr(destination, "Prepared", careful)
    chosen = GUESTS[trial.guest](trial.engine)
    out, there_out = MemorySerial(), MemorySerial()
    machine = cast(VirtualPc, chosen.virtual(MONITORS[trial.under], out).machine)
    machine.run(trial.at)
    images = {disk_digest(i): i for i in (*chosen.choice.floppies, *chosen.choice.disks) if i}

    def find(disk: Disk) -> DiskImage:
        if disk.digest not in images:
            raise RefusedError(f"no {disk}")
        return images[disk.digest]

    network = Network(trial.cuts, again=trial.again, dialer=trial.dialer, timeout=trial.timeout)
    there = Destination(MONITORS[trial.monitor], engine or trial.engine, SECRET, theirs, find,
                        lambda: there_out, trial.patience)  # fmt: skip
    found: list[Arrived | Exception] = []

    def receive() -> None:
        try:
            found.append(there.receive(lambda: network.connect(Role.DESTINATION)))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=receive)
    thread.start()
    here = Source(machine, shape_of(machine, trial.guest, umip=chosen.umip), trial.guest, SECRET,
                  ours, trial.policy, trial.patience,
                  dials=trial.dialer == Role.SOURCE)  # fmt: skip
    outcome = here.migrate(lambda: network.connect(Role.SOURCE))
    if outcome.fate == Fate.HERE and trial.dialer == Role.DESTINATION:
        _answer_once(here, network)
    thread.join()
    network.closed = True
    result = found[0]
    arrived = result if isinstance(result, Arrived) else None
    error = result if isinstance(result, Exception) else None
    if error is not None and not isinstance(error, MigrationError):
        raise error
    return Happened(trial, machine, out, outcome, arrived, error, there, there_out, theirs,
                    network.cut)  # fmt: skip


def _answer_once(here: Source, network: Network) -> None:
    """A source that listens goes on listening; who comes back is told what became of its guest."""
    here.migrate(lambda: network.connect(Role.SOURCE))


def judge(happened: Happened) -> str:
    """Never two, never none; nothing lost. Returns who has it, and how that was found out."""
    outcome, arrived = happened.outcome, happened.arrived
    how = "by themselves"
    assert not (outcome.fate == Fate.HERE and arrived is not None), "two running copies"
    if outcome.fate == Fate.THERE:
        assert arrived is not None, "no running copy"
    if outcome.fate == Fate.GIVEN_UP and arrived is None:
        assert outcome.record is not None
        how = "by the operator"
        prepared = happened.there.resume(outcome.record.identifier)
        arrived = prepared.activate(outcome.record.certificate)
    if outcome.fate == Fate.ENDED:  # it came to its end while it was copied
        assert arrived is None
        assert happened.machine.digest() == unmoved(happened.trial.guest).digest
        return "ended here"
    if outcome.fate == Fate.HERE:
        _nobody_there(happened)
        check_to_the_end(happened.trial.guest, happened.machine, bytes(happened.serial.output),
                         happened.serial)  # fmt: skip
        return f"here, {how}"
    assert arrived is not None
    stopped = outcome.record
    assert stopped is not None and happened.machine.state.count == stopped.count
    check_to_the_end(happened.trial.guest, arrived.machine, bytes(happened.serial.output),
                     happened.theirs)  # fmt: skip
    arrived.ended()
    return f"there, {how}"


def _nobody_there(happened: Happened) -> None:
    """What the destination may have kept cannot be run."""
    for record in happened.their_records.all():
        if record.state == "prepared":
            prepared = happened.there.resume(record.identifier)
            for wrong in ("", "00" * 32, "no hex"):
                try:
                    prepared.activate(wrong)
                except MigrationError:
                    continue
                raise AssertionError("a guest without certificate runs")
            prepared.discard("the operator has asked the source")


SENT = {
    Role.SOURCE: (Kind.OFFER, Kind.PAGES, Kind.ROUND, Kind.STATE, Kind.FINAL, Kind.COMMIT,
                  Kind.DONE),
    Role.DESTINATION: (Kind.STATUS, Kind.ACCEPT, Kind.ROUND, Kind.PREPARED, Kind.RUNNING),
}  # fmt: skip
STEPS = [(sender, kind) for sender, kinds in SENT.items() for kind in kinds]
HOWS = ("before", "lost", "middle", "after", "garbled")


def random_trial(seed: int) -> Trial:
    """A migration under load, cut at the seed's step."""
    random = Random(seed)
    name = random.choice(list(GUESTS))
    monitors = [m for m in MONITORS if m != "trap-and-emulate"]
    sender, kind = STEPS[seed % len(STEPS)]
    often = kind in (Kind.PAGES, Kind.ROUND)
    cuts = [Cut(sender, kind, random.choice(HOWS), random.choice([1, 2]) if often else 1)]
    while random.random() < 0.4:  # and again, while it is being settled
        again = random.choice([(Role.SOURCE, Kind.COMMIT), (Role.SOURCE, Kind.DONE),
                               (Role.SOURCE, Kind.ABORT), (Role.DESTINATION, Kind.STATUS),
                               (Role.DESTINATION, Kind.RUNNING)])  # fmt: skip
        cuts.append(Cut(*again, random.choice(HOWS)))
    works, small = random.random() < 0.6, "system" in name
    last = unmoved(name).count
    rate = 200_000 if small else 5000
    policy = Policy(random.random() < 0.8, rate, 10 * rate, random.choice([0, 1, 4]), 6, 0)
    return Trial(
        name, random.choice(monitors), random.choice(monitors),
        random.choice(["python", "reference"]) if small else "python",
        random.randrange(100, last * 3 // 4), policy, cuts, works, random.choice(list(Role)),
        30.0 if works else 0.0,
    )  # fmt: skip
