/* Every allocation of a tensor's memory lies against a closed page, and is closed when it is freed.

Loaded before the others (LD_PRELOAD), it takes the place of posix_memalign, by which torch allocates on the CPU.
Memory comes from one large range and is never used again, so a write after the end or after the free is a SIGSEGV. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define PAGE ((size_t)4096)
#define RANGE ((size_t)1 << 37)
#define LARGEST ((size_t)1 << 24)

static char *range;
static _Atomic size_t used;

static int (*real_memalign)(void **, size_t, size_t);
static void (*real_free)(void *);

__attribute__((constructor)) static void begin(void) {
    real_memalign = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
    real_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    char *got = mmap(NULL, RANGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    range = got == MAP_FAILED ? NULL : got;
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    if (!range || size == 0 || size > LARGEST || alignment > PAGE)
        return real_memalign ? real_memalign(out, alignment, size) : ENOMEM;
    size_t inner = (size + PAGE - 1) & ~(PAGE - 1);
    size_t whole = inner + 2 * PAGE; /* a page that knows the size, the memory, a closed page */
    size_t at = atomic_fetch_add(&used, whole);
    if (at + whole > RANGE || mprotect(range + at, PAGE + inner, PROT_READ | PROT_WRITE))
        return real_memalign(out, alignment, size);
    char *memory = range + at + PAGE;
    *(size_t *)(range + at) = inner;
    *out = (void *)((uintptr_t)(memory + inner - size) & ~(uintptr_t)(alignment - 1));
    return 0;
}

void free(void *pointer) {
    char *at = pointer;
    if (!range || at < range || at >= range + RANGE) {
        if (real_free)
            real_free(pointer);
        return;
    }
    char *start = (char *)((uintptr_t)at & ~(uintptr_t)(PAGE - 1)) - PAGE; /* the pointer is in the first page */
    size_t whole = *(size_t *)start + PAGE;
    madvise(start, whole, MADV_DONTNEED);
    mprotect(start, whole, PROT_NONE);
}
