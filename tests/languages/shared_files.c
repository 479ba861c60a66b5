/* Files that are mapped to be written: what read, write, truncation, other mappings and other
   processes see of it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#define BOTH (PROT_READ | PROT_WRITE)

static sigjmp_buf back;
static volatile int number, code;
static char *volatile where;

static void handler(int n, siginfo_t *info, void *context)
{
    number = n, code = info->si_code, where = info->si_addr;
    siglongjmp(back, 1);
}

static void touch(const char *what, char *start, long offset, int write)
{
    volatile char *p = start + offset;

    if (sigsetjmp(back, 1)) {
        printf("%s: signal %d code %d at %ld\n", what, number, code, (long)(where - start));
        return;
    }
    if (write)
        *p = 'x';
    printf("%s: %d\n", what, *p);
}

static char *map(int fd, int pages, int protection, long offset)
{
    char *p = mmap(0, pages * PAGE, protection, MAP_SHARED, fd, offset);

    if (p == MAP_FAILED)
        printf("mmap: errno %d\n", errno);
    return p;
}

static void show(const char *what, int fd, long offset)
{
    char text[17] = "";
    long count = pread(fd, text, 16, offset);
    struct stat found;

    fstat(fd, &found);
    printf("%s: %ld bytes, '%s', of %ld\n", what, count, text, (long)found.st_size);
}

static void descriptors(void)
{
    int reading = open("data", O_RDONLY), writing = open("data", O_WRONLY);
    char *p;

    map(reading, 1, BOTH, 0);
    map(writing, 1, PROT_READ, 0);
    map(writing, 1, PROT_WRITE, 0);
    p = map(reading, 1, PROT_READ, 0);
    printf("mprotect: %d", mprotect(p, PAGE, BOTH));
    printf(" errno %d\n", errno);
    touch("read only", p, 0, 1);
    munmap(p, PAGE);
    close(reading);
    close(writing);
}

static void coherent(int fd)
{
    char *one = map(fd, 2, BOTH, 0), *two = map(fd, 1, BOTH, PAGE), *three = map(fd, 2, PROT_READ, 0);
    char *own = mmap(0, PAGE, BOTH, MAP_PRIVATE, fd, 0);

    strcpy(one, "by mapping");
    show("read", fd, 0);
    strcpy(two, "second");
    printf("%s %s %s\n", one + PAGE, three, three + PAGE);
    pwrite(fd, "by write", 9, PAGE + 4);
    printf("%s %s\n", one + PAGE, two);
    pread(fd, one + 100, 5, 0);
    printf("%s\n", three + 100);
    strcpy(own, "private");
    printf("%s, %s\n", own, one);
    show("private stays", fd, 0);
    memcpy(one + PAGE - 4, "across pages", 13);
    show("across", fd, PAGE - 4);
    printf("%d %d\n", msync(one, 2 * PAGE, MS_SYNC), msync(one, PAGE, MS_ASYNC | MS_SYNC));
    munmap(two, PAGE);
    two = mremap(one, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
    strcpy(two + PAGE, "moved");
    show("mremap", fd, PAGE);
    touch("after the end", two, 3 * PAGE, 0);
    munmap(two, 4 * PAGE);
    printf("%s\n", three + PAGE);
    munmap(three, 2 * PAGE);
    munmap(own, PAGE);
    show("unmapped", fd, PAGE);
}

static void ends(int fd)
{
    char *p = map(fd, 3, BOTH, 0);

    ftruncate(fd, PAGE + 10);
    strcpy(p + PAGE + 6, "past the end");
    show("tail", fd, PAGE + 6);
    touch("no page", p, 2 * PAGE, 1);
    touch("no page", p, 2 * PAGE + 5, 0);
    printf("read into it: %ld", (long)pread(fd, p + 2 * PAGE, 4, 0));
    printf(" errno %d\n", errno);
    ftruncate(fd, 2 * PAGE + 1);
    touch("grown", p, 2 * PAGE, 1);
    show("grown", fd, 2 * PAGE);
    ftruncate(fd, 4);
    touch("cut", p, PAGE, 0);
    touch("cut", p, 3, 1);
    touch("cut", p, 4, 0);
    pwrite(fd, "far", 3, PAGE + 1);
    touch("far", p, PAGE, 0);
    touch("far", p, PAGE + 1, 0);
    close(open("data", O_WRONLY | O_TRUNC));
    touch("emptied", p, 0, 0);
    show("emptied", fd, 0);
    munmap(p, 3 * PAGE);
}

static void private_end(int fd)
{
    char *p;

    ftruncate(fd, PAGE + 10);
    p = mmap(0, 4 * PAGE, BOTH, MAP_PRIVATE, fd, 0);
    touch("private tail", p, PAGE + 10, 1);
    touch("private, past the end", p, 2 * PAGE, 0);
    touch("private, past the end", p, 4 * PAGE - 1, 1);
    mprotect(p + 2 * PAGE, PAGE, PROT_NONE);
    touch("private, protected", p, 2 * PAGE, 0);
    mmap(p + 2 * PAGE, PAGE, BOTH, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    touch("private, replaced", p, 2 * PAGE, 1);
    touch("private, past the end", p, 3 * PAGE, 0);
    munmap(p, 4 * PAGE);
    p = mmap(0, PAGE, PROT_READ, MAP_PRIVATE, fd, 2 * PAGE);
    touch("private, beyond", p, 0, 0);
    munmap(p, PAGE);
}

static void children(void)
{
    int fd = open("other", O_RDWR | O_CREAT | O_TRUNC, 0600), status;
    char *p, *q;

    ftruncate(fd, 2 * PAGE);
    p = map(fd, 2, BOTH, 0);
    strcpy(p, "parent");
    fflush(stdout);
    if (!fork()) {
        printf("%s\n", p);
        strcpy(p, "child");
        strcpy(p + PAGE, "not touched before");
        q = map(fd, 1, BOTH, 0);
        q[5] = '!';
        fflush(stdout);
        _exit(0);
    }
    wait(&status);
    printf("%s %s\n", p, p + PAGE);
    show("from the child", fd, 0);
    if (!fork()) {
        strcpy(p, "before execve");
        execl("./shared_files", "shared_files", "again", (char *)0);
        _exit(1);
    }
    wait(&status);
    printf("%d\n", status);
    unlink("other");
    close(fd);
    p[0] = 'B';
    printf("%s\n", p);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    int fd = open("data", O_RDWR | O_CREAT, 0600);

    setvbuf(stdout, 0, _IOFBF, 1 << 16);
    sigaction(SIGBUS, &action, 0);
    sigaction(SIGSEGV, &action, 0);
    if (argc > 1) {
        show("after execve", open("other", O_RDONLY), 0);
        return 0;
    }
    ftruncate(fd, 2 * PAGE);
    descriptors();
    coherent(fd);
    ends(fd);
    private_end(fd);
    children();
    ftruncate(fd, 100);
    strcpy(map(fd, 1, BOTH, 0) + 90, "the very end");
    return 0;
}
