/* Making, starting and ending an epoch; the lock model stands in epoch.h. */
#include "loader/epoch.h"

#include <assert.h>
#include <errno.h>

#include "loader/loader.h"

static void drop_result(void *context, struct fb__link *result)
{
    (void)context;
    fb__pool_return(FB__CONTAINER_OF(result, struct fb_batch, link));
}

/*
 * Whether every reader waits for bytes that nobody but the user can give back. The epoch's lock is held over both
 * counts, so that a reader on its way from one wait to another is not counted twice. The ledger is looked at last and
 * once: who must be waiting for it to come to that is known by then, and only other readers could let them on.
 */
static bool is_stuck(void *context)
{
    struct fb__epoch *epoch = context;
    struct fb__ledger *ledger = epoch->loader->pool->ledger;
    fb__lock_acquire(&epoch->lock);
    uint32_t active_count = fb__stage_active_count(epoch->stage);
    uint32_t starved_count = fb__ledger_starved_count(ledger);
    bool is_starved = starved_count > 0 && starved_count + epoch->opened.parked_count >= active_count;
    fb__lock_release(&epoch->lock);
    return is_starved && fb__loader_may_give_up(epoch->loader);
}

static void free_epoch(struct fb__epoch *epoch)
{
    struct fb_loader *loader = epoch->loader;
    fb__epoch_drop_batches(epoch);
    fb__stage_destroy(epoch->stage);
    fb__cond_destroy(&epoch->opened.cond);
    fb__lock_destroy(&epoch->lock);
    fb__gate_free(fb__ledger_gate(loader->pool->ledger), FB_ACCOUNT_CORE, epoch, epoch->size_bytes);
    fb__loader_release(loader);
}

void fb__epoch_retain(struct fb__epoch *epoch)
{
    atomic_fetch_add(&epoch->references, 1);
}

void fb__epoch_release(struct fb__epoch *epoch)
{
    if (atomic_fetch_sub(&epoch->references, 1) == 1) free_epoch(epoch);
}

static void worker_ended(void *context)
{
    fb__epoch_release(context);
}

int fb__epoch_create(struct fb_loader *loader, struct fb__epoch **out, struct fb_error *error)
{
    struct fb__gate *gate = fb__ledger_gate(loader->pool->ledger);
    struct fb__epoch *epoch;
    uint64_t size_bytes = sizeof *epoch + loader->thread_count * sizeof epoch->readers[0];
    void *memory;
    int code = fb__gate_alloc(gate, FB_ACCOUNT_CORE, size_bytes, &memory, error);
    if (code) return code;
    epoch = memory;
    epoch->loader = loader;
    epoch->size_bytes = size_bytes;
    epoch->reader_count = loader->thread_count;
    epoch->preserve_order = loader->preserve_order;
    epoch->error_row = UINT64_MAX;
    epoch->batch_count = loader->plan.batch_count;
    fb__list_init(&epoch->window);
    code = fb__lock_init(&epoch->lock, FB__RANK_LOADER, error);
    if (code) goto fail_lock;
    code = fb__cond_init(&epoch->opened.cond, error);
    if (code) goto fail_cond;
    bool is_pulled = loader->source->is_pulled;
    const struct fb__stage_options options = {
        .name = "read",
        .worker_count = loader->thread_count,
        .bound = loader->prefetch_batches,
        .ops = {.work = is_pulled ? fb__pull_work : fb__reader_work,
                .drop = drop_result,
                .let_go = is_pulled ? fb__pull_let_go : fb__reader_let_go,
                .ended = worker_ended,
                .is_stuck = is_stuck,
                .context = epoch},
        .gate = gate,
    };
    code = fb__stage_create(&options, &epoch->stage, error);
    if (code) goto fail_stage;
    atomic_store(&epoch->references, 1);
    atomic_fetch_add(&loader->references, 1);
    *out = epoch;
    return 0;

fail_stage:
    fb__cond_destroy(&epoch->opened.cond);
fail_cond:
    fb__lock_destroy(&epoch->lock);
fail_lock:
    fb__gate_free(gate, FB_ACCOUNT_CORE, epoch, size_bytes);
    return code;
}

void fb__epoch_skip(struct fb__epoch *epoch, uint64_t first_row, uint64_t first_batch)
{
    const struct fb__plan *plan = &epoch->loader->plan;
    assert(!fb__stage_is_started(epoch->stage));
    uint64_t unit = 0;
    while (unit < plan->unit_count && plan->unit_start[unit + 1] <= first_row) unit++;
    fb__lock_acquire(&epoch->lock);
    epoch->first_row = epoch->frontier = first_row;
    epoch->next_task = unit * plan->set_count;
    epoch->next_complete = first_batch;
    fb__lock_release(&epoch->lock);
}

/* The ledger's watcher; called with the ledger's lock held. */
static void poke(void *context)
{
    fb__stage_poke(context);
}

int fb__epoch_start(struct fb__epoch *epoch, struct fb_error *error)
{
    struct fb__ledger *ledger = epoch->loader->pool->ledger;
    atomic_store(&epoch->piece_rows, epoch->loader->plan.piece_rows);
    fb__ledger_set_frontier(ledger, 0); /* back from where the epoch before ended */
    fb__ledger_set_frontier(ledger, epoch->frontier);
    fb__stage_set_frontier(epoch->stage, epoch->frontier);
    fb__ledger_resume(ledger);
    fb__ledger_set_watch(ledger, poke, epoch->stage);
    atomic_fetch_add(&epoch->references, epoch->reader_count);
    int code = fb__stage_start(epoch->stage, error);
    if (code != EAGAIN) return code;
    if (error) error->code = ENOMEM; /* too few threads or too little memory; EAGAIN tells callers of next() to wait */
    return ENOMEM;
}

/* A unit that a thread which did not come back is reading; -1 where none. */
static int64_t unit_in_progress(struct fb__epoch *epoch)
{
    int64_t unit = -1;
    fb__lock_acquire(&epoch->lock);
    for (uint32_t i = 0; i < epoch->reader_count; i++) {
        if (!epoch->readers[i].has_task) continue;
        unit = (int64_t)epoch->readers[i].unit;
        break;
    }
    fb__lock_release(&epoch->lock);
    return unit;
}

uint32_t fb__epoch_end(struct fb__epoch *epoch, uint64_t deadline_ns, int64_t *unit)
{
    struct fb__ledger *ledger = epoch->loader->pool->ledger;
    uint32_t abandoned_count = 0;
    if (unit) *unit = -1;
    if (fb__stage_is_started(epoch->stage)) {
        fb__lock_acquire(&epoch->lock);
        epoch->is_stopping = true;
        fb__parking_wake_all(&epoch->opened);
        fb__lock_release(&epoch->lock);
        fb__ledger_cancel(ledger, 0);
        abandoned_count = fb__stage_stop(epoch->stage, deadline_ns);
        fb__ledger_set_watch(ledger, NULL, NULL);
        if (abandoned_count > 0 && unit) *unit = unit_in_progress(epoch);
    }
    fb__epoch_release(epoch);
    return abandoned_count;
}
