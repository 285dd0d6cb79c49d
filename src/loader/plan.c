/* The plan; immutable once settled, so it needs no lock. */
#include "loader/plan.h"

#include <errno.h>
#include <string.h>

/* How many batches ahead of each other threads may be on different columns, where rows do not come in pieces. */
#define WINDOW_BATCHES_WITHOUT_PIECES 4

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* ---- rows ---- */

static int lay_out_rows(struct fb__plan *plan, const struct fb_source *source, struct fb_error *error)
{
    uint64_t row = 0;
    for (uint64_t unit = 0; unit < source->unit_count; unit++) {
        plan->unit_start[unit] = row;
        if (source->unit_rows[unit] > (uint64_t)INT64_MAX - row)
            return fb__fail(error, EINVAL, "the units have more than 2^63 rows together");
        row += source->unit_rows[unit];
        if (source->unit_rows[unit] > plan->most_unit_rows) plan->most_unit_rows = source->unit_rows[unit];
    }
    plan->unit_start[source->unit_count] = row;
    plan->rows = row;
    return 0;
}

static void lay_out_even_batches(struct fb__plan *plan, bool drop_last)
{
    plan->batch_count = plan->rows / plan->batch_rows;
    if (drop_last)
        plan->rows = plan->batch_count * plan->batch_rows;
    else if (plan->rows % plan->batch_rows)
        plan->batch_count++;
}

/* Every unit that has rows is a batch. */
static int lay_out_unit_batches(struct fb__plan *plan, struct fb_error *error)
{
    for (uint64_t unit = 0; unit < plan->unit_count; unit++)
        if (plan->unit_start[unit + 1] > plan->unit_start[unit]) plan->batch_count++;
    void *memory;
    int code = fb__gate_alloc(plan->gate, FB_ACCOUNT_PLAN, (plan->batch_count + 1) * sizeof(uint64_t), &memory, error);
    if (code) return code;
    plan->batch_start = memory;
    uint64_t index = 0;
    for (uint64_t unit = 0; unit < plan->unit_count; unit++)
        if (plan->unit_start[unit + 1] > plan->unit_start[unit]) plan->batch_start[index++] = plan->unit_start[unit];
    plan->batch_start[index] = plan->rows;
    return 0;
}

/* Every batch between the first and the last of a unit's lies in that unit alone. */
static void count_batch_units(struct fb__plan *plan)
{
    uint64_t unit_count = 0; /* so far in batch `index` */
    uint64_t index = 0;
    for (uint64_t unit = 0; unit < plan->unit_count && plan->unit_start[unit] < plan->rows; unit++) {
        uint64_t end = plan->unit_start[unit + 1] < plan->rows ? plan->unit_start[unit + 1] : plan->rows;
        if (end == plan->unit_start[unit]) continue;
        uint64_t first = fb__plan_batch_of(plan, plan->unit_start[unit]);
        uint64_t last = fb__plan_batch_of(plan, end - 1);
        unit_count = first == index ? unit_count + 1 : 1;
        if (unit_count > plan->most_batch_units) plan->most_batch_units = unit_count;
        if (last != first) unit_count = 1;
        index = last;
    }
}

static int lay_out_batches(struct fb__plan *plan, const struct fb_loader_options *options, bool is_pulled,
                           struct fb_error *error)
{
    plan->batch_rows = options->batch_rows;
    if (is_pulled) {
        plan->rows = plan->batch_count = FB_UNKNOWN;
        return 0;
    }
    if (plan->batch_rows == 0) {
        int code = lay_out_unit_batches(plan, error);
        if (code) return code;
    } else {
        lay_out_even_batches(plan, options->drop_last);
    }
    count_batch_units(plan);
    return 0;
}

uint64_t fb__plan_batch_of(const struct fb__plan *plan, uint64_t row)
{
    if (row >= plan->rows) return plan->batch_count;
    if (!plan->batch_start) return row / plan->batch_rows;
    uint64_t first = 0; /* starts at or before row */
    uint64_t end = plan->batch_count;
    while (end - first > 1) {
        uint64_t middle = first + (end - first) / 2;
        if (plan->batch_start[middle] <= row)
            first = middle;
        else
            end = middle;
    }
    return first;
}

/* ---- columns ---- */

/* Heaviest column first, each to the set that is lightest so far: within 4/3 of the best split there is. */
static void split_columns(struct fb__plan *plan, const struct fb_source *source, uint64_t *set_weight,
                          uint32_t *set_of_column)
{
    for (uint32_t column = 0; column < plan->column_count; column++) set_of_column[column] = UINT32_MAX;
    for (uint32_t round = 0; round < plan->column_count; round++) {
        uint32_t heaviest = UINT32_MAX;
        for (uint32_t column = 0; column < plan->column_count; column++) {
            if (set_of_column[column] != UINT32_MAX) continue;
            if (heaviest == UINT32_MAX || source->costs[column].weight > source->costs[heaviest].weight)
                heaviest = column;
        }
        uint32_t lightest = 0;
        for (uint32_t set = 1; set < plan->set_count; set++)
            if (set_weight[set] < set_weight[lightest]) lightest = set;
        set_of_column[heaviest] = lightest;
        set_weight[lightest] = add_saturating(set_weight[lightest], source->costs[heaviest].weight);
    }
    uint32_t at = 0;
    for (uint32_t set = 0; set < plan->set_count; set++) {
        plan->set_begin[set] = at;
        for (uint32_t column = 0; column < plan->column_count; column++)
            if (set_of_column[column] == set) plan->set_columns[at++] = column;
    }
    plan->set_begin[plan->set_count] = at;
}

static int lay_out_columns(struct fb__plan *plan, const struct fb_source *source, struct fb_error *error)
{
    uint64_t weights_bytes = plan->set_count * sizeof(uint64_t);
    uint64_t sets_bytes = plan->column_count * sizeof(uint32_t);
    void *weights;
    void *sets;
    int code = fb__gate_alloc(plan->gate, FB_ACCOUNT_PLAN, weights_bytes, &weights, error);
    if (code) return code;
    code = fb__gate_alloc(plan->gate, FB_ACCOUNT_PLAN, sets_bytes, &sets, error);
    if (code) goto fail_sets;
    split_columns(plan, source, weights, sets);
    fb__gate_free(plan->gate, FB_ACCOUNT_PLAN, sets, sets_bytes);
fail_sets:
    fb__gate_free(plan->gate, FB_ACCOUNT_PLAN, weights, weights_bytes);
    return code;
}

/* ---- making ---- */

int fb__plan_init(struct fb__plan *plan, const struct fb_loader_options *options, const struct fb_source *source,
                  struct fb__pool *pool, struct fb_error *error)
{
    memset(plan, 0, sizeof *plan);
    plan->gate = fb__ledger_gate(pool->ledger);
    plan->unit_count = source->unit_count;
    plan->column_count = pool->layout.column_count;
    plan->thread_count = source->is_pulled ? 1 : options->thread_count;
    plan->set_count = plan->thread_count < plan->column_count ? plan->thread_count : plan->column_count;
    if (source->is_one_column_set && plan->set_count > 1) plan->set_count = 1;
    plan->batch_bytes = fb__pool_batch_bytes(pool);
    void *memory;
    int code = fb__gate_alloc(plan->gate, FB_ACCOUNT_PLAN, (plan->unit_count + 1) * sizeof(uint64_t), &memory, error);
    if (code) return code;
    plan->unit_start = memory;
    code = fb__gate_alloc(plan->gate, FB_ACCOUNT_PLAN, plan->column_count * sizeof(uint32_t), &memory, error);
    if (code) goto fail;
    plan->set_columns = memory;
    code = fb__gate_alloc(plan->gate, FB_ACCOUNT_PLAN, (plan->set_count + 1) * sizeof(uint32_t), &memory, error);
    if (code) goto fail;
    plan->set_begin = memory;
    code = lay_out_rows(plan, source, error);
    if (code) goto fail;
    code = lay_out_batches(plan, options, source->is_pulled, error);
    if (code) goto fail;
    code = lay_out_columns(plan, source, error);
    if (code) goto fail;
    return 0;
fail:
    fb__plan_destroy(plan);
    return code;
}

void fb__plan_destroy(struct fb__plan *plan)
{
    if (!plan->gate) return;
    fb__gate_free(plan->gate, FB_ACCOUNT_PLAN, plan->batch_start, (plan->batch_count + 1) * sizeof(uint64_t));
    fb__gate_free(plan->gate, FB_ACCOUNT_PLAN, plan->set_begin, (plan->set_count + 1) * sizeof(uint32_t));
    fb__gate_free(plan->gate, FB_ACCOUNT_PLAN, plan->set_columns, plan->column_count * sizeof(uint32_t));
    fb__gate_free(plan->gate, FB_ACCOUNT_PLAN, plan->unit_start, (plan->unit_count + 1) * sizeof(uint64_t));
    memset(plan, 0, sizeof *plan);
}

/* ---- bytes ---- */

/* What all sets of one unit's columns take while open. */
static uint64_t unit_read_bytes(const struct fb__plan *plan, const struct fb_source *source, uint64_t piece_rows)
{
    return fb__source_cursor_bytes(source, plan->set_columns, plan->column_count, piece_rows);
}

static uint64_t floor_bytes(const struct fb__plan *plan, const struct fb_source *source, const struct fb__pool *pool,
                            uint64_t piece_rows)
{
    uint64_t bytes = add_saturating(plan->batch_bytes, plan->batch_bytes);
    uint64_t extent_count = plan->thread_count > 1 && plan->most_batch_units > 0 ? plan->most_batch_units - 1 : 0;
    bytes = add_saturating(bytes, fb__pool_filling_bytes(pool, extent_count));
    return add_saturating(bytes, unit_read_bytes(plan, source, piece_rows));
}

/* Batches that take in two pieces' rows: threads on different columns of a unit may be that far apart. */
static uint64_t window_bytes(const struct fb__plan *plan, const struct fb_source *source, uint64_t piece_rows)
{
    bool has_pieces = source->is_streamed && !source->has_no_pieces;
    uint64_t batches = WINDOW_BATCHES_WITHOUT_PIECES;
    /* Where a batch is a unit, a piece lies within one. */
    if (has_pieces) batches = plan->batch_rows == 0 ? 2 : 2 * (piece_rows / plan->batch_rows + 1);
    return plan->batch_bytes > UINT64_MAX / batches ? UINT64_MAX : plan->batch_bytes * batches;
}

/*
 * Whether pieces of this size leave room for what makes them pay: the pieces of a unit and a half (a thread that is
 * done with its columns goes on to the next unit), and the batches to take in their rows.
 */
static bool pieces_fit(const struct fb__plan *plan, const struct fb_source *source, const struct fb__pool *pool,
                       uint64_t piece_rows, uint64_t free_bytes)
{
    uint64_t read_bytes = unit_read_bytes(plan, source, piece_rows);
    uint64_t bytes = add_saturating(floor_bytes(plan, source, pool, piece_rows), read_bytes / 2);
    return add_saturating(bytes, window_bytes(plan, source, piece_rows)) <= free_bytes;
}

/*
 * What reading above the frontier can make use of: the next unit's columns and a window of batches, for each unit that
 * the threads are on at a time. More would only be touched, not be faster: a thread that runs further ahead of the
 * others fills batches that wait for them.
 */
static uint64_t useful_extra_bytes(const struct fb__plan *plan, const struct fb_source *source)
{
    uint64_t unit_bytes =
        add_saturating(unit_read_bytes(plan, source, plan->piece_rows), window_bytes(plan, source, plan->piece_rows));
    uint64_t units = (plan->thread_count + plan->set_count - 1) / plan->set_count;
    return unit_bytes > UINT64_MAX / units ? UINT64_MAX : unit_bytes * units;
}

/* What batches ahead of the consumer may take of the bytes above the floor. */
static void settle_extra(struct fb__plan *plan, const struct fb_source *source, uint64_t above_bytes)
{
    if (source->is_pulled) {
        plan->extra_bytes = above_bytes / FB__PULLED_AHEAD_PART;
        return;
    }
    /* An eighth stays back for strings that are longer than estimated and for batches the user keeps. */
    plan->extra_bytes = above_bytes - above_bytes / 8;
    uint64_t useful_bytes = useful_extra_bytes(plan, source);
    if (plan->extra_bytes > useful_bytes) plan->extra_bytes = useful_bytes;
}

int fb__plan_settle(struct fb__plan *plan, const struct fb_source *source, struct fb__pool *pool, uint64_t limit_bytes,
                    struct fb_error *error)
{
    /* The peak is what making the plan took, a little above what is left of it. */
    uint64_t booked_bytes;
    fb__ledger_figures(pool->ledger, NULL, NULL, &booked_bytes);
    /* A piece has no more rows than its unit. */
    uint64_t most_rows = plan->most_unit_rows > 0 ? plan->most_unit_rows : 1;
    plan->piece_rows = most_rows < FB__PIECE_ROWS_LEAST ? most_rows : FB__PIECE_ROWS_LEAST;
    uint64_t least_bytes = add_saturating(booked_bytes, floor_bytes(plan, source, pool, plan->piece_rows));
    plan->least_bytes = least_bytes;
    if (least_bytes > limit_bytes)
        return fb__fail_bytes(error, least_bytes, limit_bytes,
                              "memory_limit is %llu bytes, but this plan needs at least %llu: raise memory_limit, or "
                              "choose a smaller batch_size or fewer columns",
                              (unsigned long long)limit_bytes, (unsigned long long)least_bytes);
    fb__ledger_lower_limit(pool->ledger, limit_bytes);
    uint64_t free_bytes = limit_bytes - booked_bytes;
    while (plan->piece_rows < most_rows && plan->piece_rows < FB__PIECE_ROWS_MOST &&
           pieces_fit(plan, source, pool, plan->piece_rows * 2, free_bytes))
        plan->piece_rows *= 2;
    plan->floor_bytes = floor_bytes(plan, source, pool, plan->piece_rows);
    uint64_t above_bytes = free_bytes - plan->floor_bytes;
    settle_extra(plan, source, above_bytes);
    fb__ledger_set_extra(pool->ledger, plan->extra_bytes, plan->batch_bytes);
    return 0;
}
