/*
 * Row copy: rows of a column, where nodes put their slots, and what is said of nulls.
 *
 * Locking: none. The caller owns the places it fills; extents are found under the batch's own lock.
 */
#include "data/copy.h"

#include <assert.h>
#include <errno.h>

#include "data/copy_internal.h"
#include "data/text.h"

/* ---- nulls that are errors ------------------------------------------------------------------------------------ */

static int fail_null(const char *name, bool is_item, struct fb_error *error)
{
    return fb__fail(error, EIO,
                    "column '%.*s' has a null%s: read it with null_policy=\"fill\" or \"mask\", or leave the column "
                    "out with columns=",
                    fb__text_shown_bytes(name), name, is_item ? " inside a list" : "");
}

int fb__copy_fail_null(const struct fb__column_layout *layout, bool is_item, struct fb_error *error)
{
    return fail_null(layout->name, is_item, error);
}

static bool is_inside_list(const struct fb__layout *layout, const struct fb__node *node)
{
    while (node->parent != FB__NONE) {
        node = &layout->nodes[node->parent];
        if (node->kind == FB__NODE_LIST || node->kind == FB__NODE_FIXED_LIST) return true;
    }
    return false;
}

int fb__copy_refuse_null(struct fb__filling *filling, const struct fb__node *node, uint64_t at)
{
    char name[FB__NAME_SHOWN_BYTES + 1];
    filling->fail_at = at;
    fb__layout_name(filling->layout, filling->column, (uint32_t)(node - filling->layout->nodes), name, sizeof name);
    return fail_null(name, is_inside_list(filling->layout, node), filling->error);
}

int fb__copy_check_nulls(struct fb__filling *filling, const struct fb__node *node, const struct fb__validity *validity,
                         uint64_t count)
{
    if (!filling->refuses_nulls) return 0;
    uint64_t at = fb__first_null(validity, count);
    return at < count ? fb__copy_refuse_null(filling, node, at) : 0;
}

bool fb__copy_next_stretch(const struct fb__validity *validity, uint64_t count, struct fb__stretch *stretch)
{
    stretch->at += stretch->count;
    if (stretch->at == count) return false;
    *stretch = (struct fb__stretch){.at = stretch->at, .count = count - stretch->at};
    if (validity->bits == NULL) return true;
    uint64_t null_at = stretch->at;
    uint64_t null_count = fb__next_nulls(validity, count, &null_at);
    stretch->is_null = null_at == stretch->at && null_count > 0;
    stretch->count = stretch->is_null ? null_count : null_at - stretch->at;
    return true;
}

/* ---- where slots go ------------------------------------------------------------------------------------------- */

void fb__copy_begin_slots(struct fb__filling *filling, const struct fb__node *node, uint64_t count, uint64_t slot)
{
    if (node->is_variable) return;
    filling->rows_begun = (slot + count - 1) / node->slots_per_row + 1 - filling->place;
}

static int piece_at(struct fb__filling *filling, const struct fb__node *node, uint32_t number, uint64_t bytes,
                    uint64_t slack_bytes, uint8_t **out)
{
    struct fb__piece *piece = &filling->extent->pieces[number];
    uint64_t free_bytes = piece->capacity_bytes - piece->used_bytes;
    *out = NULL;
    if (free_bytes < slack_bytes || bytes > free_bytes - slack_bytes) {
        const struct fb__room room = {
            .column = filling->column,
            .node = (uint32_t)(node - filling->layout->nodes),
            .piece = number,
            .add_bytes = bytes,
            .slack_bytes = slack_bytes,
            .this_rows = filling->rows_begun,
            .expected_rows = filling->expected_rows,
        };
        int code = fb__batch_make_room(filling->batch, filling->extent, &room, filling->error);
        if (code) return code;
    }
    if (bytes == 0) return 0;
    *out = piece->bytes + piece->used_bytes;
    piece->used_bytes += bytes;
    return 0;
}

int fb__copy_values_at(struct fb__filling *filling, const struct fb__node *node, uint64_t count, uint64_t slot,
                       uint8_t **out)
{
    *out = NULL;
    if (node->element_bytes == 0) return 0;
    if (node->is_variable)
        return piece_at(filling, node, node->values_piece, fb__copy_add_product(0, count, node->element_bytes), 0, out);
    *out = fb__batch_region(filling->batch, node->values_region) + slot * node->element_bytes;
    return 0;
}

int fb__copy_lengths_at(struct fb__filling *filling, const struct fb__node *node, uint64_t count, uint64_t slot,
                        uint8_t **out)
{
    fb__copy_begin_slots(filling, node, count, slot);
    if (node->is_variable)
        return piece_at(filling, node, node->lengths_piece, fb__copy_add_product(0, count, node->offset_bytes),
                        node->offset_bytes, out);
    *out = fb__batch_region(filling->batch, node->offsets_region) + (slot + 1) * node->offset_bytes;
    return 0;
}

int fb__copy_valid_at(struct fb__filling *filling, const struct fb__node *node, uint64_t count, uint64_t slot,
                      uint8_t **out)
{
    *out = NULL;
    if (!node->has_valid) return 0;
    if (node->is_variable) return piece_at(filling, node, node->valid_piece, count, 0, out);
    *out = fb__batch_region(filling->batch, node->valid_region) + slot;
    return 0;
}

int fb__copy_bytes_at(struct fb__filling *filling, const struct fb__node *node, uint64_t bytes, uint8_t **out)
{
    return piece_at(filling, node, node->values_piece, bytes, 0, out);
}

/* ---- rows ------------------------------------------------------------------------------------------------------ */

/* Rows that were appended in part are taken off again, so that the extent ends at a whole row. */
static void keep_rows(struct fb__filling *filling, bool is_complete, uint64_t row_count)
{
    struct fb__extent *extent = filling->extent;
    if (!extent) return;
    uint32_t piece_count = filling->layout->columns[filling->column].piece_count;
    for (uint32_t i = 0; i < piece_count && !is_complete; i++)
        extent->pieces[i].used_bytes = extent->pieces[i].kept_bytes;
    if (is_complete) atomic_fetch_add_explicit(&extent->row_count, row_count, memory_order_release);
}

static int copy_nested(struct fb_batch *batch, uint32_t column, uint64_t place, const struct ArrowArray *array,
                       uint64_t first, uint64_t row_count, uint64_t expected_rows, uint64_t *null_row,
                       struct fb_error *error)
{
    const struct fb__column_layout *layout = &batch->layout->columns[column];
    struct fb__filling filling = {
        .batch = batch,
        .layout = batch->layout,
        .column = column,
        .refuses_nulls = batch->layout->null_policy == FB_NULLS_ERROR,
        .place = place,
        .expected_rows = expected_rows,
        .error = error,
    };
    int code = 0;
    if (layout->piece_count > 0) code = fb__batch_find_extent(batch, column, place, &filling.extent, error);
    if (code) return code;
    for (uint32_t i = 0; i < layout->piece_count; i++)
        filling.extent->pieces[i].kept_bytes = filling.extent->pieces[i].used_bytes;
    code = fb__copy_append(&filling, &batch->layout->nodes[layout->root], array, first, row_count, place);
    keep_rows(&filling, code == 0, row_count);
    if (code && null_row != NULL) *null_row = filling.fail_at;
    return code;
}

/* Most columns of most batches: small batches are dominated by what a column costs, not a row. */
static inline void copy_same_bytes(struct fb_batch *batch, const struct fb__column_layout *layout, uint64_t place,
                                   const struct ArrowArray *array, uint64_t first, uint64_t row_count)
{
    uint64_t width = layout->element_bytes;
    uint8_t *values = batch->fixed + batch->places[layout->values_region] + place * width;
    memcpy(values, (const uint8_t *)array->buffers[1] + first * width, row_count * width);
    if (layout->valid_region != FB__NONE)
        memset(batch->fixed + batch->places[layout->valid_region] + place, 1, row_count);
}

int fb__copy_rows(struct fb_batch *batch, uint32_t column, uint64_t place, const struct ArrowArray *array,
                  uint64_t block_offset, uint64_t first_row, uint64_t row_count, uint64_t expected_rows,
                  uint64_t *null_row, struct fb_error *error)
{
    assert(column < batch->layout->column_count);
    assert(place + row_count <= batch->capacity_rows);
    assert(block_offset + first_row + row_count <= (uint64_t)array->length);
    assert(expected_rows >= row_count);
    /* An array without rows may have no buffers. */
    if (row_count == 0) return 0;
    uint64_t first = (uint64_t)array->offset + block_offset + first_row;
    const struct fb__column_layout *layout = &batch->layout->columns[column];
    if (layout->is_same_bytes && array->buffers[0] == NULL) {
        copy_same_bytes(batch, layout, place, array, first, row_count);
        return 0;
    }
    if (!layout->is_flat)
        return copy_nested(batch, column, place, array, first, row_count, expected_rows, null_row, error);
    if (layout->offset_bytes > 0)
        return fb__copy_flat_binary(batch, column, place, array, first, row_count, expected_rows, null_row, error);
    return fb__copy_flat_fixed(batch, column, place, array, first, row_count, null_row, error);
}
