"""Sockets of an interpreter: pairs, a named server with clients, files in messages, threads."""

import contextlib
import os
import select
import socket
import threading

NAME = "server.socket"


def pair() -> None:
    """A child says something on its end."""
    mine, its = socket.socketpair()
    if os.fork() == 0:
        mine.close()
        its.sendall(b"x" * 300_000)
        os._exit(0)
    its.close()
    print(len(b"".join(iter(lambda: mine.recv(50_000), b""))), os.wait()[1])


def server(clients: int) -> None:
    """Takes connections and answers each line in capitals."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(NAME)
        listener.listen()
        for number in range(clients):
            if os.fork() == 0:
                client(number)
        poll, ends = select.poll(), {}
        poll.register(listener, select.POLLIN)
        served = 0
        while served < clients:
            for fd, _ in poll.poll():
                if fd == listener.fileno():
                    end, _ = listener.accept()
                    ends[end.fileno()] = end
                    poll.register(end, select.POLLIN)
                elif data := ends[fd].recv(1000):
                    ends[fd].sendall(data.upper())
                else:
                    poll.unregister(fd)
                    ends.pop(fd).close()
                    served += 1
        print(sorted(os.wait()[1] >> 8 for _ in range(clients)))
    os.unlink(NAME)
    with socket.socket(socket.AF_UNIX) as late, contextlib.suppress(FileNotFoundError):
        late.connect(NAME)
        print("it is still there")


def client(number: int) -> None:
    """One of them, a process of its own; ends with its number."""
    with socket.socket(socket.AF_UNIX) as mine:
        mine.connect(NAME)
        with mine.makefile("rw") as lines:
            for word in ("one", "two", "three"):
                print(f"{word} {number}", file=lines, flush=True)
                if lines.readline() != f"{word.upper()} {number}\n":
                    os._exit(99)
    os._exit(number)


def files() -> None:
    """A descriptor in a message."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with open("poem", "rb") as poem:  # noqa: PTH123
        poem.readline()
        socket.send_fds(one, [b"a file"], [poem.fileno()])
    data, (fd,), flags, _ = socket.recv_fds(other, 100, 5)
    print(data, flags, os.lseek(fd, 0, os.SEEK_CUR) >= 0)


def threads() -> None:
    """Two threads talk; a timeout ends a wait."""
    one, other = socket.socketpair()

    def answer() -> None:
        while data := other.recv(100):
            other.sendall(data[::-1])

    thread = threading.Thread(target=answer)
    thread.start()
    for text in (b"abc", b"defg"):
        one.sendall(text)
        print(one.recv(100))
    one.settimeout(0.01)
    try:
        one.recv(1)
    except TimeoutError as error:
        print(error)
    one.shutdown(socket.SHUT_WR)
    thread.join()


pair()
server(3)
files()
threads()
