/* White-box tests of src/base/memory.c, over a book that only writes down what it hears. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"
#include "check.h"
#include "ledger/ledger.h"

struct book_log {
    uint64_t charged[FB_ACCOUNT_COUNT];
    uint64_t committed;
    int charge_calls, credit_calls, commit_calls, uncommit_calls;
    bool refuses;
};

static int log_charge(void *context, enum fb_account account, uint64_t bytes, struct fb_error *error)
{
    struct book_log *log = context;
    log->charge_calls++;
    if (log->refuses) return fb__fail_bytes(error, bytes, 0, "refused");
    log->charged[account] += bytes;
    return 0;
}

static void log_credit(void *context, enum fb_account account, uint64_t bytes)
{
    struct book_log *log = context;
    log->credit_calls++;
    CHECK(log->charged[account] >= bytes);
    log->charged[account] -= bytes;
}

static void log_commit(void *context, struct fb__grant *grant, uint64_t bytes)
{
    struct book_log *log = context;
    log->commit_calls++;
    log->committed += bytes;
    grant->committed_bytes += bytes;
}

static void log_uncommit(void *context, struct fb__grant *grant, uint64_t bytes)
{
    struct book_log *log = context;
    log->uncommit_calls++;
    CHECK(log->committed >= bytes);
    log->committed -= bytes;
    grant->committed_bytes -= bytes;
}

static void gate_over(struct fb__gate *gate, struct book_log *log)
{
    const struct fb__book book = {log, log_charge, log_credit, log_commit, log_uncommit};
    memset(log, 0, sizeof *log);
    fb__gate_init(gate, &book);
}

static bool is_zero(const void *memory, uint64_t bytes)
{
    const unsigned char *at = memory;
    for (uint64_t i = 0; i < bytes; i++)
        if (at[i]) return false;
    return true;
}

static const uint64_t sizes[] = {1,
                                 63,
                                 64,
                                 4097,
                                 FB__MAP_THRESHOLD_BYTES - 1,
                                 FB__MAP_THRESHOLD_BYTES,
                                 FB__MAP_THRESHOLD_BYTES + 1,
                                 FB__MAP_THRESHOLD_BYTES * 3 + 5};
#define SIZE_COUNT (sizeof sizes / sizeof sizes[0])

static void small_sizes_are_booked_as_they_are_and_large_ones_by_pages(void)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t threshold = FB__MAP_THRESHOLD_BYTES;
    CHECK_EQUAL(fb__gate_bytes(0), 0);
    CHECK_EQUAL(fb__gate_bytes(1), 1);
    CHECK_EQUAL(fb__gate_bytes(threshold - 1), threshold - 1);
    CHECK_EQUAL(fb__gate_bytes(threshold), threshold);
    CHECK_EQUAL(fb__gate_bytes(threshold + 1), threshold + page);
    CHECK_EQUAL(fb__gate_bytes(threshold + page), threshold + page);
}

static void a_size_that_overflowed_stays_the_largest(void)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    CHECK_EQUAL(fb__gate_bytes(UINT64_MAX), UINT64_MAX);
    CHECK_EQUAL(fb__gate_bytes(UINT64_MAX - page + 2), UINT64_MAX);
    CHECK_EQUAL(fb__gate_bytes(UINT64_MAX - page + 1), UINT64_MAX - page + 1);
}

static void memory_is_zeroed_aligned_booked_and_booked_back(void)
{
    struct fb__gate gate;
    struct book_log log;
    struct fb_error error;
    gate_over(&gate, &log);
    for (int round = 0; round < 2; round++) { /* the second round gets memory that was written to */
        for (size_t i = 0; i < SIZE_COUNT; i++) {
            void *memory;
            CHECK_EQUAL(fb__gate_alloc(&gate, FB_ACCOUNT_PLAN, sizes[i], &memory, &error), 0);
            CHECK_EQUAL((uintptr_t)memory % 64, 0);
            CHECK(is_zero(memory, sizes[i]));
            memset(memory, 0xFF, sizes[i]);
            CHECK_EQUAL(log.charged[FB_ACCOUNT_PLAN], fb__gate_bytes(sizes[i]));
            fb__gate_free(&gate, FB_ACCOUNT_PLAN, memory, sizes[i]);
            CHECK_EQUAL(log.charged[FB_ACCOUNT_PLAN], 0);
        }
    }
    CHECK_EQUAL(atomic_load(&gate.allocation_count), 2 * SIZE_COUNT);
}

static void granted_memory_is_committed_and_uncommitted(void)
{
    struct fb__gate gate;
    struct book_log log;
    struct fb_error error;
    struct fb__grant grant = {0};
    gate_over(&gate, &log);
    for (size_t i = 0; i < SIZE_COUNT; i++) {
        void *memory;
        CHECK_EQUAL(fb__gate_alloc_granted(&gate, &grant, sizes[i], &memory, &error), 0);
        CHECK_EQUAL((uintptr_t)memory % 64, 0);
        if (sizes[i] >= FB__MAP_THRESHOLD_BYTES) CHECK(is_zero(memory, sizes[i]));
        memset(memory, 0xFF, sizes[i]);
        CHECK_EQUAL(grant.committed_bytes, fb__gate_bytes(sizes[i]));
        fb__gate_free_granted(&gate, &grant, memory, sizes[i]);
        CHECK_EQUAL(grant.committed_bytes, 0);
    }
    CHECK_EQUAL(log.charge_calls, 0);
    CHECK_EQUAL(log.commit_calls, SIZE_COUNT);
    CHECK_EQUAL(log.uncommit_calls, SIZE_COUNT);
}

static void large_memory_goes_back_to_the_system_when_freed(void)
{
    struct fb__gate gate;
    struct book_log log;
    unsigned char resident[64];
    void *memory;
    gate_over(&gate, &log);
    const uint64_t bytes = (uint64_t)sysconf(_SC_PAGESIZE) * sizeof resident;
    CHECK(bytes >= FB__MAP_THRESHOLD_BYTES);
    CHECK_EQUAL(fb__gate_alloc(&gate, FB_ACCOUNT_CORE, bytes, &memory, NULL), 0);
    CHECK_EQUAL(mincore(memory, bytes, resident), 0);
    fb__gate_free(&gate, FB_ACCOUNT_CORE, memory, bytes);
    errno = 0;
    CHECK_EQUAL(mincore(memory, bytes, resident), -1); /* nothing is mapped there any more */
    CHECK_EQUAL(errno, ENOMEM);
}

static void freeing_nothing_books_nothing(void)
{
    struct fb__gate gate;
    struct book_log log;
    struct fb__grant grant = {0};
    gate_over(&gate, &log);
    fb__gate_free(&gate, FB_ACCOUNT_CORE, NULL, 100);
    fb__gate_free_granted(&gate, &grant, NULL, 100);
    CHECK_EQUAL(log.credit_calls, 0);
    CHECK_EQUAL(log.uncommit_calls, 0);
}

static void a_refusing_book_is_asked_before_the_system(void)
{
    struct fb__gate gate;
    struct book_log log;
    struct fb_error error;
    void *memory = &error;
    gate_over(&gate, &log);
    log.refuses = true;
    fb__gate_fail_nth(&gate, 0, 1);
    CHECK_EQUAL(fb__gate_alloc(&gate, FB_ACCOUNT_CORE, 100, &memory, &error), ENOBUFS);
    CHECK_TEXT(error.message, "refused");
    CHECK(memory == &error);
    CHECK_EQUAL(log.credit_calls, 0);
    log.refuses = false;
    CHECK_EQUAL(fb__gate_alloc(&gate, FB_ACCOUNT_CORE, 100, &memory, &error), ENOMEM); /* the fault is still due */
}

static void what_the_system_refuses_is_booked_back(void)
{
    struct fb__gate gate;
    struct book_log log;
    struct fb_error error;
    struct fb__grant grant = {0};
    void *memory = &error;
    gate_over(&gate, &log);
    for (size_t i = 0; i < SIZE_COUNT; i++) {
        fb__gate_fail_nth(&gate, 0, 2);
        CHECK_EQUAL(fb__gate_alloc(&gate, FB_ACCOUNT_READ, sizes[i], &memory, &error), ENOMEM);
        CHECK_EQUAL(error.code, ENOMEM);
        CHECK_EQUAL(fb__gate_alloc_granted(&gate, &grant, sizes[i], &memory, &error), ENOMEM);
        CHECK_EQUAL(log.charged[FB_ACCOUNT_READ], 0);
        CHECK_EQUAL(grant.committed_bytes, 0);
        CHECK(memory == &error);
    }
    CHECK_EQUAL(log.credit_calls, SIZE_COUNT);
    CHECK_EQUAL(log.uncommit_calls, SIZE_COUNT);
    CHECK_EQUAL(atomic_load(&gate.allocation_count), 0);
}

static void an_impossible_size_is_refused_by_the_system(void)
{
    static const struct fb__book no_book = {0};
    struct fb__gate gate;
    struct fb_error error;
    void *memory;
    fb__gate_init(&gate, &no_book);
    CHECK_EQUAL(fb__gate_alloc(&gate, FB_ACCOUNT_CORE, UINT64_MAX, &memory, &error), ENOMEM);
    CHECK_EQUAL(fb__gate_alloc(&gate, FB_ACCOUNT_CORE, UINT64_MAX / 2, &memory, &error), ENOMEM);
}

static void a_gate_without_a_book_allocates_all_the_same(void)
{
    static const struct fb__book no_book = {0};
    struct fb__gate gate;
    struct fb__grant grant = {0};
    void *memory;
    fb__gate_init(&gate, &no_book);
    CHECK_EQUAL(fb__gate_alloc(&gate, FB_ACCOUNT_CORE, 100, &memory, NULL), 0);
    fb__gate_free(&gate, FB_ACCOUNT_CORE, memory, 100);
    CHECK_EQUAL(fb__gate_alloc_granted(&gate, &grant, 100, &memory, NULL), 0);
    fb__gate_free_granted(&gate, &grant, memory, 100);
    fb__gate_fail_nth(&gate, 0, 1);
    CHECK_EQUAL(fb__gate_alloc(&gate, FB_ACCOUNT_CORE, 100, &memory, NULL), ENOMEM);
    fb__gate_fail_nth(&gate, 0, 1);
    CHECK_EQUAL(fb__gate_alloc_granted(&gate, &grant, 100, &memory, NULL), ENOMEM);
}

static bool allocates(struct fb__gate *gate)
{
    void *memory;
    int code = fb__gate_alloc(gate, FB_ACCOUNT_CORE, 8, &memory, NULL);
    if (code == 0) fb__gate_free(gate, FB_ACCOUNT_CORE, memory, 8);
    CHECK(code == 0 || code == ENOMEM);
    return code == 0;
}

static void the_fault_hook_fails_exactly_the_allocations_it_was_told_to(void)
{
    struct fb__gate gate;
    struct book_log log;
    gate_over(&gate, &log);
    for (int after = 0; after < 4; after++) {
        for (int repeat = 0; repeat < 4; repeat++) {
            fb__gate_fail_nth(&gate, after, repeat);
            for (int i = 0; i < 12; i++) CHECK_EQUAL(allocates(&gate), i < after || i >= after + repeat);
        }
    }
    fb__gate_fail_nth(&gate, 2, -1);
    for (int i = 0; i < 12; i++) CHECK_EQUAL(allocates(&gate), i < 2);
    fb__gate_fail_nth(&gate, 0, 0);
    CHECK(allocates(&gate));
}

int main(void)
{
    RUN(small_sizes_are_booked_as_they_are_and_large_ones_by_pages);
    RUN(a_size_that_overflowed_stays_the_largest);
    RUN(memory_is_zeroed_aligned_booked_and_booked_back);
    RUN(granted_memory_is_committed_and_uncommitted);
    RUN(large_memory_goes_back_to_the_system_when_freed);
    RUN(freeing_nothing_books_nothing);
    RUN(a_refusing_book_is_asked_before_the_system);
    RUN(what_the_system_refuses_is_booked_back);
    RUN(an_impossible_size_is_refused_by_the_system);
    RUN(a_gate_without_a_book_allocates_all_the_same);
    RUN(the_fault_hook_fails_exactly_the_allocations_it_was_told_to);
    return 0;
}
