/* Event loops: counters, timers, and sets of files, and what each call says. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "say.h"

static char buffer[300000];
static const struct itimerspec never;

static void put(const char *what, int fd, uint64_t value) { say(what, write(fd, &value, 8)); }

static void take(const char *what, int fd) {
    uint64_t value = 0;
    if (read(fd, &value, 8) < 0)
        say(what, -1);
    else
        printf("%s: %" PRIu64 "\n", what, value);
}

static int set(int epoll, int operation, int fd, uint32_t events, uint32_t data) {
    struct epoll_event event = {events, {.u64 = data | 0x1234567800000000}};
    return epoll_ctl(epoll, operation, fd, &event);
}

static void add(int epoll, int fd, uint32_t events, uint32_t data) {
    if (set(epoll, EPOLL_CTL_ADD, fd, events, data))
        say("add", -1);
}

static void show_some(const char *what, int epoll, int most, int timeout) {
    struct epoll_event events[20];
    int count = epoll_wait(epoll, events, most, timeout);
    if (count < 0) {
        say(what, count);
        return;
    }
    printf("%s:", what);
    for (int i = 0; i < count; i++)
        printf(" %d=%x", (int)events[i].data.u32, events[i].events);
    printf("%s\n", count && events[0].data.u64 >> 32 != 0x12345678 ? " and its data is cut" : "");
    fflush(stdout);
}

static void show(const char *what, int epoll) { show_some(what, epoll, 20, 0); }

static void polled(const char *what, int fd) {
    struct pollfd one = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    int count = poll(&one, 1, 0);
    printf("%s: %d %x\n", what, count, one.revents);
}

static int mmap_of(int fd) {
    void *at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? -1 : 0;
}

static void about(const char *what, int fd) {
    struct stat status;
    fstat(fd, &status);
    printf("%s: mode %o, links %d, size %d, flags %x, seek %d\n", what, status.st_mode,
           (int)status.st_nlink, (int)status.st_size, fcntl(fd, F_GETFL) & ~0x8000,
           (int)lseek(fd, 5, SEEK_SET));
    say("  at", pread(fd, buffer, 8, 0));
    say("  length", ftruncate(fd, 0));
    say("  short read", read(fd, buffer, 7));
    say("  short write", write(fd, buffer, 7));
    say("  mapped", mmap_of(fd));
    say("  closes", fcntl(fd, F_GETFD));
}

static void *adds_later(void *fd) {
    usleep(20000);
    eventfd_write((int)(intptr_t)fd, 3);
    return NULL;
}

static void *takes_later(void *fd) {
    eventfd_t value;
    usleep(20000);
    eventfd_read((int)(intptr_t)fd, &value);
    return (void *)(intptr_t)(value == 0xfffffffffffffffeull);
}

static void counters(void) {
    pthread_t thread;
    void *result;
    int fd = eventfd(3, EFD_NONBLOCK), semaphore = eventfd(2, EFD_NONBLOCK | EFD_SEMAPHORE);
    about("counter", fd);
    say("bad flags", eventfd(0, 2));
    polled("is 3", fd);
    put("add 4", fd, 4);
    take("take", fd);
    polled("is 0", fd);
    take("nothing", fd);
    put("add nothing", fd, 0);
    put("largest", fd, ~0ull - 1);
    polled("full", fd);
    put("one more", fd, 1);
    put("too large", fd, ~0ull);
    say("sixteen", write(fd, buffer, 16));
    say("read sixteen", read(fd, buffer, 16));
    struct iovec halves[2] = {{buffer, 4}, {buffer + 4, 4}};
    put("add 9", fd, 9);
    say("in halves", readv(fd, halves, 2));
    printf("%d\n", buffer[0]);
    for (int i = 0; i < 3; i++)
        take("semaphore", semaphore);
    put("no pointer", semaphore, 1);
    say("bad pointer", write(semaphore, (void *)16, 8));
    say("bad pointer", read(semaphore, (void *)16, 8));
    close(semaphore);
    close(fd);

    fd = eventfd(0, EFD_CLOEXEC);
    say("closes", fcntl(fd, F_GETFD));
    pthread_create(&thread, NULL, adds_later, (void *)(intptr_t)fd);
    take("waited", fd);
    pthread_join(thread, NULL);
    put("fill", fd, ~0ull - 1);
    pthread_create(&thread, NULL, takes_later, (void *)(intptr_t)fd);
    put("waits", fd, 77);
    pthread_join(thread, &result);
    printf("thread %d\n", (int)(intptr_t)result);
    take("then", fd);
    if (fork() == 0) {
        put("child", fd, 5);
        _exit(0);
    }
    wait(NULL);
    take("of the child", fd);
    close(fd);
}

static void errors(void) {
    int epoll = epoll_create1(EPOLL_CLOEXEC), file = open("/proc/self/exe", O_RDONLY);
    int ends[2], directory = open(".", O_RDONLY), null = open("/dev/null", O_RDWR);
    struct epoll_event event = {EPOLLIN, {0}};
    pipe(ends);
    about("epoll", epoll);
    say("no size", epoll_create(0));
    say("bad flags", epoll_create1(1));
    say("flags of others", epoll_create1(O_NONBLOCK));
    say("file", set(epoll, EPOLL_CTL_ADD, file, EPOLLIN, 0));
    say("directory", set(epoll, EPOLL_CTL_ADD, directory, EPOLLIN, 0));
    say("null", set(epoll, EPOLL_CTL_ADD, null, EPOLLIN, 0));
    say("itself", set(epoll, EPOLL_CTL_ADD, epoll, EPOLLIN, 0));
    say("no epoll", set(ends[0], EPOLL_CTL_ADD, epoll, EPOLLIN, 0));
    say("closed", set(epoll, EPOLL_CTL_ADD, 99, EPOLLIN, 0));
    say("closed epoll", set(99, EPOLL_CTL_ADD, ends[0], EPOLLIN, 0));
    say("pointer", epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], (void *)16));
    say("pointer and closed", epoll_ctl(99, EPOLL_CTL_ADD, 99, (void *)16));
    say("not in it", set(epoll, EPOLL_CTL_MOD, ends[0], EPOLLIN, 0));
    say("not in it", epoll_ctl(epoll, EPOLL_CTL_DEL, ends[0], NULL));
    say("operation", set(epoll, 9, ends[0], EPOLLIN, 0));
    say("add", set(epoll, EPOLL_CTL_ADD, ends[0], EPOLLIN, 0));
    say("again", set(epoll, EPOLL_CTL_ADD, ends[0], EPOLLIN, 0));
    say("change", set(epoll, EPOLL_CTL_MOD, ends[0], EPOLLIN, 0));
    say("remove", epoll_ctl(epoll, EPOLL_CTL_DEL, ends[0], (void *)16));
    say("exclusive", set(epoll, EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLEXCLUSIVE, 0));
    say("change", set(epoll, EPOLL_CTL_MOD, ends[0], EPOLLIN, 0));
    say("to exclusive", set(epoll, EPOLL_CTL_MOD, ends[0], EPOLLIN | EPOLLEXCLUSIVE, 0));
    say("and once", set(epoll, EPOLL_CTL_ADD, ends[1], EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 0));
    say("none", epoll_wait(epoll, &event, 0, 0));
    say("less", epoll_wait(epoll, &event, -1, 0));
    say("too many", epoll_wait(epoll, &event, 0x7fffffff, 0));
    say("no epoll", epoll_wait(ends[0], &event, 1, 0));
    say("closed", epoll_wait(99, &event, 1, 0));
    say("nothing", epoll_wait(epoll, &event, 1, 0));
    write(ends[1], "x", 1);
    say("no place", epoll_wait(epoll, (void *)16, 1, 0));
    show("still there", epoll);
    close(ends[0]), close(ends[1]), close(file), close(directory), close(null), close(epoll);
}

static void levels(void) {
    int epoll = epoll_create1(0), ends[2], other;
    pipe2(ends, O_NONBLOCK);
    add(epoll, ends[0], EPOLLIN, 1);
    add(epoll, ends[1], EPOLLOUT, 2);
    polled("epoll", epoll);
    show("empty", epoll);
    write(ends[1], "abc", 3);
    show("written", epoll);
    show("again", epoll);
    show_some("one of them", epoll, 1, 0);
    show_some("the other", epoll, 1, 0);
    show_some("the first", epoll, 1, 0);
    while (write(ends[1], buffer, 4096) > 0)
        ;
    show("full", epoll);
    read(ends[0], buffer, sizeof buffer);
    show("read", epoll);
    say("want nothing", set(epoll, EPOLL_CTL_MOD, ends[1], 0, 3));
    polled("epoll", epoll);
    show("nothing", epoll);
    say("remove", epoll_ctl(epoll, EPOLL_CTL_DEL, ends[0], NULL));
    close(ends[0]);
    show("no reader", epoll);
    close(ends[1]);
    show("closed", epoll);

    pipe(ends);
    other = dup(ends[0]);
    add(epoll, ends[0], EPOLLIN, 4);
    add(epoll, other, EPOLLIN, 5);
    write(ends[1], "abc", 3);
    show("twice", epoll);
    close(ends[0]);
    show("one number is closed", epoll);
    close(other);
    show("both are", epoll);
    close(ends[1]);

    pipe(ends);
    add(epoll, ends[0], 0, 6);
    close(ends[1]);
    show("hung up unasked", epoll);
    close(ends[0]);
    close(epoll);
}

static void edges(void) {
    int epoll = epoll_create1(0), ends[2], counter = eventfd(0, EFD_NONBLOCK);
    pipe2(ends, O_NONBLOCK);
    add(epoll, ends[0], EPOLLIN | EPOLLET, 1);
    add(epoll, ends[1], EPOLLOUT | EPOLLET, 2);
    show("room", epoll);
    show("no more", epoll);
    write(ends[1], "abc", 3);
    show("written", epoll);
    show("no more", epoll);
    write(ends[1], "def", 3);
    show("more written", epoll);
    read(ends[0], buffer, 4);
    show("some read", epoll);
    say("change", set(epoll, EPOLL_CTL_MOD, ends[0], EPOLLIN | EPOLLET, 3));
    show("changed", epoll);
    write(ends[1], "ghi", 3);
    read(ends[0], buffer, 10);
    show("read before", epoll);
    while (write(ends[1], buffer, 4096) > 0)
        ;
    show("full", epoll);
    read(ends[0], buffer, 65536);
    show("room again", epoll);
    close(ends[1]);
    show("hung up", epoll);
    show("no more", epoll);
    close(ends[0]);

    add(epoll, counter, EPOLLIN | EPOLLOUT | EPOLLET, 4);
    show("counter", epoll);
    put("add", counter, 1);
    show("added", epoll);
    put("add", counter, 1);
    show("added", epoll);
    take("take", counter);
    show("taken", epoll);
    show("no more", epoll);
    say("once", set(epoll, EPOLL_CTL_MOD, counter, EPOLLIN | EPOLLONESHOT, 5));
    put("add", counter, 1);
    show("once", epoll);
    put("add", counter, 1);
    show("no more", epoll);
    say("once again", set(epoll, EPOLL_CTL_MOD, counter, EPOLLIN | EPOLLONESHOT, 6));
    show("again", epoll);
    show("no more", epoll);
    close(counter);
    close(epoll);
}

static void order(void) {
    int epoll = epoll_create1(0), counters[5];
    for (int i = 0; i < 5; i++) {
        counters[i] = eventfd(0, EFD_NONBLOCK);
        add(epoll, counters[i], EPOLLIN, i);
    }
    for (int i = 0; i < 5; i++)
        eventfd_write(counters[i * 2 % 5], 1);
    show("in the order of writing", epoll);
    show_some("three", epoll, 3, 0);
    show_some("three more", epoll, 3, 0);
    take("take", counters[4]);
    show("less", epoll);
    eventfd_write(counters[4], 1);
    show("at the end", epoll);
    for (int i = 0; i < 5; i++)
        close(counters[i]);
    close(epoll);
}

static void streams(int family) {
    int epoll = epoll_create1(0), ends[2], listener, client;
    struct sockaddr_in address = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {0}};
    socklen_t length = sizeof address;
    printf("family %d\n", family);
    if (family == AF_UNIX) {
        socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    } else {
        listener = socket(AF_INET, SOCK_STREAM, 0);
        add(epoll, listener, EPOLLIN, 9);
        show("new socket", epoll);
        bind(listener, (void *)&address, length);
        getsockname(listener, (void *)&address, &length);
        listen(listener, 5);
        show("listening", epoll);
        client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        add(epoll, client, EPOLLIN | EPOLLOUT, 8);
        show("unconnected", epoll);
        say("connect", connect(client, (void *)&address, length));
        show_some("connected", epoll, 20, 100);
        ends[0] = client;
        ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        close(listener);
        epoll_ctl(epoll, EPOLL_CTL_DEL, client, NULL);
    }
    add(epoll, ends[0], EPOLLIN | EPOLLRDHUP | EPOLLET, 1);
    add(epoll, ends[1], EPOLLIN | EPOLLOUT | EPOLLRDHUP, 2);
    show("new", epoll);
    send(ends[1], "hello", 5, 0);
    show("sent", epoll);
    send(ends[1], "hello", 5, 0);
    show("sent again", epoll);
    send(ends[0], "hello", 5, 0);
    show("sent back", epoll);
    recv(ends[1], buffer, 100, MSG_PEEK);
    show("looked at", epoll);
    recv(ends[1], buffer, 100, 0);
    show("received", epoll);
    shutdown(ends[0], SHUT_WR);
    show("shut", epoll);
    recv(ends[0], buffer, 100, 0);
    close(ends[1]);
    show("closed", epoll);
    show("no more", epoll);
    close(ends[0]);
    close(epoll);
}

static void rooms(void) {
    int epoll = epoll_create1(0), ends[2];
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends);
    add(epoll, ends[0], EPOLLOUT | EPOLLET, 1);
    show("room", epoll);
    while (send(ends[0], buffer, 4096, 0) > 0)
        ;
    show("full", epoll);
    while (recv(ends[1], buffer, sizeof buffer, 0) > 0)
        ;
    show("room again", epoll);
    show("no more", epoll);
    close(ends[0]), close(ends[1]);

    socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends);
    add(epoll, ends[0], EPOLLOUT | EPOLLET, 2);
    add(epoll, ends[1], EPOLLIN | EPOLLET, 3);
    show("datagrams", epoll);
    send(ends[0], "one", 3, 0);
    show("one", epoll);
    send(ends[0], "two", 3, 0);
    show("two", epoll);
    recv(ends[1], buffer, 10, 0);
    show("received", epoll);
    close(ends[1]);
    show("closed", epoll);
    close(ends[0]);

    struct sockaddr_in address = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {0}};
    socklen_t length = sizeof address;
    for (int i = 0; i < 2; i++) {
        ends[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        add(epoll, ends[i], EPOLLIN | EPOLLOUT | EPOLLET, 4 + i);
    }
    show("udp", epoll);
    bind(ends[0], (void *)&address, length);
    getsockname(ends[0], (void *)&address, &length);
    connect(ends[1], (void *)&address, length);
    show("connected", epoll);
    send(ends[1], "one", 3, 0);
    show("sent", epoll);
    send(ends[1], "two", 3, 0);
    show("sent", epoll);
    recv(ends[0], buffer, 10, 0);
    show("received", epoll);
    close(ends[0]);
    send(ends[1], "three", 5, 0);
    show("refused", epoll);
    show("no more", epoll);
    say("send", send(ends[1], "four", 4, 0));
    close(ends[1]);
    close(epoll);
}

/* What listens, and who connects to it. */
static void listening(void) {
    int epoll = epoll_create1(0), listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int clients[2];
    struct sockaddr_un name = {AF_UNIX, "\0events of a listener"};
    say("bind", bind(listener, (void *)&name, 23));
    say("listen", listen(listener, 5));
    add(epoll, listener, EPOLLIN | EPOLLET, 1);
    show("nobody", epoll);
    for (int i = 0; i < 2; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM, 0);
        add(epoll, clients[i], EPOLLIN | EPOLLOUT | EPOLLET, 2 + i);
        show("unconnected", epoll);
        say("connect", connect(clients[i], (void *)&name, 23));
        show("connected", epoll);
    }
    int end = accept(listener, NULL, NULL);
    show("accepted", epoll);
    close(end);
    show("closed", epoll);
    close(listener);
    show("and the other one", epoll);
    close(clients[0]), close(clients[1]), close(epoll);
}

static void nested(void) {
    int outer = epoll_create1(0), inner = epoll_create1(0), counter = eventfd(0, 0), chain[8];
    add(inner, counter, EPOLLIN, 1);
    add(outer, inner, EPOLLIN, 2);
    say("a cycle", set(inner, EPOLL_CTL_ADD, outer, EPOLLIN, 0));
    show("nothing", outer);
    put("add", counter, 1);
    polled("inner", inner);
    polled("outer", outer);
    show("outer", outer);
    show("inner", inner);
    take("take", counter);
    show("outer", outer);
    say("edges", set(outer, EPOLL_CTL_MOD, inner, EPOLLIN | EPOLLET, 3));
    put("add", counter, 1);
    show("edge", outer);
    show("no more", outer);
    put("add", counter, 1);
    show("another", outer);
    close(counter);
    show("closed", outer);
    say("exclusive", set(outer, EPOLL_CTL_ADD, dup(inner), EPOLLIN | EPOLLEXCLUSIVE, 0));
    close(inner);
    for (int i = 0; i < 8; i++)
        chain[i] = epoll_create1(0);
    for (int i = 0; i < 7; i++)
        say("upwards", set(chain[i + 1], EPOLL_CTL_ADD, chain[i], EPOLLIN, i));
    for (int i = 0; i < 8; i++)
        close(chain[i]), chain[i] = epoll_create1(0);
    for (int i = 0; i < 7; i++)
        say("downwards", set(chain[i], EPOLL_CTL_ADD, chain[i + 1], EPOLLIN, i));
    say("the end in the first", set(chain[4], EPOLL_CTL_ADD, chain[0], EPOLLIN, 0));
    for (int i = 0; i < 8; i++)
        close(chain[i]);
    close(outer);
}

static volatile int heard;
static void hear(int number) { heard = number; }

static long long since(const struct timespec *begin) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - begin->tv_sec) * 1000LL + (now.tv_nsec - begin->tv_nsec) / 1000000;
}

static void waits(void) {
    int epoll = epoll_create1(0), counter = eventfd(0, EFD_NONBLOCK);
    struct epoll_event event;
    struct timespec begin;
    struct sigaction action = {.sa_handler = hear, .sa_flags = SA_RESTART};
    sigset_t mask, none;
    add(epoll, counter, EPOLLIN, 1);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    show_some("50 ms", epoll, 20, 50);
    long long passed = since(&begin);
    printf("in time: %d\n", passed >= 50 && passed < 1000);
    if (fork() == 0) {
        usleep(30000);
        eventfd_write(counter, 1);
        _exit(0);
    }
    show_some("a child writes", epoll, 20, -1);
    wait(NULL);
    if (fork() == 0) {
        take("child takes", counter);
        show_some("child waits", epoll, 20, -1);
        _exit(0);
    }
    usleep(50000);
    put("add", counter, 1);
    wait(NULL);
    take("take", counter);

    sigaction(SIGALRM, &action, NULL);
    ualarm(20000, 0);
    show_some("interrupted", epoll, 20, -1);
    printf("heard %d\n", heard);
    heard = 0;
    sigemptyset(&none);
    sigemptyset(&mask);
    sigaddset(&mask, SIGALRM);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    raise(SIGALRM);
    show_some("blocked", epoll, 20, 10);
    put("add", counter, 1);
    say("ready first", epoll_pwait(epoll, &event, 1, -1, &none));
    printf("heard %d\n", heard);
    take("take", counter);
    say("let in", epoll_pwait(epoll, &event, 1, -1, &none));
    printf("heard %d\n", heard);
    heard = 0;
    raise(SIGALRM);
    show_some("blocked again", epoll, 20, 10);
    printf("heard %d\n", heard);
    struct timespec ten = {0, 10000000};
    struct pollfd one = {counter, POLLIN, 0};
    say("ppoll", ppoll(&one, 1, &ten, &none));
    printf("heard %d\n", heard);
    heard = 0;
    raise(SIGALRM);
    fd_set set_of;
    FD_ZERO(&set_of);
    FD_SET(counter, &set_of);
    say("pselect", pselect(counter + 1, &set_of, NULL, NULL, &ten, &none));
    printf("heard %d\n", heard);
    say("nothing comes", epoll_pwait(epoll, &event, 1, 10, &none));
    sigprocmask(SIG_BLOCK, NULL, &none);
    printf("still blocked: %d\n", sigismember(&none, SIGALRM));
    say("size", syscall(SYS_epoll_pwait, epoll, &event, 1, 0, &none, 4));
    say("pointer", syscall(SYS_epoll_pwait, epoll, &event, 1, 0, (void *)16, 8));
    sigprocmask(SIG_UNBLOCK, &mask, NULL);
    close(counter);
    close(epoll);
}

static int timer(int clock, int flags, long first, long interval) {
    int fd = timerfd_create(clock, TFD_NONBLOCK);
    struct itimerspec spec = {{0, interval * 1000000}, {0, first * 1000000}};
    if (flags) {
        clock_gettime(clock, &spec.it_value);
        spec.it_value.tv_nsec += first * 1000000;
        spec.it_value.tv_sec += spec.it_value.tv_nsec / 1000000000;
        spec.it_value.tv_nsec %= 1000000000;
    }
    if (timerfd_settime(fd, flags, &spec, NULL))
        say("settime", -1);
    return fd;
}

static void wait_and_take(const char *what, int fd) {
    struct timespec begin;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    fcntl(fd, F_SETFL, 0);
    take(what, fd);
    long long passed = since(&begin);
    printf("in time: %d\n", passed >= 39 && passed < 1000);
    fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void timers(void) {
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), epoll;
    struct itimerspec spec, odd = {{0, 0}, {0, 1000000000}}, less = {{-1, 0}, {1, 0}}, old;
    about("timer", fd);
    say("no clock", timerfd_create(2, 0));
    say("no clock", timerfd_create(5, 0));
    say("bad flags", timerfd_create(CLOCK_MONOTONIC, 1));
    say("boot time", close(timerfd_create(CLOCK_BOOTTIME, 0)));
    say("odd", timerfd_settime(fd, 0, &odd, NULL));
    say("less", timerfd_settime(fd, 0, &less, NULL));
    say("flags", timerfd_settime(fd, 4, &never, NULL));
    say("closed", timerfd_settime(99, 0, &never, NULL));
    say("no timer", timerfd_settime(1, 0, &never, NULL));
    say("no timer", timerfd_gettime(1, &spec));
    say("closed", timerfd_gettime(99, &spec));
    say("pointer", syscall(SYS_timerfd_settime, fd, 0, 16, 0));
    say("pointer", syscall(SYS_timerfd_settime64, fd, 0, 16, 0));
    say("pointer", syscall(SYS_timerfd_gettime, fd, 16));
    say("pointer", syscall(SYS_timerfd_gettime64, fd, 16));
    take("stopped", fd);
    polled("stopped", fd);
    timerfd_gettime(fd, &spec);
    printf("left %d %d, interval %d\n", (int)spec.it_value.tv_sec, (int)spec.it_value.tv_nsec,
           (int)spec.it_interval.tv_sec);
    struct itimerspec hour = {{60, 5}, {3600, 0}};
    say("an hour", timerfd_settime(fd, 0, &hour, &old));
    printf("before %d %d\n", (int)old.it_value.tv_sec, (int)old.it_interval.tv_sec);
    timerfd_gettime(fd, &spec);
    printf("left %d, interval %d %d\n", (int)spec.it_value.tv_sec, (int)spec.it_interval.tv_sec,
           (int)spec.it_interval.tv_nsec);
    say("stop", timerfd_settime(fd, 0, &never, &old));
    printf("before %d %d\n", (int)old.it_value.tv_sec, (int)old.it_interval.tv_sec);
    uint32_t words[4] = {1, 2, 300, 400};
    say("32 bits", syscall(SYS_timerfd_settime, fd, 0, words, 0));
    say("32 bits", syscall(SYS_timerfd_gettime, fd, words));
    printf("left %u, interval %u %u\n", words[2], words[0], words[1]);
    close(fd);

    fd = timer(CLOCK_MONOTONIC, 0, 40, 0);
    wait_and_take("once", fd);
    take("no more", fd);
    timerfd_gettime(fd, &spec);
    printf("left %d %d\n", (int)spec.it_value.tv_sec, (int)spec.it_value.tv_nsec);
    close(fd);
    fd = timer(CLOCK_REALTIME, TFD_TIMER_ABSTIME, 40, 0);
    wait_and_take("real time", fd);
    close(fd);
    fd = timer(CLOCK_MONOTONIC, TFD_TIMER_ABSTIME, -10, 0);
    take("past", fd);
    close(fd);
    fd = timer(CLOCK_MONOTONIC, 0, 100, 100);
    usleep(350000);
    take("intervals", fd);
    take("no more", fd);
    usleep(100000);
    take("one more", fd);
    usleep(200000);
    timerfd_gettime(fd, &spec);
    printf("left: %d\n", spec.it_value.tv_nsec > 0 && spec.it_value.tv_nsec <= 100000000);
    take("counted", fd);
    close(fd);

    epoll = epoll_create1(0);
    int late = timer(CLOCK_MONOTONIC, 0, 80, 0), early = timer(CLOCK_MONOTONIC, 0, 40, 0);
    int often = timer(CLOCK_MONOTONIC, 0, 120, 20);
    add(epoll, late, EPOLLIN, 1);
    add(epoll, early, EPOLLIN | EPOLLET, 2);
    add(epoll, often, EPOLLIN | EPOLLET, 3);
    show("not yet", epoll);
    show_some("the early one", epoll, 20, -1);
    show_some("the late one", epoll, 20, -1);
    take("take", late);
    show_some("the third", epoll, 20, -1);
    usleep(50000);
    show("once only", epoll);
    take("take", early);
    uint64_t count = 0;
    read(often, &count, 8);
    printf("more than one: %d\n", count > 1);
    show_some("and again", epoll, 20, -1);
    polled("early", early);
    close(late), close(early), close(often);
    late = timer(CLOCK_MONOTONIC, 0, 80, 0), early = timer(CLOCK_MONOTONIC, 0, 40, 0);
    int middle = eventfd(0, 0);
    add(epoll, late, EPOLLIN, 4);
    add(epoll, middle, EPOLLIN, 5);
    add(epoll, early, EPOLLIN, 6);
    usleep(60000);
    eventfd_write(middle, 1);
    usleep(60000);
    show("in the order of time", epoll);
    close(late), close(early);
    late = timer(CLOCK_MONOTONIC, 0, 40, 0);
    struct pollfd one = {late, POLLIN, 0};
    say("poll", poll(&one, 1, -1));
    fd_set set_of;
    FD_ZERO(&set_of);
    FD_SET(late, &set_of);
    say("select", select(late + 1, &set_of, NULL, NULL, NULL));
    close(late);
    int outer = epoll_create1(0);
    late = timer(CLOCK_MONOTONIC, 0, 40, 0);
    take("middle", middle);
    add(epoll, late, EPOLLIN, 7);
    add(outer, epoll, EPOLLIN, 8);
    show_some("nested", outer, 20, -1);
    close(late), close(outer), close(epoll), close(middle);
}

/* A server of several clients, with a timer that beats and a counter that ends it. */
static void server(void) {
    int epoll = epoll_create1(0), end = eventfd(0, 0), ends[4][2], open = 4, total = 0;
    for (int i = 0; i < 4; i++) {
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends[i]);
        if (fork() == 0) {
            for (int round = 0; round < 5; round++) {
                usleep(1000 * (i + 1));
                write(ends[i][1], "question", 8);
                read(ends[i][1], buffer, 6);
            }
            eventfd_write(end, 1);
            _exit(0);
        }
        close(ends[i][1]);
        add(epoll, ends[i][0], EPOLLIN | EPOLLRDHUP, i);
    }
    while (open) {
        struct epoll_event events[4];
        int count = epoll_wait(epoll, events, 4, -1);
        for (int i = 0; i < count; i++) {
            int fd = ends[events[i].data.u32][0], size = read(fd, buffer, 100);
            if (size <= 0) {
                epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL); /* its children have it too */
                close(fd);
                open--;
            } else {
                total += size;
                write(fd, "answer", 6);
            }
        }
    }
    while (wait(NULL) > 0)
        ;
    printf("total %d\n", total);
    take("clients", end);
    close(end), close(epoll);
}

int main(void) {
    counters();
    errors();
    levels();
    edges();
    order();
    streams(AF_UNIX);
    streams(AF_INET);
    rooms();
    listening();
    nested();
    waits();
    timers();
    server();
    say("next", dup(0));
    return 0;
}
