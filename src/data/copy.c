/*
 * Row copy. Values go in two steps: everything is copied or widened in one pass that does not look at nulls (what lies
 * under a null may be read, it is never kept), then the null places alone are overwritten. Validity is scanned 64
 * rows at a time, so that rows without nulls cost a compare a word.
 *
 * Sources may be aligned to nothing: numbers of a source are loaded with memcpy, which compiles to plain loads.
 * Nothing is read past the last bit, offset or value of the rows asked for.
 *
 * Locking: none. The caller owns the places it fills; extents are found under the batch's own lock.
 */
#include "data/copy.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "data/text.h"

/* ---- bits ---------------------------------------------------------------------------------------------------- */

/* A bitmap of nulls: bit (first + i) of bits is 1 where element i is not null. bits NULL: there are no nulls. */
struct validity {
    const uint8_t *bits;
    uint64_t first;
};

static struct validity array_validity(const struct ArrowArray *array, uint64_t first)
{
    const uint8_t *bits = array->null_count != 0 ? array->buffers[0] : NULL;
    return (struct validity){bits, first};
}

static uint64_t low_bits(uint64_t count)
{
    return count >= 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

/* Bits [first, first + count) of a bitmap, the first one lowest; what is above them is anything. 1 <= count <= 64. */
static inline uint64_t load_bits(const uint8_t *bits, uint64_t first, uint64_t count)
{
    const uint8_t *at = bits + first / 8;
    uint64_t shift = first % 8;
    uint64_t bytes = (shift + count + 7) / 8; /* up to 9 */
    uint64_t word = 0;
    if (bytes >= 8) {
        memcpy(&word, at, 8);
    } else {
        memcpy(&word, at, bytes);
    }
    word = le64toh(word) >> shift;
    if (bytes == 9) word |= (uint64_t)at[8] << (64 - shift);
    return word;
}

/* 8 bits to 8 bytes of 0 or 1, the lowest bit first in memory. */
static inline uint64_t spread_bits(uint64_t byte)
{
    uint64_t picked = (byte * UINT64_C(0x0101010101010101)) & UINT64_C(0x8040201008040201);
    return htole64((picked + UINT64_C(0x7F7F7F7F7F7F7F7F)) >> 7 & UINT64_C(0x0101010101010101));
}

static void bits_to_bytes(uint8_t *restrict bytes, const uint8_t *restrict bits, uint64_t first, uint64_t count)
{
    uint64_t done = 0;
    for (; count - done >= 64; done += 64) {
        uint64_t word = load_bits(bits, first + done, 64);
        for (uint32_t i = 0; i < 8; i++) {
            uint64_t spread = spread_bits(word >> (8 * i) & 0xFF);
            memcpy(bytes + done + 8 * i, &spread, 8);
        }
    }
    if (done == count) return;
    uint64_t word = load_bits(bits, first + done, count - done);
    for (; done < count; done++, word >>= 1) bytes[done] = (uint8_t)(word & 1);
}

/* The nulls among elements [at, count), at most 64 of them, the first one lowest. at < count. */
static inline uint64_t load_nulls(const struct validity *validity, uint64_t at, uint64_t count)
{
    uint64_t left = count - at < 64 ? count - at : 64;
    return ~load_bits(validity->bits, validity->first + at, left) & low_bits(left);
}

/*
 * The first run of nulls among elements [*at, count): *at becomes its first element; returns its length, 0 where there
 * is none. A run ends at the end of a word at the latest.
 */
static inline uint64_t next_nulls(const struct validity *validity, uint64_t count, uint64_t *at)
{
    for (; *at < count; *at += 64) {
        uint64_t nulls = load_nulls(validity, *at, count);
        if (nulls == 0) continue;
        uint64_t skipped = (uint64_t)__builtin_ctzll(nulls);
        uint64_t others = ~(nulls >> skipped);
        *at += skipped;
        return others != 0 ? (uint64_t)__builtin_ctzll(others) : 64;
    }
    *at = count;
    return 0;
}

/* The first null element, count where there is none. */
static uint64_t first_null(const struct validity *validity, uint64_t count)
{
    uint64_t at = 0;
    if (validity->bits == NULL || next_nulls(validity, count, &at) == 0) return count;
    return at;
}

static void write_valid_bytes(uint8_t *valid, const struct validity *validity, uint64_t count)
{
    if (validity->bits == NULL) {
        memset(valid, 1, count);
    } else {
        bits_to_bytes(valid, validity->bits, validity->first, count);
    }
}

/* ---- fixed width --------------------------------------------------------------------------------------------- */

static void widen_i32(uint8_t *restrict values, const uint8_t *restrict source, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        int32_t narrow;
        memcpy(&narrow, source + i * 4, 4);
        int64_t wide = narrow;
        memcpy(values + i * 8, &wide, 8);
    }
}

static void copy_elements(const struct fb__column_layout *layout, uint8_t *values, const uint8_t *source,
                          uint64_t first, uint64_t count)
{
    switch (layout->copy) {
    case FB__COPY_BYTES:
        memcpy(values, source + first * layout->source_bytes, count * layout->source_bytes);
        break;
    case FB__COPY_BITS:
        bits_to_bytes(values, source, first, count);
        break;
    case FB__COPY_WIDEN_I32:
        widen_i32(values, source + first * 4, count);
        break;
    case FB__COPY_BINARY_32:
    case FB__COPY_BINARY_64:
        assert(!"binary columns have no elements");
        break;
    }
}

/* An element that stands for a null. */
union fill {
    uint8_t bytes_1;
    uint16_t bytes_2;
    uint32_t bytes_4;
    uint64_t bytes_8;
};

static union fill load_fill(const struct fb__column_layout *layout)
{
    union fill fill = {.bytes_8 = 0};
    if (layout->fill != NULL) memcpy(&fill, layout->fill, layout->element_bytes);
    return fill;
}

/* Stores the fill value in count elements. */
static void fill_run(uint8_t *at, uint64_t width, union fill fill, uint64_t count)
{
    switch (width) {
    case 1:
        memset(at, fill.bytes_1, count);
        break;
    case 2:
        for (uint64_t i = 0; i < count; i++) memcpy(at + 2 * i, &fill.bytes_2, 2);
        break;
    case 4:
        for (uint64_t i = 0; i < count; i++) memcpy(at + 4 * i, &fill.bytes_4, 4);
        break;
    case 8:
        for (uint64_t i = 0; i < count; i++) memcpy(at + 8 * i, &fill.bytes_8, 8);
        break;
    default:
        assert(!"no element is of another width");
    }
}

/* Stores the fill value in the elements whose bit is set. The width is a constant in each loop. */
static inline void fill_bits(uint8_t *at, uint64_t width, union fill fill, uint64_t nulls)
{
    switch (width) {
    case 1:
        for (; nulls != 0; nulls &= nulls - 1) at[__builtin_ctzll(nulls)] = fill.bytes_1;
        break;
    case 2:
        for (; nulls != 0; nulls &= nulls - 1) memcpy(at + 2 * __builtin_ctzll(nulls), &fill.bytes_2, 2);
        break;
    case 4:
        for (; nulls != 0; nulls &= nulls - 1) memcpy(at + 4 * __builtin_ctzll(nulls), &fill.bytes_4, 4);
        break;
    case 8:
        for (; nulls != 0; nulls &= nulls - 1) memcpy(at + 8 * __builtin_ctzll(nulls), &fill.bytes_8, 8);
        break;
    default:
        assert(!"no element is of another width");
    }
}

static void fill_null_elements(const struct fb__column_layout *layout, uint8_t *values, const struct validity *validity,
                               uint64_t count)
{
    if (validity->bits == NULL) return;
    union fill fill = load_fill(layout);
    for (uint64_t at = 0; at < count; at += 64) {
        uint64_t nulls = load_nulls(validity, at, count);
        if (nulls != 0) fill_bits(values + at * layout->element_bytes, layout->element_bytes, fill, nulls);
    }
}

/* All elements of lists that are null themselves. */
static void fill_null_lists(const struct fb__column_layout *layout, uint8_t *values, const struct validity *rows,
                            uint64_t row_count)
{
    if (rows->bits == NULL) return;
    union fill fill = load_fill(layout);
    uint64_t row_bytes = layout->list_size * layout->element_bytes, run;
    for (uint64_t at = 0; (run = next_nulls(rows, row_count, &at)) > 0; at += run)
        fill_run(values + at * row_bytes, layout->element_bytes, fill, run * layout->list_size);
}

void fb__copy_fill(const struct fb__column_layout *layout, uint8_t *values, uint64_t count)
{
    fill_run(values, layout->element_bytes, load_fill(layout), count);
}

int fb__copy_fail_null(const struct fb__column_layout *layout, bool is_item, struct fb_error *error)
{
    return fb__fail(error, EIO,
                    "column '%.*s' has a null%s: read it with null_policy=\"fill\" or \"mask\", or leave the column "
                    "out with columns=",
                    fb__text_shown_bytes(layout->name), layout->name, is_item ? " inside a list" : "");
}

static int fail_null(const struct fb__column_layout *layout, bool is_item, uint64_t row, uint64_t *null_row,
                     struct fb_error *error)
{
    if (null_row != NULL) *null_row = row;
    return fb__copy_fail_null(layout, is_item, error);
}

static int copy_fixed(struct fb_batch *batch, uint32_t column, uint64_t place, const struct ArrowArray *array,
                      uint64_t first, uint64_t row_count, uint64_t *null_row, struct fb_error *error)
{
    const struct fb__column_layout *layout = &batch->layout->columns[column];
    const struct validity rows = array_validity(array, first);
    /* Where the column is no list, its rows are the items. */
    const struct ArrowArray *items = layout->is_list ? array->children[0] : array;
    uint64_t item_count = row_count * layout->list_size;
    uint64_t first_item = layout->is_list ? (uint64_t)items->offset + first * layout->list_size : first;
    struct validity item_validity = {NULL, 0};
    if (item_count > 0) item_validity = layout->is_list ? array_validity(items, first_item) : rows;

    if (batch->layout->null_policy == FB_NULLS_ERROR) {
        uint64_t row = first_null(&rows, row_count);
        uint64_t item = layout->is_list ? first_null(&item_validity, item_count) : item_count;
        if (item < item_count && item / layout->list_size < row)
            return fail_null(layout, true, item / layout->list_size, null_row, error);
        if (row < row_count) return fail_null(layout, false, row, null_row, error);
    }
    if (item_count > 0) {
        uint8_t *values = fb__batch_values(batch, column) + place * layout->list_size * layout->element_bytes;
        copy_elements(layout, values, items->buffers[1], first_item, item_count);
        fill_null_elements(layout, values, &item_validity, item_count);
        if (layout->is_list) fill_null_lists(layout, values, &rows, row_count);
    }
    uint8_t *valid = fb__batch_valid(batch, column);
    if (valid != NULL) write_valid_bytes(valid + place, &rows, row_count);
    return 0;
}

/* ---- strings and binary -------------------------------------------------------------------------------------- */

/* Offsets of a source array from the first row asked for on, row_count + 1 of them. */
struct offsets {
    const uint8_t *at;
    uint32_t width;
};

static inline uint64_t load_offset(const struct offsets *offsets, uint64_t i)
{
    if (offsets->width == 4) {
        uint32_t narrow;
        memcpy(&narrow, offsets->at + i * 4, 4);
        return narrow; /* checked: not negative */
    }
    uint64_t wide;
    memcpy(&wide, offsets->at + i * 8, 8);
    return wide;
}

/* Lengths of the rows, of the same width as the offsets. */
static void write_lengths(const struct offsets *offsets, uint8_t *restrict lengths, uint64_t count)
{
    const uint8_t *restrict at = offsets->at;
    if (offsets->width == 4) {
        for (uint64_t i = 0; i < count; i++) {
            uint32_t here, next;
            memcpy(&here, at + i * 4, 4);
            memcpy(&next, at + i * 4 + 4, 4);
            next -= here;
            memcpy(lengths + i * 4, &next, 4);
        }
    } else {
        for (uint64_t i = 0; i < count; i++) {
            uint64_t here, next;
            memcpy(&here, at + i * 8, 8);
            memcpy(&next, at + i * 8 + 8, 8);
            next -= here;
            memcpy(lengths + i * 8, &next, 8);
        }
    }
}

static void write_length(uint8_t *lengths, uint32_t width, uint64_t i, uint64_t length)
{
    if (width == 4) {
        uint32_t narrow = (uint32_t)length;
        memcpy(lengths + i * 4, &narrow, 4);
    } else {
        memcpy(lengths + i * 8, &length, 8);
    }
}

/* How many bytes of the source lie under null rows. *null_count: how many null rows there are. */
static uint64_t count_hidden_bytes(const struct offsets *offsets, const struct validity *rows, uint64_t count,
                                   uint64_t *null_count)
{
    uint64_t hidden_bytes = 0, run;
    *null_count = 0;
    if (rows->bits == NULL) return 0;
    for (uint64_t at = 0; (run = next_nulls(rows, count, &at)) > 0; at += run) {
        hidden_bytes += load_offset(offsets, at + run) - load_offset(offsets, at);
        *null_count += run;
    }
    return hidden_bytes;
}

/* Bytes and lengths of rows with nulls among them: runs of rows in one piece, the fill value for each null. */
static void copy_around_nulls(const struct fb__column_layout *layout, const struct offsets *offsets,
                              const uint8_t *source, const struct validity *rows, uint64_t count, uint8_t *lengths,
                              uint8_t *bytes)
{
    uint64_t copied_rows = 0, run;
    for (uint64_t at = 0;; at += run) {
        run = next_nulls(rows, count, &at);
        uint64_t from = load_offset(offsets, copied_rows);
        uint64_t run_bytes = load_offset(offsets, at) - from;
        if (run_bytes > 0) {
            memcpy(bytes, source + from, run_bytes);
            bytes += run_bytes;
        }
        if (run == 0) return;
        copied_rows = at + run;
        for (uint64_t row = at; row < copied_rows; row++) {
            write_length(lengths, offsets->width, row, layout->fill_bytes);
            if (layout->fill_bytes == 0) continue;
            memcpy(bytes, layout->fill, layout->fill_bytes);
            bytes += layout->fill_bytes;
        }
    }
}

static int copy_binary(struct fb_batch *batch, uint32_t column, uint64_t place, const struct ArrowArray *array,
                       uint64_t first, uint64_t row_count, uint64_t expected_rows, uint64_t *null_row,
                       struct fb_error *error)
{
    const struct fb__column_layout *layout = &batch->layout->columns[column];
    const struct validity rows = array_validity(array, first);
    const uint8_t *source = array->buffers[2];
    uint32_t width = layout->offset_bytes;
    const struct offsets offsets = {(const uint8_t *)array->buffers[1] + first * width, width};

    if (batch->layout->null_policy == FB_NULLS_ERROR) {
        uint64_t row = first_null(&rows, row_count);
        if (row < row_count) return fail_null(layout, false, row, null_row, error);
    }
    uint64_t from = load_offset(&offsets, 0);
    uint64_t source_bytes = load_offset(&offsets, row_count) - from;
    uint64_t null_count;
    uint64_t hidden_bytes = count_hidden_bytes(&offsets, &rows, row_count, &null_count);
    uint64_t filled_bytes = null_count * layout->fill_bytes; /* within 2^62 by the layout */
    uint64_t added_bytes = source_bytes - hidden_bytes + filled_bytes;

    /* Lengths come after the extent: it may have to be cut back by those that stand there. */
    struct fb__extent *extent;
    int rc = fb__batch_extent(batch, column, place, added_bytes, row_count, expected_rows, &extent, error);
    if (rc != 0) return rc;
    uint8_t *bytes = added_bytes > 0 ? extent->bytes + extent->used_bytes : NULL;
    uint8_t *lengths = (uint8_t *)fb__batch_offsets(batch, column) + (place + 1) * width;
    write_lengths(&offsets, lengths, row_count);
    if (hidden_bytes > 0 || filled_bytes > 0) {
        copy_around_nulls(layout, &offsets, source, &rows, row_count, lengths, bytes);
    } else if (added_bytes > 0) {
        memcpy(bytes, source + from, added_bytes);
    }
    extent->used_bytes += added_bytes;
    atomic_fetch_add_explicit(&extent->row_count, row_count, memory_order_release);
    uint8_t *valid = fb__batch_valid(batch, column);
    if (valid != NULL) write_valid_bytes(valid + place, &rows, row_count);
    return 0;
}

int fb__copy_rows(struct fb_batch *batch, uint32_t column, uint64_t place, const struct ArrowArray *array,
                  uint64_t block_offset, uint64_t first_row, uint64_t row_count, uint64_t expected_rows,
                  uint64_t *null_row, struct fb_error *error)
{
    assert(column < batch->layout->column_count);
    assert(place + row_count <= batch->layout->batch_rows);
    assert(block_offset + first_row + row_count <= (uint64_t)array->length);
    assert(expected_rows >= row_count);
    /* An array without rows may have no buffers. */
    if (row_count == 0) return 0;
    uint64_t first = (uint64_t)array->offset + block_offset + first_row;
    if (batch->layout->columns[column].kind == FB_COLUMN_BINARY)
        return copy_binary(batch, column, place, array, first, row_count, expected_rows, null_row, error);
    return copy_fixed(batch, column, place, array, first, row_count, null_row, error);
}
