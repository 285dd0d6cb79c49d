/* The consumer's own filling of small batches; its state is the consumer's, so it needs no lock. */
#include "loader/inline.h"

#include <errno.h>

bool fb__inline_is_worthwhile(const struct fb__plan *plan, const struct fb_source *source, int64_t prefetch_batches)
{
    /* Who asks for batches ahead gets them from readers. */
    return !source->is_streamed && !source->is_pulled && prefetch_batches <= 0 &&
           plan->batch_bytes <= FB__INLINE_BYTES_MOST;
}

void fb__inline_begin(struct fb__inline *state, const struct fb__plan *plan)
{
    state->is_on = true;
    state->unit = state->row = state->batch_index = 0;
    while (state->unit < plan->unit_count && plan->unit_start[state->unit + 1] == 0) state->unit++;
}

static int open_unit(struct fb__inline *state, const struct fb__plan *plan, struct fb_source *source,
                     struct fb__pool *pool, struct fb_error *error)
{
    if (state->is_open) return 0;
    const struct fb__open_request request = {
        .unit = state->unit,
        .columns = plan->set_columns, /* all of them; a source in memory takes them in any order */
        .column_count = plan->column_count,
        .first_row = state->row - plan->unit_start[state->unit],
        .layout = &pool->layout,
        .ledger = pool->ledger,
    };
    int code = source->ops->open(source, &request, &state->room, error);
    if (code == 0) state->is_open = true;
    return code;
}

void fb__inline_end(struct fb__inline *state, struct fb_source *source)
{
    state->is_on = false;
    if (!state->is_open) return;
    source->ops->close(source, &state->room);
    state->is_open = false;
}

/* Fills all rows of the batch; state->row is the first of them, and stays so. */
static int fill(struct fb__inline *state, const struct fb__plan *plan, struct fb_source *source, struct fb__pool *pool,
                struct fb_batch *batch, struct fb_error *error)
{
    uint64_t first_row = state->row;
    uint64_t end_row = first_row + batch->row_count;
    while (state->row < end_row) {
        int code = open_unit(state, plan, source, pool, error);
        uint64_t unit_end = plan->unit_start[state->unit + 1];
        uint64_t part_rows = (unit_end < end_row ? unit_end : end_row) - state->row;
        uint64_t filled_rows = 0;
        if (code == 0)
            code =
                source->ops->fill(source, &state->room, batch, state->row - first_row, part_rows, &filled_rows, error);
        if (code) {
            state->row = first_row;
            return code;
        }
        state->row += part_rows;
        if (state->row < unit_end) break;
        source->ops->close(source, &state->room);
        state->is_open = false;
        while (state->unit < plan->unit_count && plan->unit_start[state->unit + 1] <= state->row) state->unit++;
    }
    return 0;
}

int fb__inline_next(struct fb__inline *state, const struct fb__plan *plan, struct fb_source *source,
                    struct fb__pool *pool, struct fb_batch **out, struct fb_error *error)
{
    *out = NULL;
    if (state->row >= plan->rows) return 0;
    uint64_t row_count = fb__plan_batch_end(plan, state->batch_index) - state->row;
    uint64_t first_row = state->row;
    struct fb_batch *batch;
    int code = fb__pool_try_take(pool, state->batch_index, row_count, &batch, error);
    if (code) return code;
    code = fill(state, plan, source, pool, batch, error);
    if (code == 0) {
        code = fb__batch_finish(batch, error);
        if (code) state->row = first_row;
    }
    if (code) {
        fb__pool_return(batch);
        return code;
    }
    state->batch_index++;
    *out = batch;
    return 0;
}
