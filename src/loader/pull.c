/*
 * What the one thread of a source of unknown length does. A step is one pull, or one copy of rows:
 *
 *     slot --> batch, reserving its bytes --> [bytes of the largest block so far --> pull] --> copy --> hand it on when full
 *
 * The slot comes first, so that nothing is pulled that nobody has room for; with a bound of 0 that is when the consumer
 * asks. What is at hand when the stream ends is the last batch.
 *
 * Bytes. The batch that the consumer gets next may use everything that is free; those ahead of it may use the extra
 * bytes only: the frontier is the first row not yet delivered, and the consumer moves it. Blocks are of no order.
 *
 * Lock model: as in epoch.h. The queue keeps the order that batches are put in.
 */
#include <assert.h>
#include <errno.h>

#include "loader/loader.h"

/* The source's ECANCELED must not pass for our own end. */
static int source_code(struct fb__epoch *epoch, int code, struct fb_error *error)
{
    if (code != ECANCELED || fb__stage_is_stopping(epoch->stage)) return code;
    if (error) error->code = EIO;
    return EIO;
}

static void set_task(struct fb__epoch *epoch, struct fb__reader *reader, bool has_task)
{
    fb__lock_acquire(&epoch->lock);
    reader->has_task = has_task;
    fb__lock_release(&epoch->lock);
}

static int open_stream(struct fb__epoch *epoch, struct fb__reader *reader, struct fb_error *error)
{
    struct fb_loader *loader = epoch->loader;
    const struct fb__open_request request = {
        .columns = loader->plan.set_columns,
        .column_count = loader->plan.column_count,
        .layout = &loader->pool->layout,
        .ledger = loader->pool->ledger,
        .grant = &reader->grant,
        .least_bytes = loader->plan.least_bytes,
        .block_batches = loader->plan.batch_rows == 0 ? 2 : 0, /* one held, one being filled */
    };
    set_task(epoch, reader, true);
    int code = loader->source->ops->open(loader->source, &request, &reader->room, error);
    if (code) return source_code(epoch, code, error);
    reader->is_open = true;
    return 0;
}

/* What the ledger said in its own words, for the user. */
static int refused(uint64_t block_bytes, struct fb_error *error)
{
    uint64_t limit_bytes = error->limit_bytes;
    uint64_t missing_bytes = error->required_bytes > limit_bytes ? error->required_bytes - limit_bytes : 1;
    uint64_t required_bytes = fb__loader_limit_to_try(error);
    return fb__fail_bytes(error, required_bytes, limit_bytes,
                          "batches beside a block of %llu bytes need at least %llu bytes more than the limit of %llu: "
                          "raise memory_limit to %llu or more, or choose a smaller batch_size",
                          (unsigned long long)block_bytes, (unsigned long long)missing_bytes,
                          (unsigned long long)limit_bytes, (unsigned long long)required_bytes);
}

static int begin_batch(struct fb__epoch *epoch, struct fb__worker *worker, struct fb__reader *reader,
                       uint64_t row_count, struct fb_error *error)
{
    fb__worker_enter(worker, FB__WORKER_WAITS_BYTES);
    int code =
        fb__pool_take(epoch->loader->pool, reader->next_index, row_count, reader->position, &reader->batch, error);
    fb__worker_enter(worker, FB__WORKER_BUSY);
    reader->filled_rows = 0;
    return code == ENOBUFS ? refused(reader->grant.booked_bytes, error) : code;
}

/* The bytes of the largest block so far, where the grant has less. */
static int reserve_block(struct fb__epoch *epoch, struct fb__worker *worker, struct fb__reader *reader,
                         struct fb_error *error)
{
    struct fb_loader *loader = epoch->loader;
    struct fb__ledger *ledger = loader->pool->ledger;
    uint64_t bytes = atomic_load(&loader->source->largest_block_bytes);
    if (bytes <= reader->grant.booked_bytes) return 0;
    fb__worker_enter(worker, FB__WORKER_WAITS_BYTES);
    int code = reader->grant.booked_bytes == 0
                   ? fb__ledger_reserve(ledger, &reader->grant, FB_ACCOUNT_READ, FB__ORDER_NONE, bytes, FB__WAIT, error)
                   : fb__ledger_grow(ledger, &reader->grant, bytes - reader->grant.booked_bytes, FB__WAIT, error);
    fb__worker_enter(worker, FB__WORKER_BUSY);
    return code;
}

/* *is_over: there is no further block. A block without rows leaves block_rows 0. */
static int pull(struct fb__epoch *epoch, struct fb__worker *worker, struct fb__reader *reader, bool *is_over,
                struct fb_error *error)
{
    struct fb_source *source = epoch->loader->source;
    *is_over = false;
    int code = reserve_block(epoch, worker, reader, error);
    if (code == ENOBUFS) return refused(atomic_load(&source->largest_block_bytes), error);
    if (code) return code;
    uint64_t row_count = 0;
    code = source->ops->pull(source, &reader->room, &row_count, error);
    if (code) return source_code(epoch, code, error);
    *is_over = row_count == FB__STREAM_IS_OVER;
    reader->block_rows = *is_over ? 0 : row_count;
    /* A thread that was abandoned in there has no part in the epoch any more. */
    return fb__stage_is_stopping(epoch->stage) ? ECANCELED : 0;
}

static int hand_on(struct fb__epoch *epoch, struct fb__worker *worker, struct fb__reader *reader,
                   struct fb_error *error)
{
    struct fb_batch *batch = reader->batch;
    batch->row_count = reader->filled_rows; /* the last one may be short */
    int code = fb__batch_finish(batch, error);
    if (code) return code;
    reader->batch = NULL;
    reader->next_index++;
    fb__lock_acquire(&epoch->lock);
    reader->position += batch->row_count;
    fb__lock_release(&epoch->lock);
    fb__stage_put(epoch->stage, worker, &batch->link, false);
    return 0;
}

static int fill(struct fb__epoch *epoch, struct fb__worker *worker, struct fb__reader *reader, struct fb_error *error)
{
    struct fb_source *source = epoch->loader->source;
    struct fb_batch *batch = reader->batch;
    uint64_t left_rows = batch->row_count - reader->filled_rows;
    uint64_t row_count = left_rows < reader->block_rows ? left_rows : reader->block_rows;
    uint64_t filled_rows = 0;
    int code = source->ops->fill(source, &reader->room, batch, reader->filled_rows, row_count, &filled_rows, error);
    if (code == ENOBUFS) return refused(reader->grant.booked_bytes, error);
    if (code) return source_code(epoch, code, error);
    assert(filled_rows == row_count);
    reader->filled_rows += row_count;
    reader->block_rows -= row_count;
    return reader->filled_rows < batch->row_count ? 0 : hand_on(epoch, worker, reader, error);
}

/* The stream is over: hands the rows at hand on, if they are wanted, and says how many batches there were. */
static int end_stream(struct fb__epoch *epoch, struct fb__worker *worker, struct fb__reader *reader,
                      struct fb_error *error)
{
    bool has_last = reader->batch && reader->filled_rows > 0 && !epoch->loader->drop_last;
    if (has_last) {
        int code = hand_on(epoch, worker, reader, error);
        if (code) return code;
    }
    fb__lock_acquire(&epoch->lock);
    epoch->batch_count = reader->next_index;
    reader->has_task = false;
    fb__lock_release(&epoch->lock);
    return FB__STAGE_DONE;
}

int fb__pull_work(void *context, struct fb__worker *worker, struct fb_error *error)
{
    struct fb__epoch *epoch = context;
    struct fb__reader *reader = &epoch->readers[fb__worker_index(worker)];
    uint64_t batch_rows = epoch->loader->plan.batch_rows;
    /* There is no other worker whose result could come before: only room in the queue is waited for. */
    int code = fb__stage_take_slot(epoch->stage, worker, 0);
    if (code) return code;
    if (!reader->batch && batch_rows > 0) {
        code = begin_batch(epoch, worker, reader, batch_rows, error);
        if (code) return code;
    }
    if (!reader->is_open) {
        code = open_stream(epoch, reader, error);
        if (code) return code;
    }
    if (reader->block_rows == 0) {
        bool is_over;
        code = pull(epoch, worker, reader, &is_over, error);
        if (code) return code;
        if (is_over) return end_stream(epoch, worker, reader, error);
        if (reader->block_rows == 0) return 0;
    }
    if (!reader->batch) {
        code = begin_batch(epoch, worker, reader, reader->block_rows, error);
        if (code) return code;
    }
    return fill(epoch, worker, reader, error);
}

void fb__pull_let_go(void *context, struct fb__worker *worker, const struct fb_error *error)
{
    struct fb__epoch *epoch = context;
    struct fb__reader *reader = &epoch->readers[fb__worker_index(worker)];
    struct fb_source *source = epoch->loader->source;
    (void)error;
    if (reader->batch) fb__pool_return(reader->batch);
    reader->batch = NULL;
    if (reader->is_open) source->ops->close(source, &reader->room);
    reader->is_open = false;
    if (reader->grant.booked_bytes > 0) fb__ledger_release(epoch->loader->pool->ledger, &reader->grant);
    if (source->ops->leave) source->ops->leave(source);
    set_task(epoch, reader, false);
}
