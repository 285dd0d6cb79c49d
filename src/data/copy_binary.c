/*
 * Strings and binary with offsets of 32 or 64 bits: lengths, and the bytes of runs of rows in one piece.
 *
 * Offsets may be aligned to nothing. What lies under a null is not copied.
 *
 * Locking: none.
 */
#include "data/copy_internal.h"

void fb__copy_lengths(const uint8_t *restrict at, uint32_t width, uint8_t *restrict lengths, uint64_t count)
{
    if (width == 4) {
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

/* Rows of strings on their way. */
struct rows {
    const uint8_t *offsets; /* of the first row, count + 1 of them */
    uint32_t width;
    const uint8_t *source;
    struct fb__validity validity;
    uint64_t count;
    const void *fill;
    uint64_t fill_bytes;
    /* worked out by measure() */
    uint64_t from;         /* offset of the first row */
    uint64_t hidden_bytes; /* bytes of the source that lie under null rows */
    uint64_t filled_bytes; /* that fill values take */
    uint64_t added_bytes;  /* that all rows take; UINT64_MAX where they are more */
};

static void measure(struct rows *rows)
{
    rows->from = fb__copy_load(rows->offsets, rows->width, 0);
    uint64_t source_bytes = fb__copy_load(rows->offsets, rows->width, rows->count) - rows->from;
    uint64_t null_count = 0, run;
    rows->hidden_bytes = 0;
    for (uint64_t at = 0; rows->validity.bits != NULL; at += run) {
        run = fb__next_nulls(&rows->validity, rows->count, &at);
        if (run == 0) break;
        rows->hidden_bytes +=
            fb__copy_load(rows->offsets, rows->width, at + run) - fb__copy_load(rows->offsets, rows->width, at);
        null_count += run;
    }
    rows->filled_bytes = fb__copy_add_product(0, null_count, rows->fill_bytes);
    rows->added_bytes = fb__copy_add_product(source_bytes - rows->hidden_bytes, null_count, rows->fill_bytes);
}

/* Bytes and lengths of rows with nulls among them: runs of rows in one piece, the fill value for each null. */
static void copy_around_nulls(const struct rows *rows, uint8_t *lengths, uint8_t *bytes)
{
    uint64_t copied_rows = 0, run;
    for (uint64_t at = 0;; at += run) {
        run = fb__next_nulls(&rows->validity, rows->count, &at);
        uint64_t from = fb__copy_load(rows->offsets, rows->width, copied_rows);
        uint64_t run_bytes = fb__copy_load(rows->offsets, rows->width, at) - from;
        if (run_bytes > 0) {
            memcpy(bytes, rows->source + from, run_bytes);
            bytes += run_bytes;
        }
        if (run == 0) return;
        copied_rows = at + run;
        for (uint64_t row = at; row < copied_rows; row++) {
            fb__copy_store(lengths, rows->width, row, rows->fill_bytes);
            if (rows->fill_bytes == 0) continue;
            memcpy(bytes, rows->fill, rows->fill_bytes);
            bytes += rows->fill_bytes;
        }
    }
}

static void store(const struct rows *rows, uint8_t *lengths, uint8_t *bytes)
{
    fb__copy_lengths(rows->offsets, rows->width, lengths, rows->count);
    if (rows->hidden_bytes > 0 || rows->filled_bytes > 0) {
        copy_around_nulls(rows, lengths, bytes);
    } else if (rows->added_bytes > 0) {
        memcpy(bytes, rows->source + rows->from, rows->added_bytes);
    }
}

int fb__copy_flat_binary(struct fb_batch *batch, uint32_t column, uint64_t place, const struct ArrowArray *array,
                         uint64_t first, uint64_t row_count, uint64_t expected_rows, uint64_t *null_row,
                         struct fb_error *error)
{
    const struct fb__column_layout *layout = &batch->layout->columns[column];
    uint32_t width = layout->offset_bytes;
    struct rows rows = {
        .offsets = (const uint8_t *)array->buffers[1] + first * width,
        .width = width,
        .source = array->buffers[2],
        .validity = fb__array_validity(array, first),
        .count = row_count,
        .fill = layout->fill,
        .fill_bytes = layout->fill_bytes,
    };
    if (batch->layout->null_policy == FB_NULLS_ERROR) {
        uint64_t row = fb__first_null(&rows.validity, row_count);
        if (row < row_count) {
            if (null_row != NULL) *null_row = row;
            return fb__copy_fail_null(layout, false, error);
        }
    }
    measure(&rows);
    /* Lengths come after the extent: it may have to be cut back by those that stand there. */
    struct fb__extent *extent;
    int rc = fb__batch_extent(batch, column, place, rows.added_bytes, row_count, expected_rows, &extent, error);
    if (rc != 0) return rc;
    struct fb__piece *piece = extent->pieces;
    uint8_t *bytes = rows.added_bytes > 0 ? piece->bytes + piece->used_bytes : NULL;
    store(&rows, (uint8_t *)fb__batch_offsets(batch, column) + (place + 1) * width, bytes);
    piece->used_bytes += rows.added_bytes;
    atomic_fetch_add_explicit(&extent->row_count, row_count, memory_order_release);
    uint8_t *valid = fb__batch_valid(batch, column);
    if (valid != NULL) fb__write_valid_bytes(valid + place, &rows.validity, row_count);
    return 0;
}

int fb__copy_append_binary(struct fb__filling *filling, const struct fb__node *node, const struct ArrowArray *array,
                           uint64_t first, uint64_t count, uint64_t slot)
{
    struct rows rows = {
        .offsets = (const uint8_t *)array->buffers[1] + first * node->offset_bytes,
        .width = node->offset_bytes,
        .source = array->buffers[2],
        .validity = fb__array_validity(array, first),
        .count = count,
        .fill = node->fill,
        .fill_bytes = node->fill_bytes,
    };
    uint8_t *lengths, *bytes, *valid;
    int code = fb__copy_check_nulls(filling, node, &rows.validity, count);
    if (code) return code;
    measure(&rows);
    code = fb__copy_lengths_at(filling, node, count, slot, &lengths);
    if (code == 0) code = fb__copy_bytes_at(filling, node, rows.added_bytes, &bytes);
    if (code == 0) code = fb__copy_valid_at(filling, node, count, slot, &valid);
    if (code) return code;
    store(&rows, lengths, bytes);
    if (valid != NULL) fb__write_valid_bytes(valid, &rows.validity, count);
    return 0;
}

int fb__copy_append_null_binary(struct fb__filling *filling, const struct fb__node *node, uint64_t count, uint64_t slot)
{
    uint8_t *lengths, *bytes, *valid;
    int code = fb__copy_lengths_at(filling, node, count, slot, &lengths);
    if (code == 0) code = fb__copy_bytes_at(filling, node, fb__copy_add_product(0, count, node->fill_bytes), &bytes);
    if (code == 0) code = fb__copy_valid_at(filling, node, count, slot, &valid);
    if (code) return code;
    for (uint64_t i = 0; i < count; i++) fb__copy_store(lengths, node->offset_bytes, i, node->fill_bytes);
    if (bytes != NULL) fb__copy_fill_run(bytes, node->fill_bytes, node->fill, count);
    if (valid != NULL) memset(valid, 0, count);
    return 0;
}
