/*
 * Sources of unknown length: one Arrow stream an epoch. A cursor holds the stream and at most one block of it, and lets
 * the block go with its last row.
 *
 * A block exists before it can be refused. The caller holds a grant of the largest one so far before each pull; what
 * the block takes beyond that is booked at once, or the block is released at once.
 *
 * Locking: none. A cursor is its thread's; an abandoned thread of an earlier epoch may have another one.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "data/arrow.h"
#include "source/source.h"

struct pull_source {
    struct fb_source base;
    struct fb_pull_source_callbacks callbacks;
    void *context;
    struct ArrowArrayStream stream; /* of fb_source_from_stream(), until an epoch takes it */
    atomic_bool is_read;            /* one has */
};

struct pull_cursor {
    struct fb__open_request request;
    struct ArrowArrayStream stream; /* released once it is over */
    struct ArrowArray block;        /* released between blocks */
    uint64_t block_row;             /* next row of the block */
    uint64_t row;                   /* that row's number in the stream */
};

_Static_assert(sizeof(struct pull_cursor) <= FB__CURSOR_BYTES, "a pull cursor fits its room");

static struct pull_source *pull_source_of(struct fb_source *source)
{
    return FB__CONTAINER_OF(source, struct pull_source, base);
}

static struct pull_cursor *cursor_in(union fb__cursor_room *room)
{
    return (struct pull_cursor *)(void *)room;
}

static int fail_here(const struct pull_cursor *cursor, int code, struct fb_error *error)
{
    (void)fb__fail_at(error, (int64_t)cursor->request.unit, (int64_t)cursor->row);
    return code;
}

/* ---- opening ---- */

static int open_pull(struct fb_source *base, const struct fb__open_request *request, union fb__cursor_room *room,
                     struct fb_error *error)
{
    struct pull_source *source = pull_source_of(base);
    assert(request->unit == 0 && request->first_row == 0);
    struct pull_cursor *cursor = cursor_in(room);
    memset(cursor, 0, sizeof *cursor);
    cursor->request = *request;
    if (error) error->code = 0;
    int code = source->callbacks.open(source->context, &cursor->stream, error);
    return fb__source_check_opened(request, code, "source", &cursor->stream, error);
}

/* ---- pulling ---- */

/* Books what the block takes beyond the grant; where that is refused, nothing of it was charged. */
static int book_block(struct fb_source *base, struct pull_cursor *cursor, struct fb_error *error)
{
    struct fb__ledger *ledger = cursor->request.ledger;
    struct fb__grant *grant = cursor->request.grant;
    uint64_t block_bytes = fb__arrow_block_bytes(&base->schema, &cursor->block);
    if (block_bytes <= grant->booked_bytes) return 0;
    uint64_t more_bytes = block_bytes - grant->booked_bytes;
    struct fb_error refusal = {0};
    int code = grant->booked_bytes == 0 ? fb__ledger_reserve(ledger, grant, FB_ACCOUNT_READ, FB__ORDER_NONE,
                                                             block_bytes, FB__NO_WAIT, &refusal)
                                        : fb__ledger_grow(ledger, grant, more_bytes, FB__NO_WAIT, &refusal);
    if (code == 0) {
        uint64_t largest_bytes = atomic_load(&base->largest_block_bytes);
        while (block_bytes > largest_bytes &&
               !atomic_compare_exchange_weak(&base->largest_block_bytes, &largest_bytes, block_bytes)) {
        }
        return 0;
    }
    fb__source_note_foreign(base, more_bytes);
    int64_t row_count = cursor->block.length;
    fb__arrow_release_array(&cursor->block);
    if (code != ENOBUFS) {
        if (error) *error = refusal;
        return code;
    }
    uint64_t limit_bytes = fb__ledger_limit(ledger);
    uint64_t together_bytes; /* block and batches like it */
    if (__builtin_mul_overflow(block_bytes, 1 + cursor->request.block_batches, &together_bytes))
        together_bytes = UINT64_MAX;
    uint64_t required_bytes = fb__source_pulled_limit(cursor->request.least_bytes, together_bytes);
    if (required_bytes < refusal.required_bytes) required_bytes = refusal.required_bytes;
    if (required_bytes <= limit_bytes) required_bytes = limit_bytes + 1;
    fb__fail_bytes(error, required_bytes, limit_bytes,
                   "the source gave a block of %" PRIu64 " bytes (%" PRId64 " rows), for which the limit of %" PRIu64
                   " bytes had no room: raise memory_limit to %" PRIu64
                   " or more, or have the source give smaller blocks",
                   block_bytes, row_count, limit_bytes, required_bytes);
    return ENOBUFS;
}

static int pull_block(struct fb_source *base, union fb__cursor_room *room, uint64_t *row_count, struct fb_error *error)
{
    struct pull_cursor *cursor = cursor_in(room);
    const struct fb__open_request *request = &cursor->request;
    assert(!cursor->block.release && cursor->stream.release);
    *row_count = 0;
    int code = fb__arrow_stream_next(&cursor->stream, &cursor->block, error);
    if (code) return fail_here(cursor, fb__source_foreign_code(code, error), error);
    cursor->block_row = 0;
    if (!cursor->block.release) {
        fb__arrow_release_stream(&cursor->stream);
        *row_count = FB__STREAM_IS_OVER;
        return 0;
    }
    code = fb__arrow_check_block(request->layout, request->columns, request->column_count, &cursor->block, error);
    if (code) return fail_here(cursor, code, error);
    if ((uint64_t)cursor->block.length > (uint64_t)INT64_MAX - cursor->row)
        return fail_here(cursor, fb__fail(error, EINVAL, "the stream has more than 2^63 rows"), error);
    code = book_block(base, cursor, error);
    if (code) return code;
    *row_count = (uint64_t)cursor->block.length;
    if (*row_count == 0) fb__arrow_release_array(&cursor->block);
    return 0;
}

static int fill_from_block(struct fb_source *base, union fb__cursor_room *room, struct fb_batch *batch, uint64_t place,
                           uint64_t row_count, uint64_t *filled_rows, struct fb_error *error)
{
    (void)base;
    struct pull_cursor *cursor = cursor_in(room);
    assert(cursor->block.release && row_count <= (uint64_t)cursor->block.length - cursor->block_row);
    *filled_rows = 0;
    /* As many rows as the batch has room for are like these, for all that is known. */
    int code = fb__source_copy(&cursor->request, &cursor->block, cursor->block_row, batch, place, row_count,
                               batch->row_count - place, cursor->row, error);
    if (code) return code;
    *filled_rows = row_count;
    cursor->block_row += row_count;
    cursor->row += row_count;
    if (cursor->block_row == (uint64_t)cursor->block.length) fb__arrow_release_array(&cursor->block);
    return 0;
}

static void close_pull(struct fb_source *base, union fb__cursor_room *room)
{
    (void)base;
    struct pull_cursor *cursor = cursor_in(room);
    fb__arrow_release_array(&cursor->block);
    fb__arrow_release_stream(&cursor->stream);
}

static void leave_pull(struct fb_source *base)
{
    struct pull_source *source = pull_source_of(base);
    if (source->callbacks.leave) source->callbacks.leave(source->context);
}

static void destroy_pull(struct fb_source *base)
{
    struct pull_source *source = pull_source_of(base);
    if (source->callbacks.release) source->callbacks.release(source->context);
    fb__arrow_release_stream(&source->stream);
    fb__source_free(base);
}

static const struct fb__source_ops pull_ops = {
    .open = open_pull,
    .fill = fill_from_block,
    .close = close_pull,
    .pull = pull_block,
    .leave = leave_pull,
    .destroy = destroy_pull,
};

/* ---- making ---- */

int fb__source_make_pull(struct fb__gate *gate, const struct ArrowSchema *schema,
                         const struct fb_pull_source_callbacks *callbacks, void *context, struct fb_source **out,
                         struct fb_error *error)
{
    if (!callbacks || !callbacks->open) return fb__fail(error, EINVAL, "a pulled source needs an open callback");
    int code = fb__layout_check_schema(schema, error);
    if (code) return code;
    const struct fb__source_parts parts = {
        .ops = &pull_ops, .struct_bytes = sizeof(struct pull_source), .schema = schema};
    struct fb_source *base;
    code = fb__source_make(gate, &parts, &base, error);
    if (code) return code;
    struct pull_source *source = pull_source_of(base);
    base->is_pulled = true;
    base->plan_bytes += callbacks->context_bytes;
    source->callbacks = *callbacks;
    source->context = context;
    *out = base;
    return 0;
}

int fb_source_from_pull(const struct ArrowSchema *schema, const struct fb_pull_source_callbacks *callbacks,
                        void *context, struct fb_source **out, struct fb_error *error)
{
    struct fb__gate gate;
    fb__source_gate_init(&gate);
    return fb__source_make_pull(&gate, schema, callbacks, context, out, error);
}

/* ---- one stream, read once ---- */

static int open_once(void *context, struct ArrowArrayStream *out, struct fb_error *error)
{
    struct pull_source *source = context;
    if (atomic_exchange(&source->is_read, true))
        return fb__fail(error, EIO, "the stream was read in an earlier epoch, and can be read only once");
    *out = source->stream;
    source->stream.release = NULL;
    return 0;
}

int fb__source_make_stream(struct fb__gate *gate, struct ArrowArrayStream *stream, struct fb_source **out,
                           struct fb_error *error)
{
    const struct fb_pull_source_callbacks callbacks = {.open = open_once};
    struct ArrowSchema schema;
    int code = fb__arrow_stream_schema(stream, &schema, error);
    if (code) return fb__source_foreign_code(code, error);
    struct fb_source *base;
    code = fb__source_make_pull(gate, &schema, &callbacks, NULL, &base, error);
    fb__arrow_release_schema(&schema);
    if (code) return code;
    struct pull_source *source = pull_source_of(base);
    source->context = source;
    source->stream = *stream;
    stream->release = NULL;
    *out = base;
    return 0;
}

int fb_source_from_stream(struct ArrowArrayStream *stream, struct fb_source **out, struct fb_error *error)
{
    struct fb__gate gate;
    fb__source_gate_init(&gate);
    return fb__source_make_stream(&gate, stream, out, error);
}
