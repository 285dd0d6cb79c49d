/*
 * The plan: which rows of which units make batch k, which columns are read side by side, and the bytes of it all.
 *
 * The epoch is one line of rows: unit after unit. Batch k is rows [k * batch_rows, (k + 1) * batch_rows) of it.
 * Columns are split into sets; a task is one set of columns of one unit, and tasks are numbered unit by unit:
 *
 *      task = unit * set_count + set
 *
 * set_count is never above the number of reader threads. That is what makes progress certain: tasks are taken in
 * order, so when every thread is on a later column set of one unit, no set of that unit can be left without a thread.
 *
 * Bytes. The floor is what the lowest unfinished batch needs while the user holds one batch and gets another, and what
 * its strings take beside it while threads fill it and until they are joined: an extent for each further unit that it
 * has rows of, in every column with a variable part (one thread needs but one: it goes on where it was). The least is the floor with the smallest pieces, beside what is booked already. Memory
 * above it buys, in this order: larger pieces, then columns of a second unit, then batches ahead.
 */
#ifndef FB_LOADER_PLAN_H
#define FB_LOADER_PLAN_H

#include "data/pool.h"
#include "source/source.h"

struct fb__plan {
    struct fb__gate *gate;
    uint64_t *unit_start;     /* row of the epoch at which each unit starts; unit_count + 1 entries */
    uint64_t unit_count;
    uint64_t most_unit_rows;  /* rows of the largest unit */
    uint64_t rows;            /* rows delivered: without a last batch that drop_last leaves out; FB_UNKNOWN where the
                                 source is pulled: it has no units, and its batches are counted as they come */
    uint64_t batch_rows;      /* 0: a batch is a unit that has rows, or a block of a pulled source */
    uint64_t batch_count;     /* FB_UNKNOWN likewise */
    uint64_t *batch_start;    /* batch_rows 0: row at which each batch starts; batch_count + 1 entries. Else NULL */
    uint64_t most_batch_units; /* of rows that lie in one batch; 0 where there are none, or no units are known */
    uint32_t column_count;
    uint32_t thread_count;
    uint32_t set_count;
    uint32_t *set_columns;    /* columns of set 0, then of set 1, ...; ascending within a set */
    uint32_t *set_begin;      /* set_count + 1 entries */
    uint64_t piece_rows;
    uint64_t batch_bytes;
    uint64_t floor_bytes;
    uint64_t extra_bytes;
    uint64_t least_bytes;
};

#define FB__PIECE_ROWS_LEAST 1024
#define FB__PIECE_ROWS_MOST (64 * 1024)

/*
 * Works the plan out. Its memory is booked in FB_ACCOUNT_PLAN of the pool's ledger.
 * options, source, pool: [borrow].
 */
FB_MUST_CHECK int fb__plan_init(struct fb__plan *plan, const struct fb_loader_options *options,
                                const struct fb_source *source, struct fb__pool *pool, struct fb_error *error);

/*
 * Settles pieces, floor and extra once everything that lives as long as the loader is booked, and lowers the ledger's
 * limit to limit_bytes. ENOBUFS with the figures when that is below the least.
 */
FB_MUST_CHECK int fb__plan_settle(struct fb__plan *plan, const struct fb_source *source, struct fb__pool *pool,
                                  uint64_t limit_bytes, struct fb_error *error);
void fb__plan_destroy(struct fb__plan *plan);

/* The batch that has row of the epoch; batch_count for the row after the last. */
uint64_t fb__plan_batch_of(const struct fb__plan *plan, uint64_t row);

/* The first row of batch `index`, which may be batch_count: then the row after the last. */
static inline uint64_t fb__plan_batch_start(const struct fb__plan *plan, uint64_t index)
{
    if (plan->batch_start) return plan->batch_start[index];
    uint64_t start;
    return __builtin_mul_overflow(index, plan->batch_rows, &start) || start > plan->rows ? plan->rows : start;
}

static inline uint64_t fb__plan_batch_end(const struct fb__plan *plan, uint64_t index)
{
    return fb__plan_batch_start(plan, index + 1);
}

#endif
