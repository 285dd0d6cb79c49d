/* Which call fails, and the book of memory given out; fault.h says how they are used. */
#include "fault.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define LIVE_MOST 262144

static struct {
    _Atomic int64_t calls, failures, first, end; /* end: -1 for none */
    _Atomic int code;
} kinds[FAULT_KIND_COUNT];

static _Atomic int64_t live_threads;

static struct {
    pthread_mutex_t mutex;
    struct {
        const void *pointer;
        int64_t bytes;
    } live[LIVE_MOST];
    _Atomic int64_t count; /* changed with the mutex held */
    int64_t bytes, peak_bytes;
} book = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void fault_arm(enum fault_kind kind, int64_t after, int64_t repeat, int code)
{
    atomic_store(&kinds[kind].code, 0);
    atomic_store(&kinds[kind].calls, 0);
    atomic_store(&kinds[kind].failures, 0);
    atomic_store(&kinds[kind].first, after);
    atomic_store(&kinds[kind].end, repeat < 0 ? INT64_MAX : after + repeat);
    atomic_store(&kinds[kind].code, code);
}

void fault_disarm(void)
{
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) atomic_store(&kinds[kind].code, 0);
}

int64_t fault_calls(enum fault_kind kind)
{
    return atomic_load(&kinds[kind].calls);
}

int64_t fault_failures(enum fault_kind kind)
{
    return atomic_load(&kinds[kind].failures);
}

int fault_next(enum fault_kind kind)
{
    int64_t number = atomic_fetch_add(&kinds[kind].calls, 1);
    int code = atomic_load(&kinds[kind].code);
    if (code == 0 || number < atomic_load(&kinds[kind].first) || number >= atomic_load(&kinds[kind].end)) return 0;
    atomic_fetch_add(&kinds[kind].failures, 1);
    return code;
}

size_t fault_short_bytes(size_t bytes)
{
    return bytes > 7 ? bytes / 7 : 1;
}

/* ---- the book ---- */

int64_t fault_live_bytes(void)
{
    pthread_mutex_lock(&book.mutex);
    int64_t bytes = book.bytes;
    pthread_mutex_unlock(&book.mutex);
    return bytes;
}

int64_t fault_peak_bytes(void)
{
    pthread_mutex_lock(&book.mutex);
    int64_t bytes = book.peak_bytes;
    pthread_mutex_unlock(&book.mutex);
    return bytes;
}

void fault_reset_peak(void)
{
    pthread_mutex_lock(&book.mutex);
    book.peak_bytes = book.bytes;
    pthread_mutex_unlock(&book.mutex);
}

void fault_note_memory(const void *pointer, size_t bytes)
{
    pthread_mutex_lock(&book.mutex);
    if (book.count == LIVE_MOST) abort();
    book.live[book.count].pointer = pointer;
    book.live[book.count++].bytes = (int64_t)bytes;
    book.bytes += (int64_t)bytes;
    if (book.bytes > book.peak_bytes) book.peak_bytes = book.bytes;
    pthread_mutex_unlock(&book.mutex);
}

bool fault_forget_memory(const void *pointer)
{
    if (atomic_load(&book.count) == 0) return false;
    pthread_mutex_lock(&book.mutex);
    int64_t at = book.count - 1; /* what came last mostly goes first */
    while (at >= 0 && book.live[at].pointer != pointer) at--;
    if (at >= 0) {
        book.bytes -= book.live[at].bytes;
        book.live[at] = book.live[--book.count];
    }
    pthread_mutex_unlock(&book.mutex);
    return at >= 0;
}

int64_t fault_live_threads(void)
{
    return atomic_load(&live_threads);
}

void fault_note_threads(int64_t more)
{
    atomic_fetch_add(&live_threads, more);
}
