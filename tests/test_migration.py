"""Virtual machines that move between monitors: the same states, and never zero or two of them."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.errors import GuestFileError
from emu.pc.serial import MemorySerial
from tests.migrations import (
    FAST,
    GUESTS,
    HOWS,
    SECRET,
    STEPS,
    Cut,
    Trial,
    happen,
    judge,
    random_trial,
    unmoved,
)
from tests.pc_machines import PROGRAMS
from tests.vmm_command import vmm
from vmm.migration.arrival import disks_of
from vmm.migration.channel import LARGEST, MAGIC, VERSION, Channel, Role
from vmm.migration.errors import (
    CutError,
    MigrationError,
    ProtocolError,
    RefusedError,
    StrangerError,
)
from vmm.migration.image import Disk, pages, put_state, shape_from, shape_of, state_of
from vmm.migration.network import Dialer, Listener
from vmm.migration.protocol import Kind, hear, pack_pages, unpack_pages
from vmm.migration.records import Record, Records
from vmm.migration.rounds import DirtyLog, Policy
from vmm.migration.secret import Secret, read_secret
from vmm.migration.source import Fate
from vmm.migration.storage import load, store
from vmm.migration.values import DamagedError, decode, encode
from vmm.pc import MONITORS

WRITER = Policy(least=10_000, most=20_000, leave=1, step=0)
SYSTEM = Policy(least=200_000, most=2_000_000, leave=1, step=0)


# -- whole migrations ----------------------------------------------------------------------------

PAIRS = [("hybrid", "hardware-assist")]
NAMES = list(MONITORS)
OTHERS = list(zip(NAMES, NAMES[1:] + NAMES[:1], strict=True))  # each gives and takes


@pytest.mark.parametrize(
    ("under", "monitor"), PAIRS + [pytest.param(*pair, marks=pytest.mark.heavy) for pair in OTHERS]
)
def test_a_guest_moves_between_any_two_monitors(
    under: str, monitor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact states at exact counts, and the output in two parts. The timer's guest executes nothing
    on which trap-and-emulate fails."""
    trial = Trial("timer", under, monitor, at=1_234_567)
    happened = happen(trial, tmp_path, monkeypatch)
    assert judge(happened) == "there, by themselves"
    assert b"" not in (happened.serial.output, happened.theirs.output)


@pytest.mark.parametrize(
    "name", ["writer", "disk", *(pytest.param(n, marks=pytest.mark.heavy) for n in GUESTS)]
)
def test_pages_are_copied_while_the_guest_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paging, faults, disks with sectors written over the image, keys to come."""
    policy = {"writer": WRITER, "disk": FAST, "timer": FAST}.get(name, SYSTEM)
    at = 5000 if name == "writer" else 600
    happened = happen(Trial(name, "hybrid", at=at, policy=policy), tmp_path, monkeypatch)
    measured = happened.outcome.measured
    assert measured.rounds and measured.rounds[0].instructions
    assert judge(happened) == "there, by themselves"
    if name == "writer":
        assert len(measured.rounds) > 1 and measured.final_pages < measured.rounds[0].sent


@pytest.mark.heavy
@pytest.mark.parametrize("engines", [("native", "reference"), ("reference", "native")])
def test_engines_differ_on_either_side(
    engines: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial("writer", "translation", "hybrid", engines[0], at=20_000)
    happened = happen(trial, tmp_path, monkeypatch, engines[1])
    assert judge(happened) == "there, by themselves"


def test_what_is_written_is_logged() -> None:
    """Whatever changes between two looks was logged in between: by the processor in either ring, by
    walks of page tables, by devices."""
    for name, under in (("system 5", "hybrid"), ("disk", "hardware-assist")):
        machine = GUESTS[name]("python").virtual(MONITORS[under], MemorySerial()).machine
        log = DirtyLog(machine, shape_of(machine, name))
        log.start()
        logged = False
        while machine.run(machine.state.count + 97).reason == "until":
            before = dict(pages(machine, range(machine.memory.ram // 4096)))
            log.take()
            machine.run(machine.state.count + 203)
            dirty = log.take()
            after = dict(pages(machine, range(machine.memory.ram // 4096)))
            changed = {number for number in before if before[number] != after[number]}
            assert changed <= dirty
            assert len(dirty) < 40
            logged = logged or bool(changed)
        assert logged
        assert machine.digest() == unmoved(name).digest


# -- cuts ----------------------------------------------------------------------------------------

COMMITTED = (Kind.COMMIT, Kind.RUNNING, Kind.DONE)
FIRST = [(sender, kind, HOWS[n % len(HOWS)]) for n, (sender, kind) in enumerate(STEPS)]
EACH = [(sender, kind, how) for sender, kind in STEPS for how in HOWS]


@pytest.mark.parametrize(
    ("sender", "kind", "how"),
    FIRST + [pytest.param(*cut, marks=pytest.mark.heavy) for cut in EACH if cut not in FIRST],
)
@pytest.mark.parametrize(
    "again", [True, pytest.param(False, marks=pytest.mark.heavy)], ids=["again", "for good"]
)
def test_a_cut_at_each_step(
    sender: Role, kind: Kind, how: str, again: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Before the commit point the source has it, behind it the destination; who does not hear of it
    finds out by connecting again, or from the records."""
    trial = Trial("system 5", at=300, policy=SYSTEM, cuts=[Cut(sender, kind, how)], again=again,
                  patience=30.0 if again else 0.0)  # fmt: skip
    happened = happen(trial, tmp_path, monkeypatch)
    assert happened.cuts == 1
    heard = kind == Kind.PREPARED and how == "after"
    if kind not in COMMITTED and not heard:
        assert judge(happened) == "here, by themselves"
    elif again or kind == Kind.DONE:
        assert happened.outcome.fate == Fate.THERE
        assert judge(happened) == "there, by themselves"
    else:
        runs = kind == Kind.RUNNING or (kind == Kind.COMMIT and how == "after")
        assert (happened.arrived is not None) == runs
        assert judge(happened) == ("there, by themselves" if runs else "there, by the operator")


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(200))
def test_migrations_under_load_with_random_cuts(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any guest, monitors, engine, moment, mode and side that connects; cut and cut again."""
    happened = happen(random_trial(seed), tmp_path, monkeypatch)
    judge(happened)


@pytest.mark.parametrize("kind", [Kind.PAGES, pytest.param(Kind.FINAL, marks=pytest.mark.heavy)])
def test_a_peer_that_stalls(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial("system 5", at=300, policy=SYSTEM, cuts=[Cut(Role.SOURCE, kind, "silent")],
                  timeout=1.0, patience=0.0, again=False)  # fmt: skip
    happened = happen(trial, tmp_path, monkeypatch)
    assert happened.outcome.fate == Fate.HERE
    errors = str(happened.outcome.error), str(happened.error)
    assert any("has said nothing for 1 seconds" in error for error in errors), errors
    assert judge(happened) == "here, by themselves"


@pytest.mark.heavy
def test_a_destination_that_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vmm.migration.destination.store", full)
    happened = happen(Trial("system 5", at=300, policy=SYSTEM), tmp_path, monkeypatch)
    assert "cannot be kept" in happened.outcome.why
    assert judge(happened) == "here, by themselves"


def test_a_source_that_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot give the guest up for good, so it keeps it."""
    advance = Records.advance

    def full(self: Records, record: Record, state: str, **changes: object) -> Record:
        if record.role == "source":
            raise OSError(28, "No space left on device")
        return advance(self, record, state, **changes)

    monkeypatch.setattr(Records, "advance", full)
    happened = happen(Trial("system 5", at=300, policy=SYSTEM), tmp_path, monkeypatch)
    assert "No space left" in happened.outcome.why
    assert judge(happened) == "here, by themselves"


def test_a_state_that_was_changed_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest of the whole machine decides, not who has sent it."""

    def wrong(machine: object) -> dict[str, object]:
        found = state_of(machine)  # type: ignore[arg-type]
        return found | {"count": found["count"], "registers": [0, *found["registers"][1:]]}

    monkeypatch.setattr("vmm.migration.source.state_of", wrong)
    happened = happen(Trial("system 5", at=300, policy=SYSTEM), tmp_path, monkeypatch)
    assert isinstance(happened.error, RefusedError)
    assert judge(happened) == "here, by themselves"


# -- who is there --------------------------------------------------------------------------------


def greeted(one: dict[str, object], other: dict[str, object]) -> list[Channel | MigrationError]:
    """What both ends of a connection make of one another."""
    ends, found = socket.socketpair(), {}

    def meet(number: int, chosen: dict[str, object]) -> None:
        given = {"secret": SECRET, "role": Role(number), "connected": not number} | chosen
        try:
            found[number] = Channel(ends[number], timeout=30.0, **given)  # type: ignore[arg-type]
        except MigrationError as error:
            found[number] = error

    threads = [threading.Thread(target=meet, args=pair) for pair in enumerate((one, other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[0], found[1]]


def test_both_sides_prove_that_they_know_the_secret() -> None:
    assert all(isinstance(end, Channel) for end in greeted({}, {}))
    other = Secret(b"another secret of 16 or more")
    for ends in (greeted({"secret": other}, {}), greeted({}, {"secret": other})):
        assert all(isinstance(end, StrangerError) for end in ends), ends
        assert {end.exit_code for end in ends if isinstance(end, MigrationError)} == {77}
    same = greeted({}, {"role": Role.SOURCE})
    assert all(isinstance(end, ProtocolError) for end in same)


def test_nobody_learns_the_proof_by_playing_it_back() -> None:
    """A side that connects and sends back what it hears is a stranger."""
    mine, its = socket.socketpair()

    def mirror() -> None:
        hello = struct.pack("<8sHB32s", MAGIC, VERSION, Role.SOURCE, bytes(32))
        its.sendall(hello)
        its.recv(43)
        its.sendall(bytes(32))
        its.close()

    thread = threading.Thread(target=mirror)
    thread.start()
    with pytest.raises(StrangerError):
        Channel(mine, SECRET, Role.DESTINATION, connected=False, timeout=30.0)
    thread.join()


def raw(sent: bytes) -> MigrationError:
    """What a side that listens says of such bytes."""
    mine, its = socket.socketpair()
    its.sendall(sent)
    its.shutdown(socket.SHUT_WR)
    with pytest.raises(MigrationError) as caught:
        Channel(mine, SECRET, Role.DESTINATION, connected=False, timeout=30.0)
    its.close()
    return caught.value


def test_other_versions_and_strangers_are_told() -> None:
    newer = raw(struct.pack("<8sHB32s", MAGIC, VERSION + 1, Role.SOURCE, bytes(32)))
    assert f"speaks version {VERSION + 1}" in str(newer) and newer.exit_code == 76
    assert "does not speak of migrations" in str(raw(b"GET / HTTP/1.1\r\nHost: here" + bytes(20)))
    assert isinstance(raw(b"POPEK"), CutError)


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_end_in_an_error(data: bytes) -> None:
    raw(data)
    raw(struct.pack("<8sHB32s", MAGIC, VERSION, Role.SOURCE, bytes(32)) + data)


def connected() -> tuple[Channel, Channel, socket.socket]:
    """Both ends, and the first one's socket."""
    one, other = greeted({}, {})
    assert isinstance(one, Channel) and isinstance(other, Channel)
    return one, other, one._stream  # type: ignore[return-value]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 60), st.integers(1, 255))
def test_a_message_that_is_changed_on_its_way_is_refused(place: int, change: int) -> None:
    one, other, stream = connected()
    captured: list[bytes] = []
    one._send = captured.append  # type: ignore[method-assign, assignment]
    one.send(Kind.COMMIT, encode({"certificate": "00"}))
    damaged = bytearray(captured[0])
    damaged[place % len(damaged)] ^= change
    stream.sendall(damaged)
    stream.close()
    with pytest.raises((ProtocolError, CutError)):
        other.receive()


def test_messages_cannot_be_repeated_or_be_huge() -> None:
    one, other, stream = connected()
    captured: list[bytes] = []
    one._send = captured.append  # type: ignore[method-assign, assignment]
    one.send(Kind.ROUND, encode(None))
    stream.sendall(captured[0] * 2)
    assert hear(other, Kind.ROUND) == (Kind.ROUND, None)
    with pytest.raises(ProtocolError, match="damaged or forged"):
        other.receive()
    one, other, stream = connected()
    stream.sendall(struct.pack("<IB", LARGEST + 1, Kind.PAGES))
    with pytest.raises(ProtocolError, match="at most"):
        other.receive()


def test_a_listener_passes_over_strangers(capsys: pytest.CaptureFixture[str]) -> None:
    listener = Listener("127.0.0.1:0", SECRET, Role.DESTINATION, 30.0)
    listener.wait = 30.0
    caught: list[MigrationError] = []

    def dial() -> None:
        stranger = Dialer(listener.where, Secret(b"x" * 16), Role.SOURCE, 30.0)
        for dialer in (stranger, Dialer(listener.where, SECRET, Role.SOURCE, 30.0)):
            try:
                dialer().send(Kind.ROUND, encode(7))
            except MigrationError as error:
                caught.append(error)

    thread = threading.Thread(target=dial)
    thread.start()
    assert hear(listener(), Kind.ROUND) == (Kind.ROUND, 7)
    thread.join()
    listener.close()
    assert [type(error) for error in caught] == [StrangerError]
    assert "turned away" in capsys.readouterr().err


# -- what comes ----------------------------------------------------------------------------------

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers() | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=30, deadline=None)
@given(PLAIN, st.binary(max_size=60))
def test_plain_values_come_back_and_others_are_refused(value: object, data: bytes) -> None:
    again = decode(encode(value))
    assert (again, repr(again)) == (value, repr(value))
    for damaged in (data, encode(value)[:-1], encode(value) + data[:1] + b"?"):
        try:
            decode(damaged)
        except DamagedError:
            continue
        assert damaged == data


def test_values_that_are_huge_or_nested_are_refused() -> None:
    nested = b"l\1\0\0\0" * 50 + b"N"
    for wrong in (nested, b"l\xff\xff\xff\xff", b"b\xff\xff\xff\x7f", b"d\1\0\0\0l\0\0\0\0N", b"s"):
        with pytest.raises(DamagedError):
            decode(wrong)
    with pytest.raises(TypeError):
        encode({1.5})


def test_pages_must_be_the_machines() -> None:
    good = [(3, b"x" * 4096), (4, b"")]
    body = pack_pages(good)
    assert list(unpack_pages(body, 5)) == good
    for wrong, frames in ((body, 4), (body[:-1], 5), (body[:3], 5), (body + b"\2\0\0\0\1", 5)):
        with pytest.raises(ProtocolError):
            list(unpack_pages(wrong, frames))


@pytest.mark.parametrize(
    "change",
    [
        {"model": "z80"}, {"memory": 1 << 40}, {"memory": -1}, {"ports": 9},
        {"floppies": [None] * 3}, {"disks": [["name"]]}, {"options": 5}, {"memory": "much"},
    ],
    ids=str,
)  # fmt: skip
def test_offers_of_machines_that_cannot_be(change: dict[str, object]) -> None:
    machine = GUESTS["disk"]("reference").virtual(MONITORS["hybrid"], MemorySerial()).machine
    plain = decode(encode(shape_of(machine, "disk").plain()))
    assert shape_from(plain) == shape_from(shape_of(machine, "disk").plain())
    with pytest.raises(MigrationError):
        shape_from(plain | change)


def test_a_state_that_does_not_fit_is_refused() -> None:
    machine = GUESTS["timer"]("reference").virtual(MONITORS["hybrid"], MemorySerial()).machine
    good = state_of(machine)
    put_state(machine, decode(encode(good)))
    for name, value in (("registers", [1]), ("board", {}), ("map", []), ("translations", [{}]),
                        ("registers", None), ("shut_down", [(1,) * 9])):  # fmt: skip
        with pytest.raises(ProtocolError):
            put_state(machine, good | {name: value})
    with pytest.raises(ProtocolError):
        put_state(machine, "nothing")


def test_disks_are_found_by_their_digest(tmp_path: Path) -> None:
    one, other = tmp_path / "one.img", tmp_path / "other.img"
    one.write_bytes(b"1" * 1024)
    other.write_bytes(b"2" * 1024)
    find = disks_of([one, other])
    known = hashlib.sha256(b"2" * 1024).hexdigest()
    assert find(Disk("any name", 2, known)).read(0) == b"2" * 512
    with pytest.raises(RefusedError, match="is not here"):
        find(Disk("one.img", 2, "00" * 32))
    with pytest.raises(GuestFileError):
        disks_of([tmp_path / "none.img"])(Disk("none.img", 2, known))


def test_a_missing_disk_is_told_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.migrations.disk_digest", lambda image: "another")
    happened = happen(Trial("disk", at=600), tmp_path, monkeypatch)
    assert isinstance(happened.outcome.error, RefusedError)
    assert not happened.outcome.measured.pages
    assert happened.outcome.record is None


def test_a_kept_machine_is_whole_or_refused(tmp_path: Path) -> None:
    machine = GUESTS["timer"]("reference").virtual(MONITORS["hybrid"], MemorySerial()).machine
    shape, path = shape_of(machine, "timer"), tmp_path / "image"
    kept = list(pages(machine, [0, 256, 257]))
    store(path, "timer", shape, "digest", encode(state_of(machine)), kept)
    found = load(path)
    assert (found.shape.memory, found.pages, found.guest) == (4 << 20, kept, "timer")
    data = bytearray(path.read_bytes())
    for wrong in (data[:-1], data[:20], b"", data[:40] + b"?" + data[41:]):
        path.write_bytes(wrong)
        with pytest.raises(GuestFileError):
            load(path)


# -- the operator's commands ---------------------------------------------------------------------


def test_secrets_come_from_files_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"a secret of the file\n")
    path.chmod(0o644)
    mine = read_secret(path)
    assert "can be read by others" in capsys.readouterr().err
    monkeypatch.setenv("POPEK_MIGRATION_SECRET", "a secret of the file")
    assert mine.proof(b"x") == read_secret(None).proof(b"x")
    path.write_bytes(b"short")
    for wrong in (path, tmp_path / "none"):
        with pytest.raises(GuestFileError):
            read_secret(wrong)
    monkeypatch.delenv("POPEK_MIGRATION_SECRET")
    with pytest.raises(GuestFileError, match="must share a secret"):
        read_secret(None)


ID = "0123456789abcdef" * 2


def test_records_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--release` gives up what died while it was offered, and nothing else."""
    monkeypatch.setenv("POPEK_MIGRATION_SECRET", "a secret of the test")
    records = Records(tmp_path)
    record = Record(ID, "source", "offered", "guest", 5, "digest", "there")
    records.write(record)
    arguments = "--records", tmp_path
    lock = records.lock(ID, "source")
    assert "its process lives" in vmm("migrate", "--status", *arguments).stdout
    refused = vmm("migrate", "--release", ID, *arguments)
    assert refused.exit_code == 65 and "still takes part" in refused.stderr
    lock.release()
    first = vmm("migrate", "--release", ID, *arguments)
    assert first.exit_code == 0, first.output
    secret = Secret(b"a secret of the test")
    assert secret.certifies(first.stdout.strip(), ID, "digest")
    assert records.read(ID, "source").state == "released"
    assert vmm("migrate", "--release", ID, *arguments).stdout == first.stdout
    records.write(Record(ID, "source", "kept", "guest", 5, "digest", why="cut"))
    assert "has kept the guest" in vmm("migrate", "--release", ID, *arguments).stderr
    shown = json.loads(vmm("migrate", "--status", "--json", *arguments).stdout)
    assert [(row["state"], row["alive"]) for row in shown] == [("kept", False)]
    records.path(ID, "source").write_text("{")
    assert "is damaged" in vmm("migrate", "--status", *arguments).stderr


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("migrate",), "Say one of --listen", 2),
        (("migrate", "--listen", "127.0.0.1:0", "--from", "127.0.0.1:1"), "Say one of", 2),
        (("migrate", "--listen", "nowhere"), "is no address", 65),
        (("migrate", "--from", "127.0.0.1:1"), "nobody answers", 74),
        (("migrate", "--listen", "127.0.0.1:0", "--monitor", "none"), "no monitor 'none'", 65),
        (("migrate", "--listen", "127.0.0.1:0", "--wait", "0.05"), "nobody has connected", 74),
        (("migrate", "--resume", "xyz"), "no migration's identifier", 65),
        (("migrate", "--resume", ID), "has no record", 65),
        (("migrate", "--discard", ID), "has no record", 65),
        (("run", "--migrate-at", "5", PROGRAMS / "timer.asm"), "needs --to", 2),
        (("run", "--to", "127.0.0.1:1", "--offer", "127.0.0.1:2", PROGRAMS / "timer.asm"),
         "no --to", 2),
        (("run", "--to", "127.0.0.1:1", "--bandwidth", "fast", PROGRAMS / "timer.asm"),
         "is no bandwidth", 65),
        (("run", "--to", "127.0.0.1:1", PROGRAMS.parent.parent / "toy" / "hello.asm"),
         "only a PC's guest", 65),
    ],
    ids=str,
)  # fmt: skip
def test_mistakes_end_in_a_message(
    arguments: tuple[object, ...], said: str, code: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("POPEK_MIGRATION_SECRET", "a secret of the test")
    monkeypatch.setenv("POPEK_MIGRATIONS", str(tmp_path))
    done = vmm(*arguments)
    assert said in done.stderr, done.output
    assert done.exit_code == code
    assert os.environ["POPEK_MIGRATION_SECRET"] not in done.output


def test_a_guest_that_finds_nobody_goes_on_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POPEK_MIGRATION_SECRET", "a secret of the test")
    done = vmm(
        "run", PROGRAMS / "timer.asm", "--monitor", "hardware-assist", "--engine", "python",
        "--memory", "4M", "--type", "x", "--to", "127.0.0.1:1", "--records", tmp_path, "--json",
    )  # fmt: skip
    assert done.exit_code == 0
    assert "the guest stays here: nobody answers" in done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["migration"]["fate"] == "here"
