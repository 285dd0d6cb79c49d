/*
 * Units that are opened as Arrow C streams. A cursor holds one stream and at most one block of it, copies the block's
 * rows to batches, and lets the block go with its last row.
 *
 * What the decoder allocates is its own business until it is compared, after every pull, with what FB_ACCOUNT_READ
 * books: the cursor that sees more than is booked books the rest, or lets everything go where that is refused.
 *
 * Locking: none. Cursors share the callbacks, whose context is the caller's to guard, and one atomic counter.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "data/copy.h"
#include "data/text.h"
#include "source/source.h"

struct stream_source {
    struct fb_source base;
    struct fb_stream_source_callbacks callbacks;
    void *context;
};

struct stream_cursor {
    struct fb__open_request request;
    struct ArrowArrayStream stream; /* released once the unit has ended */
    struct ArrowArray block;        /* released between blocks */
    uint64_t block_row;             /* next row of the block */
    uint64_t unit_row;              /* that row's number in the unit */
};

_Static_assert(sizeof(struct stream_cursor) <= FB__STREAM_CURSOR_BYTES && FB__STREAM_CURSOR_BYTES <= FB__CURSOR_BYTES,
               "a stream cursor fits its room");

static struct stream_source *stream_source_of(struct fb_source *source)
{
    return FB__CONTAINER_OF(source, struct stream_source, base);
}

static struct stream_cursor *cursor_in(union fb__cursor_room *room)
{
    return (struct stream_cursor *)(void *)room;
}

/* The error is about the cursor's unit and next row. */
static int fail_here(const struct stream_cursor *cursor, int code, struct fb_error *error)
{
    (void)fb__fail_at(error, (int64_t)cursor->request.unit, (int64_t)cursor->unit_row);
    return code;
}

static void let_go(struct stream_cursor *cursor)
{
    fb__arrow_release_array(&cursor->block);
    fb__arrow_release_stream(&cursor->stream);
}

/* ---- opening ---- */

static int open_stream(struct fb_source *base, const struct fb__open_request *request, union fb__cursor_room *room,
                       struct fb_error *error)
{
    struct stream_source *source = stream_source_of(base);
    assert(request->unit < base->unit_count && request->first_row <= base->unit_rows[request->unit]);
    struct stream_cursor *cursor = cursor_in(room);
    memset(cursor, 0, sizeof *cursor);
    cursor->request = *request;
    if (error) error->code = 0;
    int code = source->callbacks.open(source->context, request->unit, request->columns, request->column_count,
                                      request->piece_rows, &cursor->stream, error);
    return fb__source_check_opened(request, code, "unit", &cursor->stream, error);
}

/* ---- pulling ---- */

/*
 * Bytes that the decoder holds and FB_ACCOUNT_READ does not book. What is booked there for columns that are decoded
 * here is not the decoder's; it is read before and after, since cursors may open and close meanwhile: the smaller one
 * is booked for sure.
 */
static uint64_t unbooked_bytes(const struct stream_source *source, const struct stream_cursor *cursor)
{
    uint64_t held_bytes = source->callbacks.allocated_bytes(source->context);
    uint64_t here_bytes = atomic_load(&source->base.decoded_here_bytes);
    uint64_t booked_bytes = fb__ledger_account_bytes(cursor->request.ledger, FB_ACCOUNT_READ);
    uint64_t later_bytes = atomic_load(&source->base.decoded_here_bytes);
    if (later_bytes < here_bytes) here_bytes = later_bytes;
    booked_bytes = booked_bytes > here_bytes ? booked_bytes - here_bytes : 0;
    return held_bytes > booked_bytes ? held_bytes - booked_bytes : 0;
}

static int true_up(struct stream_source *source, struct stream_cursor *cursor, struct fb_error *error)
{
    if (!source->callbacks.allocated_bytes) return 0;
    uint64_t missing_bytes = unbooked_bytes(source, cursor);
    if (missing_bytes == 0) return 0;
    struct fb__ledger *ledger = cursor->request.ledger;
    int code = fb__ledger_grow(ledger, cursor->request.grant, missing_bytes, FB__NO_WAIT, error);
    if (code != ENOBUFS) return code ? fail_here(cursor, code, error) : 0;
    /* Another cursor may have booked the same bytes in between. */
    missing_bytes = unbooked_bytes(source, cursor);
    if (missing_bytes == 0) return 0;
    fb__source_note_foreign(&source->base, missing_bytes);
    let_go(cursor);
    (void)fb__fail_bytes(error, missing_bytes, fb__ledger_limit(ledger),
                         "the decoder holds %" PRIu64 " bytes more than the limit had room for", missing_bytes);
    if (error) error->code = EAGAIN;
    return fail_here(cursor, EAGAIN, error);
}

static int fail_rows(const struct stream_cursor *cursor, const char *how, uint64_t given_rows, uint64_t unit_rows,
                     struct fb_error *error)
{
    int code = fb__fail(error, EIO, "the unit gave %s%" PRIu64 " rows where %" PRIu64 " were announced", how,
                        given_rows, unit_rows);
    return fail_here(cursor, code, error);
}

/*
 * The next block that has rows, checked; at the end of the stream the block is released and the stream too.
 * unit_row is the block's first row.
 */
static int pull(struct stream_source *source, struct stream_cursor *cursor, struct fb_error *error)
{
    const struct fb__open_request *request = &cursor->request;
    uint64_t unit_rows = source->base.unit_rows[request->unit];
    for (;;) {
        int code = fb__arrow_stream_next(&cursor->stream, &cursor->block, error);
        if (code) return fail_here(cursor, fb__source_foreign_code(code, error), error);
        cursor->block_row = 0;
        if (!cursor->block.release) {
            let_go(cursor);
            return 0;
        }
        code = true_up(source, cursor, error);
        if (code) return code;
        code = fb__arrow_check_block(request->layout, request->columns, request->column_count, &cursor->block, error);
        if (code) return fail_here(cursor, code, error);
        uint64_t block_rows = (uint64_t)cursor->block.length;
        if (block_rows > unit_rows - cursor->unit_row)
            return fail_rows(cursor, "at least ", cursor->unit_row + block_rows, unit_rows, error);
        if (block_rows > 0) return 0;
        fb__arrow_release_array(&cursor->block);
    }
}

/* Moves on by row_count rows of the block, which goes with its last one. */
static void advance(struct stream_cursor *cursor, uint64_t row_count)
{
    cursor->block_row += row_count;
    cursor->unit_row += row_count;
    if (cursor->block_row == (uint64_t)cursor->block.length) fb__arrow_release_array(&cursor->block);
}

/* Rows ready in the block, most at most; pulls where there are none. A stream that ends before is an error. */
static int rows_at_hand(struct stream_source *source, struct stream_cursor *cursor, uint64_t most_rows,
                        uint64_t *row_count, struct fb_error *error)
{
    if (!cursor->block.release) {
        int code = pull(source, cursor, error);
        if (code) return code;
        if (!cursor->block.release)
            return fail_rows(cursor, "only ", cursor->unit_row, source->base.unit_rows[cursor->request.unit], error);
    }
    uint64_t left_rows = (uint64_t)cursor->block.length - cursor->block_row;
    *row_count = left_rows < most_rows ? left_rows : most_rows;
    return 0;
}

/* ---- filling ---- */

static int fill_from_stream(struct fb_source *base, union fb__cursor_room *room, struct fb_batch *batch, uint64_t place,
                            uint64_t row_count, uint64_t *filled_rows, struct fb_error *error)
{
    struct stream_source *source = stream_source_of(base);
    struct stream_cursor *cursor = cursor_in(room);
    uint64_t unit_rows = base->unit_rows[cursor->request.unit];
    uint64_t begin = cursor->unit_row < cursor->request.first_row ? cursor->request.first_row : cursor->unit_row;
    assert(row_count <= unit_rows - begin);
    *filled_rows = 0;
    int code = 0;
    uint64_t run_rows = 0;
    while (cursor->unit_row < begin) {
        code = rows_at_hand(source, cursor, begin - cursor->unit_row, &run_rows, error);
        if (code) return code;
        advance(cursor, run_rows);
    }
    while (*filled_rows < row_count) {
        uint64_t expected_rows = row_count - *filled_rows;
        code = rows_at_hand(source, cursor, expected_rows, &run_rows, error);
        if (code) return code;
        code = fb__source_copy(&cursor->request, &cursor->block, cursor->block_row, batch, place + *filled_rows,
                               run_rows, expected_rows, cursor->unit_row, error);
        if (code) return code;
        advance(cursor, run_rows);
        *filled_rows += run_rows;
    }
    /* With the unit's last row: whatever the stream still has to say, an error or rows too many, is said now. */
    if (cursor->unit_row == unit_rows && cursor->stream.release) return pull(source, cursor, error);
    return 0;
}

static void close_stream(struct fb_source *base, union fb__cursor_room *room)
{
    (void)base;
    let_go(cursor_in(room));
}

static void leave_streams(struct fb_source *base)
{
    struct stream_source *source = stream_source_of(base);
    if (source->callbacks.leave) source->callbacks.leave(source->context);
}

/* ---- making ---- */

static void destroy_streams(struct fb_source *base)
{
    struct stream_source *source = stream_source_of(base);
    if (source->callbacks.release) source->callbacks.release(source->context);
    fb__source_free(base);
}

static const struct fb__source_ops stream_ops = {
    .open = open_stream,
    .fill = fill_from_stream,
    .close = close_stream,
    .leave = leave_streams,
    .destroy = destroy_streams,
};

int fb__source_make_streams(struct fb__gate *gate, const struct ArrowSchema *schema, const uint64_t *unit_rows,
                            uint64_t unit_count, const struct fb_stream_column_cost *costs,
                            const struct fb_stream_source_callbacks *callbacks, void *context, struct fb_source **out,
                            struct fb_error *error)
{
    if (!callbacks || !callbacks->open) return fb__fail(error, EINVAL, "a stream source needs an open callback");
    int code = fb__layout_check_schema(schema, error);
    if (code) return code;
    if (!unit_rows && unit_count > 0) return fb__fail(error, EINVAL, "the rows of the units are missing");
    if (!costs && schema->n_children > 0) return fb__fail(error, EINVAL, "the costs of the columns are missing");
    for (int64_t i = 0; i < schema->n_children; i++)
        if (costs[i].weight == 0)
            return fb__fail(error, EINVAL, "column '%.*s': its weight is 0",
                            fb__text_shown_bytes(schema->children[i]->name), schema->children[i]->name);
    for (uint64_t unit = 0; unit < unit_count; unit++)
        if (unit_rows[unit] > (uint64_t)INT64_MAX)
            return fb__fail(error, EINVAL, "unit %" PRIu64 " has more than 2^63 - 1 rows", unit);
    const struct fb__source_parts parts = {
        .ops = &stream_ops,
        .struct_bytes = sizeof(struct stream_source),
        .schema = schema,
        .unit_count = unit_count,
        .unit_rows = unit_rows,
        .costs = costs,
        .is_streamed = true,
    };
    struct fb_source *base;
    code = fb__source_make(gate, &parts, &base, error);
    if (code) return code;
    struct stream_source *source = stream_source_of(base);
    base->plan_bytes += callbacks->context_bytes;
    source->callbacks = *callbacks;
    source->context = context;
    *out = base;
    return 0;
}

int fb_source_from_streams(const struct ArrowSchema *schema, const uint64_t *unit_rows, uint64_t unit_count,
                           const struct fb_stream_column_cost *costs,
                           const struct fb_stream_source_callbacks *callbacks, void *context, struct fb_source **out,
                           struct fb_error *error)
{
    struct fb__gate gate;
    fb__source_gate_init(&gate);
    return fb__source_make_streams(&gate, schema, unit_rows, unit_count, costs, callbacks, context, out, error);
}
