/* The x87 state in the frames of signals: saved and restored around handlers, which begin with an
   initial unit and may change what is restored. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

struct image {
    unsigned int environment[7];
    unsigned char registers[80];
};

static const char *change = "nothing";

static void print(const char *what, const void *environment, const unsigned char *registers)
{
    const unsigned int *words = environment;
    int i;

    printf("%s: cw %04x sw %04x tags %04x", what, words[0] & 0xffff, words[1] & 0xffff,
           words[2] & 0xffff);
    for (i = 0; i < 80; i++)
        printf("%s%02x", i % 10 ? "" : " ", registers[i]);
    printf("\n");
}

static void unit(const char *what)
{
    struct image image;

    asm volatile("fnsave %0" : "=m"(image) : : "memory");
    print(what, image.environment, image.registers);
    asm volatile("frstor %0" : : "m"(image));
}

static void disturb(void)
{
    asm volatile("fninit; fldl2t; fldl2e; fldz; fld1; fld1; fldpi; fincstp");
}

static void handler(int number, siginfo_t *info, void *argument)
{
    ucontext_t *context = argument;
    struct _libc_fpstate *saved = context->uc_mcontext.fpregs;
    static const unsigned char ten[10] = {0, 0, 0, 0, 0, 0, 0, 0xa0, 2, 0x40};

    unit("handler");
    print("frame", saved, (unsigned char *)saved->_st);
    printf("status %04lx\n", saved->status & 0xffff);
    if (!strcmp(change, "values"))
        memcpy(&saved->_st[1], ten, 10);
    if (!strcmp(change, "words"))
        saved->cw = 0xffff0c7f, saved->sw = 0xffff0041 | 5 << 11, saved->tag = 0xffff03ff;
    if (!strcmp(change, "garbage"))
        memset(saved, 0xff, 108);
    if (!strcmp(change, "nowhere"))
        context->uc_mcontext.fpregs = (void *)0x10;
    if (!strcmp(change, "none"))
        context->uc_mcontext.fpregs = 0;
    if (!strcmp(change, "nested")) {
        asm volatile("fldln2; fld1");
        change = "nothing";
        raise(SIGUSR2);
        unit("after the inner one");
    }
    disturb();
}

static void plain(int number)
{
    unit("plain handler");
    disturb();
}

static void error(int number, siginfo_t *info, void *argument)
{
    struct _libc_fpstate *saved = ((ucontext_t *)argument)->uc_mcontext.fpregs;

    printf("signal %d code %d, cw %04lx sw %04lx\n", number, info->si_code, saved->cw & 0xffff,
           saved->sw & 0xffff);
    saved->sw &= ~0x80ff;
}

static void around(const char *name, int number)
{
    change = name;
    printf("-- %s\n", name);
    fflush(stdout);
    asm volatile("fninit; fldlg2; fldpi; fld1; fldz; fchs; fdecstp; ffree %st(3)");
    raise(number);
    unit("afterwards");
}

static void errors(void)
{
    static const unsigned short zero_divide = 0x37b, invalid = 0x37e, inexact = 0x35f;
    static const unsigned short overflow = 0x377, underflow = 0x36f;
    double result;

    printf("-- errors\n");
    asm volatile("fninit; fldcw %0; fld1; fldz; fdivrp; fwait" : : "m"(zero_divide));
    unit("zero divide");
    asm volatile("fninit; fldcw %0; fldz; fldz; fdivrp; fwait" : : "m"(invalid));
    unit("invalid");
    asm volatile("fninit; fldcw %0; fldpi; fldl2e; fmulp; fwait" : : "m"(inexact));
    unit("inexact");
    asm volatile("fninit; fldcw %0; fldpi; fldpi; 1: fmul %%st(0); fnstsw %%ax; test $8, %%al;"
                 "jz 1b; fwait" : : "m"(overflow) : "eax");
    unit("overflow");
    asm volatile("fninit; fldcw %0; fld1; fldpi; fdivrp; 1: fmul %%st(0); fnstsw %%ax;"
                 "test $16, %%al; jz 1b; fwait" : : "m"(underflow) : "eax");
    unit("underflow");
    asm volatile("fninit; fldpi; fstpl %0" : "=m"(result));
    printf("%f\n", result);
}

static void multimedia(void)
{
    unsigned long long before = 0x0123456789abcdefULL, after;

    printf("-- multimedia\n");
    change = "nothing";
    asm volatile("fninit; movq %0, %%mm3" : : "m"(before));
    raise(SIGUSR1);
    asm volatile("movq %%mm3, %0; emms" : "=m"(after));
    printf("%llx\n", after);
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    stack_t stack = {.ss_sp = sbrk(1 << 16), .ss_size = 1 << 16};
    int status;

    sigaction(SIGUSR2, &action, 0);
    sigaltstack(&stack, 0);
    action.sa_flags |= SA_ONSTACK;
    sigaction(SIGUSR1, &action, 0);
    action.sa_sigaction = error;
    sigaction(SIGFPE, &action, 0);
    signal(SIGHUP, plain);
    around("nothing", SIGUSR1);
    around("plain", SIGHUP);
    around("values", SIGUSR1);
    around("words", SIGUSR2);
    around("garbage", SIGUSR1);
    around("none", SIGUSR1);
    around("nested", SIGUSR1);
    multimedia();
    fflush(stdout);
    if (!fork())
        around("nowhere", SIGUSR1);
    wait(&status);
    printf("%d\n", status);
    errors();
    return 0;
}
