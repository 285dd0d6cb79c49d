/*
 * The pool: makes batches, keeps idle ones warm through the ledger's idle stack, frees them.
 *
 * A batch carries the grant that pays for it, so its struct can only be allocated under a grant that lies elsewhere,
 * and only be freed under one: fb__ledger_transfer() carries the bytes over at both ends.
 *
 * Lock model: no lock of its own. Counts and flags are atomic; which idle batch is whose is the ledger's business.
 */
#include "data/pool.h"

#include <assert.h>
#include <string.h>

/* ---- batches ---- */

/* The struct and its homes lie in one allocation. */
static uint64_t struct_bytes(const struct fb__layout *layout)
{
    return sizeof(struct fb_batch) + layout->binary_count * sizeof(struct fb__extent);
}

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t count_batch_bytes(const struct fb__layout *layout)
{
    uint64_t bytes = add_saturating(fb__gate_bytes(struct_bytes(layout)), fb__gate_bytes(layout->fixed_bytes));
    for (uint32_t i = 0; i < layout->column_count; i++) {
        const struct fb__column_layout *column = &layout->columns[i];
        if (column->kind != FB_COLUMN_BINARY || column->estimated_bytes == 0) continue;
        bytes = add_saturating(bytes, fb__gate_bytes(column->estimated_bytes));
    }
    return bytes;
}

static void free_homes(struct fb__gate *gate, struct fb__grant *grant, struct fb_batch *batch)
{
    for (uint32_t i = 0; i < batch->layout->binary_count; i++) {
        struct fb__extent *home = &batch->homes[i];
        if (home->bytes) fb__gate_free_granted(gate, grant, home->bytes, home->capacity_bytes);
        home->bytes = NULL;
        home->capacity_bytes = 0;
    }
}

static int make_homes(struct fb__gate *gate, struct fb__grant *grant, struct fb_batch *batch, struct fb_error *error)
{
    const struct fb__layout *layout = batch->layout;
    for (uint32_t i = 0; i < layout->column_count; i++) {
        const struct fb__column_layout *column = &layout->columns[i];
        if (column->kind != FB_COLUMN_BINARY || column->estimated_bytes == 0) continue;
        struct fb__extent *home = &batch->homes[batch->pool->home_of_column[i]];
        uint64_t capacity_bytes = fb__gate_bytes(column->estimated_bytes);
        void *bytes;
        int code = fb__gate_alloc_granted(gate, grant, capacity_bytes, &bytes, error);
        if (code) {
            free_homes(gate, grant, batch);
            return code;
        }
        home->bytes = bytes;
        home->capacity_bytes = capacity_bytes;
    }
    return 0;
}

/* Makes a batch out of the bytes of *grant, which is the batch's own afterwards; on failure it is as it was. */
static int make_batch(struct fb__pool *pool, struct fb__grant *grant, struct fb_batch **out, struct fb_error *error)
{
    struct fb__gate *gate = fb__ledger_gate(pool->ledger);
    uint64_t batch_struct_bytes = struct_bytes(&pool->layout);
    void *memory;
    int code = fb__gate_alloc_granted(gate, grant, batch_struct_bytes, &memory, error);
    if (code) return code;
    struct fb_batch *batch = memory;
    memset(batch, 0, batch_struct_bytes);
    batch->pool = pool;
    batch->layout = &pool->layout;
    batch->homes = (struct fb__extent *)(void *)(batch + 1);
    code = fb__lock_init(&batch->extent_lock, FB__RANK_BATCH, error);
    if (code) goto fail_lock;
    code = fb__gate_alloc_granted(gate, grant, pool->layout.fixed_bytes, &memory, error);
    if (code) goto fail_fixed;
    batch->fixed = memory;
    code = make_homes(gate, grant, batch, error);
    if (code) goto fail_homes;
    fb__ledger_transfer(pool->ledger, grant, &batch->grant);
    *out = batch;
    return 0;

fail_homes:
    fb__gate_free_granted(gate, grant, batch->fixed, pool->layout.fixed_bytes);
fail_fixed:
    fb__lock_destroy(&batch->extent_lock);
fail_lock:
    fb__gate_free_granted(gate, grant, batch, batch_struct_bytes);
    return code;
}

/* The batch was idle: nothing of it is left but the homes. */
static void free_batch(struct fb_batch *batch)
{
    struct fb__pool *pool = batch->pool;
    struct fb__gate *gate = fb__ledger_gate(pool->ledger);
    struct fb__grant grant = {0};
    fb__ledger_transfer(pool->ledger, &batch->grant, &grant);
    free_homes(gate, &grant, batch);
    fb__gate_free_granted(gate, &grant, batch->fixed, pool->layout.fixed_bytes);
    fb__lock_destroy(&batch->extent_lock);
    fb__gate_free_granted(gate, &grant, batch, struct_bytes(&pool->layout));
    fb__ledger_release(pool->ledger, &grant);
}

static struct fb_batch *batch_of(struct fb__grant *grant)
{
    return FB__CONTAINER_OF(grant, struct fb_batch, grant);
}

static void evict(void *context, struct fb__grant *grant)
{
    (void)context;
    free_batch(batch_of(grant));
}

/* ---- the pool ---- */

/* Number of each binary column among the binary ones. */
static int number_homes(struct fb__pool *pool, struct fb_error *error)
{
    const struct fb__layout *layout = &pool->layout;
    if (layout->binary_count == 0) return 0;
    void *memory;
    int code = fb__gate_alloc(fb__ledger_gate(pool->ledger), FB_ACCOUNT_CORE, layout->column_count * sizeof(uint32_t),
                              &memory, error);
    if (code) return code;
    pool->home_of_column = memory;
    uint32_t number = 0;
    for (uint32_t i = 0; i < layout->column_count; i++)
        if (layout->columns[i].kind == FB_COLUMN_BINARY) pool->home_of_column[i] = number++;
    assert(number == layout->binary_count);
    return 0;
}

int fb__pool_create(const struct ArrowSchema *schema, const uint64_t *row_bytes,
                    const struct fb_loader_options *options, struct fb__pool **out, struct fb_error *error)
{
    struct fb__ledger *ledger;
    int code = fb__ledger_create(options->memory_limit_bytes, &ledger, error);
    if (code) return code;
    struct fb__gate *gate = fb__ledger_gate(ledger);
    void *memory;
    code = fb__gate_alloc(gate, FB_ACCOUNT_CORE, sizeof(struct fb__pool), &memory, error);
    if (code) goto fail_pool;
    struct fb__pool *pool = memory;
    pool->ledger = ledger;
    code = fb__layout_init(&pool->layout, gate, schema, row_bytes, options, error);
    if (code) goto fail_layout;
    code = number_homes(pool, error);
    if (code) goto fail_homes;
    pool->batch_bytes = count_batch_bytes(&pool->layout);
    pool->references = 1;
    pool->ledger_ops = (struct fb__ledger_ops){.evict = evict, .context = pool};
    fb__ledger_set_ops(ledger, &pool->ledger_ops);
    *out = pool;
    return 0;

fail_homes:
    fb__layout_destroy(&pool->layout);
fail_layout:
    fb__gate_free(gate, FB_ACCOUNT_CORE, pool, sizeof *pool);
fail_pool:
    fb__ledger_destroy(ledger);
    return code;
}

static void free_pool(struct fb__pool *pool)
{
    struct fb__ledger *ledger = pool->ledger;
    struct fb__gate *gate = fb__ledger_gate(ledger);
    fb__pool_trim(pool);
    fb__gate_free(gate, FB_ACCOUNT_CORE, pool->home_of_column, pool->layout.column_count * sizeof(uint32_t));
    fb__layout_destroy(&pool->layout);
    fb__gate_free(gate, FB_ACCOUNT_CORE, pool, sizeof *pool);
    fb__ledger_destroy(ledger);
}

void fb__pool_retain(struct fb__pool *pool)
{
    atomic_fetch_add(&pool->references, 1);
}

void fb__pool_release(struct fb__pool *pool)
{
    if (atomic_fetch_sub(&pool->references, 1) == 1) free_pool(pool);
}

uint64_t fb__pool_batch_bytes(const struct fb__pool *pool)
{
    return pool->batch_bytes;
}

/* ---- out and back ---- */

static int take(struct fb__pool *pool, uint64_t index, uint64_t row_count, uint64_t order, enum fb__ledger_wait wait,
                struct fb_batch **out, struct fb_error *error)
{
    assert(row_count <= pool->layout.batch_rows);
    struct fb__grant fresh = {0};
    struct fb__grant *granted;
    int code = fb__ledger_reserve_warm(pool->ledger, &fresh, FB_ACCOUNT_BATCH, order, pool->batch_bytes, wait, &granted,
                                       error);
    if (code) return code;
    struct fb_batch *batch = NULL;
    if (granted == &fresh) {
        code = make_batch(pool, &fresh, &batch, error);
        if (code) {
            fb__ledger_release(pool->ledger, &fresh);
            return code;
        }
    } else {
        batch = batch_of(granted);
    }
    batch->link = (struct fb__link){NULL, NULL};
    batch->table_next = NULL;
    batch->index = index;
    batch->row_count = row_count;
    batch->cells_left = batch->cells_unclaimed = row_count * pool->layout.column_count;
    batch->has_slot = false;
    batch->wait = wait;
    batch->is_finished = false;
    batch->is_delivered = false;
    fb__pool_retain(pool);
    *out = batch;
    return 0;
}

int fb__pool_take(struct fb__pool *pool, uint64_t index, uint64_t row_count, uint64_t order, struct fb_batch **out,
                  struct fb_error *error)
{
    return take(pool, index, row_count, order, FB__WAIT, out, error);
}

int fb__pool_try_take(struct fb__pool *pool, uint64_t index, uint64_t row_count, struct fb_batch **out,
                      struct fb_error *error)
{
    return take(pool, index, row_count, FB__ORDER_NONE, FB__NO_WAIT, out, error);
}

/* The caller keeps its reference on the pool, and has nothing of the batch any more. */
static void give_back(struct fb__pool *pool, struct fb_batch *batch)
{
    fb__batch_drop_extents(batch);
    fb__ledger_retire(pool->ledger, &batch->grant);
    /* Only now: a thread that closes the pool meanwhile either finds the batch idle or is seen here. */
    if (pool->is_closed) fb__pool_trim(pool);
}

void fb__pool_return(struct fb_batch *batch)
{
    assert(!batch->is_delivered);
    struct fb__pool *pool = batch->pool;
    give_back(pool, batch);
    fb__pool_release(pool);
}

void fb__pool_deliver(struct fb_batch *batch)
{
    struct fb__pool *pool = batch->pool;
    assert(batch->is_finished && !batch->is_delivered);
    batch->is_delivered = true;
    atomic_fetch_add(&pool->held_batches, 1);
    fb__ledger_move(pool->ledger, &batch->grant, FB_ACCOUNT_HELD, FB__ORDER_NONE);
}

void fb_batch_release(struct fb_batch *batch)
{
    if (!batch) return;
    assert(batch->is_delivered);
    struct fb__pool *pool = batch->pool;
    /* Counted before the bytes go back: who is woken by them reads the counts. */
    atomic_fetch_sub(&pool->held_batches, 1);
    atomic_fetch_add(&pool->release_count, 1);
    give_back(pool, batch);
    fb__pool_release(pool);
}

void fb__pool_trim(struct fb__pool *pool)
{
    struct fb__grant *grant;
    while ((grant = fb__ledger_take_idle(pool->ledger)) != NULL) free_batch(batch_of(grant));
}

void fb__pool_final_figures(struct fb__pool *pool, struct fb_stats *stats)
{
    struct fb_account_stats now[FB_ACCOUNT_COUNT] = {0};
    uint64_t total_bytes = 0;
    if (atomic_load(&pool->references) > 1) fb__ledger_figures(pool->ledger, now, &total_bytes, NULL);
    for (int account = 0; account < FB_ACCOUNT_COUNT; account++) stats->accounts[account].bytes = now[account].bytes;
    stats->charged_bytes = total_bytes;
    stats->held_batches = atomic_load(&pool->held_batches);
}

void fb__pool_close(struct fb__pool *pool)
{
    pool->is_closed = true;
    fb__pool_trim(pool);
}
