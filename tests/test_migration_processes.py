"""Migrations between real processes that are killed in the middle, with a spy on the line."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emu.pc.serial import MemorySerial
from tests.pc_machines import PROGRAMS
from vmm.migration.channel import Role
from vmm.migration.protocol import Kind
from vmm.pc.guest import open_guest

pytestmark = pytest.mark.heavy

HELLO, PROOF, HEAD = 43, 32, struct.Struct("<IB")
WAITING = "vmm: waiting for a guest at "
ROOT = PROGRAMS.parent.parent.parent
Spy = Callable[[Role, Kind], bool]
"""Called before a message is passed on; False: it is lost, and the line with it."""


class Line:
    """What stands between source and destination. It reads along, but can forge nothing."""

    def __init__(self, spy: Spy) -> None:
        self._spy = spy
        self._server = socket.create_server(("127.0.0.1", 0))
        self.where = f"127.0.0.1:{self._server.getsockname()[1]}"
        self.target = ""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                source, _ = self._server.accept()
            except OSError:
                return
            host, port = self.target.split(":")
            try:
                destination = socket.create_connection((host, int(port)))
            except OSError:
                source.close()
                continue
            ends = {Role.SOURCE: source, Role.DESTINATION: destination}
            for role in Role:
                threading.Thread(target=self._pass_on, args=(role, ends), daemon=True).start()

    def _pass_on(self, role: Role, ends: dict[Role, socket.socket]) -> None:
        mine, its = ends[role], ends[Role(1 - role)]
        try:
            its.sendall(_exactly(mine, HELLO))
            its.sendall(_exactly(mine, PROOF))
            while True:
                head = _exactly(mine, HEAD.size)
                size, kind = HEAD.unpack(head)
                rest = _exactly(mine, size + PROOF)
                if not self._spy(role, Kind(kind)):
                    break
                its.sendall(head + rest)
        except OSError:
            pass
        for end in (mine, its):
            with_shutdown(end)

    def close(self) -> None:
        self._server.close()


def with_shutdown(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _exactly(stream: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        data = stream.recv(size - len(found))
        if not data:
            raise OSError("the end")
        found += data
    return found


class Host:
    """One host: its records, and its processes."""

    def __init__(self, directory: Path, name: str) -> None:
        self.records = directory / name
        self._environment = os.environ | {
            "POPEK_MIGRATIONS": str(self.records), "PYTHONPATH": str(ROOT),
            "POPEK_MIGRATION_SECRET": "a secret of the test",
        }  # fmt: skip
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        with tempfile.TemporaryFile() as nothing:  # nobody types
            process = subprocess.Popen(
                [sys.executable, "-m", "vmm", *map(str, arguments)], env=self._environment,
                stdin=nothing, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        self._processes.append(process)
        return process

    def listen(self, *arguments: object) -> tuple[subprocess.Popen[bytes], str]:
        """A destination, and where it listens."""
        process = self.start("migrate", "--listen", "127.0.0.1:0", "--json", "--monitor",
                             "hardware-assist", *SLOW, *arguments)  # fmt: skip
        assert process.stderr is not None
        while not (line := process.stderr.readline().decode()).startswith(WAITING):
            assert line, "it has ended"
        return process, line.removeprefix(WAITING).strip()

    def status(self) -> list[dict[str, object]]:
        output, _ = self.start("migrate", "--status", "--json").communicate()
        found: list[dict[str, object]] = json.loads(output)
        return found

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    found = Host(tmp_path, "here"), Host(tmp_path, "there")
    yield found
    for host in found:
        host.end()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, str]:
    """A guest, its output and its last state if it is not moved."""
    path = tmp_path_factory.mktemp("guest") / "writer.asm"
    text = (PROGRAMS / "writer.asm").read_text()
    path.write_text(text.replace(".set PAUSE, 400", ".set PAUSE, 40"))
    serial = MemorySerial()
    chosen = {"engine": "auto", "typed": "", "memory": 4 << 20}
    machine = open_guest(path, None, chosen).bare(serial).machine
    machine.run(1 << 40)
    return path, bytes(serial.output), machine.digest()


Program = tuple[Path, bytes, str]
SLOW = ("--timeout", 200)  # seconds: a machine that does other work too is not a dead one
RUN = ("--monitor", "hardware-assist", "--memory", "4M", "--migrate-at", 300_000)


def source(host: Host, program: Program, where: str) -> subprocess.Popen[bytes]:
    return host.start("run", program[0], *RUN, *SLOW, "--to", where, "--patience", 60, "--json")


def facts(errors: bytes) -> dict[str, object]:
    found: dict[str, object] = json.loads(errors.decode().splitlines()[-1])
    return found


def told(*processes: subprocess.Popen[bytes]) -> list[object]:
    """What processes that have not come as far as they should have said, and whether they live."""
    found: list[object] = []
    for process in processes:
        code = process.poll()
        process.kill()
        found.append((code, *process.communicate()))
    return found


def passes(role: Role, kind: Kind) -> bool:
    return True


def test_a_guest_moves_between_processes(hosts: tuple[Host, Host], program: Program) -> None:
    here, there = hosts
    second, where = there.listen()
    first = source(here, program, where)
    one, errors = first.communicate()
    assert first.returncode == 0 and facts(errors)["stop"] == "migrated", errors
    other, errors = second.communicate()
    assert second.returncode == 0
    assert one + other == program[1]
    assert facts(errors)["digest"] == program[2]
    assert [row["state"] for row in (*here.status(), *there.status())] == ["confirmed", "ended"]


def test_the_receiver_may_ask(hosts: tuple[Host, Host], program: Program) -> None:
    here, there = hosts
    first = here.start("run", program[0], "--monitor", "interpretation", "--memory", "4M",
                       "--offer", "127.0.0.1:0", "--json")  # fmt: skip
    assert first.stderr is not None
    where = first.stderr.readline().decode().split()[-1]
    second = there.start("migrate", "--from", where, "--monitor", "hardware-assist", "--json")
    other, errors = second.communicate()
    one, _ = first.communicate()
    assert one + other == program[1]
    assert first.returncode == second.returncode == 0
    assert facts(errors)["digest"] == program[2]


def test_the_destination_dies_when_it_is_prepared(
    hosts: tuple[Host, Host], program: Program
) -> None:
    """The source goes on; what the dead one has left cannot be run."""
    here, there = hosts

    def spy(role: Role, kind: Kind) -> bool:
        if kind == Kind.PREPARED:
            second.kill()
        return kind != Kind.PREPARED

    line = Line(spy)
    second, line.target = there.listen()
    first = source(here, program, line.where)
    one, errors = first.communicate()
    assert (one, first.returncode) == (program[1], 0)
    assert b"the guest stays here" in errors
    (left,) = there.status()
    assert (left["state"], left["alive"]) == ("prepared", False)
    third = there.start("migrate", "--resume", left["identifier"])
    assert b"nobody has said yet" in third.communicate()[1] and third.returncode == 65
    released = here.start("migrate", "--release", left["identifier"])
    assert b"has kept the guest" in released.communicate()[1] and released.returncode == 65
    assert there.start("migrate", "--discard", left["identifier"]).wait() == 0
    line.close()


def test_the_destination_dies_before_it_hears_that_the_guest_is_its_own(
    hosts: tuple[Host, Host], program: Program
) -> None:
    """The source has given up and says so again to whoever takes the dead one's place."""
    here, there = hosts
    killed = threading.Event()

    def spy(role: Role, kind: Kind) -> bool:
        if kind == Kind.COMMIT and not killed.is_set():
            second.kill()
            killed.set()
            return False
        return True

    line = Line(spy)
    second, line.target = there.listen()
    first = source(here, program, line.where)
    assert killed.wait(240), told(first, second)
    second.wait()
    (left,) = there.status()
    assert left["state"] == "prepared"
    third, line.target = there.listen("--resume", left["identifier"])
    one, errors = first.communicate()
    assert first.returncode == 0 and facts(errors)["stop"] == "migrated", errors
    other, errors = third.communicate()
    assert one + other == program[1]
    assert facts(errors)["digest"] == program[2]
    assert [row["state"] for row in (*here.status(), *there.status())] == ["confirmed", "ended"]
    line.close()


def test_the_source_dies_while_its_guest_has_stopped(
    hosts: tuple[Host, Host], program: Program
) -> None:
    """Nobody can tell the destination, but the source's record can: its operator gives it up."""
    here, there = hosts
    assist = "--monitor", "hardware-assist"

    def spy(role: Role, kind: Kind) -> bool:
        if kind == Kind.PREPARED:
            first.kill()
        return kind != Kind.PREPARED

    line = Line(spy)
    second, line.target = there.listen("--patience", 1)
    first = source(here, program, line.where)
    one, _ = first.communicate()
    nothing, errors = second.communicate()
    assert (second.returncode, nothing) == (75, b""), errors
    (record,) = here.status()
    assert (record["state"], record["alive"]) == ("offered", False)
    certificate = here.start("migrate", "--release", record["identifier"]).communicate()[0]
    wrong = there.start("migrate", "--resume", record["identifier"], "--certificate", "00" * 32)
    assert wrong.wait() == 76
    third = there.start("migrate", "--resume", record["identifier"], "--json", *assist,
                        "--certificate", certificate.decode().strip())  # fmt: skip
    other, errors = third.communicate()
    assert one + other == program[1]
    assert facts(errors)["digest"] == program[2]
    line.close()


def test_the_source_dies_when_it_has_given_up(hosts: tuple[Host, Host], program: Program) -> None:
    here, there = hosts

    def spy(role: Role, kind: Kind) -> bool:
        if kind == Kind.RUNNING:
            first.kill()
        return kind != Kind.RUNNING

    line = Line(spy)
    second, line.target = there.listen("--patience", 1)
    first = source(here, program, line.where)
    one, _ = first.communicate()
    other, errors = second.communicate()
    assert one + other == program[1]
    assert facts(errors)["digest"] == program[2]
    assert [row["state"] for row in (*here.status(), *there.status())] == ["released", "ended"]
    line.close()


def test_the_source_dies_while_it_copies(hosts: tuple[Host, Host], program: Program) -> None:
    """Its guest dies with it, as without a migration; nothing is left that could be run."""
    here, there = hosts

    def spy(role: Role, kind: Kind) -> bool:
        if kind == Kind.PAGES:
            first.kill()
        return True

    line = Line(spy)
    second, line.target = there.listen("--patience", 1)
    first = source(here, program, line.where)
    first.communicate()
    nothing, errors = second.communicate()
    assert (second.returncode, nothing) == (74, b""), errors
    assert here.status() == there.status() == []
    line.close()


def test_a_wrong_secret_between_processes(
    hosts: tuple[Host, Host], program: Program, tmp_path: Path
) -> None:
    """The listener goes on waiting, and the guest goes on where it is."""
    here, there = hosts
    secret = tmp_path / "secret"
    secret.write_text("quite another secret")
    secret.chmod(0o600)
    second, where = there.listen("--wait", 60)
    first = here.start("run", program[0], *RUN, "--to", where, "--secret-file", secret)
    one, errors = first.communicate()
    assert (one, first.returncode) == (program[1], 0)
    assert b"same secret" in errors and b"quite another" not in errors
    again = source(here, program, where)
    assert again.communicate()[0] + second.communicate()[0] == program[1]


def test_the_demonstration(hosts: tuple[Host, Host], program: Program, tmp_path: Path) -> None:
    done = hosts[0].start("migrate", "--demo", program[0], "--migrate-at", 300_000, "--json",
                          "--monitor", "hardware-assist", "--bandwidth", "2000:5000")  # fmt: skip
    output, errors = done.communicate()
    assert done.returncode == 0, errors
    told = json.loads(output)
    assert told["equal"] and told["source"]["migration"]["rounds"]
    assert (told["source"]["output"] + told["destination"]["output"]).encode() == program[1]
    assert told["records"]["source"][0]["state"] == "confirmed"
