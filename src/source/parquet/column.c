/*
 * A column chunk from open to close, and what it takes. See column_internal.h for the other files.
 *
 * Locking: none; a column is used by one thread.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "data/text.h"
#include "source/parquet/codec.h"
#include "source/parquet/column_internal.h"

#define LEVEL_MOST 255

/* ---- what goes together ---- */

/* Of a value in the file; 0: a bit; UINT64_MAX: a type that is not decoded here. */
static uint64_t physical_bytes_of(const struct fb_parquet_column *description)
{
    switch (description->physical_type) {
    case FB_PARQUET_BOOLEAN:
        return 0;
    case FB_PARQUET_INT32:
    case FB_PARQUET_FLOAT:
        return 4;
    case FB_PARQUET_INT64:
    case FB_PARQUET_DOUBLE:
        return 8;
    case FB_PARQUET_FIXED_LEN_BYTE_ARRAY:
        return description->type_bytes == 2 ? 2 : UINT64_MAX;
    default:
        return UINT64_MAX;
    }
}

static bool values_fit(const struct fb_parquet_column *description, const struct fb__column_layout *layout)
{
    uint64_t physical_bytes = physical_bytes_of(description);
    if (!layout->is_flat) return false;
    switch (layout->copy) {
    case FB__COPY_BITS:
        return physical_bytes == 0;
    case FB__COPY_WIDEN_I32:
        return description->physical_type == FB_PARQUET_INT32;
    case FB__COPY_BOOL8:
    case FB__COPY_BYTES:
        if (description->physical_type == FB_PARQUET_INT32 && layout->element_bytes < 4)
            return layout->element_bytes == 1 || layout->element_bytes == 2;
        return physical_bytes == layout->element_bytes;
    case FB__COPY_NULLS:
    case FB__COPY_BINARY_32:
    case FB__COPY_BINARY_64:
    case FB__COPY_BINARY_VIEW:
    case FB__COPY_LIST_32:
    case FB__COPY_LIST_64:
    case FB__COPY_LIST_VIEW_32:
    case FB__COPY_LIST_VIEW_64:
        break;
    }
    return false;
}

static bool levels_fit(const struct fb_parquet_column *description, const struct fb__column_layout *layout)
{
    if (!layout->is_list) return description->max_repetition == 0 && description->max_definition <= 1;
    return description->max_repetition == 1 && description->max_definition <= LEVEL_MOST &&
           description->element_definition >= 1 && description->element_definition <= description->max_definition;
}

int fb__parquet_column_check(const struct fb_parquet_column *description, const struct fb__column_layout *layout,
                             uint32_t column, struct fb_error *error)
{
    if (!values_fit(description, layout))
        return fb__fail(error, EINVAL,
                        "column %" PRIu32 ": values of Parquet type %" PRIu32 " are not decoded to elements of %" PRIu64
                        " bytes",
                        column, description->physical_type, layout->element_bytes);
    if (!levels_fit(description, layout))
        return fb__fail(
            error, EINVAL, "column %" PRIu32 ": levels up to %" PRIu32 " and %" PRIu32 " are not those of a %s column",
            column, description->max_repetition, description->max_definition, layout->is_list ? "list" : "flat");
    return 0;
}

/* ---- what it takes ---- */

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t multiply_saturating(uint64_t a, uint64_t b)
{
    return b != 0 && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

/* First sizes of buffers. */
struct first_sizes {
    uint64_t window_bytes;
    uint64_t page_bytes;
    uint64_t dictionary_bytes;
    uint64_t context_bytes;
};

/* element_bytes 0: not known yet, the widest that there can be. */
static struct first_sizes first_sizes_of(const struct fb_parquet_column *description, uint32_t codec,
                                         uint64_t element_bytes)
{
    struct first_sizes sizes = {.context_bytes = fb__codec_context_bytes(codec)};
    sizes.window_bytes = add_saturating(description->stored_page_bytes, FB__WINDOW_SLACK_BYTES);
    if (sizes.window_bytes < FB__WINDOW_LEAST_BYTES) sizes.window_bytes = FB__WINDOW_LEAST_BYTES;
    bool is_boolean = description->physical_type == FB_PARQUET_BOOLEAN;
    bool is_converted = is_boolean || description->physical_type == FB_PARQUET_INT32;
    if (element_bytes == 0) element_bytes = 8;
    if (is_boolean) {
        sizes.dictionary_bytes = multiply_saturating(description->dictionary_bytes, 8);
    } else if (is_converted) {
        uint64_t entries = description->dictionary_bytes / 4 + (description->dictionary_bytes % 4 != 0);
        sizes.dictionary_bytes = multiply_saturating(entries, element_bytes);
    } else {
        sizes.dictionary_bytes = description->dictionary_bytes;
    }
    if (codec != FB__CODEC_UNCOMPRESSED) {
        sizes.page_bytes = description->page_bytes;
        if (is_converted && description->dictionary_bytes > sizes.page_bytes)
            sizes.page_bytes = description->dictionary_bytes;
    }
    return sizes;
}

uint64_t fb__parquet_column_bytes(const struct fb_parquet_column *description, uint32_t codec)
{
    const struct first_sizes sizes = first_sizes_of(description, codec, 0);
    uint64_t bytes = fb__gate_bytes(sizeof(struct fb__parquet_column));
    bytes = add_saturating(bytes, fb__gate_bytes(sizes.window_bytes));
    bytes = add_saturating(bytes, fb__gate_bytes(sizes.page_bytes));
    bytes = add_saturating(bytes, fb__gate_bytes(sizes.dictionary_bytes));
    return add_saturating(bytes, fb__gate_bytes(sizes.context_bytes));
}

/* ---- open and close ---- */

static int make_buffer(const struct fb__parquet_column_request *request, uint64_t bytes, struct fb__parquet_buffer *out,
                       struct fb_error *error)
{
    *out = (struct fb__parquet_buffer){0};
    if (bytes == 0) return 0;
    void *memory;
    int code = fb__gate_alloc_granted(fb__ledger_gate(request->ledger), request->grant, bytes, &memory, error);
    if (code) return code;
    *out = (struct fb__parquet_buffer){memory, bytes};
    return 0;
}

static int check_chunk(const struct fb__parquet_column_request *request, struct fb_error *error)
{
    const struct fb_parquet_chunk *chunk = request->chunk;
    if (chunk->offset > (uint64_t)INT64_MAX || chunk->stored_bytes > (uint64_t)INT64_MAX - chunk->offset)
        return fb__fail(error, EIO, "a column chunk lies beyond the end of any file");
    if (chunk->codec > UINT32_MAX || !fb__codec_is_supported((uint32_t)chunk->codec))
        return fb__fail(error, EIO, "codec %" PRIu64 " cannot be decoded here", chunk->codec);
    bool is_list = request->layout->columns[request->column].is_list;
    if (is_list ? chunk->value_count < request->row_count : chunk->value_count != request->row_count)
        return fb__fail(error, EIO, "a column chunk of %" PRIu64 " values where the unit has %" PRIu64 " rows",
                        chunk->value_count, request->row_count);
    return 0;
}

int fb__parquet_column_open(const struct fb__parquet_column_request *request, struct fb__parquet_column **out,
                            struct fb_error *error)
{
    const struct fb__column_layout *layout = &request->layout->columns[request->column];
    const struct fb_parquet_chunk *chunk = request->chunk;
    int code = check_chunk(request, error);
    if (code) return code;
    uint32_t codec = (uint32_t)chunk->codec;
    struct first_sizes sizes = first_sizes_of(request->description, codec, layout->element_bytes);
    if (sizes.window_bytes > chunk->stored_bytes) sizes.window_bytes = chunk->stored_bytes;
    struct fb__parquet_buffer room;
    code = make_buffer(request, sizeof(struct fb__parquet_column), &room, error);
    if (code) return code;
    struct fb__parquet_column *column = (struct fb__parquet_column *)(void *)room.bytes;
    memset(column, 0, sizeof *column);
    column->request = *request;
    column->layout = layout;
    column->physical_bytes = physical_bytes_of(request->description);
    column->file_offset = chunk->offset;
    column->unread_bytes = chunk->stored_bytes;
    code = make_buffer(request, sizes.window_bytes, &column->window, error);
    if (code) goto fail_window;
    code = make_buffer(request, sizes.page_bytes, &column->page_buffer, error);
    if (code) goto fail_page;
    code = make_buffer(request, sizes.dictionary_bytes, &column->dictionary, error);
    if (code) goto fail_dictionary;
    code = make_buffer(request, sizes.context_bytes, &column->context_room, error);
    if (code) goto fail_context;
    if (sizes.context_bytes > 0) column->codec_context = fb__codec_init(codec, column->context_room.bytes);
    if (request->counter) atomic_fetch_add(request->counter, fb__parquet_column_bytes(request->description, codec));
    *out = column;
    return 0;
fail_context:
    fb__parquet_buffer_free(column, &column->dictionary);
fail_dictionary:
    fb__parquet_buffer_free(column, &column->page_buffer);
fail_page:
    fb__parquet_buffer_free(column, &column->window);
fail_window:
    fb__gate_free_granted(fb__ledger_gate(request->ledger), request->grant, column, sizeof *column);
    return code;
}

void fb__parquet_column_close(struct fb__parquet_column *column)
{
    if (!column) return;
    const struct fb__parquet_column_request request = column->request;
    uint64_t grown_bytes = column->grown_bytes;
    fb__parquet_buffer_free(column, &column->context_room);
    fb__parquet_buffer_free(column, &column->dictionary);
    fb__parquet_buffer_free(column, &column->page_buffer);
    fb__parquet_buffer_free(column, &column->window);
    fb__gate_free_granted(fb__ledger_gate(request.ledger), request.grant, column, sizeof *column);
    if (grown_bytes > 0) fb__ledger_shrink(request.ledger, request.grant, grown_bytes);
    if (request.counter)
        atomic_fetch_sub(request.counter,
                         grown_bytes + fb__parquet_column_bytes(request.description, (uint32_t)request.chunk->codec));
}

/* ---- rows ---- */

/* The messages of the layers below do not know the column. */
static int name_column(const struct fb__parquet_column *column, int code, struct fb_error *error)
{
    if (code != EIO || !error) return code;
    char message[sizeof error->message];
    memcpy(message, error->message, sizeof message);
    return fb__fail(error, code, "column '%.*s': %s", fb__text_shown_bytes(column->layout->name), column->layout->name,
                    message);
}

/* With the unit's last row the pages must end too. */
static int check_end(const struct fb__parquet_column *column, struct fb_error *error)
{
    if (column->row < column->request.row_count) return 0;
    if (column->page.levels_left == 0 && column->levels_begun == column->request.chunk->value_count) return 0;
    return fb__fail(error, EIO, "the column chunk has more values than the %" PRIu64 " rows of the unit take",
                    column->request.row_count);
}

static int pass_rows(struct fb__parquet_column *column, struct fb__parquet_sink sink, uint64_t row_count,
                     uint64_t *null_row, struct fb_error *error)
{
    assert(row_count <= column->request.row_count - column->row);
    *null_row = UINT64_MAX;
    int code = column->layout->is_list ? fb__parquet_list_rows(column, sink, row_count, null_row, error)
                                       : fb__parquet_flat_rows(column, sink, row_count, null_row, error);
    if (code == 0) {
        column->row += row_count;
        code = check_end(column, error);
    }
    return code && *null_row == UINT64_MAX ? name_column(column, code, error) : code;
}

int fb__parquet_column_fill(struct fb__parquet_column *column, struct fb_batch *batch, uint64_t place,
                            uint64_t row_count, uint64_t *null_row, struct fb_error *error)
{
    uint32_t index = column->request.column;
    assert(place <= batch->capacity_rows && row_count <= batch->capacity_rows - place);
    struct fb__parquet_sink sink = {
        .values = fb__batch_values(batch, index),
        .valid = fb__batch_valid(batch, index),
        .item_valid = fb__batch_item_valid(batch, index),
    };
    sink.values += place * column->layout->list_size * column->layout->element_bytes;
    if (sink.valid) sink.valid += place;
    if (sink.item_valid) sink.item_valid += place * column->layout->list_size;
    return pass_rows(column, sink, row_count, null_row, error);
}

int fb__parquet_column_skip(struct fb__parquet_column *column, uint64_t row_count, struct fb_error *error)
{
    uint64_t null_row;
    return pass_rows(column, (struct fb__parquet_sink){0}, row_count, &null_row, error);
}
