/*
 * Elements of one width. Values go in two steps: everything is copied or widened in one pass that does not look at
 * nulls (what lies under a null may be read, it is never kept), then the null places alone are overwritten.
 *
 * Sources may be aligned to nothing: numbers of a source are loaded with memcpy, which compiles to plain loads.
 * Nothing is read past the last value of the rows asked for.
 *
 * Locking: none.
 */
#include <assert.h>

#include "data/copy_internal.h"

/* ---- elements -------------------------------------------------------------------------------------------------- */

static void widen_i32(uint8_t *restrict values, const uint8_t *restrict source, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        int32_t narrow;
        memcpy(&narrow, source + i * 4, 4);
        int64_t wide = narrow;
        memcpy(values + i * 8, &wide, 8);
    }
}

static void bytes_to_bools(uint8_t *restrict values, const uint8_t *restrict source, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) values[i] = source[i] != 0;
}

void fb__copy_elements(enum fb__copy_kind copy, uint64_t width, uint8_t *values, const uint8_t *source, uint64_t first,
                       uint64_t count)
{
    switch (copy) {
    case FB__COPY_BYTES:
        memcpy(values, source + first * width, count * width);
        break;
    case FB__COPY_BITS:
        fb__bits_to_bytes(values, source, first, count);
        break;
    case FB__COPY_WIDEN_I32:
        widen_i32(values, source + first * 4, count);
        break;
    case FB__COPY_BOOL8:
        bytes_to_bools(values, source + first, count);
        break;
    case FB__COPY_NULLS:
    case FB__COPY_BINARY_32:
    case FB__COPY_BINARY_64:
    case FB__COPY_BINARY_VIEW:
    case FB__COPY_LIST_32:
    case FB__COPY_LIST_64:
    case FB__COPY_LIST_VIEW_32:
    case FB__COPY_LIST_VIEW_64:
        assert(!"these have no elements");
        break;
    }
}

/* ---- fill values ----------------------------------------------------------------------------------------------- */

/* An element that stands for a null, of 8 bytes or less. */
union fill {
    uint8_t bytes_1;
    uint16_t bytes_2;
    uint32_t bytes_4;
    uint64_t bytes_8;
};

static union fill load_fill(const void *fill, uint64_t width)
{
    union fill loaded = {.bytes_8 = 0};
    if (fill != NULL) memcpy(&loaded, fill, width);
    return loaded;
}

static void fill_wide_run(uint8_t *values, uint64_t width, const void *fill, uint64_t count)
{
    if (width == 0) return;
    if (fill == NULL) {
        memset(values, 0, count * width);
        return;
    }
    for (uint64_t i = 0; i < count; i++) memcpy(values + i * width, fill, width);
}

void fb__copy_fill_run(uint8_t *values, uint64_t width, const void *fill, uint64_t count)
{
    union fill element;
    switch (width) {
    case 1:
        memset(values, fill != NULL ? *(const uint8_t *)fill : 0, count);
        break;
    case 2:
        element = load_fill(fill, 2);
        for (uint64_t i = 0; i < count; i++) memcpy(values + 2 * i, &element.bytes_2, 2);
        break;
    case 4:
        element = load_fill(fill, 4);
        for (uint64_t i = 0; i < count; i++) memcpy(values + 4 * i, &element.bytes_4, 4);
        break;
    case 8:
        element = load_fill(fill, 8);
        for (uint64_t i = 0; i < count; i++) memcpy(values + 8 * i, &element.bytes_8, 8);
        break;
    default:
        fill_wide_run(values, width, fill, count);
    }
}

void fb__copy_fill(const struct fb__column_layout *layout, uint8_t *values, uint64_t count)
{
    fb__copy_fill_run(values, layout->element_bytes, layout->fill, count);
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
        assert(!"wider elements are filled in runs");
    }
}

static bool is_register_width(uint64_t width)
{
    return width == 1 || width == 2 || width == 4 || width == 8;
}

/* Rows of list_size elements of width bytes each that are null themselves. */
static void fill_null_rows(uint8_t *values, uint64_t width, const void *fill, uint64_t list_size,
                           const struct fb__validity *rows, uint64_t row_count)
{
    if (rows->bits == NULL) return;
    uint64_t run;
    for (uint64_t at = 0; (run = fb__next_nulls(rows, row_count, &at)) > 0; at += run)
        fb__copy_fill_run(values + at * list_size * width, width, fill, run * list_size);
}

static void fill_null_elements(uint8_t *values, uint64_t width, const void *fill, const struct fb__validity *validity,
                               uint64_t count)
{
    if (validity->bits == NULL) return;
    if (!is_register_width(width)) {
        fill_null_rows(values, width, fill, 1, validity, count);
        return;
    }
    union fill element = load_fill(fill, width);
    for (uint64_t at = 0; at < count; at += 64) {
        uint64_t nulls = fb__load_nulls(validity, at, count);
        if (nulls != 0) fill_bits(values + at * width, width, element, nulls);
    }
}

/* ---- flat columns ---------------------------------------------------------------------------------------------- */

static int fail_null(const struct fb__column_layout *layout, bool is_item, uint64_t row, uint64_t *null_row,
                     struct fb_error *error)
{
    if (null_row != NULL) *null_row = row;
    return fb__copy_fail_null(layout, is_item, error);
}

int fb__copy_flat_fixed(struct fb_batch *batch, uint32_t column, uint64_t place, const struct ArrowArray *array,
                        uint64_t first, uint64_t row_count, uint64_t *null_row, struct fb_error *error)
{
    const struct fb__column_layout *layout = &batch->layout->columns[column];
    const struct fb__validity rows = fb__array_validity(array, first);
    /* Where the column is no list, its rows are the items. */
    const struct ArrowArray *items = layout->is_list ? array->children[0] : array;
    uint64_t item_count = row_count * layout->list_size;
    uint64_t first_item = layout->is_list ? (uint64_t)items->offset + first * layout->list_size : first;
    struct fb__validity item_validity = {NULL, 0};
    if (item_count > 0) item_validity = layout->is_list ? fb__array_validity(items, first_item) : rows;

    if (batch->layout->null_policy == FB_NULLS_ERROR) {
        uint64_t row = fb__first_null(&rows, row_count);
        uint64_t item = layout->is_list ? fb__first_null(&item_validity, item_count) : item_count;
        if (item < item_count && item / layout->list_size < row)
            return fail_null(layout, true, item / layout->list_size, null_row, error);
        if (row < row_count) return fail_null(layout, false, row, null_row, error);
    }
    uint64_t width = layout->element_bytes;
    if (item_count > 0 && width > 0) {
        uint8_t *values = fb__batch_values(batch, column) + place * layout->list_size * width;
        fb__copy_elements(layout->copy, layout->source_bytes, values, items->buffers[1], first_item, item_count);
        fill_null_elements(values, width, layout->fill, &item_validity, item_count);
        if (layout->is_list) fill_null_rows(values, width, layout->fill, layout->list_size, &rows, row_count);
    }
    uint8_t *valid = fb__batch_valid(batch, column);
    if (valid != NULL) fb__write_valid_bytes(valid + place, &rows, row_count);
    return 0;
}

/* ---- nodes ----------------------------------------------------------------------------------------------------- */

int fb__copy_append_null_fixed(struct fb__filling *filling, const struct fb__node *node, uint64_t count, uint64_t slot)
{
    uint8_t *values, *valid;
    int code = fb__copy_values_at(filling, node, count, slot, &values);
    if (code == 0) code = fb__copy_valid_at(filling, node, count, slot, &valid);
    if (code) return code;
    if (values != NULL) fb__copy_fill_run(values, node->element_bytes, node->fill, count);
    if (valid != NULL) memset(valid, 0, count);
    return 0;
}

int fb__copy_append_fixed(struct fb__filling *filling, const struct fb__node *node, const struct ArrowArray *array,
                          uint64_t first, uint64_t count, uint64_t slot)
{
    /* An array of nulls has no buffers. */
    if (node->copy == FB__COPY_NULLS)
        return filling->refuses_nulls ? fb__copy_refuse_null(filling, node, 0)
                                      : fb__copy_append_null_fixed(filling, node, count, slot);
    const struct fb__validity validity = fb__array_validity(array, first);
    uint8_t *values, *valid;
    int code = fb__copy_check_nulls(filling, node, &validity, count);
    if (code == 0) code = fb__copy_values_at(filling, node, count, slot, &values);
    if (code == 0) code = fb__copy_valid_at(filling, node, count, slot, &valid);
    if (code) return code;
    if (values != NULL) {
        fb__copy_elements(node->copy, node->source_bytes, values, array->buffers[1], first, count);
        fill_null_elements(values, node->element_bytes, node->fill, &validity, count);
    }
    if (valid != NULL) fb__write_valid_bytes(valid, &validity, count);
    return 0;
}
