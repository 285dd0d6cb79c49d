/*
 * What the tests of the ledger share: a ledger with room for a given number of bytes beside itself, buffers that it
 * may evict, and requests made on a thread of their own. How many requests wait is read from the ledger's inside:
 * whoever lets a request on takes it out of the waiters in the same step, so nothing here depends on timing.
 */
#ifndef FB_TESTS_LEDGER_FIXTURE_H
#define FB_TESTS_LEDGER_FIXTURE_H

#include <errno.h>
#include <sched.h>

#include "check.h"
#include "ledger/ledger_internal.h"

/* ---- buffers ---- */

struct buffer {
    struct fb__grant grant; /* first: an idle grant is found back as its buffer */
    void *memory;
    uint64_t memory_bytes;
    uint64_t eviction; /* the how manyeth eviction it was, 0: none */
};

/* The owner of idle buffers. */
struct shelf {
    struct fb__ledger *ledger;
    struct fb__ledger_ops ops;
    uint64_t eviction_count;
};

static inline void free_buffer(struct fb__ledger *ledger, struct buffer *buffer)
{
    fb__gate_free_granted(fb__ledger_gate(ledger), &buffer->grant, buffer->memory, buffer->memory_bytes);
    buffer->memory = NULL;
    fb__ledger_release(ledger, &buffer->grant);
}

static inline void evict_buffer(void *context, struct fb__grant *grant)
{
    struct shelf *shelf = context;
    struct buffer *buffer = (struct buffer *)(void *)grant;
    CHECK_EQUAL(grant->account, FB_ACCOUNT_POOL);
    buffer->eviction = ++shelf->eviction_count;
    free_buffer(shelf->ledger, buffer);
}

/* A ledger with room for free_bytes beside itself. */
static inline struct fb__ledger *make_ledger(struct shelf *shelf, uint64_t free_bytes)
{
    struct fb_error error;
    memset(shelf, 0, sizeof *shelf);
    CHECK_EQUAL(fb__ledger_create(sizeof(struct fb__ledger) + free_bytes, &shelf->ledger, &error), 0);
    shelf->ops.evict = evict_buffer;
    shelf->ops.context = shelf;
    fb__ledger_set_ops(shelf->ledger, &shelf->ops);
    return shelf->ledger;
}

/* Bytes booked beside the ledger itself. */
static inline uint64_t used_bytes(struct fb__ledger *ledger)
{
    return fb__ledger_total(ledger) - sizeof(struct fb__ledger);
}

static inline void end_ledger(struct shelf *shelf)
{
    CHECK(fb__ledger_check(shelf->ledger));
    CHECK_EQUAL(used_bytes(shelf->ledger), 0);
    fb__ledger_destroy(shelf->ledger);
}

static inline void make_buffer(struct fb__ledger *ledger, struct buffer *buffer, uint64_t order, uint64_t bytes)
{
    struct fb_error error;
    memset(buffer, 0, sizeof *buffer);
    buffer->memory_bytes = bytes;
    CHECK_EQUAL(fb__ledger_reserve(ledger, &buffer->grant, FB_ACCOUNT_BATCH, order, bytes, FB__NO_WAIT, &error), 0);
    CHECK_EQUAL(fb__gate_alloc_granted(fb__ledger_gate(ledger), &buffer->grant, bytes, &buffer->memory, &error), 0);
}

static inline void make_idle(struct fb__ledger *ledger, struct buffer *buffer, uint64_t bytes)
{
    make_buffer(ledger, buffer, FB__ORDER_NONE, bytes);
    fb__ledger_retire(ledger, &buffer->grant);
}

/* ---- requests on threads of their own ---- */

enum ask_kind { ASK_RESERVE, ASK_RESERVE_WARM, ASK_GROW };

struct ask {
    /* filled by the test */
    enum ask_kind kind;
    uint64_t order;
    uint64_t bytes;
    struct fb__grant *grows; /* ASK_GROW */
    /* the rest by start_ask() and the thread */
    struct fb__ledger *ledger;
    struct fb__grant grant;
    struct fb__grant *out;
    int code;
    struct fb_error error;
    pthread_t thread;
};

static inline void *run_ask(void *argument)
{
    struct ask *ask = argument;
    switch (ask->kind) {
    case ASK_RESERVE:
        ask->out = &ask->grant;
        ask->code = fb__ledger_reserve(ask->ledger, &ask->grant, FB_ACCOUNT_READ, ask->order, ask->bytes, FB__WAIT,
                                       &ask->error);
        break;
    case ASK_RESERVE_WARM:
        ask->code = fb__ledger_reserve_warm(ask->ledger, &ask->grant, FB_ACCOUNT_READ, ask->order, ask->bytes, FB__WAIT,
                                            &ask->out, &ask->error);
        break;
    case ASK_GROW:
        ask->out = ask->grows;
        ask->code = fb__ledger_grow(ask->ledger, ask->grows, ask->bytes, FB__WAIT, &ask->error);
        break;
    }
    return NULL;
}

static inline uint64_t waiting_count(struct fb__ledger *ledger)
{
    uint64_t count = 0;
    fb__lock_acquire(&ledger->lock);
    for (struct fb__link *link = ledger->waiters.next; link != &ledger->waiters; link = link->next) count++;
    fb__lock_release(&ledger->lock);
    return count;
}

/* Starts a request that has to wait, and returns once it waits. */
static inline void start_ask(struct fb__ledger *ledger, struct ask *ask)
{
    uint64_t before = waiting_count(ledger);
    ask->ledger = ledger;
    CHECK_EQUAL(pthread_create(&ask->thread, NULL, run_ask, ask), 0);
    while (waiting_count(ledger) == before) (void)sched_yield();
}

static inline int join_ask(struct ask *ask)
{
    CHECK_EQUAL(pthread_join(ask->thread, NULL), 0);
    return ask->code;
}

/* One that does not have to wait for anybody but the evictions that it makes itself. */
static inline int ask_here(struct fb__ledger *ledger, struct ask *ask)
{
    ask->ledger = ledger;
    (void)run_ask(ask);
    return ask->code;
}

#endif
