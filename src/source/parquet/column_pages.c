/*
 * The window on the file, the buffers, and pages.
 *
 * A page's stored bytes are in the window as a whole. What is not compressed is used where it lies; the window moves
 * only when the next page is asked for.
 *
 * Locking: none.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "source/parquet/codec.h"
#include "source/parquet/column_internal.h"

#define HEADER_MOST_BYTES (UINT64_C(1) << 20)

/* ---- buffers ---- */

static struct fb__gate *gate_of(const struct fb__parquet_column *column)
{
    return fb__ledger_gate(column->request.ledger);
}

void fb__parquet_buffer_free(struct fb__parquet_column *column, struct fb__parquet_buffer *buffer)
{
    fb__gate_free_granted(gate_of(column), column->request.grant, buffer->bytes, buffer->capacity_bytes);
    *buffer = (struct fb__parquet_buffer){0};
}

static int book_more(struct fb__parquet_column *column, uint64_t bytes, struct fb_error *error)
{
    int code = fb__ledger_grow(column->request.ledger, column->request.grant, bytes, FB__WAIT, error);
    if (code) return code;
    column->grown_bytes += bytes;
    if (column->request.counter) atomic_fetch_add(column->request.counter, bytes);
    return 0;
}

static void book_less(struct fb__parquet_column *column, uint64_t bytes)
{
    fb__ledger_shrink(column->request.ledger, column->request.grant, bytes);
    column->grown_bytes -= bytes;
    if (column->request.counter) atomic_fetch_sub(column->request.counter, bytes);
}

/* Room for at least bytes; what was in the buffer is lost. */
static int make_room(struct fb__parquet_column *column, struct fb__parquet_buffer *buffer, uint64_t bytes,
                     struct fb_error *error)
{
    if (bytes <= buffer->capacity_bytes) return 0;
    bytes = fb__gate_bytes(bytes);
    int code = book_more(column, bytes - fb__gate_bytes(buffer->capacity_bytes), error);
    if (code) return code;
    fb__parquet_buffer_free(column, buffer);
    void *memory;
    code = fb__gate_alloc_granted(gate_of(column), column->request.grant, bytes, &memory, error);
    if (code) return code;
    *buffer = (struct fb__parquet_buffer){memory, bytes};
    return 0;
}

/* As above for the window, which keeps what is at hand; that is at its front then. */
static int widen_window(struct fb__parquet_column *column, uint64_t bytes, struct fb_error *error)
{
    bytes = fb__gate_bytes(bytes);
    int code = book_more(column, bytes, error);
    if (code) return code;
    void *memory;
    code = fb__gate_alloc_granted(gate_of(column), column->request.grant, bytes, &memory, error);
    if (code) return code;
    uint64_t kept_bytes = column->end - column->begin;
    uint64_t old_bytes = fb__gate_bytes(column->window.capacity_bytes);
    if (kept_bytes > 0) memcpy(memory, column->window.bytes + column->begin, kept_bytes);
    fb__parquet_buffer_free(column, &column->window);
    if (old_bytes > 0) book_less(column, old_bytes);
    column->window = (struct fb__parquet_buffer){memory, bytes};
    column->begin = 0;
    column->end = kept_bytes;
    return 0;
}

/* ---- the window ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Reads until the window has end_bytes, and as far as most_bytes where that comes along. */
static int read_file(struct fb__parquet_column *column, uint64_t end_bytes, uint64_t most_bytes, struct fb_error *error)
{
    while (column->end < end_bytes) {
        ssize_t got = pread(column->request.file_descriptor, column->window.bytes + column->end,
                            most_bytes - column->end, (off_t)column->file_offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fb__fail(error, EIO, "the file could not be read: %m");
        if (got == 0) return fb__fail(error, EIO, "the file ends inside a column chunk");
        column->end += (uint64_t)got;
        column->file_offset += (uint64_t)got;
        column->unread_bytes -= (uint64_t)got;
    }
    return 0;
}

/* Has the next `bytes` of the chunk at hand; it has that many. */
static int fetch(struct fb__parquet_column *column, uint64_t bytes, struct fb_error *error)
{
    uint64_t have_bytes = column->end - column->begin;
    if (bytes <= have_bytes) return 0;
    assert(bytes - have_bytes <= column->unread_bytes);
    if (bytes > column->window.capacity_bytes) {
        uint64_t slack_bytes = least(FB__WINDOW_SLACK_BYTES, have_bytes + column->unread_bytes - bytes);
        int code = widen_window(column, bytes + slack_bytes, error);
        if (code) return code;
    } else if (column->begin > 0) {
        memmove(column->window.bytes, column->window.bytes + column->begin, have_bytes);
        column->begin = 0;
        column->end = have_bytes;
    }
    uint64_t most_bytes = bytes + FB__WINDOW_SLACK_BYTES;
    if (most_bytes < FB__WINDOW_LEAST_BYTES) most_bytes = FB__WINDOW_LEAST_BYTES;
    most_bytes = least(least(most_bytes, column->window.capacity_bytes), have_bytes + column->unread_bytes);
    return read_file(column, bytes, most_bytes, error);
}

/* Bytes of the chunk from the next one on. */
static uint64_t left_bytes(const struct fb__parquet_column *column)
{
    return column->end - column->begin + column->unread_bytes;
}

/* Passes over bytes that the chunk has, read or not. */
static void pass_bytes(struct fb__parquet_column *column, uint64_t bytes)
{
    uint64_t read_bytes = least(bytes, column->end - column->begin);
    column->begin += read_bytes;
    bytes -= read_bytes;
    column->file_offset += bytes;
    column->unread_bytes -= bytes;
}

/* ---- headers ---- */

static int next_header(struct fb__parquet_column *column, struct fb__page_header *header, struct fb_error *error)
{
    uint64_t chunk_bytes = left_bytes(column);
    for (;;) {
        uint64_t have_bytes = column->end - column->begin;
        if (have_bytes > 0) {
            uint64_t header_bytes;
            int code =
                fb__page_header_parse(column->window.bytes + column->begin, have_bytes, header, &header_bytes, error);
            if (code == 0) {
                pass_bytes(column, header_bytes);
                break;
            }
            if (code != EAGAIN) return code;
        }
        if (have_bytes == chunk_bytes) {
            if (have_bytes > 0) return fb__fail(error, EIO, "the column chunk ends inside the header of a page");
            return fb__fail(error, EIO, "the column chunk ends after %" PRIu64 " of %" PRIu64 " values",
                            column->levels_begun, column->request.chunk->value_count);
        }
        if (have_bytes >= HEADER_MOST_BYTES)
            return fb__fail(error, EIO, "the header of a page has more than %" PRIu64 " bytes", HEADER_MOST_BYTES);
        uint64_t more_bytes = least(2 * have_bytes + FB__WINDOW_SLACK_BYTES, HEADER_MOST_BYTES);
        int code = fetch(column, least(more_bytes, chunk_bytes), error);
        if (code) return code;
    }
    if (header->compressed_bytes > left_bytes(column))
        return fb__fail(error, EIO, "a page of %" PRIu32 " bytes where the column chunk has %" PRIu64 " left",
                        header->compressed_bytes, left_bytes(column));
    return 0;
}

/* ---- contents ---- */

/* A part of a page, in memory. */
struct span {
    const uint8_t *bytes;
    uint64_t byte_count;
};

static struct span take(struct span *from, uint64_t bytes)
{
    struct span taken = {from->bytes, bytes};
    from->bytes += bytes;
    from->byte_count -= bytes;
    return taken;
}

/* The first bytes of a version 1 part say how long it is. */
static int take_counted(struct span *from, const char *what, struct span *out, struct fb_error *error)
{
    if (from->byte_count >= 4) {
        struct span length = take(from, 4);
        const uint8_t *at = length.bytes;
        uint64_t bytes = at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24;
        if (bytes <= from->byte_count) {
            *out = take(from, bytes);
            return 0;
        }
    }
    return fb__fail(error, EIO, "a page ends inside its %s", what);
}

/* The next stored_bytes of the chunk, which are at hand, as page_bytes of content; buffer: where that may go. */
static int take_content(struct fb__parquet_column *column, bool is_compressed, uint64_t stored_bytes,
                        uint64_t page_bytes, struct fb__parquet_buffer *buffer, struct span *out,
                        struct fb_error *error)
{
    const uint8_t *stored = column->window.bytes + column->begin;
    uint32_t codec = (uint32_t)column->request.chunk->codec;
    *out = (struct span){stored, stored_bytes};
    if (!is_compressed || codec == FB__CODEC_UNCOMPRESSED) {
        if (stored_bytes != page_bytes)
            return fb__fail(error, EIO, "a page of %" PRIu64 " bytes that is not compressed announces %" PRIu64,
                            stored_bytes, page_bytes);
    } else if (page_bytes > 0) {
        int code = make_room(column, buffer, page_bytes, error);
        if (code) return code;
        code =
            fb__codec_decompress(codec, column->codec_context, stored, stored_bytes, buffer->bytes, page_bytes, error);
        if (code) return code;
        *out = (struct span){buffer->bytes, page_bytes};
    } else {
        out->byte_count = 0;
    }
    pass_bytes(column, stored_bytes);
    return 0;
}

/* ---- dictionary pages ---- */

static int fail_encoding(const char *what, uint32_t encoding, struct fb_error *error)
{
    static const char *const names[] = {
        "PLAIN",          "GROUP_VAR_INT",       "PLAIN_DICTIONARY",        "RLE",
        "BIT_PACKED",     "DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY",
        "RLE_DICTIONARY", "BYTE_STREAM_SPLIT",
    };
    const char *name = encoding < sizeof names / sizeof *names ? names[encoding] : "unknown";
    return fb__fail(error, EIO, "%s of encoding %s (%" PRIu32 ") cannot be decoded here", what, name, encoding);
}

static int load_dictionary(struct fb__parquet_column *column, const struct fb__page_header *header,
                           struct fb_error *error)
{
    if (column->has_dictionary) return fb__fail(error, EIO, "a second dictionary page in one column chunk");
    if (column->levels_begun > 0) return fb__fail(error, EIO, "a dictionary page behind a data page");
    if (header->encoding != FB__ENCODING_PLAIN && header->encoding != FB__ENCODING_PLAIN_DICTIONARY)
        return fail_encoding("a dictionary", header->encoding, error);
    uint64_t entry_count = header->value_count;
    uint64_t value_bytes =
        column->physical_bytes > 0 ? entry_count * column->physical_bytes : entry_count / 8 + (entry_count % 8 != 0);
    if (value_bytes > header->uncompressed_bytes)
        return fb__fail(error, EIO, "a dictionary page of %" PRIu32 " bytes announces %" PRIu64 " values",
                        header->uncompressed_bytes, entry_count);
    int code = fetch(column, header->compressed_bytes, error);
    if (code) return code;
    /* Where values are elements already they are decompressed to where they stay. */
    bool is_converted = column->layout->element_bytes != column->physical_bytes;
    struct span content;
    code = take_content(column, true, header->compressed_bytes, header->uncompressed_bytes,
                        is_converted ? &column->page_buffer : &column->dictionary, &content, error);
    if (code) return code;
    if (entry_count > 0 && content.bytes != column->dictionary.bytes) {
        code = make_room(column, &column->dictionary, entry_count * column->layout->element_bytes, error);
        if (code) return code;
        fb__parquet_convert(column, content.bytes, column->dictionary.bytes, entry_count);
    }
    column->has_dictionary = true;
    column->entry_count = entry_count;
    return 0;
}

/* ---- data pages ---- */

static uint32_t bits_of(uint32_t most)
{
    return most == 0 ? 0 : 32 - (uint32_t)__builtin_clz(most);
}

static int begin_levels(const struct fb__parquet_column *column, struct span repetition, struct span definition,
                        struct fb__parquet_page *page, struct fb_error *error)
{
    const struct fb_parquet_column *description = column->request.description;
    int code = fb__runs_init(&page->repetition, repetition.bytes, repetition.byte_count,
                             bits_of(description->max_repetition), error);
    if (code) return code;
    return fb__runs_init(&page->definition, definition.bytes, definition.byte_count,
                         bits_of(description->max_definition), error);
}

static int begin_values(const struct fb__parquet_column *column, uint32_t encoding, struct span values,
                        struct fb__parquet_page *page, struct fb_error *error)
{
    bool is_boolean = column->physical_bytes == 0;
    uint32_t bit_width = 1;
    struct span indexes = {values.bytes, 0};
    if (encoding == FB__ENCODING_PLAIN) {
        page->stored = is_boolean ? FB__VALUES_BITS : FB__VALUES_PLAIN;
        page->values = values.bytes;
        page->values_end = values.bytes + values.byte_count;
        page->bit = 0;
        return 0;
    }
    if (encoding == FB__ENCODING_RLE && is_boolean) {
        page->stored = FB__VALUES_BIT_RUNS;
        /* Where all are null there may be nothing at all. */
        if (values.byte_count > 0) {
            int code = take_counted(&values, "booleans", &indexes, error);
            if (code) return code;
        }
    } else if (encoding == FB__ENCODING_PLAIN_DICTIONARY || encoding == FB__ENCODING_RLE_DICTIONARY) {
        if (!column->has_dictionary) return fb__fail(error, EIO, "a page of dictionary indexes without a dictionary");
        page->stored = FB__VALUES_DICTIONARY;
        if (values.byte_count > 0) {
            bit_width = *take(&values, 1).bytes;
            indexes = values;
        }
    } else {
        return fail_encoding("a page", encoding, error);
    }
    return fb__runs_init(&page->indexes, indexes.bytes, indexes.byte_count, bit_width, error);
}

static int load_page_1(struct fb__parquet_column *column, const struct fb__page_header *header,
                       struct fb__parquet_page *page, struct fb_error *error)
{
    const struct fb_parquet_column *description = column->request.description;
    struct span content, repetition = {0}, definition = {0};
    int code = take_content(column, true, header->compressed_bytes, header->uncompressed_bytes, &column->page_buffer,
                            &content, error);
    if (code) return code;
    if (description->max_repetition > 0) {
        if (header->repetition_encoding != FB__ENCODING_RLE)
            return fail_encoding("repetition levels", header->repetition_encoding, error);
        code = take_counted(&content, "repetition levels", &repetition, error);
        if (code) return code;
    }
    if (description->max_definition > 0) {
        if (header->definition_encoding != FB__ENCODING_RLE)
            return fail_encoding("definition levels", header->definition_encoding, error);
        code = take_counted(&content, "definition levels", &definition, error);
        if (code) return code;
    }
    code = begin_levels(column, repetition, definition, page, error);
    return code ? code : begin_values(column, header->encoding, content, page, error);
}

static int load_page_2(struct fb__parquet_column *column, const struct fb__page_header *header,
                       struct fb__parquet_page *page, struct fb_error *error)
{
    uint64_t level_bytes = (uint64_t)header->repetition_bytes + header->definition_bytes;
    if (level_bytes > header->compressed_bytes || level_bytes > header->uncompressed_bytes)
        return fb__fail(error, EIO, "a page of %" PRIu32 " bytes announces %" PRIu64 " bytes of levels",
                        header->compressed_bytes, level_bytes);
    struct span repetition = {column->window.bytes + column->begin, header->repetition_bytes};
    struct span definition = {repetition.bytes + repetition.byte_count, header->definition_bytes};
    struct span content;
    pass_bytes(column, level_bytes);
    int code = take_content(column, header->is_compressed, header->compressed_bytes - level_bytes,
                            header->uncompressed_bytes - level_bytes, &column->page_buffer, &content, error);
    if (code) return code;
    code = begin_levels(column, repetition, definition, page, error);
    return code ? code : begin_values(column, header->encoding, content, page, error);
}

static int load_data_page(struct fb__parquet_column *column, const struct fb__page_header *header,
                          struct fb_error *error)
{
    int code = fetch(column, header->compressed_bytes, error);
    if (code) return code;
    struct fb__parquet_page page = {.levels_left = header->value_count};
    code = header->type == FB__PAGE_DATA ? load_page_1(column, header, &page, error)
                                         : load_page_2(column, header, &page, error);
    if (code) return code;
    column->page = page;
    return 0;
}

/* The header of the next data page that has levels; dictionary pages and unknown ones are dealt with on the way. */
static int next_data_header(struct fb__parquet_column *column, struct fb__page_header *header, struct fb_error *error)
{
    assert(column->page.levels_left == 0);
    for (;;) {
        int code = next_header(column, header, error);
        if (code) return code;
        bool is_data = header->type == FB__PAGE_DATA || header->type == FB__PAGE_DATA_V2;
        if (is_data && header->value_count > 0) break;
        if (header->type == FB__PAGE_DICTIONARY) {
            code = load_dictionary(column, header, error);
            if (code) return code;
        } else {
            pass_bytes(column, header->compressed_bytes);
        }
    }
    if (header->value_count > column->request.chunk->value_count - column->levels_begun)
        return fb__fail(error, EIO, "the pages have more than the %" PRIu64 " values of the column chunk",
                        column->request.chunk->value_count);
    column->levels_begun += header->value_count;
    return 0;
}

int fb__parquet_next_page(struct fb__parquet_column *column, struct fb_error *error)
{
    struct fb__page_header header;
    int code = next_data_header(column, &header, error);
    return code ? code : load_data_page(column, &header, error);
}

int fb__parquet_pass_page(struct fb__parquet_column *column, uint64_t most_levels, uint64_t *levels,
                          struct fb_error *error)
{
    struct fb__page_header header;
    *levels = 0;
    int code = next_data_header(column, &header, error);
    if (code) return code;
    if (header.value_count > most_levels) return load_data_page(column, &header, error);
    pass_bytes(column, header.compressed_bytes);
    *levels = header.value_count;
    return 0;
}
