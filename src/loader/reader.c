/*
 * What a reader thread does: takes the next task, opens a cursor for it, and fills one part (the rows that a task and
 * a batch have in common) at a step.
 *
 *     task --> reserve the cursor's bytes --> open --> [batch of the next row: find or open, reserving its bytes
 *              --> claim --> slot, if this part completes it --> fill --> hand it on when complete] ... --> close
 *
 * Progress: the reader at the lowest unfilled row is at the frontier, where the ledger always has room for it; it
 * never waits for a reader further on.
 */
#include <errno.h>
#include <stddef.h>

#include "loader/loader.h"

/* Smallest piece a decoder is asked for when it holds more than expected. */
#define PIECE_ROWS_SMALLEST 64

static const uint32_t *columns_of(const struct fb__plan *plan, uint32_t set, uint32_t *column_count)
{
    *column_count = plan->set_begin[set + 1] - plan->set_begin[set];
    return plan->set_columns + plan->set_begin[set];
}

/* The next task of the epoch; false where there is none. */
static bool take_task(struct fb__epoch *epoch, struct fb__worker *worker, struct fb__reader *reader)
{
    const struct fb__plan *plan = &epoch->loader->plan;
    bool has_task = false;
    fb__stage_input_acquire(epoch->stage, worker);
    fb__lock_acquire(&epoch->lock);
    while (!has_task && epoch->next_task < plan->unit_count * plan->set_count) {
        uint64_t unit = epoch->next_task / plan->set_count;
        uint64_t start = plan->unit_start[unit];
        if (start >= plan->rows || start >= epoch->error_row) break;
        if (plan->unit_start[unit + 1] == start) { /* no rows */
            epoch->next_task = (unit + 1) * plan->set_count;
            continue;
        }
        reader->unit = unit;
        reader->set = (uint32_t)(epoch->next_task % plan->set_count);
        reader->end = plan->unit_start[unit + 1] < plan->rows ? plan->unit_start[unit + 1] : plan->rows;
        reader->has_task = has_task = true;
        reader->position = start > epoch->first_row ? start : epoch->first_row;
        epoch->next_task++;
    }
    fb__lock_release(&epoch->lock);
    fb__stage_input_release(epoch->stage);
    return has_task;
}

static void close_cursor(struct fb__epoch *epoch, struct fb__reader *reader)
{
    struct fb_loader *loader = epoch->loader;
    if (!reader->is_open) return;
    loader->source->ops->close(loader->source, &reader->room);
    reader->is_open = false;
}

static void give_back_bytes(struct fb__epoch *epoch, struct fb__reader *reader)
{
    if (reader->grant.booked_bytes == 0) return;
    fb__ledger_release(epoch->loader->pool->ledger, &reader->grant);
}

/* A cancelled operation of the source itself must not pass for our own end. */
static int source_code(struct fb__epoch *epoch, int code, struct fb_error *error)
{
    if (code != ECANCELED || fb__stage_is_stopping(epoch->stage)) return code;
    fb__lock_acquire(&epoch->lock);
    bool has_failed = epoch->error_row != UINT64_MAX;
    fb__lock_release(&epoch->lock);
    if (has_failed) return code;
    if (error) error->code = EIO;
    return EIO;
}

static int reserve_cursor(struct fb__epoch *epoch, struct fb__worker *worker, struct fb__reader *reader,
                          struct fb_error *error)
{
    struct fb_loader *loader = epoch->loader;
    uint32_t column_count;
    const uint32_t *columns = columns_of(&loader->plan, reader->set, &column_count);
    reader->piece_rows = atomic_load(&epoch->piece_rows);
    uint64_t bytes = fb__source_cursor_bytes(loader->source, columns, column_count, reader->piece_rows);
    if (bytes == 0) return 0;
    fb__worker_enter(worker, FB__WORKER_WAITS_BYTES);
    int code = fb__ledger_reserve(loader->pool->ledger, &reader->grant, FB_ACCOUNT_READ,
                                  loader->plan.unit_start[reader->unit], bytes, FB__WAIT, error);
    fb__worker_enter(worker, FB__WORKER_BUSY);
    return code;
}

/* row: of the epoch, at which the cursor begins to fill. */
static int open_cursor(struct fb__epoch *epoch, struct fb__worker *worker, struct fb__reader *reader, uint64_t row,
                       struct fb_error *error)
{
    struct fb_loader *loader = epoch->loader;
    if (reader->grant.booked_bytes == 0) {
        int code = reserve_cursor(epoch, worker, reader, error);
        if (code) return code;
    }
    struct fb__open_request request = {
        .unit = reader->unit,
        .piece_rows = reader->piece_rows,
        .first_row = row - loader->plan.unit_start[reader->unit],
        .layout = &loader->pool->layout,
        .ledger = loader->pool->ledger,
        .grant = &reader->grant,
    };
    request.columns = columns_of(&loader->plan, reader->set, &request.column_count);
    int code = loader->source->ops->open(loader->source, &request, &reader->room, error);
    if (code) return source_code(epoch, code, error);
    reader->is_open = true;
    return 0;
}

/*
 * The decoder held more than the cursor has reserved and nothing more was free at that moment. Everything of it is
 * let go; then smaller pieces are tried, and once they are smallest, more bytes, in plan order.
 */
static int outgrown(struct fb__epoch *epoch, struct fb__worker *worker, struct fb__reader *reader,
                    struct fb_error *error)
{
    uint64_t missing_bytes = error->required_bytes;
    close_cursor(epoch, reader);
    if (reader->piece_rows > PIECE_ROWS_SMALLEST) {
        reader->piece_rows =
            reader->piece_rows / 4 > PIECE_ROWS_SMALLEST ? reader->piece_rows / 4 : PIECE_ROWS_SMALLEST;
        if (atomic_load(&epoch->piece_rows) > reader->piece_rows) atomic_store(&epoch->piece_rows, reader->piece_rows);
        return 0;
    }
    fb__worker_enter(worker, FB__WORKER_WAITS_BYTES);
    int code = fb__ledger_grow(epoch->loader->pool->ledger, &reader->grant, missing_bytes, FB__WAIT, error);
    fb__worker_enter(worker, FB__WORKER_BUSY);
    return code;
}

/* Fills the rows that the task and the batch of its next row have in common. */
static int fill_part(struct fb__epoch *epoch, struct fb__worker *worker, struct fb__reader *reader,
                     struct fb_error *error)
{
    struct fb_loader *loader = epoch->loader;
    const struct fb__plan *plan = &loader->plan;
    uint32_t column_count;
    (void)columns_of(plan, reader->set, &column_count);
    uint64_t index = fb__plan_batch_of(plan, reader->position);
    uint64_t batch_start = fb__plan_batch_start(plan, index);
    uint64_t batch_end = fb__plan_batch_end(plan, index);
    uint64_t end = batch_end < reader->end ? batch_end : reader->end;
    uint64_t row_count = end - reader->position;
    struct fb_batch *batch;
    int code = fb__epoch_open_batch(epoch, worker, index, &batch, error);
    if (code) return code;
    code = fb__epoch_claim(epoch, worker, batch, row_count * column_count);
    if (code) return code;
    uint64_t done = 0;
    while (done < row_count) {
        if (!reader->is_open) {
            code = open_cursor(epoch, worker, reader, reader->position + done, error);
            if (code) return code;
        }
        uint64_t filled_rows = 0;
        uint64_t place = reader->position + done - batch_start;
        code = loader->source->ops->fill(loader->source, &reader->room, batch, place, row_count - done, &filled_rows,
                                         error);
        done += filled_rows;
        if (code == EAGAIN) code = outgrown(epoch, worker, reader, error);
        if (code) return source_code(epoch, code, error);
    }
    code = fb__epoch_filled(epoch, worker, batch, row_count * column_count, error);
    if (code) return code;
    fb__lock_acquire(&epoch->lock);
    reader->position = end;
    fb__epoch_advance_locked(epoch);
    fb__lock_release(&epoch->lock);
    return 0;
}

/* What the ledger said in its own words, for the user: where it was, and what to do. */
static int refused(const struct fb__epoch *epoch, const struct fb__reader *reader, struct fb_error *error)
{
    uint64_t limit_bytes = error->limit_bytes;
    uint64_t missing_bytes = error->required_bytes > limit_bytes ? error->required_bytes - limit_bytes : 1;
    uint64_t required_bytes = fb__loader_limit_to_try(error);
    uint64_t row = reader->position - epoch->loader->plan.unit_start[reader->unit];
    fb__fail_bytes(error, required_bytes, limit_bytes,
                   "rows from %llu on need at least %llu bytes more than the limit of %llu: raise memory_limit to %llu "
                   "or more, or choose a smaller batch_size",
                   (unsigned long long)row, (unsigned long long)missing_bytes, (unsigned long long)limit_bytes,
                   (unsigned long long)required_bytes);
    fb__fail_at(error, (int64_t)reader->unit, (int64_t)row);
    return ENOBUFS;
}

int fb__reader_work(void *context, struct fb__worker *worker, struct fb_error *error)
{
    struct fb__epoch *epoch = context;
    struct fb__reader *reader = &epoch->readers[fb__worker_index(worker)];
    if (!reader->has_task) {
        if (!take_task(epoch, worker, reader)) return FB__STAGE_DONE;
    }
    int code = fill_part(epoch, worker, reader, error);
    if (code == ENOBUFS) return refused(epoch, reader, error);
    if (code || reader->position < reader->end) return code;
    close_cursor(epoch, reader);
    give_back_bytes(epoch, reader);
    fb__lock_acquire(&epoch->lock);
    reader->has_task = false;
    fb__epoch_advance_locked(epoch);
    fb__lock_release(&epoch->lock);
    return 0;
}

void fb__reader_let_go(void *context, struct fb__worker *worker, const struct fb_error *error)
{
    struct fb__epoch *epoch = context;
    struct fb__reader *reader = &epoch->readers[fb__worker_index(worker)];
    struct fb_source *source = epoch->loader->source;
    close_cursor(epoch, reader);
    give_back_bytes(epoch, reader);
    if (source->ops->leave) source->ops->leave(source);
    bool has_failed = error->code != 0 && error->code != ECANCELED;
    uint64_t error_row = 0;
    fb__lock_acquire(&epoch->lock);
    if (has_failed) {
        /* With preserve_order the batches before the failed one still come; without it nothing more does. */
        const struct fb__plan *plan = &epoch->loader->plan;
        if (epoch->preserve_order) error_row = fb__plan_batch_start(plan, fb__plan_batch_of(plan, reader->position));
        if (error_row < epoch->error_row) epoch->error_row = error_row;
        fb__parking_wake_all(&epoch->opened);
    }
    reader->has_task = false;
    fb__lock_release(&epoch->lock);
    if (!has_failed) return;
    fb__ledger_cancel(epoch->loader->pool->ledger, error_row);
    if (error_row == 0) fb__stage_refuse_slots(epoch->stage);
}
