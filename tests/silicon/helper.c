/* The silicon oracle's hand: runs one user-mode x86 instruction at a time and says what it did.
 *
 * A freestanding 64-bit Linux program.  Everything of its own lies above 4 GiB, so the whole 32-bit
 * address space belongs to the instruction under test, which runs in compatibility mode (cs 0x23)
 * and cannot reach, and so cannot harm, the helper.  No 32-bit compiler or library is needed.
 *
 * One signal per execution: the SIGTRAP handler writes the next case into its own signal frame and
 * returns into it with TF set; the single-step trap (or the fault) is the next entry of the handler.
 *
 * fd 0 is a socket: one byte in starts a batch, one byte out ends it.  fd 1 is the shared memory
 * that holds header, requests and answers.  `done` in the header moves with each case, so that the
 * other side knows which one killed us. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

enum { PAGE = 4096, TILE = 128, BATCH = 4096, SHARED = 16 << 20 };
enum { CODE = 0x00A00000, HIGH = 0x00B00000, LOW = 0x0000F000 };
enum { FLAT_CODE = 0x23, FLAT_DATA = 0x2b, CODE_64 = 0x33 };
enum { TF = 0x100 };

/* One object backs every page; the helper sees it whole and writable at `alias`. */
enum { READ_ONLY = 0, WRITABLE = PAGE, LOW_PAGES = 3 * PAGE, CODE_PAGES = 5 * PAGE, BACKING = 7 * PAGE };

/* The x87 as FXSAVE has it, bytes 0-23 and 32-159: words, pointers, ST(0) first. */
enum { WORDS = 24, STACK_AT = 32, STACK_SIZE = 128 };
struct fpu { u8 words[WORDS], stack[STACK_SIZE]; };

/* SSE likewise, bytes 24-27 and 160-287. */
enum { MXCSR_AT = 24, XMM_AT = 160, XMM_SIZE = 128 };
struct sse { u32 mxcsr; u8 xmm[XMM_SIZE]; };

struct request {
    u32 registers[8]; /* eax ecx edx ebx esp ebp esi edi */
    u32 eflags, origin, limit;
    u8 length, code[15];
    u8 tile[TILE];
    struct fpu fpu;
    u32 has_sse;
    struct sse sse;
};
struct change { u32 address, value; };
struct answer {
    u32 registers[8];
    u32 eflags, eip;
    u16 selectors[6]; /* es cs ss ds fs gs */
    u32 vector, error, address, iterations, changes;
    struct fpu fpu;
    struct sse sse;
    struct change change[];
};
struct header {
    u32 count, done, low, version;
    struct request requests[BATCH];
};
enum { NO_FAULT = 0xffffffff, VERSION = 3 };
enum { LONGEST = sizeof(struct answer) + 4 * PAGE / 4 * sizeof(struct change) };

struct context {
    u64 flags, link, stack[3];
    u64 r8[8]; /* r8 … r15 */
    u64 rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
    u16 cs, gs, fs, ss;
    u64 error, trap, mask, cr2;
    u8 *fpstate;
};

static struct header *header;
static u8 *alias, *cursor;
static struct request *request;
static struct context home;
static u8 fresh[512] __attribute__((aligned(16)));
static u32 steps, at, running;
static u8 stack[1 << 16] __attribute__((aligned(64)));
u64 next_flags __attribute__((visibility("hidden")));

static long call(long n, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall" : "=a"(result)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
enum { READ = 0, WRITE = 1, MMAP = 9, SIGACTION = 13, FTRUNCATE = 77, SIGALTSTACK = 131,
       EXIT = 231, MEMFD = 319 };

static void leave(int code) { for (;;) call(EXIT, code, 0, 0, 0, 0, 0); }

void *memcpy(void *to, const void *from, unsigned long n) {
    void *start = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    return start;
}
void *memset(void *to, int value, unsigned long n) {
    void *start = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
    return start;
}

/* The kernel enters a handler with the case's AC, NT and ID: drop them at once.  sigreturn keeps
 * NT and ID as they are at its own entry: so they are set by the last instruction before it. */
__asm__(".globl enter_handler, leave_handler, _start\n"
        "enter_handler: push $2\n popfq\n cld\n jmp handle\n"
        "leave_handler: push next_flags(%rip)\n popfq\n mov $15, %eax\n syscall\n"
        "_start: xor %ebp, %ebp\n call begin\n");
extern u8 enter_handler[], leave_handler[];

#define GET(name) ({ u32 s_; __asm__ volatile("mov %%" name ", %0" : "=r"(s_)); (u16)s_; })
#define SET(name) __asm__ volatile("mov %0, %%" name : : "r"(FLAT_DATA))

static void place(const u8 *bytes, u32 n, u32 where) {
    for (u32 i = 0; i < n; i++)
        if (where + i - CODE < 2 * PAGE) alias[CODE_PAGES + where + i - CODE] = bytes ? bytes[i] : 0xCC;
}

static void fill(const u8 *tile) {
    typedef u64 vector __attribute__((vector_size(TILE)));
    vector pattern;
    memcpy(&pattern, tile, TILE);
    for (u32 i = 0; i < CODE_PAGES; i += TILE) *(vector *)(alias + i) = pattern;
}

/* What the kernel loads when the handler returns: all of it as in `fresh`, but the case's x87, and
 * its SSE if it has one. */
static void load_fpu(u8 *image, const struct fpu *fpu, const struct sse *sse) {
    memcpy(image, fresh, 416);
    memcpy(image, fpu->words, WORDS);
    memcpy(image + STACK_AT, fpu->stack, STACK_SIZE);
    if (sse) {
        *(u32 *)(image + MXCSR_AT) = sse->mxcsr;
        memcpy(image + XMM_AT, sse->xmm, XMM_SIZE);
    }
    if (*(u32 *)(image + 464) == 0x46505853) /* XSAVE's header follows: this is in use */
        *(u64 *)(image + 512) |= sse ? 3 : 1;
}

static void store_fpu(struct fpu *fpu, const u8 *image) {
    memcpy(fpu->words, image, WORDS);
    memcpy(fpu->stack, image + STACK_AT, STACK_SIZE);
}

static void store_sse(struct sse *sse, const u8 *image) {
    sse->mxcsr = *(u32 *)(image + MXCSR_AT);
    memcpy(sse->xmm, image + XMM_AT, XMM_SIZE);
}

static void start(struct context *c) {
    struct request *r = request = &header->requests[header->done];
    fill(r->tile);
    place(r->code, r->length, r->origin);
    c->rax = r->registers[0]; c->rcx = r->registers[1];
    c->rdx = r->registers[2]; c->rbx = r->registers[3];
    c->rsp = r->registers[4]; c->rbp = r->registers[5];
    c->rsi = r->registers[6]; c->rdi = r->registers[7];
    c->rip = at = r->origin;
    c->cs = FLAT_CODE; c->ss = FLAT_DATA;
    next_flags = (r->eflags & 0x204000) | 2; /* ID NT */
    c->eflags = (r->eflags & ~(u32)TF) | (r->limit ? TF : 0);
    load_fpu(c->fpstate, &r->fpu, r->has_sse ? &r->sse : 0);
    steps = 0;
    if (GET("ds") != FLAT_DATA) SET("ds");
    if (GET("es") != FLAT_DATA) SET("es");
    if (GET("fs") != FLAT_DATA) SET("fs");
    if (GET("gs") != FLAT_DATA) SET("gs");
}

/* The pages that may be written, dword by dword, where they differ from the tile. */
static u32 changes(struct change *out) {
    const u64 *tile = (const u64 *)request->tile;
    u32 n = 0;
    for (u32 base = WRITABLE; base < CODE_PAGES; base += TILE) {
        const u64 *now = (const u64 *)(alias + base);
        u64 difference = 0;
        for (u32 i = 0; i < TILE / 8; i++) difference |= now[i] ^ tile[i];
        if (!difference) continue;
        u32 address = base < LOW_PAGES ? HIGH + base : LOW + base - LOW_PAGES;
        for (u32 i = 0; i < TILE / 4; i++)
            if (((const u32 *)now)[i] != ((const u32 *)tile)[i])
                out[n++] = (struct change){address + 4 * i, ((const u32 *)now)[i]};
    }
    return n;
}

static void finish(const struct context *c) {
    struct answer *a = (struct answer *)cursor;
    u32 registers[8] = {c->rax, c->rcx, c->rdx, c->rbx, c->rsp, c->rbp, c->rsi, c->rdi};
    memcpy(a->registers, registers, sizeof registers);
    u16 selectors[6] = {GET("es"), c->cs, c->ss, GET("ds"), GET("fs"), GET("gs")};
    memcpy(a->selectors, selectors, sizeof selectors);
    a->eflags = c->eflags & ~(u64)TF;
    a->eip = c->rip;
    a->iterations = steps;
    a->vector = c->trap;
    a->error = c->error;
    a->address = c->trap == 14 ? c->cr2 : 0;
    if (c->trap == 1) a->vector = NO_FAULT;
    if (c->trap == 3 && !request->limit && a->eip == request->origin + request->length + 1) {
        a->vector = NO_FAULT;
        a->eip--;
    }
    store_fpu(&a->fpu, c->fpstate);
    if (request->has_sse) store_sse(&a->sse, c->fpstate);
    a->changes = changes(a->change);
    cursor += sizeof *a + a->changes * sizeof(struct change);
    place(0, request->length, request->origin);
    header->done++;
}

static u8 opcode(u32 address) {
    for (u32 i = address - CODE; i < 2 * PAGE; i++) {
        u8 b = alias[CODE_PAGES + i];
        if (b != 0x26 && b != 0x2E && b != 0x36 && b != 0x3E && (b < 0x64 || b > 0x67) &&
            b != 0xF0 && b != 0xF2 && b != 0xF3)
            return b;
    }
    return 0xCC;
}

/* True when the case goes on: another iteration of REP, the next instruction of a sequence. */
static int step(struct context *c) {
    if (c->trap != 1 || c->cs != FLAT_CODE) return 0;
    steps++;
    if (opcode(at) == 0x9C) *(volatile u8 *)(c->rsp + 1) &= ~1; /* PUSHF saw our TF */
    at = c->rip;
    if (steps >= request->limit || at - request->origin >= request->length) return 0;
    c->eflags |= TF;
    next_flags = 2 | (c->eflags & 0x204000);
    return 1;
}

__attribute__((used)) void handle(int signal, void *info, struct context *c) {
    (void)signal; (void)info;
    if (!running) {
        running = 1;
        home = *c;
    } else {
        if (step(c)) return;
        finish(c);
    }
    u8 *end = (u8 *)header + SHARED;
    if (header->done < header->count && end - cursor > (long)LONGEST) {
        start(c);
        return;
    }
    running = 0;
    u64 mask = home.mask;
    u8 *fpstate = c->fpstate;
    *c = home;
    c->mask = mask;
    c->fpstate = fpstate;
    next_flags = 2;
}

static u8 *map(u64 where, u32 size, int protection, int fd, u32 offset) {
    /* MAP_SHARED; MAP_POPULATE, lest a first touch look like a missing page; MAP_FIXED_NOREPLACE */
    int flags = 0x8001 | (where ? 0x100000 : 0);
    return (u8 *)call(MMAP, where, size, protection, flags, fd, offset);
}

static int failed(const void *address) { return (u64)address > (u64)-4096; }

static void catch_signals(void) {
    struct { void *base; int flags; u64 size; } where = {stack, 0, sizeof stack};
    struct { void *handler; u64 flags; void *restorer; u64 mask; } action =
        {enter_handler, 0x4 | 0x08000000 | 0x04000000, leave_handler, ~0ull};
    static const u8 signals[] = {4, 5, 7, 8, 11}; /* ILL TRAP BUS FPE SEGV */
    if (call(SIGALTSTACK, (long)&where, 0, 0, 0, 0, 0)) leave(3);
    for (u32 i = 0; i < sizeof signals; i++)
        if (call(SIGACTION, signals[i], (long)&action, 0, 8, 0, 0)) leave(3);
}

static void set_up(void) {
    header = (struct header *)map(0, SHARED, 3, 1, 0);
    int fd = call(MEMFD, (long)"window", 0, 0, 0, 0, 0);
    if (failed(header) || fd < 0 || call(FTRUNCATE, fd, BACKING, 0, 0, 0, 0)) leave(2);
    alias = map(0, BACKING, 3, fd, 0);
    if (failed(alias) || failed(map(CODE, 2 * PAGE, 5, fd, CODE_PAGES)) ||
        failed(map(HIGH, PAGE, 1, fd, READ_ONLY)) ||
        failed(map(HIGH + PAGE, 2 * PAGE, 3, fd, WRITABLE)))
        leave(2);
    header->low = !failed(map(LOW, 2 * PAGE, 3, fd, LOW_PAGES));
    header->version = VERSION;
    memset(alias + CODE_PAGES, 0xCC, 2 * PAGE);
    __asm__ volatile("fninit\n fxsave64 %0" : "=m"(fresh));
    catch_signals();
}

__attribute__((used)) void begin(void) {
    u8 byte = 0;
    set_up();
    for (call(WRITE, 0, (long)&byte, 1, 0, 0, 0); call(READ, 0, (long)&byte, 1, 0, 0, 0) == 1;
         call(WRITE, 0, (long)&byte, 1, 0, 0, 0)) {
        header->done = 0;
        cursor = (u8 *)(header + 1);
        if (header->count) __asm__ volatile("int3" : : : "memory");
    }
    leave(0);
}
