/* SSE's state in the frames of signals, as FXSAVE stores it behind what FSAVE does: saved and restored
   around handlers, which begin with an initial one and may change what is restored. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

struct fast {
    uint16_t control, status;
    uint8_t tags, reserved;
    uint16_t opcode;
    uint32_t pointers[4], mxcsr, mask;
    uint8_t stack[8][16], xmm[8][16], rest[224];
} __attribute__((aligned(16)));

struct frame { /* struct _fpstate_32 */
    uint32_t environment[7];
    uint8_t stack[80];
    uint16_t status, magic;
    uint8_t fast[512]; /* struct fast, if that were a multiple of 16 bytes away */
};

static const char *change = "nothing";

static void bytes(const char *what, const uint8_t *from, int count)
{
    printf(" %s ", what);
    while (count--)
        printf("%02x", from[count]);
}

static void print(const char *what, const struct fast *fast)
{
    int i;

    printf("%s: cw %04x sw %04x tags %02x mxcsr %04x\n ", what, fast->control, fast->status,
           fast->tags, fast->mxcsr);
    for (i = 0; i < 8; i++)
        bytes("st", fast->stack[i], 10);
    printf("\n ");
    for (i = 0; i < 8; i++)
        bytes("xmm", fast->xmm[i], 16);
    printf("\n");
}

static void now(const char *what)
{
    struct fast fast;

    asm volatile("fxsave %0" : "=m"(fast) : : "memory");
    print(what, &fast);
}

static void load(unsigned mxcsr, int seed)
{
    struct fast fast;
    int i;

    asm volatile("fninit; fldpi; fld1; fldl2e; fxsave %0" : "=m"(fast) : : "memory");
    for (i = 0; i < 128; i++)
        fast.xmm[i / 16][i % 16] = i * seed;
    fast.mxcsr = mxcsr;
    asm volatile("fxrstor %0" : : "m"(fast) : "memory");
}

static void handler(int number, siginfo_t *info, void *argument)
{
    ucontext_t *context = argument;
    struct frame *frame = (struct frame *)context->uc_mcontext.fpregs;
    struct fast *fast = (struct fast *)frame->fast;

    now("handler");
    printf("magic %04x status %04x at %u\n", frame->magic, frame->status,
           (unsigned)((uintptr_t)fast % 64));
    print("frame", fast);
    if (!strcmp(change, "values"))
        memset(fast->xmm[3], 0x5a, 16), fast->mxcsr = 0x7fbf;
    if (!strcmp(change, "unit")) { /* the x87 comes from what FSAVE has stored */
        memset(fast->stack, 0xff, 128), fast->control = 0x7f, fast->tags = 0;
        frame->stack[3] ^= 0xff, frame->environment[0] = 0xffff0c7f;
    }
    if (!strcmp(change, "none"))
        context->uc_mcontext.fpregs = 0;
    if (!strcmp(change, "nowhere"))
        context->uc_mcontext.fpregs = (void *)0x10;
    if (!strcmp(change, "nested")) {
        load(0x1fa5, 11);
        change = "nothing";
        raise(SIGUSR2);
        now("after the inner one");
    }
    load(0x9fff, 13);
}

static void plain(int number)
{
    now("plain handler");
    load(0x5f81, 17);
}

static void around(const char *name, int number)
{
    change = name;
    printf("-- %s\n", name);
    fflush(stdout);
    load(0xbfc4, 7);
    raise(number);
    now("afterwards");
}

int main(int count, char **arguments)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    int status;

    if (count > 1) { /* the C library may have used XMM registers since */
        struct fast fast;

        asm volatile("fxsave %0" : "=m"(fast) : : "memory");
        printf("executed: cw %04x mxcsr %04x\n", fast.control, fast.mxcsr);
        return 0;
    }
    sigaction(SIGUSR2, &action, 0);
    sigaction(SIGUSR1, &action, 0);
    signal(SIGHUP, plain);
    around("nothing", SIGUSR1);
    around("plain", SIGHUP);
    around("values", SIGUSR1);
    around("unit", SIGUSR1);
    around("none", SIGUSR1);
    around("nested", SIGUSR1);
    fflush(stdout);
    if (!fork())
        around("nowhere", SIGUSR1);
    wait(&status);
    printf("%d\n", status);
    fflush(stdout);
    load(0xffff, 19);
    if (!fork()) {
        now("child");
        load(0x1f80, 0);
        fflush(stdout);
        _exit(0);
    }
    now("parent");
    fflush(stdout);
    wait(&status);
    load(0x3f80, 23);
    execl("/proc/self/exe", "sse_signals", "again", (char *)0);
    return 1;
}
