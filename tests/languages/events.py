"""Event loops of an interpreter: epoll itself, and what selectors make of it."""

import os
import select
import selectors
import socket

ROUNDS = 3


def plain() -> None:
    """Levels, edges, once, and errors as exceptions."""
    one, other = socket.socketpair()
    with select.epoll() as epoll, one, other:
        names = {one.fileno(): "one", other.fileno(): "other"}
        epoll.register(one, select.EPOLLIN | select.EPOLLET)
        epoll.register(other, select.EPOLLOUT | select.EPOLLONESHOT)
        for _ in range(2):
            print([(names[fd], events) for fd, events in epoll.poll(0)])
        other.send(b"x")
        for _ in range(2):
            print([(names[fd], events) for fd, events in epoll.poll(0.01)])
        epoll.modify(other, select.EPOLLIN | select.EPOLLRDHUP)
        one.close()
        print([(names[fd], events) for fd, events in epoll.poll()])
        for attempt in (lambda: epoll.register(other), lambda: epoll.modify(99, 0)):
            try:
                attempt()
            except OSError as error:
                print(type(error).__name__, error.errno)
        with open(__file__) as file:
            try:
                epoll.register(file)
            except PermissionError as error:
                print(error.strerror)
    print(epoll.closed)


def client(port: str) -> None:
    """Says some words, and ends."""
    with socket.socket(socket.AF_UNIX) as mine:
        mine.connect(port)
        for number in range(ROUNDS):
            mine.sendall(b"word %d\n" % number)
            assert mine.recv(100) == b"WORD %d\n" % number
    os._exit(0)


def server(clients: int) -> None:
    """A loop over a listener, its clients, and a counter."""
    said = []
    with selectors.DefaultSelector() as loop, socket.socket(socket.AF_UNIX) as listener:
        print(type(loop).__name__)
        listener.bind("loop.socket")
        listener.listen()
        listener.setblocking(False)
        counter = os.eventfd(0, os.EFD_NONBLOCK)
        loop.register(listener, selectors.EVENT_READ, "listener")
        loop.register(counter, selectors.EVENT_READ, "counter")
        for _ in range(clients):
            if os.fork() == 0:
                client("loop.socket")
        left = clients
        while left:
            for key, _ in loop.select():
                if key.data == "listener":
                    end, _ = listener.accept()
                    loop.register(end, selectors.EVENT_READ, "client")
                elif key.data == "counter":
                    left -= os.eventfd_read(counter)
                elif data := key.fileobj.recv(100):
                    said.append(data)
                    key.fileobj.sendall(data.upper())
                else:
                    loop.unregister(key.fileobj)
                    key.fileobj.close()
                    os.eventfd_write(counter, 1)
        os.close(counter)
    os.unlink("loop.socket")
    print(sorted(said), sorted(os.wait()[1] for _ in range(clients)))


plain()
server(4)
