/* SIGFPE of SSE: codes, MXCSR in the frame and what a handler may change there; and arithmetic of a C
   program whose compiler uses SSE2. */
#define _GNU_SOURCE
#include <emmintrin.h>
#include <fenv.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

enum { FAST = 112, MXCSR = FAST + 24, XMM = FAST + 160 };

static jmp_buf back;
static int masks; /* a handler masks everything, so that the instruction is done again */

static void handler(int number, siginfo_t *info, void *argument)
{
    ucontext_t *context = argument;
    uint8_t *frame = (uint8_t *)context->uc_mcontext.fpregs;
    uint32_t mxcsr;

    memcpy(&mxcsr, frame + MXCSR, 4);
    printf("signal %d code %d vector %d at its instruction %d, mxcsr %04x, now %04x\n", number,
           info->si_code, context->uc_mcontext.gregs[REG_TRAPNO],
           info->si_addr == (void *)context->uc_mcontext.gregs[REG_EIP], mxcsr, _mm_getcsr());
    if (!masks)
        longjmp(back, 1);
    mxcsr |= 0x1f80;
    memcpy(frame + MXCSR, &mxcsr, 4);
}

static void raised(const char *name, unsigned unmasked, double a, double b, int operation)
{
    volatile __m128d x = {a, 1.5}, y = {b, 2.5};
    double result[2];

    for (masks = 0; masks < 2; masks++) {
        result[0] = result[1] = 7;
        _mm_setcsr(0x1f80 & ~(unmasked << 7));
        if (!setjmp(back)) {
            __m128d sum = operation == '/' ? _mm_div_pd(x, y) : operation == '*' ? _mm_mul_pd(x, y)
                        : operation == '+' ? _mm_add_pd(x, y) : _mm_sqrt_pd(x);
            _mm_storeu_pd(result, sum);
        }
        printf("%s: %a %a, mxcsr %04x\n", name, result[0], result[1], _mm_getcsr());
    }
    _mm_setcsr(0x1f80);
}

static void arithmetic(void)
{
    static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    volatile double one = 1, three = 3, big = 1e308;
    volatile float half = 0.5f, tiny = 1e-38f;
    int i;

    for (i = 0; i < 4; i++) {
        fesetround(modes[i]);
        feclearexcept(FE_ALL_EXCEPT);
        printf("%a %a %a ", one / three, big * 10, (double)(tiny * half));
        printf("%d %lld %x\n", (int)(three / -2), (long long)(big / 1e300), fetestexcept(FE_ALL_EXCEPT));
    }
    fesetround(FE_TONEAREST);
    for (i = 1; i < 40; i++)
        printf("%.17g %.9g %u%c", i / 7.0, i * half / 3, (unsigned)(i * 1e8), i % 3 ? ' ' : '\n');
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_NODEFER};

    sigaction(SIGFPE, &action, 0);
    raised("invalid", 1, 0, 0, '/');
    raised("denormal", 2, 4.9e-324, 1, '*');
    raised("division", 4, 1, 0, '/');
    raised("overflow", 8, 1e308, 1e308, '*');
    raised("underflow", 16, 1e-308, 1e-308, '*');
    raised("precision", 32, 1, 3, '/');
    raised("root", 1, -1, 0, 'r');
    raised("all", 63, 1, 0, '/');
    raised("none", 0, 1, 0, '/');
    arithmetic();
    return 0;
}
