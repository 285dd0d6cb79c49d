/*
 * Sources of other people's making: the fill interface as forebay.h shows it. A callback gets a struct fb_fill, the
 * rows that it is asked for, and fills them column by column; how many rows of each column it has filled is counted,
 * so that a batch never goes out with rows that nobody wrote.
 *
 *     cursor = what the source's own open gave + rows filled so far, one number a column
 *
 * The first thing that goes wrong inside fb_fill_*() is kept and holds, whatever the callback makes of it: a refusal
 * of the ledger or a cancelled wait must reach the reader as what it is, and codes of the callback's own must not be
 * taken for one of those.
 *
 * Locking: none. A cursor is one thread's; the context is the source's to guard.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "data/copy.h"
#include "data/text.h"
#include "source/source.h"

/* What a column takes in a cursor's table: a number of rows, and as much again for whole pages. */
#define SLOT_BYTES (2 * sizeof(uint64_t))

struct custom_source {
    struct fb_source base;
    struct fb_fill_source_callbacks callbacks;
    void *context;
};

struct custom_cursor {
    struct fb__open_request request;
    void *cursor;          /* the source's own */
    uint64_t *filled_rows; /* of the fill in progress, one a column of the request; NULL where it has none */
    uint64_t row;          /* next row of the unit */
};

struct fb_fill {
    const struct custom_cursor *cursor;
    const struct ArrowSchema *schema;
    struct fb_batch *batch;
    uint64_t place; /* of the first row in the batch */
    uint64_t row_count;
    struct fb_error failure; /* the first thing that fb_fill_*() refused; code 0: nothing */
};

_Static_assert(sizeof(struct custom_cursor) <= FB__CURSOR_BYTES, "a custom cursor fits its room");

static struct custom_source *custom_source_of(struct fb_source *source)
{
    return FB__CONTAINER_OF(source, struct custom_source, base);
}

static struct custom_cursor *cursor_in(union fb__cursor_room *room)
{
    return (struct custom_cursor *)(void *)room;
}

static uint64_t table_bytes_of(const struct custom_cursor *cursor)
{
    return cursor->request.column_count * sizeof(uint64_t);
}

/* ---- what a fill is asked for ---- */

uint64_t fb_fill_unit(const struct fb_fill *fill)
{
    return fill->cursor->request.unit;
}

uint64_t fb_fill_first_row(const struct fb_fill *fill)
{
    return fill->cursor->row;
}

uint64_t fb_fill_rows(const struct fb_fill *fill)
{
    return fill->row_count;
}

const uint32_t *fb_fill_columns(const struct fb_fill *fill, uint32_t *column_count)
{
    *column_count = fill->cursor->request.column_count;
    return fill->cursor->request.columns;
}

/* ---- refusals ---- */

/* The callback gets the error, and the fill keeps it. row: of the unit, -1: none. */
static int keep_failure(struct fb_fill *fill, int64_t row, struct fb_error *error)
{
    (void)fb__fail_at(&fill->failure, (int64_t)fill->cursor->request.unit, row);
    if (error) *error = fill->failure;
    return fill->failure.code;
}

/* problem: what is wrong with a call that concerns a column. */
static int refuse_call(struct fb_fill *fill, uint32_t column, const char *problem, struct fb_error *error)
{
    const char *name = fill->schema->children[column]->name;
    fb__fail(&fill->failure, EINVAL, "the source filled column '%.*s' wrongly: %s", fb__text_shown_bytes(name), name,
             problem);
    return keep_failure(fill, -1, error);
}

/*
 * Each function of a fill begins with this: the number of a column among those of the cursor, in *index. Refuses a
 * column that the cursor has not, and everything after a refusal.
 */
static int begin(struct fb_fill *fill, uint32_t column, uint32_t *index, struct fb_error *error)
{
    if (fill->failure.code) {
        if (error) *error = fill->failure;
        return fill->failure.code;
    }
    const struct fb__open_request *request = &fill->cursor->request;
    uint32_t low = 0, high = request->column_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (request->columns[middle] < column)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < request->column_count && request->columns[low] == column) {
        *index = low;
        return 0;
    }
    fb__fail(&fill->failure, EINVAL, "the source filled column %" PRIu32 ", which it was not asked for", column);
    return keep_failure(fill, -1, error);
}

/* ---- filling ---- */

/* The next rows of a column from a checked array. */
static int append(struct fb_fill *fill, uint32_t column, uint32_t index, const struct ArrowArray *array,
                  struct fb_error *error)
{
    const struct custom_cursor *cursor = fill->cursor;
    uint64_t filled_rows = cursor->filled_rows[index];
    uint64_t row_count = (uint64_t)array->length;
    uint64_t null_row = 0;
    int code = fb__copy_rows(fill->batch, column, fill->place + filled_rows, array, 0, 0, row_count,
                             fill->row_count - filled_rows, &null_row, &fill->failure);
    if (code) return keep_failure(fill, (int64_t)(cursor->row + filled_rows + null_row), error);
    cursor->filled_rows[index] += row_count;
    return 0;
}

static uint64_t row_bytes_of(const struct fb__column_layout *layout)
{
    return layout->list_size * layout->element_bytes;
}

void *fb_fill_place(struct fb_fill *fill, uint32_t column, uint64_t row_bytes, struct fb_error *error)
{
    uint32_t index;
    if (begin(fill, column, &index, error)) return NULL;
    const struct fb__column_layout *layout = &fill->batch->layout->columns[column];
    if (layout->kind != FB_COLUMN_FIXED || !layout->is_flat) {
        (void)refuse_call(fill, column, "it is no plain column of fixed width", error);
        return NULL;
    }
    if (row_bytes != row_bytes_of(layout)) {
        fb__fail(&fill->failure, EINVAL, "column '%.*s' has rows of %" PRIu64 " bytes, the source has rows of %" PRIu64,
                 fb__text_shown_bytes(layout->name), layout->name, row_bytes_of(layout), row_bytes);
        (void)keep_failure(fill, -1, error);
        return NULL;
    }
    uint8_t *valid = fb__batch_valid(fill->batch, column);
    uint64_t *filled_rows = &fill->cursor->filled_rows[index];
    if (valid) memset(valid + fill->place + *filled_rows, 1, fill->row_count - *filled_rows);
    *filled_rows = fill->row_count;
    return fb__batch_values(fill->batch, column) + fill->place * row_bytes;
}

/* Bytes of an offset of a string or binary column; 0 for other columns. */
static uint32_t offset_bytes_of(const struct ArrowSchema *field)
{
    if (field->dictionary || field->format[1] != '\0') return 0;
    switch (field->format[0]) {
    case 'u':
    case 'z':
        return sizeof(int32_t);
    case 'U':
    case 'Z':
        return sizeof(int64_t);
    default:
        return 0;
    }
}

/* What a row of strings lies under is not released, only looked at. */
static void release_nothing(struct ArrowArray *array)
{
    array->release = NULL;
}

/* One string as an array of one row. bytes NULL and is_null: a null. */
static int append_string(struct fb_fill *fill, uint32_t column, uint32_t index, const void *bytes, uint64_t byte_count,
                         bool is_null, struct fb_error *error)
{
    uint32_t offset_bytes = offset_bytes_of(fill->schema->children[column]);
    if (offset_bytes == 0) return refuse_call(fill, column, "it holds no strings", error);
    if (fill->cursor->filled_rows[index] == fill->row_count)
        return refuse_call(fill, column, "more rows than were asked for", error);
    if (byte_count > (offset_bytes == 4 ? (uint64_t)INT32_MAX : FB__MOST_BYTES))
        return refuse_call(fill, column, "a string is longer than its offsets reach", error);
    static const uint8_t no_bits = 0;
    const int32_t narrow_offsets[] = {0, (int32_t)byte_count};
    const int64_t wide_offsets[] = {0, (int64_t)byte_count};
    const void *buffers[] = {
        is_null ? &no_bits : NULL,
        offset_bytes == 4 ? (const void *)narrow_offsets : wide_offsets,
        bytes,
    };
    const struct ArrowArray row = {
        .length = 1, .null_count = is_null, .n_buffers = 3, .buffers = buffers, .release = release_nothing};
    return append(fill, column, index, &row, error);
}

int fb_fill_string(struct fb_fill *fill, uint32_t column, const void *bytes, uint64_t byte_count,
                   struct fb_error *error)
{
    uint32_t index;
    int code = begin(fill, column, &index, error);
    if (code) return code;
    if (!bytes && byte_count > 0) return refuse_call(fill, column, "a string's bytes are missing", error);
    return append_string(fill, column, index, bytes, byte_count, false, error);
}

int fb_fill_null(struct fb_fill *fill, uint32_t column, uint64_t row, struct fb_error *error)
{
    uint32_t index;
    int code = begin(fill, column, &index, error);
    if (code) return code;
    const struct custom_cursor *cursor = fill->cursor;
    const struct fb__column_layout *layout = &fill->batch->layout->columns[column];
    if (layout->kind != FB_COLUMN_FIXED || !layout->is_flat) {
        if (row != cursor->filled_rows[index]) return refuse_call(fill, column, "its null is not the next row", error);
        return append_string(fill, column, index, NULL, 0, true, error);
    }
    if (row >= cursor->filled_rows[index])
        return refuse_call(fill, column, "a row was made null before it was filled", error);
    if (fill->batch->layout->null_policy == FB_NULLS_ERROR) {
        code = fb__copy_fail_null(layout, false, &fill->failure);
        (void)keep_failure(fill, (int64_t)(cursor->row + row), error);
        return code;
    }
    uint64_t place = fill->place + row;
    fb__copy_fill(layout, fb__batch_values(fill->batch, column) + place * row_bytes_of(layout), layout->list_size);
    uint8_t *valid = fb__batch_valid(fill->batch, column);
    if (valid) valid[place] = 0;
    return 0;
}

int fb_fill_copy(struct fb_fill *fill, uint32_t column, const struct ArrowArray *array, uint64_t first_row,
                 uint64_t row_count, struct fb_error *error)
{
    uint32_t index;
    int code = begin(fill, column, &index, error);
    if (code) return code;
    if (row_count > fill->row_count - fill->cursor->filled_rows[index])
        return refuse_call(fill, column, "more rows than were asked for", error);
    if (array->offset < 0 || array->length < 0 || first_row > (uint64_t)array->length ||
        row_count > (uint64_t)array->length - first_row || array->offset > INT64_MAX - array->length)
        return refuse_call(fill, column, "the array has not the rows that are to be copied", error);
    /* Those rows alone, as a block of one column: a check costs what the copy costs, however long the array is. */
    struct ArrowArray view = *array;
    view.offset += (int64_t)first_row;
    view.length = (int64_t)row_count;
    if (view.null_count > view.length && view.null_count <= array->length) view.null_count = view.length;
    struct ArrowArray *children[] = {&view};
    const void *buffers[] = {NULL};
    const struct ArrowArray block = {
        .length = view.length,
        .n_buffers = 1,
        .buffers = buffers,
        .n_children = 1,
        .children = children,
        .release = release_nothing,
    };
    code = fb__arrow_check_block(fill->batch->layout, &column, 1, &block, &fill->failure);
    if (code) return keep_failure(fill, -1, error);
    return append(fill, column, index, &view, error);
}

/* ---- cursors ---- */

/*
 * The error of a failed callback: about this unit, with a text in any case. It may name a row by itself.
 */
static int fail_callback(const struct custom_cursor *cursor, int code, const char *what, struct fb_error *said,
                         struct fb_error *error)
{
    int64_t row = said->message[0] != '\0' && said->row >= 0 ? said->row : -1;
    if (said->message[0] == '\0') fb__fail(said, EIO, "%s failed with code %d and no message", what, code);
    code = fb__source_foreign_code(code, said);
    (void)fb__fail_at(said, (int64_t)cursor->request.unit, row);
    said->message[sizeof said->message - 1] = '\0';
    if (error) *error = *said;
    return code;
}

static void let_go(struct custom_cursor *cursor)
{
    if (!cursor->filled_rows) return;
    fb__gate_free_granted(fb__ledger_gate(cursor->request.ledger), cursor->request.grant, cursor->filled_rows,
                          table_bytes_of(cursor));
    cursor->filled_rows = NULL;
}

static int open_custom(struct fb_source *base, const struct fb__open_request *request, union fb__cursor_room *room,
                       struct fb_error *error)
{
    const struct custom_source *source = custom_source_of(base);
    assert(request->unit < base->unit_count && request->first_row <= base->unit_rows[request->unit]);
    struct custom_cursor *cursor = cursor_in(room);
    *cursor = (struct custom_cursor){.request = *request, .row = request->first_row};
    if (request->column_count > 0) {
        void *memory;
        int code = fb__gate_alloc_granted(fb__ledger_gate(request->ledger), request->grant, table_bytes_of(cursor),
                                          &memory, error);
        if (code) return code;
        cursor->filled_rows = memory;
    }
    if (!source->callbacks.open) return 0;
    struct fb_error said = {.unit = -1, .row = -1};
    int code = source->callbacks.open(source->context, request->unit, request->columns, request->column_count,
                                      request->first_row, &cursor->cursor, &said);
    if (code == 0) return 0;
    let_go(cursor);
    return fail_callback(cursor, code, "opening the unit", &said, error);
}

static int check_filled(struct fb_fill *fill, struct fb_error *error)
{
    const struct fb__open_request *request = &fill->cursor->request;
    for (uint32_t i = 0; i < request->column_count; i++) {
        uint64_t filled_rows = fill->cursor->filled_rows[i];
        if (filled_rows == fill->row_count) continue;
        const char *name = fill->schema->children[request->columns[i]]->name;
        fb__fail(&fill->failure, EIO,
                 "the source filled %" PRIu64 " rows of column '%.*s' where %" PRIu64 " were asked for", filled_rows,
                 fb__text_shown_bytes(name), name, fill->row_count);
        return keep_failure(fill, (int64_t)(fill->cursor->row + filled_rows), error);
    }
    return 0;
}

static int fill_custom(struct fb_source *base, union fb__cursor_room *room, struct fb_batch *batch, uint64_t place,
                       uint64_t row_count, uint64_t *filled_rows, struct fb_error *error)
{
    struct custom_source *source = custom_source_of(base);
    struct custom_cursor *cursor = cursor_in(room);
    assert(row_count <= base->unit_rows[cursor->request.unit] - cursor->row);
    *filled_rows = 0;
    if (row_count == 0) return 0;
    struct fb_fill fill = {
        .cursor = cursor,
        .schema = &base->schema,
        .batch = batch,
        .place = place,
        .row_count = row_count,
    };
    if (cursor->filled_rows) memset(cursor->filled_rows, 0, table_bytes_of(cursor));
    struct fb_error said = {.unit = -1, .row = -1};
    int code = source->callbacks.fill(source->context, cursor->cursor, &fill, &said);
    if (fill.failure.code) {
        if (error) *error = fill.failure;
        return fill.failure.code;
    }
    if (code) return fail_callback(cursor, code, "filling rows", &said, error);
    code = check_filled(&fill, error);
    if (code) return code;
    cursor->row += row_count;
    *filled_rows = row_count;
    return 0;
}

static void close_custom(struct fb_source *base, union fb__cursor_room *room)
{
    const struct custom_source *source = custom_source_of(base);
    struct custom_cursor *cursor = cursor_in(room);
    if (source->callbacks.close) source->callbacks.close(source->context, cursor->cursor);
    let_go(cursor);
}

/* ---- making ---- */

static void destroy_custom(struct fb_source *base)
{
    struct custom_source *source = custom_source_of(base);
    if (source->callbacks.release) source->callbacks.release(source->context);
    fb__source_free(base);
}

static const struct fb__source_ops custom_ops = {
    .open = open_custom,
    .fill = fill_custom,
    .close = close_custom,
    .destroy = destroy_custom,
};

static void set_costs(struct fb_source *source, const struct fb_fill_column_cost *costs)
{
    for (uint32_t i = 0; i < source->column_count; i++) {
        struct fb_stream_column_cost *cost = &source->costs[i];
        uint64_t cursor_bytes = costs ? costs[i].cursor_bytes : 0;
        if (__builtin_add_overflow(cursor_bytes, SLOT_BYTES, &cost->fixed_bytes)) cost->fixed_bytes = UINT64_MAX;
        if (!costs) continue;
        cost->weight = costs[i].weight;
        /* Where a column has no variable part its layout does not look at this. */
        cost->string_bytes = costs[i].string_bytes;
        for (int storage = 0; storage < FB__STORAGE_COUNT; storage++)
            source->variable_row_bytes[storage][i] = costs[i].string_bytes;
    }
}

static int check_arguments(const struct ArrowSchema *schema, const uint64_t *unit_rows, uint64_t unit_count,
                           const struct fb_fill_column_cost *costs, const struct fb_fill_source_callbacks *callbacks,
                           struct fb_error *error)
{
    if (!callbacks || !callbacks->fill) return fb__fail(error, EINVAL, "a source needs a fill callback");
    int code = fb__layout_check_schema(schema, error);
    if (code) return code;
    if (!unit_rows && unit_count > 0) return fb__fail(error, EINVAL, "the rows of the units are missing");
    for (uint64_t unit = 0; unit < unit_count; unit++)
        if (unit_rows[unit] > (uint64_t)INT64_MAX)
            return fb__fail(error, EINVAL, "unit %" PRIu64 " has more than 2^63 - 1 rows", unit);
    for (int64_t i = 0; costs && i < schema->n_children; i++)
        if (costs[i].weight == 0)
            return fb__fail(error, EINVAL, "column '%.*s': its weight is 0",
                            fb__text_shown_bytes(schema->children[i]->name), schema->children[i]->name);
    return 0;
}

int fb__source_make_custom(struct fb__gate *gate, const struct ArrowSchema *schema, const uint64_t *unit_rows,
                           uint64_t unit_count, const struct fb_fill_column_cost *costs,
                           const struct fb_fill_source_callbacks *callbacks, void *context, struct fb_source **out,
                           struct fb_error *error)
{
    int code = check_arguments(schema, unit_rows, unit_count, costs, callbacks, error);
    if (code) return code;
    const struct fb__source_parts parts = {
        .ops = &custom_ops,
        .struct_bytes = sizeof(struct custom_source),
        .schema = schema,
        .unit_count = unit_count,
        .unit_rows = unit_rows,
        .is_streamed = true,
    };
    struct fb_source *base;
    code = fb__source_make(gate, &parts, &base, error);
    if (code) return code;
    struct custom_source *source = custom_source_of(base);
    base->plan_bytes += callbacks->context_bytes;
    base->has_no_pieces = true;
    base->is_one_column_set = !callbacks->can_split_columns;
    set_costs(base, costs);
    source->callbacks = *callbacks;
    source->context = context;
    *out = base;
    return 0;
}

int fb_source_from_fill(const struct ArrowSchema *schema, const uint64_t *unit_rows, uint64_t unit_count,
                        const struct fb_fill_column_cost *costs, const struct fb_fill_source_callbacks *callbacks,
                        void *context, struct fb_source **out, struct fb_error *error)
{
    struct fb__gate gate;
    fb__source_gate_init(&gate);
    return fb__source_make_custom(&gate, schema, unit_rows, unit_count, costs, callbacks, context, out, error);
}
