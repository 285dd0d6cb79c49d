/* The consumer's side of a loader; the lock model stands in loader.h. */
#include "loader/loader.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"

/* ---- making ---- */

static int check_options(const struct fb_loader_options *options, struct fb_error *error)
{
    if (options->batch_rows == 0 && options->drop_last)
        return fb__fail(error, EINVAL,
                        "drop_last has no meaning where a batch is a block of the source: batch_rows is 0");
    if (options->storage != FB_STORAGE_DENSE && options->storage != FB_STORAGE_ARROW)
        return fb__fail(error, EINVAL, "storage is %d, which is none", (int)options->storage);
    if ((unsigned)options->null_policy > FB_NULLS_MASK)
        return fb__fail(error, EINVAL, "null_policy is %d, which is none", (int)options->null_policy);
    if (options->thread_count == 0) return fb__fail(error, EINVAL, "thread_count is 0, it must be at least 1");
    if (options->prefetch_batches < FB_PREFETCH_ADAPTIVE)
        return fb__fail(error, EINVAL, "prefetch_batches is %lld, it must be 0 or more, or FB_PREFETCH_ADAPTIVE",
                        (long long)options->prefetch_batches);
    return 0;
}

/* Rows that every batch has room for: where all rows are known never more than there can be in one, however large its asked size is. */
static uint64_t batch_capacity_rows(const struct fb_loader_options *options, const struct fb_source *source)
{
    if (source->is_pulled) return options->batch_rows;
    uint64_t rows = 0;
    uint64_t most_unit_rows = 0;
    for (uint64_t unit = 0; unit < source->unit_count; unit++) {
        uint64_t unit_rows = source->unit_rows[unit];
        if (unit_rows > most_unit_rows) most_unit_rows = unit_rows;
        rows = unit_rows > UINT64_MAX - rows ? UINT64_MAX : rows + unit_rows;
    }
    uint64_t capacity_rows = options->batch_rows == 0 ? most_unit_rows : options->batch_rows;
    if (capacity_rows > rows) capacity_rows = rows;
    return capacity_rows > 0 ? capacity_rows : 1;
}

static int make_pool(const struct fb_loader_options *options, const struct fb_source *source, struct fb__pool **out,
                     struct fb_error *error)
{
    /* No limit until the plan is known, so that a refusal can say the least that would do: see fb__plan_settle(). */
    struct fb_loader_options unlimited = *options;
    unlimited.memory_limit_bytes = INT64_MAX;
    unlimited.batch_rows = batch_capacity_rows(options, source);
    return fb__pool_create(&source->schema, source->variable_row_bytes[options->storage], &unlimited, out, error);
}

int fb_loader_create(const struct fb_loader_options *options, struct fb_source *source, struct fb_loader **out,
                     struct fb_error *error)
{
    int code = check_options(options, error);
    if (code) return code;
    if (source->schema.n_children == 0) return fb__fail(error, EINVAL, "the source has no column");
    struct fb__pool *pool;
    code = make_pool(options, source, &pool, error);
    if (code) return code;
    struct fb__gate *gate = fb__ledger_gate(pool->ledger);
    void *memory;
    code = fb__gate_alloc(gate, FB_ACCOUNT_CORE, sizeof(struct fb_loader), &memory, error);
    if (code) goto fail_loader;
    struct fb_loader *loader = memory;
    loader->pool = pool;
    loader->source = source;
    loader->thread_count = source->is_pulled ? 1 : options->thread_count; /* a stream is read by one thread */
    loader->prefetch_batches = options->prefetch_batches;
    loader->preserve_order = options->preserve_order;
    loader->drop_last = options->drop_last;
    loader->is_over = true;
    loader->read_before.name = "read";
    atomic_store(&loader->references, 1);
    code = fb__lock_init(&loader->stats_lock, FB__RANK_STATS, error);
    if (code) goto fail_lock;
    code = fb__ledger_charge(pool->ledger, FB_ACCOUNT_PLAN, source->plan_bytes, error);
    if (code) goto fail_charge;
    code = fb__plan_init(&loader->plan, options, source, pool, error);
    if (code) goto fail_plan;
    code = fb__epoch_create(loader, &loader->epoch, error);
    if (code) goto fail_epoch;
    code = fb__plan_settle(&loader->plan, source, pool, options->memory_limit_bytes, error);
    if (code) goto fail_settle;
    *out = loader;
    return 0;

fail_settle:
    (void)fb__epoch_end(loader->epoch, FB_NO_DEADLINE, NULL); /* drops its reference on the loader, not the last */
fail_epoch:
    fb__plan_destroy(&loader->plan);
fail_plan:
    fb__ledger_credit(pool->ledger, FB_ACCOUNT_PLAN, source->plan_bytes);
fail_charge:
    fb__lock_destroy(&loader->stats_lock);
fail_lock:
    fb__gate_free(gate, FB_ACCOUNT_CORE, loader, sizeof *loader);
fail_loader:
    fb__pool_release(pool);
    return code;
}

/* Everything but the pool; the last reference of the loader is gone. */
void fb__loader_release(struct fb_loader *loader)
{
    if (atomic_fetch_sub(&loader->references, 1) != 1) return;
    struct fb__pool *pool = loader->pool;
    uint64_t source_bytes = loader->source->plan_bytes;
    fb__plan_destroy(&loader->plan);
    loader->source->ops->destroy(loader->source);
    fb__ledger_credit(pool->ledger, FB_ACCOUNT_PLAN, source_bytes);
    fb__lock_destroy(&loader->stats_lock);
    fb__gate_free(fb__ledger_gate(pool->ledger), FB_ACCOUNT_CORE, loader, sizeof *loader);
    fb__pool_release(pool);
}

void fb_loader_plan(const struct fb_loader *loader, struct fb_plan *out)
{
    *out = (struct fb_plan){
        .batches = loader->plan.batch_count,
        .rows = loader->plan.rows,
        .units = loader->source->is_pulled ? FB_UNKNOWN : loader->plan.unit_count,
        .least_memory_bytes = loader->plan.least_bytes,
        .batch_bytes = loader->plan.batch_bytes,
        .piece_rows = loader->source->is_streamed && !loader->source->has_no_pieces ? loader->plan.piece_rows : 0,
        .column_sets = loader->plan.set_count,
        .thread_count = loader->thread_count,
    };
}

/* ---- epochs ---- */

static uint64_t deadline_after(uint64_t timeout_ns)
{
    uint64_t now_ns = fb__clock_ns();
    return timeout_ns > FB_NO_DEADLINE - now_ns ? FB_NO_DEADLINE : now_ns + timeout_ns;
}

void fb__loader_add_stage(struct fb_stage_stats *sum, const struct fb_stage_stats *more)
{
    sum->busy_s += more->busy_s;
    sum->wait_input_s += more->wait_input_s;
    sum->wait_output_s += more->wait_output_s;
    sum->wait_bytes_s += more->wait_bytes_s;
    sum->items += more->items;
}

uint32_t fb_loader_end_epoch(struct fb_loader *loader, uint64_t close_timeout_ns, int64_t *unit)
{
    if (unit) *unit = -1;
    bool has_begun = !loader->is_over;
    loader->is_over = true;
    fb__inline_end(&loader->inline_filler, loader->source);
    struct fb__epoch *epoch = loader->epoch;
    if (!epoch || !has_begun) return 0;
    /* A reference of our own keeps the stage for its figures after its threads are joined. */
    fb__epoch_retain(epoch);
    uint32_t abandoned_count = fb__epoch_end(epoch, deadline_after(close_timeout_ns), unit);
    struct fb_stage_stats stage_stats;
    fb__stage_stats(epoch->stage, &stage_stats);
    fb__lock_acquire(&loader->stats_lock);
    fb__loader_add_stage(&loader->read_before, &stage_stats);
    loader->epoch = NULL;
    fb__lock_release(&loader->stats_lock);
    fb__epoch_release(epoch);
    return abandoned_count;
}

int fb_loader_begin_epoch(struct fb_loader *loader, uint64_t close_timeout_ns, struct fb_error *error)
{
    (void)fb_loader_end_epoch(loader, close_timeout_ns, NULL);
    if (!loader->epoch) {
        struct fb__epoch *epoch;
        int code = fb__epoch_create(loader, &epoch, error);
        if (code) return code;
        fb__lock_acquire(&loader->stats_lock);
        loader->epoch = epoch;
        fb__lock_release(&loader->stats_lock);
    }
    loader->is_over = false;
    loader->failure = (struct fb_error){0};
    loader->first_next_ns = loader->asked_ns = loader->delivered_ns = 0;
    loader->epoch_batch_count = loader->epoch_row_count = 0;
    if (fb__inline_is_worthwhile(&loader->plan, loader->source, loader->prefetch_batches))
        fb__inline_begin(&loader->inline_filler, &loader->plan);
    return 0;
}

/* ---- next ---- */

bool fb__loader_may_give_up(const struct fb_loader *loader)
{
    return !loader->is_patient || atomic_load(&loader->pool->release_count) != loader->patience_releases;
}

/* The readers have ended by themselves, all but the threads' last instructions: joining them waits for nobody. */
static int fail_epoch(struct fb_loader *loader, int code, const struct fb_error *error)
{
    loader->failure = *error;
    loader->failure.code = code;
    (void)fb_loader_end_epoch(loader, FB_NO_DEADLINE, NULL);
    return code;
}

/* The readers wait for bytes that only the user can give back, or, where he holds no more than a loop does, nobody. */
static int give_up(struct fb_loader *loader, struct fb_error *error)
{
    struct fb__ledger *ledger = loader->pool->ledger;
    uint64_t held_count = atomic_load(&loader->pool->held_batches);
    if (held_count <= 1) {
        (void)fb__ledger_refuse_waiting(ledger);
        return EAGAIN;
    }
    uint64_t missing_bytes = 0;
    (void)fb__ledger_is_starved(ledger, &missing_bytes);
    uint64_t limit_bytes = fb__ledger_limit(ledger);
    fb__fail_bytes(error, limit_bytes + missing_bytes, limit_bytes,
                   "you hold %llu batches, %llu bytes of the limit of %llu: copy what you keep, or raise memory_limit",
                   (unsigned long long)held_count,
                   (unsigned long long)fb__ledger_account_bytes(ledger, FB_ACCOUNT_HELD),
                   (unsigned long long)limit_bytes);
    if (error) error->code = EDEADLK;
    return EDEADLK;
}

static int next_result(struct fb_loader *loader, uint64_t deadline_ns, struct fb__link **out, struct fb_error *error)
{
    int code;
    do {
        code = fb__stage_next(loader->epoch->stage, deadline_ns, true, out, error);
        if (code != EDEADLK) return code;
        code = give_up(loader, error);
    } while (code == EAGAIN);
    return code;
}

static void deliver(struct fb_loader *loader, struct fb_batch *batch, uint64_t now_ns)
{
    fb__pool_deliver(batch);
    uint64_t wait_ns = now_ns - loader->asked_ns;
    fb__lock_acquire(&loader->stats_lock);
    if (loader->epoch_batch_count == 0)
        loader->first_batch_ns = now_ns - loader->first_next_ns;
    else
        fb__histogram_add(&loader->next_wait, wait_ns);
    loader->blocked_ns += wait_ns;
    if (loader->inline_filler.is_on) {
        loader->read_before.busy_s += (double)wait_ns / (double)FB__SECOND_NS;
        loader->read_before.items++;
    }
    loader->batch_count++;
    loader->row_count += batch->row_count;
    loader->bytes_out += fb__batch_bytes_out(batch);
    fb__lock_release(&loader->stats_lock);
    loader->epoch_batch_count++;
    loader->epoch_row_count += batch->row_count;
    /* What is pulled next is for the consumer from here on; further batches are ahead of him. */
    if (loader->source->is_pulled) fb__ledger_set_frontier(loader->pool->ledger, loader->epoch_row_count);
    loader->asked_ns = 0;
    loader->delivered_ns = now_ns;
}

/* The next batch of the consumer's own filling. EAGAIN: the readers go on from here. */
static int next_inline(struct fb_loader *loader, struct fb_batch **out, struct fb_error *error)
{
    struct fb__inline *filler = &loader->inline_filler;
    int code = fb__inline_next(filler, &loader->plan, loader->source, loader->pool, out, error);
    if (code != ENOBUFS) return code;
    uint64_t row = filler->row;
    fb__inline_end(filler, loader->source);
    fb__epoch_skip(loader->epoch, row, filler->batch_index);
    return EAGAIN;
}

/* The readers have ended without an error: all that was planned must have been delivered. */
static int end_of_epoch(struct fb_loader *loader, struct fb_error *error)
{
    fb__lock_acquire(&loader->epoch->lock);
    uint64_t batch_count = loader->epoch->batch_count;
    fb__lock_release(&loader->epoch->lock);
    if (loader->epoch_batch_count == batch_count) {
        (void)fb_loader_end_epoch(loader, FB_NO_DEADLINE, NULL);
        return 0;
    }
    struct fb_error lost;
    if (batch_count == FB_UNKNOWN)
        fb__fail(&lost, EPROTO, "the reader ended without an error after %llu batches, before the source was over",
                 (unsigned long long)loader->epoch_batch_count);
    else
        fb__fail(&lost, EPROTO, "%llu batches of %llu were delivered and the readers ended without an error",
                 (unsigned long long)loader->epoch_batch_count, (unsigned long long)batch_count);
    if (error) *error = lost;
    return fail_epoch(loader, EPROTO, &lost);
}

static void note_asking(struct fb_loader *loader, uint64_t now_ns)
{
    if (loader->asked_ns != 0) return;
    loader->asked_ns = now_ns;
    if (loader->first_next_ns == 0) loader->first_next_ns = now_ns;
    if (loader->delivered_ns == 0) return;
    fb__lock_acquire(&loader->stats_lock);
    loader->user_ns += now_ns - loader->delivered_ns;
    fb__lock_release(&loader->stats_lock);
}

int fb_loader_next(struct fb_loader *loader, uint64_t deadline_ns, bool patience, struct fb_batch **out,
                   struct fb_error *error)
{
    *out = NULL;
    if (loader->failure.code) {
        if (error) *error = loader->failure;
        return loader->failure.code;
    }
    if (loader->is_over) return 0;
    note_asking(loader, fb__clock_ns());
    struct fb_error local = {0};
    if (!error) error = &local;
    int code = 0;
    if (loader->inline_filler.is_on) {
        code = next_inline(loader, out, error);
        if (code == 0 && *out) deliver(loader, *out, fb__clock_ns());
        if (code == 0) return *out ? 0 : end_of_epoch(loader, error);
        if (code != EAGAIN) return fail_epoch(loader, code, error);
        code = 0;
    }
    if (!fb__stage_is_started(loader->epoch->stage)) code = fb__epoch_start(loader->epoch, error);
    if (code) return fail_epoch(loader, code, error);

    loader->is_patient = patience;
    loader->patience_releases = atomic_load(&loader->pool->release_count);
    struct fb__link *result = NULL;
    code = next_result(loader, deadline_ns, &result, error);
    switch (code) {
    case 0:
        break;
    case EAGAIN:
    case ETIMEDOUT:
    case EINTR:
    case EDEADLK:
    case ECANCELED:
        return code;
    default:
        return fail_epoch(loader, code, error);
    }
    if (!result) return end_of_epoch(loader, error);
    *out = FB__CONTAINER_OF(result, struct fb_batch, link);
    deliver(loader, *out, fb__clock_ns());
    return 0;
}

void fb_loader_interrupt(struct fb_loader *loader)
{
    fb__lock_acquire(&loader->stats_lock);
    if (loader->epoch) fb__stage_interrupt(loader->epoch->stage);
    fb__lock_release(&loader->stats_lock);
}

/* ---- closing ---- */

uint32_t fb_loader_close(struct fb_loader *loader, uint64_t close_timeout_ns, int64_t *unit, struct fb_stats *stats)
{
    if (unit) *unit = -1;
    if (!loader) return 0;
    struct fb__epoch *unused = NULL;
    uint32_t abandoned_count = fb_loader_end_epoch(loader, close_timeout_ns, unit);
    if (loader->epoch) { /* made and never started */
        fb__lock_acquire(&loader->stats_lock);
        unused = loader->epoch;
        loader->epoch = NULL;
        fb__lock_release(&loader->stats_lock);
        (void)fb__epoch_end(unused, FB_NO_DEADLINE, NULL);
    }
    struct fb__pool *pool = loader->pool;
    fb__pool_close(pool);
    if (stats) fb_loader_stats(loader, stats);
    fb__pool_retain(pool);
    fb__loader_release(loader);
    if (stats) fb__pool_final_figures(pool, stats);
    fb__pool_release(pool);
    return abandoned_count;
}
