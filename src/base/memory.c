/*
 * The allocation gate. Small memory comes from the heap, large memory from a mapping of its own.
 *
 * The book hears first and the system is asked second; on the way back the system gets its memory first. So at any
 * instant what is booked is at least what exists.
 */
#include "base/memory.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert(sizeof(size_t) == sizeof(uint64_t), "sizes are passed to the system as they are");

#define ALIGNMENT_BYTES 64

void fb__gate_init(struct fb__gate *gate, const struct fb__book *book)
{
    gate->book = *book;
    atomic_init(&gate->allocation_count, 0);
    atomic_init(&gate->fail_countdown, 0);
    atomic_init(&gate->fail_repeat, 0);
}

void fb__gate_fail_nth(struct fb__gate *gate, int64_t after, int64_t repeat)
{
    assert(after >= 0 && repeat >= -1);
    /* Off while the two are changed: a repeat beside a countdown of 0 means that the failures have begun. */
    atomic_store(&gate->fail_repeat, 0);
    atomic_store(&gate->fail_countdown, repeat ? after + 1 : 0);
    atomic_store(&gate->fail_repeat, repeat > 0 ? repeat - 1 : repeat);
}

static bool is_told_to_fail(struct fb__gate *gate)
{
    int64_t countdown = atomic_load(&gate->fail_countdown);
    while (countdown > 0)
        if (atomic_compare_exchange_weak(&gate->fail_countdown, &countdown, countdown - 1)) return countdown == 1;
    int64_t repeat = atomic_load(&gate->fail_repeat);
    while (repeat > 0)
        if (atomic_compare_exchange_weak(&gate->fail_repeat, &repeat, repeat - 1)) return true;
    return repeat < 0;
}

static bool is_mapped(uint64_t bytes)
{
    return bytes >= FB__MAP_THRESHOLD_BYTES;
}

uint64_t fb__gate_bytes(uint64_t bytes)
{
    if (!is_mapped(bytes)) return bytes;
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    if (bytes > UINT64_MAX - (page_bytes - 1)) return UINT64_MAX;
    return (bytes + page_bytes - 1) / page_bytes * page_bytes;
}

/* Memory of `bytes` (as asked for, not as booked), NULL where the system or the fault hook refuses. */
static void *take_from_system(struct fb__gate *gate, uint64_t bytes)
{
    if (is_told_to_fail(gate)) return NULL;
    void *pointer;
    if (is_mapped(bytes)) {
        pointer = mmap(NULL, fb__gate_bytes(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pointer == MAP_FAILED) return NULL;
    } else if (posix_memalign(&pointer, ALIGNMENT_BYTES, bytes) != 0) {
        return NULL;
    }
    atomic_fetch_add_explicit(&gate->allocation_count, 1, memory_order_relaxed);
    return pointer;
}

static void give_to_system(void *pointer, uint64_t bytes)
{
    if (!is_mapped(bytes)) {
        free(pointer);
        return;
    }
    /* Unmapping the middle of what the kernel merged may need a mapping more than the process may have. The pages go
     * back all the same; what stays is a range of addresses. */
    if (munmap(pointer, fb__gate_bytes(bytes)) != 0) (void)madvise(pointer, fb__gate_bytes(bytes), MADV_DONTNEED);
}

static int refused_by_system(struct fb_error *error, uint64_t bytes)
{
    return fb__fail(error, ENOMEM, "the system refused %" PRIu64 " bytes of memory", bytes);
}

int fb__gate_alloc(struct fb__gate *gate, enum fb_account account, uint64_t bytes, void **out, struct fb_error *error)
{
    assert(bytes > 0);
    uint64_t booked_bytes = fb__gate_bytes(bytes);
    if (gate->book.charge) {
        int code = gate->book.charge(gate->book.context, account, booked_bytes, error);
        if (code) return code;
    }
    void *pointer = take_from_system(gate, bytes);
    if (!pointer) {
        if (gate->book.credit) gate->book.credit(gate->book.context, account, booked_bytes);
        return refused_by_system(error, bytes);
    }
    if (!is_mapped(bytes)) memset(pointer, 0, bytes);
    *out = pointer;
    return 0;
}

void fb__gate_free(struct fb__gate *gate, enum fb_account account, void *pointer, uint64_t bytes)
{
    if (!pointer) return;
    give_to_system(pointer, bytes);
    if (gate->book.credit) gate->book.credit(gate->book.context, account, fb__gate_bytes(bytes));
}

int fb__gate_alloc_granted(struct fb__gate *gate, struct fb__grant *grant, uint64_t bytes, void **out,
                           struct fb_error *error)
{
    assert(bytes > 0);
    uint64_t booked_bytes = fb__gate_bytes(bytes);
    if (gate->book.commit) gate->book.commit(gate->book.context, grant, booked_bytes);
    void *pointer = take_from_system(gate, bytes);
    if (!pointer) {
        if (gate->book.uncommit) gate->book.uncommit(gate->book.context, grant, booked_bytes);
        return refused_by_system(error, bytes);
    }
    *out = pointer;
    return 0;
}

void fb__gate_free_granted(struct fb__gate *gate, struct fb__grant *grant, void *pointer, uint64_t bytes)
{
    if (!pointer) return;
    give_to_system(pointer, bytes);
    if (gate->book.uncommit) gate->book.uncommit(gate->book.context, grant, fb__gate_bytes(bytes));
}
