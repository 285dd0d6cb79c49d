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

/* ---- what a batch takes ---- */

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Appends count items to what ends at *end and returns where they begin. Counts are of nodes and columns: far from
 * 2^64 in all. */
static uint64_t append(uint64_t *end, uint64_t count, uint64_t item_bytes)
{
    uint64_t begin = *end;
    *end += (count * item_bytes + 15) & ~UINT64_C(15);
    return begin;
}

static struct fb__batch_shape shape_of(const struct fb__layout *layout)
{
    uint64_t piece_count = 0;
    bool has_codes = false;
    for (uint32_t i = 0; i < layout->column_count; i++) {
        piece_count += layout->columns[i].piece_count;
        has_codes = has_codes || layout->columns[i].is_dictionary;
    }
    bool is_arrow = layout->storage == FB_STORAGE_ARROW;
    uint64_t part_count = is_arrow ? (uint64_t)layout->node_count + layout->column_count : 0;
    struct fb__batch_shape shape = {0};
    (void)append(&shape.bytes, 1, sizeof(struct fb_batch));
    shape.homes_at = append(&shape.bytes, layout->home_count, sizeof(struct fb__extent));
    shape.pieces_at = append(&shape.bytes, piece_count, sizeof(struct fb__piece));
    shape.places_at = append(&shape.bytes, layout->batch_rows == 0 ? layout->region_count : 0, sizeof(uint64_t));
    shape.code_counts_at = append(&shape.bytes, has_codes ? layout->column_count : 0, sizeof(uint64_t));
    shape.parts_at = append(&shape.bytes, part_count, sizeof(struct fb__part));
    shape.pointers_at = append(&shape.bytes, part_count, sizeof(struct ArrowArray *));
    return shape;
}

/* Estimated bytes of the variable part of so many rows of a column; saturates. */
static uint64_t estimate(const struct fb__column_layout *column, uint64_t rows)
{
    uint64_t bytes;
    if (column->piece_count == 0) return 0;
    if (__builtin_mul_overflow(column->row_bytes, rows, &bytes)) return UINT64_MAX;
    return column->piece_count == 1 ? fb__gate_bytes(bytes) : bytes;
}

/* Of all columns whose variable part has several pieces: booked and not yet allocated. */
static uint64_t count_spare_bytes(const struct fb__layout *layout, uint64_t rows)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < layout->column_count && layout->home_count > 0; i++)
        if (layout->columns[i].piece_count > 1) bytes = add_saturating(bytes, estimate(&layout->columns[i], rows));
    return bytes;
}

static uint64_t count_batch_bytes(const struct fb__pool *pool, uint64_t rows, uint64_t fixed_bytes)
{
    uint64_t bytes = add_saturating(fb__gate_bytes(pool->shape.bytes), fb__gate_bytes(fixed_bytes));
    for (uint32_t i = 0; i < pool->layout.column_count; i++)
        bytes = add_saturating(bytes, estimate(&pool->layout.columns[i], rows));
    return bytes;
}

/* ---- batches ---- */

static void free_homes(struct fb__gate *gate, struct fb__grant *grant, struct fb_batch *batch)
{
    for (uint32_t i = 0; i < batch->layout->home_count; i++) {
        const struct fb__extent *home = &batch->homes[i];
        for (uint32_t j = 0; j < home->piece_count; j++) {
            struct fb__piece *piece = &home->pieces[j];
            if (piece->bytes) fb__gate_free_granted(gate, grant, piece->bytes, piece->capacity_bytes);
            piece->bytes = NULL;
            piece->capacity_bytes = 0;
        }
    }
}

/* The estimates of columns of one piece become memory. */
static int make_homes(struct fb__gate *gate, struct fb__grant *grant, struct fb_batch *batch, uint64_t rows,
                      struct fb_error *error)
{
    const struct fb__layout *layout = batch->layout;
    for (uint32_t i = 0; i < layout->column_count; i++) {
        if (layout->columns[i].piece_count != 1) continue;
        uint64_t capacity_bytes = estimate(&layout->columns[i], rows);
        if (capacity_bytes == 0) continue;
        void *bytes;
        int code = fb__gate_alloc_granted(gate, grant, capacity_bytes, &bytes, error);
        if (code) {
            free_homes(gate, grant, batch);
            return code;
        }
        struct fb__piece *piece = fb__batch_home(batch, i)->pieces;
        piece->bytes = bytes;
        piece->capacity_bytes = capacity_bytes;
    }
    return 0;
}

/* The struct of a batch and what lies with it. */
static void lay_out_batch(struct fb__pool *pool, struct fb_batch *batch)
{
    const struct fb__layout *layout = &pool->layout;
    const struct fb__batch_shape *shape = &pool->shape;
    uint8_t *base = (uint8_t *)batch;
    memset(batch, 0, shape->bytes);
    batch->pool = pool;
    batch->layout = layout;
    batch->homes = (struct fb__extent *)(void *)(base + shape->homes_at);
    struct fb__piece *pieces = (struct fb__piece *)(void *)(base + shape->pieces_at);
    for (uint32_t i = 0; i < layout->column_count; i++) {
        if (layout->columns[i].piece_count == 0) continue;
        fb__batch_home(batch, i)->pieces = pieces;
        fb__batch_home(batch, i)->piece_count = layout->columns[i].piece_count;
        pieces += layout->columns[i].piece_count;
    }
    if (layout->batch_rows == 0) batch->own_places = (uint64_t *)(void *)(base + shape->places_at);
    batch->places = layout->batch_rows == 0 ? batch->own_places : layout->places;
    if (shape->parts_at > shape->code_counts_at)
        batch->code_counts = (uint64_t *)(void *)(base + shape->code_counts_at);
    if (layout->storage == FB_STORAGE_ARROW) {
        batch->parts = (struct fb__part *)(void *)(base + shape->parts_at);
        batch->pointers = (struct ArrowArray **)(void *)(base + shape->pointers_at);
    }
}

/* The fixed buffer and the homes for so many rows. */
static int make_room(struct fb__gate *gate, struct fb__grant *grant, struct fb_batch *batch, uint64_t rows,
                     uint64_t fixed_bytes, struct fb_error *error)
{
    void *memory;
    int code = fb__gate_alloc_granted(gate, grant, fixed_bytes, &memory, error);
    if (code) return code;
    code = make_homes(gate, grant, batch, rows, error);
    if (code) {
        fb__gate_free_granted(gate, grant, memory, fixed_bytes);
        return code;
    }
    batch->fixed = memory;
    batch->fixed_bytes = fixed_bytes;
    batch->capacity_rows = rows;
    return 0;
}

/* Makes a batch out of the bytes of *grant, which is the batch's own afterwards; on failure it is as it was. */
static int make_batch(struct fb__pool *pool, struct fb__grant *grant, uint64_t rows, uint64_t fixed_bytes,
                      struct fb_batch **out, struct fb_error *error)
{
    struct fb__gate *gate = fb__ledger_gate(pool->ledger);
    void *memory;
    int code = fb__gate_alloc_granted(gate, grant, pool->shape.bytes, &memory, error);
    if (code) return code;
    struct fb_batch *batch = memory;
    lay_out_batch(pool, batch);
    code = fb__lock_init(&batch->extent_lock, FB__RANK_BATCH, error);
    if (code) goto fail_lock;
    code = make_room(gate, grant, batch, rows, fixed_bytes, error);
    if (code) goto fail_room;
    batch->spare_bytes = count_spare_bytes(&pool->layout, rows);
    fb__ledger_transfer(pool->ledger, grant, &batch->grant);
    *out = batch;
    return 0;

fail_room:
    fb__lock_destroy(&batch->extent_lock);
fail_lock:
    fb__gate_free_granted(gate, grant, batch, pool->shape.bytes);
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
    if (batch->fixed) fb__gate_free_granted(gate, &grant, batch->fixed, batch->fixed_bytes);
    fb__lock_destroy(&batch->extent_lock);
    fb__gate_free_granted(gate, &grant, batch, pool->shape.bytes);
    fb__ledger_release(pool->ledger, &grant);
}

/*
 * A warm batch books at least as much as one of so many rows takes; its fixed buffer may be too small all the same,
 * where it has long strings. Then all of its memory is made anew out of what it books.
 */
static int fit_batch(struct fb_batch *batch, uint64_t rows, uint64_t fixed_bytes, struct fb_error *error)
{
    if (fixed_bytes <= batch->fixed_bytes) {
        batch->capacity_rows = rows;
        return 0;
    }
    struct fb__pool *pool = batch->pool;
    struct fb__gate *gate = fb__ledger_gate(pool->ledger);
    free_homes(gate, &batch->grant, batch);
    if (batch->fixed) fb__gate_free_granted(gate, &batch->grant, batch->fixed, batch->fixed_bytes);
    batch->fixed = NULL;
    batch->fixed_bytes = 0;
    uint64_t surplus_bytes = batch->grant.booked_bytes - count_batch_bytes(pool, rows, fixed_bytes);
    if (surplus_bytes > 0) fb__ledger_shrink(pool->ledger, &batch->grant, surplus_bytes);
    batch->spare_bytes = count_spare_bytes(&pool->layout, rows);
    batch->grown_bytes = 0;
    return make_room(gate, &batch->grant, batch, rows, fixed_bytes, error);
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
    pool->shape = shape_of(&pool->layout);
    if (pool->layout.batch_rows > 0)
        pool->batch_bytes = count_batch_bytes(pool, pool->layout.batch_rows, pool->layout.fixed_bytes);
    pool->references = 1;
    pool->ledger_ops = (struct fb__ledger_ops){.evict = evict, .context = pool};
    fb__ledger_set_ops(ledger, &pool->ledger_ops);
    *out = pool;
    return 0;

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

/* What extents beside the home take in all beyond the bytes of one: their own structs, and the rest of a page for each
 * piece that is large enough to be mapped. */
static uint64_t count_extent_bytes(const struct fb__column_layout *column, uint64_t extent_count)
{
    if (column->piece_count == 0) return 0;
    uint64_t bytes;
    if (__builtin_mul_overflow(extent_count, fb__extent_bytes(column->piece_count), &bytes)) return UINT64_MAX;
    uint64_t mapped_count = column->estimated_bytes / FB__MAP_THRESHOLD_BYTES;
    if (mapped_count > extent_count * column->piece_count) mapped_count = extent_count * column->piece_count;
    uint64_t page_bytes = fb__gate_bytes(FB__MAP_THRESHOLD_BYTES + 1) - FB__MAP_THRESHOLD_BYTES;
    return add_saturating(bytes, mapped_count * (page_bytes - 1));
}

uint64_t fb__pool_filling_bytes(const struct fb__pool *pool, uint64_t extent_count)
{
    const struct fb__layout *layout = &pool->layout;
    uint64_t bytes = layout->variable_bytes;
    for (uint32_t i = 0; i < layout->column_count && extent_count > 0; i++)
        bytes = add_saturating(bytes, count_extent_bytes(&layout->columns[i], extent_count));
    return bytes;
}

/* ---- out and back ---- */

/* Bytes that a batch of so many rows is booked with; *fixed_bytes: of them those of its regions. */
static uint64_t measure_batch(const struct fb__pool *pool, uint64_t rows, uint64_t *fixed_bytes)
{
    *fixed_bytes = pool->layout.fixed_bytes;
    if (pool->layout.batch_rows > 0) return pool->batch_bytes;
    fb__layout_place(&pool->layout, rows, NULL, fixed_bytes);
    return count_batch_bytes(pool, rows, *fixed_bytes);
}

static int take_batch(struct fb__pool *pool, uint64_t rows, uint64_t order, enum fb__ledger_wait wait,
                      struct fb_batch **out, struct fb_error *error)
{
    uint64_t fixed_bytes;
    uint64_t batch_bytes = measure_batch(pool, rows, &fixed_bytes);
    struct fb__grant fresh = {0};
    struct fb__grant *granted;
    int code =
        fb__ledger_reserve_warm(pool->ledger, &fresh, FB_ACCOUNT_BATCH, order, batch_bytes, wait, &granted, error);
    if (code) return code;
    if (granted == &fresh) {
        code = make_batch(pool, &fresh, rows, fixed_bytes, out, error);
        if (code) fb__ledger_release(pool->ledger, &fresh);
    } else {
        *out = batch_of(granted);
        code = fit_batch(*out, rows, fixed_bytes, error);
        /* It has no memory left, which the next one to take it makes. */
        if (code) fb__ledger_retire(pool->ledger, granted);
    }
    if (code == 0 && (*out)->own_places) fb__layout_place(&pool->layout, rows, (*out)->own_places, &fixed_bytes);
    return code;
}

static int take(struct fb__pool *pool, uint64_t index, uint64_t row_count, uint64_t order, enum fb__ledger_wait wait,
                struct fb_batch **out, struct fb_error *error)
{
    uint64_t batch_rows = pool->layout.batch_rows;
    assert(batch_rows == 0 || row_count <= batch_rows);
    struct fb_batch *batch;
    int code = take_batch(pool, batch_rows == 0 ? row_count : batch_rows, order, wait, &batch, error);
    if (code) return code;
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
