/* TCP and UDP between the processes of a machine, over 127.0.0.0/8: what each call says. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "say.h"

static char buffer[300000];

static struct sockaddr_in place(const char *host, int port) {
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    inet_pton(AF_INET, host, &address.sin_addr);
    return address;
}

static int join(int fd, const char *host, int port) {
    struct sockaddr_in address = place(host, port);
    return connect(fd, (void *)&address, sizeof address);
}

static int named(int fd, const char *host, int port) {
    struct sockaddr_in address = place(host, port);
    return bind(fd, (void *)&address, sizeof address);
}

static struct sockaddr_in own(int fd) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    getsockname(fd, (void *)&address, &length);
    return address;
}

static int port(int fd) { return ntohs(own(fd).sin_port); }

static void tell(const char *what, struct sockaddr_in address, int expected) {
    printf("%s: %s, port as expected %d\n", what, inet_ntoa(address.sin_addr),
           ntohs(address.sin_port) == expected);
}

static int option(int fd, int level, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    if (getsockopt(fd, level, name, &value, &length) < 0)
        return -1;
    return value;
}

static void events(const char *what, int fd, int timeout) {
    struct pollfd entry = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    int found = poll(&entry, 1, timeout);
    printf("%s: %d %#x\n", what, found, (unsigned)entry.revents);
}

static long received(int fd, size_t size, int flags) {
    long count = recv(fd, buffer, size, flags);
    if (count >= 0)
        printf("[%.*s] ", (int)(count < 40 ? count : 40), buffer);
    return count;
}

static void handler(int number) { printf("signal %d\n", number); }

static void streams(void) {
    struct sockaddr_in other;
    socklen_t length = sizeof other;
    int server = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 6), on = 1;
    printf("-- TCP\n");
    say("wrong protocol", socket(AF_INET, SOCK_STREAM, 17));
    say("wrong type", socket(AF_INET, SOCK_SEQPACKET, 0));
    say("pair", socketpair(AF_INET, SOCK_STREAM, 0, (int[2]){0, 0}));
    events("new", client, 0);
    say("recv", recv(client, buffer, 1, 0));
    say("send", send(client, "x", 1, MSG_NOSIGNAL));
    say("shutdown", shutdown(client, SHUT_WR));
    say("getpeername", getpeername(client, (void *)&other, &length));
    say("not ours", named(server, "192.0.2.1", 0));
    say("bind", named(server, "127.0.0.1", 0));
    say("twice", named(server, "127.0.0.1", 0));
    int number = port(server);
    printf("a port %d\n", number >= 32768 && number < 61000);
    say("refused", join(client, "127.0.0.1", number));
    say("listen", listen(server, 5));
    say("taken", named(client, "127.0.0.1", number));
    say("taken", named(client, "0.0.0.0", number));
    say("elsewhere", join(client, "127.0.0.2", number));
    say("SO_ACCEPTCONN", option(server, SOL_SOCKET, SO_ACCEPTCONN));
    say("SO_PROTOCOL", option(server, SOL_SOCKET, SO_PROTOCOL));
    say("TCP_NODELAY", setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    say("connect", join(client, "127.0.0.1", number));
    say("again", join(client, "127.0.0.1", number));
    events("pending", server, -1);
    length = sizeof other;
    int end = accept(server, (void *)&other, &length);
    tell("from", other, port(client));
    tell("own", own(end), number);
    tell("client", own(client), port(client));
    length = sizeof other;
    getpeername(client, (void *)&other, &length);
    tell("peer", other, number);
    say("send", send(client, "hello", 5, 0));
    events("full", end, -1);
    say("address ignored", sendto(client, " world", 6, 0, (void *)&other, sizeof other));
    usleep(1000);
    say("peek", received(end, 3, MSG_PEEK));
    length = sizeof other;
    say("recvfrom", recvfrom(end, buffer, 100, 0, (void *)&other, &length));
    printf("%d bytes\n", (int)length);
    say("shutdown", shutdown(client, SHUT_WR));
    events("other", end, 0);
    say("end", received(end, 10, 0));
    say("back", write(end, "back", 4));
    say("read", received(client, 10, 0));
    close(end);
    usleep(1000);
    events("closed", client, 0);
    say("end", received(client, 10, 0));
    close(client);
    /* somebody who is gone */
    client = socket(AF_INET, SOCK_STREAM, 0);
    join(client, "127.0.0.1", number);
    end = accept(server, NULL, NULL);
    close(end);
    usleep(1000);
    signal(SIGPIPE, handler);
    say("first", send(client, "x", 1, 0));
    usleep(1000);
    say("second", send(client, "x", 1, 0));
    close(client);
    /* who does not read */
    client = socket(AF_INET, SOCK_STREAM, 0);
    join(client, "127.0.0.1", number);
    end = accept(server, NULL, NULL);
    write(client, "unread", 6);
    usleep(1000);
    close(end);
    usleep(1000);
    events("reset", client, 0);
    say("read", recv(client, buffer, 10, 0));
    say("read", recv(client, buffer, 10, 0));
    say("send", send(client, "x", 1, MSG_NOSIGNAL));
    close(client);
    /* without waiting */
    client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    say("nonblocking", join(client, "127.0.0.1", number));
    events("connected", client, -1);
    say("SO_ERROR", option(client, SOL_SOCKET, SO_ERROR));
    say("then", join(client, "127.0.0.1", number));
    say("then", join(client, "127.0.0.1", number));
    close(client);
    close(accept(server, NULL, NULL));
    close(server);
    client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    say("refused", join(client, "127.0.0.1", number));
    events("refused", client, -1);
    printf("error %d\n", option(client, SOL_SOCKET, SO_ERROR) == ECONNREFUSED);
    close(client);
    server = socket(AF_INET, SOCK_STREAM, 0);
    listen(server, 1);
    number = port(server);
    say("shutdown", shutdown(server, SHUT_RD));
    say("accept", accept(server, NULL, NULL));
    client = socket(AF_INET, SOCK_STREAM, 0);
    say("refused", join(client, "127.0.0.1", number));
    say("listen", listen(server, 1));
    number = port(server);
    say("connect", join(client, "127.0.0.1", number));
    struct sockaddr_in none = {AF_UNSPEC};
    end = accept(server, NULL, NULL);
    say("disconnect", connect(client, (void *)&none, sizeof none));
    usleep(1000);
    say("read", recv(end, buffer, 10, 0));
    say("connect", join(client, "127.0.0.1", number));
    close(end);
    close(client);
    close(server);
    client = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in6 wrong = {AF_INET6};
    say("family", connect(client, (void *)&wrong, sizeof wrong));
    say("short", connect(client, (void *)&wrong, 8));
    close(client);
}

static void ports(void) {
    int one = socket(AF_INET, SOCK_STREAM, 0), other = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    printf("-- ports\n");
    named(one, "127.0.0.1", 0);
    int number = port(one);
    say("same", named(other, "127.0.0.1", number));
    say("another host", named(other, "127.0.0.2", number));
    say("listen", listen(other, 1));
    close(other);
    other = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(one, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    say("one reuses", named(other, "127.0.0.1", number));
    setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    say("both reuse", named(other, "127.0.0.1", number));
    say("listen", listen(one, 1));
    say("both listen", listen(other, 1));
    int third = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(third, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    say("listening", named(third, "127.0.0.1", number));
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    say("UDP has its own", named(udp, "127.0.0.1", number));
    close(one);
    close(other);
    close(third);
    close(udp);
    one = socket(AF_INET, SOCK_STREAM, 0);
    say("listen unbound", listen(one, 1));
    printf("host %s\n", inet_ntoa(own(one).sin_addr));
    other = socket(AF_INET, SOCK_STREAM, 0);
    say("by any host", join(other, "127.1.2.3", port(one)));
    int end = accept(one, NULL, NULL);
    tell("own", own(end), port(one));
    close(end);
    close(other);
    other = socket(AF_INET, SOCK_STREAM, 0);
    say("by 0.0.0.0", join(other, "0.0.0.0", port(one)));
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    getpeername(other, (void *)&peer, &length);
    tell("peer", peer, port(one));
    close(one);
    close(other);
}

static void datagrams(void) {
    struct sockaddr_in address, other;
    socklen_t length = sizeof other;
    int receiver = socket(AF_INET, SOCK_DGRAM, 0), sender = socket(AF_INET, SOCK_DGRAM, 0), value;
    printf("-- UDP\n");
    say("listen", listen(receiver, 1));
    say("accept", accept(receiver, NULL, NULL));
    events("new", receiver, 0);
    say("no address", send(sender, "x", 1, 0));
    int shut = socket(AF_INET, SOCK_DGRAM, 0);
    say("shutdown", shutdown(shut, SHUT_WR));
    named(receiver, "0.0.0.0", 0);
    int number = port(receiver);
    address = place("127.0.0.1", number);
    say("shut", sendto(shut, "x", 1, 0, (void *)&address, sizeof address));
    close(shut);
    say("sendto", sendto(sender, "hello", 5, 0, (void *)&address, sizeof address));
    printf("bound %d\n", port(sender) != 0);
    say("empty", sendto(sender, "", 0, 0, (void *)&address, sizeof address));
    events("waiting", receiver, -1);
    say("FIONREAD", ioctl(receiver, FIONREAD, &value));
    printf("%d bytes\n", value);
    say("recvfrom", recvfrom(receiver, buffer, 3, MSG_TRUNC, (void *)&other, &length));
    tell("from", other, port(sender));
    say("empty", received(receiver, 10, 0));
    say("none", recv(receiver, buffer, 10, MSG_DONTWAIT));
    say("back", sendto(receiver, "back", 4, 0, (void *)&other, sizeof other));
    say("recv", received(sender, 10, 0));
    say("connect", connect(sender, (void *)&address, sizeof address));
    say("send", send(sender, "to the peer", 11, 0));
    say("recv", received(receiver, 100, 0));
    int third = socket(AF_INET, SOCK_DGRAM, 0);
    other = place("127.0.0.1", port(sender));
    say("a stranger", sendto(third, "x", 1, 0, (void *)&other, sizeof other));
    say("is not heard", recv(sender, buffer, 10, MSG_DONTWAIT));
    say("too long", send(sender, buffer, 65508, 0));
    close(receiver);
    say("gone", send(sender, "x", 1, 0));
    usleep(1000);
    say("refused", send(sender, "x", 1, 0));
    usleep(1000);
    printf("error %d\n", option(sender, SOL_SOCKET, SO_ERROR) == ECONNREFUSED);
    other.sin_family = AF_UNSPEC;
    say("disconnect", connect(sender, (void *)&other, sizeof other));
    say("no address", send(sender, "x", 1, 0));
    address.sin_port = 0;
    say("port 0", sendto(sender, "x", 1, 0, (void *)&address, sizeof address));
    close(sender);
    close(third);
}

/* A server that serves several at once, and clients with much to say. */
static void service(void) {
    printf("-- a service\n");
    fflush(stdout);
    int server = socket(AF_INET, SOCK_STREAM, 0), status;
    named(server, "127.0.0.1", 0);
    listen(server, 5);
    int number = port(server);
    if (!fork()) {
        struct pollfd entries[4] = {{server, POLLIN, 0}};
        int count = 1, served = 0;
        while (served < 3) {
            poll(entries, count, -1);
            if (entries[0].revents)
                entries[count++] = (struct pollfd){accept(server, NULL, NULL), POLLIN, 0};
            for (int i = 1; i < count; i++) {
                if (entries[i].fd < 0 || !entries[i].revents)
                    continue;
                long size = read(entries[i].fd, buffer, sizeof buffer);
                if (size > 0) {
                    write(entries[i].fd, buffer, size);
                    continue;
                }
                close(entries[i].fd);
                entries[i].fd = -1;
                served++;
            }
        }
        _exit(0);
    }
    for (int i = 0; i < 3; i++)
        if (!fork()) {
            int client = socket(AF_INET, SOCK_STREAM, 0);
            long back = 0, count;
            if (join(client, "127.0.0.1", number))
                _exit(1);
            for (int k = 0; k < 50; k++) {
                long sent = write(client, buffer, 1000 * (i + 1));
                for (long got = 0; got < sent; got += count, back += count)
                    if ((count = read(client, buffer, sizeof buffer)) <= 0)
                        _exit(2);
            }
            _exit(back == 50000 * (i + 1) ? 0 : 3);
        }
    close(server);
    for (int i = 0; i < 4; i++) {
        wait(&status);
        printf("status %d\n", status);
    }
}

int main(void) {
    streams();
    ports();
    datagrams();
    service();
    return 0;
}
