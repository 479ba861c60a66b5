/* Sockets between the processes of a machine, by names and in pairs: what each call says. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "say.h"

static char buffer[300000];

static socklen_t name(struct sockaddr_un *address, const char *text) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    int size = snprintf(address->sun_path + 1, 100, "popek-%d-%s", getpid(), text);
    return offsetof(struct sockaddr_un, sun_path) + 1 + size;
}

static void events(const char *what, int fd) {
    struct pollfd entry = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    int found = poll(&entry, 1, 0);
    printf("%s: %d %#x\n", what, found, (unsigned)entry.revents);
}

static long received(int fd, size_t size, int flags) {
    memset(buffer, 0, 64);
    long count = recv(fd, buffer, size, flags);
    if (count >= 0)
        printf("[%.*s] ", (int)(count < 40 ? count : 40), buffer);
    return count;
}

static void handler(int number) { printf("signal %d\n", number); }

static void pairs(int type) {
    int s[2], value;
    socklen_t length = sizeof value;
    printf("-- a pair of type %d\n", type);
    say("socketpair", socketpair(AF_UNIX, type, 0, s));
    struct stat status;
    say("fstat", fstat(s[0], &status));
    printf("socket %d\n", S_ISSOCK(status.st_mode));
    say("getsockopt", getsockopt(s[0], SOL_SOCKET, SO_TYPE, &value, &length));
    printf("type %d\n", value);
    events("empty", s[0]);
    say("dontwait", recv(s[0], buffer, 10, MSG_DONTWAIT));
    say("send", send(s[0], "hello", 5, 0));
    say("write", write(s[0], " world", 6));
    events("full", s[1]);
    say("FIONREAD", ioctl(s[1], FIONREAD, &value));
    printf("%d bytes\n", value);
    say("peek", received(s[1], 3, MSG_PEEK));
    say("trunc", received(s[1], 3, type == SOCK_STREAM ? 0 : MSG_TRUNC));
    say("read", received(s[1], 100, 0));
    if (type == SOCK_STREAM) {
        say("dontwait", received(s[1], 100, MSG_DONTWAIT));
    }
    struct iovec parts[3] = {{"ab", 2}, {"", 0}, {"cde", 3}};
    say("writev", writev(s[1], parts, 3));
    char one[2], two[8];
    struct iovec places[2] = {{one, 2}, {two, 8}};
    say("readv", readv(s[0], places, 2));
    printf("%.2s %.3s\n", one, two);
    int copy = dup(s[1]);
    close(s[1]);
    say("from a copy", write(copy, "x", 1));
    say("read", received(s[0], 10, 0));
    if (!fork()) {
        close(s[0]);
        write(copy, "child", 5);
        _exit(0);
    }
    close(copy);
    wait(NULL);
    say("of the child", received(s[0], 10, 0));
    if (type != SOCK_DGRAM) {
        say("end", received(s[0], 10, 0));
        events("end", s[0]);
    }
    say("send to nobody", send(s[0], "x", 1, MSG_NOSIGNAL));
    signal(SIGPIPE, handler);
    say("again", send(s[0], "x", 1, 0));
    signal(SIGPIPE, SIG_DFL);
    close(s[0]);
    /* what was not read */
    socketpair(AF_UNIX, type, 0, s);
    write(s[0], "lost", 4);
    write(s[1], "kept", 4);
    close(s[1]);
    if (type != SOCK_DGRAM) {
        events("reset", s[0]);
        say("read", received(s[0], 10, 0));
        say("read", recv(s[0], buffer, 10, 0));
        say("read", recv(s[0], buffer, 10, 0));
    }
    close(s[0]);
}

static void shutdowns(void) {
    int s[2];
    printf("-- shutdown\n");
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    write(s[0], "before", 6);
    say("shutdown", shutdown(s[0], SHUT_WR));
    events("shut", s[0]);
    events("other", s[1]);
    say("read", received(s[1], 10, 0));
    say("end", received(s[1], 10, 0));
    say("send", send(s[0], "x", 1, MSG_NOSIGNAL));
    say("back", write(s[1], "back", 4));
    say("read", received(s[0], 10, 0));
    say("bad", shutdown(s[0], 3));
    say("both", shutdown(s[0], SHUT_RDWR));
    events("shut", s[0]);
    events("other", s[1]);
    say("send", send(s[1], "x", 1, MSG_NOSIGNAL));
    close(s[0]);
    close(s[1]);
    say("not a socket", shutdown(0, SHUT_WR));
    say("not open", shutdown(99, SHUT_WR));
}

static void names(int type) {
    struct sockaddr_un address, other;
    socklen_t size = name(&address, "server"), length;
    printf("-- names, type %d\n", type);
    int server = socket(AF_UNIX, type, 0), client = socket(AF_UNIX, type, 0);
    events("new", server);
    say("unbound", listen(server, 5));
    say("accept", accept(server, NULL, NULL));
    say("nobody", connect(client, (void *)&address, size));
    say("bind", bind(server, (void *)&address, size));
    say("twice", bind(server, (void *)&address, size));
    say("taken", bind(client, (void *)&address, size));
    say("not listening", connect(client, (void *)&address, size));
    say("recv", recv(client, buffer, 10, 0));
    say("send", send(client, "x", 1, MSG_NOSIGNAL));
    say("listen", listen(server, 1));
    events("listening", server);
    fcntl(server, F_SETFL, O_NONBLOCK);
    say("none yet", accept(server, NULL, NULL));
    say("connect", connect(client, (void *)&address, size));
    say("again", connect(client, (void *)&address, size));
    events("waiting", server);
    say("early", write(client, "early", 5));
    length = sizeof other;
    int end = accept4(server, (void *)&other, &length, SOCK_CLOEXEC);
    printf("from %d bytes, family %d, cloexec %d, nonblock %d\n", (int)length, other.sun_family,
           fcntl(end, F_GETFD), (fcntl(end, F_GETFL) & O_NONBLOCK) != 0);
    length = sizeof other;
    say("getsockname", getsockname(end, (void *)&other, &length));
    printf("same %d\n", length == size && !memcmp(&other, &address, size));
    length = sizeof other;
    say("getpeername", getpeername(client, (void *)&other, &length));
    printf("same %d\n", length == size && !memcmp(&other, &address, size));
    say("getpeername", getpeername(server, (void *)&other, &length));
    say("read", received(end, 10, 0));
    say("sendto", sendto(end, "x", 1, 0, (void *)&address, size));
    if (type == SOCK_SEQPACKET)
        received(client, 10, 0);
    struct ucred who;
    length = sizeof who;
    say("SO_PEERCRED", getsockopt(end, SOL_SOCKET, SO_PEERCRED, &who, &length));
    printf("us %d %d\n", who.pid == getpid(), who.uid == getuid());
    /* the backlog */
    int more[4];
    for (int i = 0; i < 4; i++) {
        more[i] = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);
        say("backlog", connect(more[i], (void *)&address, size));
    }
    close(server);
    events("refused", more[0]);
    say("read", recv(more[0], buffer, 10, 0));
    say("read", recv(more[0], buffer, 10, 0));
    for (int i = 0; i < 4; i++)
        close(more[i]);
    server = socket(AF_UNIX, type, 0);
    say("free again", bind(server, (void *)&address, size));
    listen(server, 3);
    int last = socket(AF_UNIX, type, 0);
    connect(last, (void *)&address, size);
    say("shutdown", shutdown(server, SHUT_RD));
    events("shut", server);
    close(accept(server, NULL, NULL));
    say("accept", accept(server, NULL, NULL));
    close(last);
    last = socket(AF_UNIX, type, 0);
    say("connect", connect(last, (void *)&address, size));
    close(last);
    close(server);
    close(client);
    say("end", received(end, 10, 0));
    close(end);
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    say("automatic", bind(client, (void *)&address, sizeof(sa_family_t)));
    length = sizeof other;
    getsockname(client, (void *)&other, &length);
    printf("%d bytes\n", (int)length);
    close(client);
}

static void datagrams(void) {
    struct sockaddr_un address, mine, other;
    socklen_t size = name(&address, "receiver"), length;
    printf("-- datagrams\n");
    int receiver = socket(AF_UNIX, SOCK_DGRAM, 0), sender = socket(AF_UNIX, SOCK_DGRAM, 0);
    say("listen", listen(receiver, 1));
    say("accept", accept(receiver, NULL, NULL));
    say("nobody", sendto(sender, "x", 1, 0, (void *)&address, size));
    say("nowhere", send(sender, "x", 1, 0));
    bind(receiver, (void *)&address, size);
    say("sendto", sendto(sender, "unnamed", 7, 0, (void *)&address, size));
    length = sizeof other;
    say("recvfrom", recvfrom(receiver, buffer, 100, 0, (void *)&other, &length));
    printf("%d bytes\n", (int)length);
    socklen_t own = name(&mine, "sender");
    bind(sender, (void *)&mine, own);
    say("connect", connect(sender, (void *)&address, size));
    say("empty", send(sender, "", 0, 0));
    say("send", send(sender, "named", 5, 0));
    say("empty", received(receiver, 100, 0));
    length = sizeof other;
    say("recvfrom", recvfrom(receiver, buffer, 2, MSG_TRUNC, (void *)&other, &length));
    printf("same %d\n", length == own && !memcmp(&other, &mine, own));
    int count = 0;
    while (send(sender, "x", 1, MSG_DONTWAIT) == 1)
        count++;
    printf("%d fit\n", count);
    say("no more", -1);
    events("full", sender);
    recv(receiver, buffer, 1, 0);
    events("room", sender);
    int stream = socket(AF_UNIX, SOCK_STREAM, 0);
    say("wrong type", connect(stream, (void *)&address, size));
    close(stream);
    say("too long", send(sender, buffer, 250000, 0));
    close(receiver);
    say("gone", send(sender, "x", 1, 0));
    say("gone", send(sender, "x", 1, 0) < 0);
    close(sender);
}

static void rights(void) {
    int s[2], p[2], got[2];
    printf("-- open files in messages\n");
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    pipe(p);
    write(p[1], "through", 7);
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof got) + CMSG_SPACE(sizeof(struct ucred))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec part = {"data", 4};
    struct msghdr message = {NULL, 0, &part, 1, &control, CMSG_SPACE(sizeof p), 0};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof p);
    memcpy(CMSG_DATA(header), p, sizeof p);
    write(s[0], "plain", 5);
    say("sendmsg", sendmsg(s[0], &message, 0));
    write(s[0], "after", 5);
    close(p[0]);
    close(p[1]);
    struct iovec place = {buffer, 100};
    struct msghdr arrived = {NULL, 0, &place, 1, &control, sizeof control, 0};
    memset(&control, 0, sizeof control);
    say("recvmsg", recvmsg(s[1], &arrived, MSG_CMSG_CLOEXEC));
    header = CMSG_FIRSTHDR(&arrived);
    printf("level %d type %d length %d flags %#x of %d\n", header->cmsg_level, header->cmsg_type,
           (int)header->cmsg_len, arrived.msg_flags & ~MSG_CMSG_CLOEXEC, (int)arrived.msg_controllen);
    memcpy(got, CMSG_DATA(header), sizeof got);
    printf("cloexec %d\n", fcntl(got[0], F_GETFD));
    say("through", read(got[0], buffer, 100));
    close(got[1]);
    say("end", read(got[0], buffer, 100));
    close(got[0]);
    say("after", received(s[1], 100, 0));
    /* no room for them: they are closed */
    pipe(p);
    memset(&control, 0, sizeof control);
    message.msg_controllen = CMSG_SPACE(sizeof(int));
    header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &p[1], sizeof(int));
    say("sendmsg", sendmsg(s[0], &message, 0));
    close(p[1]);
    arrived.msg_controllen = 0;
    say("recvmsg", recvmsg(s[1], &arrived, 0));
    printf("flags %#x\n", arrived.msg_flags);
    say("end", read(p[0], buffer, 100));
    int bad = 99;
    memcpy(CMSG_DATA(header), &bad, sizeof bad);
    message.msg_controllen = CMSG_SPACE(sizeof(int));
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    say("bad", sendmsg(s[0], &message, 0));
    /* credentials */
    int on = 1;
    say("SO_PASSCRED", setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    write(s[0], "who", 3);
    arrived.msg_controllen = sizeof control;
    say("recvmsg", recvmsg(s[1], &arrived, 0));
    header = CMSG_FIRSTHDR(&arrived);
    struct ucred who;
    memcpy(&who, CMSG_DATA(header), sizeof who);
    printf("type %d us %d\n", header->cmsg_type, who.pid == getpid());
    close(s[0]);
    close(s[1]);
}

static void waits(void) {
    int s[2], status;
    printf("-- waiting\n");
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    if (!fork()) { /* much more than there is room for */
        close(s[1]);
        long sent = 0, count;
        while (sent < 1000000 && (count = write(s[0], buffer, 250000)) > 0)
            sent += count;
        _exit(sent == 1000000 ? 0 : 1);
    }
    close(s[0]);
    long total = 0, count;
    while ((count = read(s[1], buffer, 7777)) > 0)
        total += count;
    wait(&status);
    printf("%ld bytes, status %d\n", total, status);
    close(s[1]);
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    if (!fork()) {
        close(s[1]);
        for (int i = 0; i < 5; i++)
            write(s[0], "piece", 5);
        _exit(0);
    }
    close(s[0]);
    say("MSG_WAITALL", received(s[1], 23, MSG_WAITALL));
    say("rest", received(s[1], 23, MSG_WAITALL));
    wait(NULL);
    close(s[1]);
    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s);
    if (!fork()) { /* many empty ones need room, too */
        close(s[1]);
        for (int i = 0; i < 2000; i++)
            send(s[0], "", 0, 0);
        send(s[0], "last", 4, 0);
        _exit(0);
    }
    close(s[0]);
    int empty = 0;
    while (recv(s[1], buffer, 10, 0) == 0 && empty < 2000)
        empty++;
    wait(NULL);
    printf("%d empty\n", empty);
    close(s[1]);
    /* several at once */
    int t[2], found = 0;
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    socketpair(AF_UNIX, SOCK_DGRAM, 0, t);
    if (!fork()) {
        char byte;
        read(s[0], &byte, 1);
        write(t[0], "two", 3);
        read(s[0], &byte, 1);
        write(s[0], "one", 3);
        _exit(0);
    }
    for (int i = 0; i < 2; i++) {
        struct pollfd entries[2] = {{s[1], POLLIN, 0}, {t[1], POLLIN, 0}};
        write(s[1], "x", 1);
        found = poll(entries, 2, -1);
        printf("poll %d: %#x %#x\n", found, entries[0].revents, entries[1].revents);
        say("read", received(entries[0].revents ? s[1] : t[1], 10, 0));
    }
    wait(NULL);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(s[1], &set);
    struct timeval none = {0, 1000};
    say("select", select(s[1] + 1, &set, NULL, NULL, &none));
    struct timeval timeout = {0, 10000};
    say("SO_RCVTIMEO", setsockopt(s[1], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
    say("in time", recv(s[1], buffer, 1, 0));
    say("in time", read(s[1], buffer, 1));
    fcntl(s[1], F_SETFL, O_NONBLOCK);
    say("nonblocking", read(s[1], buffer, 1));
}

static void refusals(void) {
    int value = 1, s = socket(AF_UNIX, SOCK_STREAM, 0);
    socklen_t length = sizeof value;
    struct sockaddr_un address;
    printf("-- refusals\n");
    memset(&address, 0, sizeof address);
    say("family", socket(77, SOCK_STREAM, 0));
    say("type", socket(AF_UNIX, 9, 0));
    say("flags", socket(AF_UNIX, SOCK_STREAM | 0x100, 0));
    say("protocol", socket(AF_UNIX, SOCK_STREAM, 17));
    say("option", getsockopt(s, SOL_SOCKET, 9999, &value, &length));
    say("option", setsockopt(s, SOL_SOCKET, 9999, &value, length));
    say("level", getsockopt(s, IPPROTO_TCP, 1, &value, &length));
    say("short", setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &value, 2));
    say("SO_REUSEADDR", setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &value, 4));
    value = 0;
    say("SO_REUSEADDR", getsockopt(s, SOL_SOCKET, SO_REUSEADDR, &value, &length));
    printf("%d\n", value);
    say("SO_ERROR", getsockopt(s, SOL_SOCKET, SO_ERROR, &value, &length));
    value = 10000;
    say("SO_SNDBUF", setsockopt(s, SOL_SOCKET, SO_SNDBUF, &value, 4));
    say("SO_SNDBUF", getsockopt(s, SOL_SOCKET, SO_SNDBUF, &value, &length));
    printf("%d\n", value);
    say("wrong family", connect(s, (void *)&address, sizeof address));
    say("too short", connect(s, (void *)&address, 1));
    address.sun_family = AF_UNIX;
    say("no name", connect(s, (void *)&address, 2));
    say("lseek", lseek(s, 0, SEEK_SET));
    say("pread", pread(s, buffer, 1, 0));
    say("pointer", recv(s, (void *)16, 1, 0));
    strcpy(address.sun_path, "nowhere/socket");
    say("no directory", bind(s, (void *)&address, sizeof address));
    say("no file", connect(s, (void *)&address, sizeof address));
    strcpy(address.sun_path, "sockets");
    say("a file", connect(s, (void *)&address, sizeof address));
    say("there", bind(s, (void *)&address, sizeof address));
    close(s);
}

static void paths(void) {
    struct sockaddr_un address, other;
    socklen_t length = sizeof other;
    struct stat status;
    printf("-- paths\n");
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    strcpy(address.sun_path, "dir/name");
    mkdir("dir", 0755);
    umask(022);
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    say("bind", bind(server, (void *)&address, sizeof address));
    listen(server, 5);
    say("stat", stat("dir/name", &status));
    printf("socket %d, mode %o\n", S_ISSOCK(status.st_mode), status.st_mode & 0777);
    say("open", open("dir/name", O_RDWR));
    say("create", open("dir/name", O_RDWR | O_CREAT | O_EXCL, 0666));
    say("mkdir", mkdir("dir/name", 0777));
    say("rmdir", rmdir("dir"));
    say("chmod", chmod("dir/name", 0700));
    stat("dir/name", &status);
    printf("mode %o\n", status.st_mode & 0777);
    chdir("dir");
    strcpy(address.sun_path, "name");
    say("connect", connect(client, (void *)&address, sizeof address));
    chdir("..");
    int end = accept(server, (void *)&other, &length);
    printf("%d bytes\n", (int)length);
    length = sizeof other;
    say("getpeername", getpeername(client, (void *)&other, &length));
    printf("%d bytes: %s\n", (int)length, other.sun_path);
    write(client, "hello", 5);
    say("read", received(end, 10, 0));
    close(server);
    close(client);
    close(end);
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    strcpy(address.sun_path, "dir/name");
    say("nobody", connect(client, (void *)&address, sizeof address));
    say("still there", bind(client, (void *)&address, sizeof address));
    say("unlink", unlink("dir/name"));
    say("stat", stat("dir/name", &status));
    say("nobody", connect(client, (void *)&address, sizeof address));
    say("bind", bind(client, (void *)&address, sizeof address));
    unlink("dir/name");
    say("rmdir", rmdir("dir"));
    close(client);
}

int main(void) {
    pairs(SOCK_STREAM);
    pairs(SOCK_DGRAM);
    pairs(SOCK_SEQPACKET);
    shutdowns();
    names(SOCK_STREAM);
    names(SOCK_SEQPACKET);
    datagrams();
    rights();
    waits();
    refusals();
    paths();
    return 0;
}
