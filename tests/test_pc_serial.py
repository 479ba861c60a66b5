"""The 16550A: how systems find it, FIFOs, interrupts and their order, and its wire."""

from __future__ import annotations

import io
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pc_bench import Bench, Wire

from emu.devices.ns16550 import NS16550
from emu.errors import GuestFileError
from emu.pc.serial import FileSerial, MemorySerial, StreamSerial, serial_backend

RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR = range(0x3F8, 0x400)
CHARACTER = 869  # instructions at 115,200 baud, eight bits, no parity, at 10 mips


def serial_bench(**options):
    """A port on a wire, at 115,200 baud, 8n1, its interrupt connected."""
    wire, backend = Wire(), MemorySerial()
    bench = Bench(NS16550(0x3F8, backend, wire, **options))
    bench.wire, bench.backend = wire, backend
    bench.out(LCR, 0x83)
    bench.out(RBR, 1)
    bench.out(IER, 0)
    bench.out(LCR, 0x03)
    bench.out(MCR, 0x0B)
    return bench


@pytest.fixture
def bench():
    return serial_bench()


def type_in(bench, data):
    """The host sends, and time passes until all has come."""
    bench.chip.feed(data, bench.now)
    bench.run(CHARACTER * len(data))


def test_output(bench):
    """What is written to THR goes out."""
    bench.out(RBR, *b"hello")
    assert bench.backend.output == b"hello"
    assert bench.into(LSR) == 0x60


def test_divisor_behind_dlab(bench):
    """With DLAB the first two registers are the divisor."""
    bench.out(LCR, 0x83)
    assert bench.into(RBR, 1) + bench.into(IER, 1) == [1, 0]
    bench.out(IER, 0x12)
    bench.out(LCR, 0x03)
    assert bench.into(IER) == 0


def test_linux_autoconfig(bench):
    """IER and scratch remember, loopback mirrors, FIFOs answer, and it is nothing newer."""
    bench.out(IER, 0)
    assert bench.into(IER) == 0
    bench.out(IER, 0x0F)
    assert bench.into(IER) & 0x0F == 0x0F
    bench.out(IER, 0)
    bench.out(MCR, 0x1A)
    assert bench.into(MSR) & 0xF0 == 0x90
    bench.out(MCR, 0x0B)
    bench.out(IIR, 0x01)
    assert bench.into(IIR) >> 6 == 3
    bench.out(LCR, 0x80)
    assert bench.into(IIR) != 0  # no EFR
    bench.out(IIR, 0x21)
    assert bench.into(IIR) >> 5 == 6  # no 64-byte FIFO
    bench.out(LCR, 0x03)
    bench.out(IER, 0x40)
    assert bench.into(IER) == 0  # no XScale


def test_thre_interrupt_as_linux_probes_it(bench):
    """IER 02h raises it at once; reading IIR takes it; IER again raises it again."""
    bench.out(IER, 2)
    assert (bench.wire.level, bench.into(IIR), bench.wire.level) == (True, 0x02, False)
    assert bench.into(IIR) == 0x01
    bench.out(IER, 0)
    bench.out(IER, 2)
    assert bench.into(IIR) == 0x02
    bench.out(RBR, 65)
    assert bench.into(IIR) == 0x02


def test_out2_connects_the_interrupt(bench):
    """Without OUT2, or in loopback mode, the PC sees no request."""
    bench.out(MCR, 0x03)
    bench.out(IER, 2)
    assert not bench.wire.level
    bench.out(MCR, 0x0B)
    assert bench.wire.level
    bench.out(MCR, 0x1B)
    assert not bench.wire.level


def test_input_takes_character_times(bench):
    """A character has come after its bits; without FIFO the next waits until it is taken."""
    bench.out(IER, 1)
    bench.chip.feed(b"ab", bench.now)
    bench.run(CHARACTER - 1)
    assert not bench.wire.level
    bench.run(1)
    assert (bench.wire.level, bench.into(LSR) & 1, bench.into(IIR)) == (True, 1, 4)
    bench.run(10 * CHARACTER)
    assert bench.into(RBR) == ord("a")
    assert not bench.wire.level
    bench.run(CHARACTER)
    assert bench.into(RBR) == ord("b")


def test_fifo_trigger_and_timeout(bench):
    """Fewer characters than the trigger ask only after four character times."""
    bench.out(IIR, 0x41)
    bench.out(IER, 1)
    type_in(bench, b"abc")
    assert bench.into(IIR) == 0xC1
    bench.run(5 * CHARACTER)
    assert bench.into(IIR) == 0xCC
    assert bench.into(RBR, 3) == list(b"abc")
    assert bench.into(IIR) == 0xC1
    type_in(bench, b"defg")
    assert bench.into(IIR) == 0xC4


def test_nothing_of_a_long_input_is_lost(bench):
    """The wire waits for a full FIFO."""
    bench.out(IIR, 0x01)
    text = bytes(range(100))
    type_in(bench, text)
    got = []
    while bench.into(LSR) & 1:
        got.append(bench.into(RBR))
        bench.run(CHARACTER)
    assert bytes(got) == text


def test_priorities(bench):
    """Line status, data, transmitter, modem."""
    bench.out(MCR, 0x18)
    bench.out(RBR, 1, 2)  # loopback: the second overruns the first
    bench.out(MCR, 0x0B)
    bench.into(MSR)
    bench.out(MCR, 0x10)
    bench.out(MCR, 0x0B)
    bench.out(IER, 0x0F)
    assert bench.into(IIR) == 6
    assert bench.into(LSR) & 0x02
    assert bench.into(IIR) == 4
    assert bench.into(RBR) == 2
    assert [bench.into(IIR), bench.into(IIR)] == [2, 0]
    assert bench.into(MSR) == 0xBB
    assert bench.into(IIR) == 1


def test_loopback(bench):
    """What is sent comes back and does not leave."""
    bench.out(IIR, 0x07)
    bench.out(MCR, 0x10)
    bench.out(RBR, *b"xyz")
    assert bench.into(RBR, 3) == list(b"xyz")
    assert bench.backend.output == b""


def test_fifo_clear(bench):
    """FCR bit 1 empties the receiver."""
    bench.out(IIR, 0x01)
    type_in(bench, b"ab")
    bench.out(IIR, 0x03)
    assert bench.into(LSR) & 1 == 0


def test_timed_transmitter():
    """With time, THR empties into the shift register and TEMT tells when all is out."""
    bench = serial_bench(timed=True)
    bench.out(RBR, 65)
    assert bench.into(LSR) == 0x20
    bench.out(RBR, 66)
    assert bench.into(LSR) == 0x00
    bench.run(CHARACTER)
    assert (bench.backend.output, bench.into(LSR)) == (b"A", 0x20)
    bench.run(CHARACTER)
    assert (bench.backend.output, bench.into(LSR)) == (b"AB", 0x60)


def test_snapshot(bench):
    """Input on the wire belongs to the state."""
    bench.out(IIR, 0x01)
    bench.chip.feed(b"abcdef", 0)
    bench.run(2 * CHARACTER)
    other = serial_bench()
    other.chip.restore(bench.chip.snapshot())
    other.now = bench.now
    for one in (bench, other):
        one.run(10 * CHARACTER)
    assert other.into(RBR, 6) == list(b"abcdef")


# -- the host's side -----------------------------------------------------------------------------


def test_file(tmp_path):
    """A file takes the output, unbuffered."""
    path = tmp_path / "out"
    backend = FileSerial(path)
    backend.write(b"line\n")
    assert path.read_bytes() == b"line\n"


def test_stream(tmp_path):
    """What comes by a pipe arrives in machine time, and its end is the end."""
    reader, writer = os.pipe()
    output = io.BytesIO()
    bench = Bench(NS16550(0x3F8, StreamSerial(output, reader)))
    bench.out(IIR, 0x01)
    os.write(writer, b"typed")
    os.close(writer)
    bench.run(2_000_000)
    assert bench.into(RBR, 5) == list(b"typed")
    bench.out(RBR, *b"ok")
    assert output.getvalue() == b"ok"
    bench.run(2_000_000)
    assert bench.chip.deadline() is None
    os.close(reader)


def test_tcp():
    """A client types and reads; once it is gone the guest goes on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with ThreadPoolExecutor(1) as pool:
        client = pool.submit(connect, port)
        backend = serial_backend(f"tcp::{port}")
        connection = client.result()
    bench = Bench(NS16550(0x3F8, backend))
    bench.out(IIR, 0x01)
    bench.out(RBR, *b"login: ")
    assert connection.recv(7, socket.MSG_WAITALL) == b"login: "
    connection.sendall(b"root")
    for _ in range(100):
        bench.run(500_000)
        if bench.into(LSR) & 1:
            break
        time.sleep(0.01)
    bench.run(1_000_000)
    assert bench.into(RBR, 4) == list(b"root")
    connection.close()
    bench.out(RBR, *bytes(100))
    bench.run(1_000_000)


def connect(port):
    """A connection, as soon as somebody listens."""
    for _ in range(500):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.01)
    raise TimeoutError


def test_port_that_is_taken():
    """The message says so."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(GuestFileError, match="nothing can listen"):
            serial_backend(f"tcp:127.0.0.1:{port}")


@pytest.mark.parametrize("text", ["", "stdoi", "tcp:", "tcp:host", "file:"])
def test_unknown_backend(text):
    """The message says what there is."""
    with pytest.raises(GuestFileError, match="stdio"):
        serial_backend(text)


def test_unwritable_file(tmp_path):
    """A directory is no file."""
    with pytest.raises(GuestFileError, match="cannot be written"):
        serial_backend(f"file:{tmp_path}")
