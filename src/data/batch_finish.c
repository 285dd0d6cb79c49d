/*
 * Finishing a batch: extents become one, lengths become offsets, values codes, and bytes bits.
 *
 * What can fail comes first and may be repeated; summing a column twice would not be the same.
 *
 * Lock model: see batch.h. No reader is filling any more.
 */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "data/batch.h"

/* ---- joining ---- */

/* Room in the home for the bytes of all extents, and for one more entry behind lengths. */
static int make_home_fit(struct fb_batch *batch, struct fb__extent *home, uint32_t number, uint64_t slack_bytes,
                         struct fb_error *error)
{
    struct fb__piece *piece = &home->pieces[number];
    uint64_t total_bytes = slack_bytes;
    for (const struct fb__extent *extent = home; extent; extent = extent->next)
        total_bytes += extent->pieces[number].used_bytes;
    if (total_bytes <= piece->capacity_bytes) return 0;
    return fb__batch_resize(batch, piece, total_bytes, batch->wait, error);
}

/* Brings one piece of every extent into the home, which has the room, in row order. */
static void join_piece(struct fb__extent *home, uint32_t number)
{
    struct fb__piece *target = &home->pieces[number];
    uint64_t home_bytes = target->used_bytes;
    uint64_t before_home_bytes = 0;
    for (struct fb__extent *extent = home->next; extent; extent = extent->next)
        if (extent->first_row < home->first_row) before_home_bytes += extent->pieces[number].used_bytes;
    /* The home goes first: the others are written around it. */
    if (home_bytes > 0 && before_home_bytes > 0) memmove(target->bytes + before_home_bytes, target->bytes, home_bytes);
    uint64_t at = 0;
    for (struct fb__extent *extent = home->next; extent; extent = extent->next) {
        const struct fb__piece *piece = &extent->pieces[number];
        uint64_t skip_bytes = extent->first_row > home->first_row ? home_bytes : 0;
        if (piece->used_bytes > 0) memcpy(target->bytes + at + skip_bytes, piece->bytes, piece->used_bytes);
        at += piece->used_bytes;
    }
    target->used_bytes = home_bytes + at;
}

static int make_homes_fit(struct fb_batch *batch, uint32_t column, struct fb_error *error)
{
    const struct fb__column_layout *layout = &batch->layout->columns[column];
    struct fb__extent *home = fb__batch_home(batch, column);
    for (uint32_t i = layout->root; i < layout->root + layout->node_count; i++) {
        const struct fb__node *node = &batch->layout->nodes[i];
        int code = 0;
        if (node->lengths_piece != FB__NONE)
            code = make_home_fit(batch, home, node->lengths_piece, node->offset_bytes, error);
        if (code == 0 && node->values_piece != FB__NONE)
            code = make_home_fit(batch, home, node->values_piece, 0, error);
        if (code == 0 && node->valid_piece != FB__NONE) code = make_home_fit(batch, home, node->valid_piece, 0, error);
        if (code) return code;
    }
    return 0;
}

/* A column without nesting: the bytes of its strings. */
static int join_flat(struct fb_batch *batch, uint32_t column, struct fb_error *error)
{
    struct fb__extent *home = fb__batch_home(batch, column);
    uint64_t total_bytes = 0;
    for (const struct fb__extent *extent = home; extent; extent = extent->next)
        total_bytes += extent->pieces[0].used_bytes;
    return fb__batch_check_offsets(batch, column, batch->layout->columns[column].leaf, total_bytes, error);
}

static int join_column(struct fb_batch *batch, uint32_t column, struct fb_error *error)
{
    const struct fb__column_layout *layout = &batch->layout->columns[column];
    struct fb__extent *home = fb__batch_home(batch, column);
    int code = layout->is_flat ? join_flat(batch, column, error) : 0;
    if (code == 0 && (home->next || !layout->is_flat)) code = make_homes_fit(batch, column, error);
    if (code || !home->next) return code;
    for (uint32_t i = 0; i < layout->piece_count; i++) join_piece(home, i);
    fb__batch_drop_chain(batch, home);
    home->first_row = 0;
    home->row_count = batch->row_count;
    return 0;
}

/* ---- checking ---- */

/* Lengths of a node that has count slots, not yet summed up. */
static const uint8_t *lengths_of(const struct fb_batch *batch, uint32_t column, const struct fb__node *node)
{
    if (node->is_variable) return fb__batch_home(batch, column)->pieces[node->lengths_piece].bytes;
    return fb__batch_region(batch, node->offsets_region) + node->offset_bytes;
}

static int check_slots(const struct fb_batch *batch, uint32_t column, uint32_t index, uint64_t count,
                       struct fb_error *error);

/* *sum: of the lengths of count slots. */
static int check_lengths(const struct fb_batch *batch, uint32_t column, uint32_t index, uint64_t count, uint64_t *sum,
                         struct fb_error *error)
{
    const struct fb__node *node = &batch->layout->nodes[index];
    const uint8_t *lengths = lengths_of(batch, column, node);
    *sum = 0;
    for (uint64_t i = 0; i < count; i++)
        if (__builtin_add_overflow(*sum, fb__batch_offset(lengths, node->offset_bytes, i), sum) ||
            *sum > FB__MOST_BYTES)
            return fb__fail(error, EOVERFLOW, "column '%s' has more than 2^62 list elements in one batch",
                            batch->layout->columns[column].name);
    return fb__batch_check_offsets(batch, column, index, *sum, error);
}

/* Whether what is below a node can be counted, and reached with its offsets. */
static int check_slots(const struct fb_batch *batch, uint32_t column, uint32_t index, uint64_t count,
                       struct fb_error *error)
{
    const struct fb__node *node = fb__layout_stored(batch->layout, &batch->layout->nodes[index]);
    uint32_t at = (uint32_t)(node - batch->layout->nodes);
    uint64_t sum = 0;
    int code = 0;
    switch (node->kind) {
    case FB__NODE_BINARY:
        return check_lengths(batch, column, at, count, &sum, error);
    case FB__NODE_LIST:
        code = check_lengths(batch, column, at, count, &sum, error);
        return code ? code : check_slots(batch, column, node->first_child, sum, error);
    case FB__NODE_FIXED_LIST:
        if (__builtin_mul_overflow(count, node->list_size, &sum) || sum > FB__MOST_BYTES)
            return fb__fail(error, EOVERFLOW, "column '%s' has more than 2^62 list elements in one batch",
                            batch->layout->columns[column].name);
        return check_slots(batch, column, node->first_child, sum, error);
    case FB__NODE_STRUCT:
        for (uint32_t i = 0; i < node->child_count && code == 0; i++)
            code = check_slots(batch, column, node->first_child + i, count, error);
        return code;
    case FB__NODE_FIXED:
    case FB__NODE_NULL:
    case FB__NODE_DICTIONARY:
    case FB__NODE_RUN_END:
        break;
    }
    return 0;
}

static int check_column(const struct fb_batch *batch, uint32_t column, struct fb_error *error)
{
    const struct fb__column_layout *layout = &batch->layout->columns[column];
    if (layout->is_dictionary && batch->row_count > (uint64_t)INT32_MAX)
        return fb__fail(error, EOVERFLOW,
                        "column '%s' has %llu rows in one batch, dictionary codes reach 2^31 - 1: choose a smaller "
                        "batch size",
                        layout->name, (unsigned long long)batch->row_count);
    return layout->is_flat ? 0 : check_slots(batch, column, layout->root, batch->row_count, error);
}

/* ---- lengths to offsets ---- */

/* Lengths lie one entry further on than where their offsets begin. */
static void sum_region_32(uint32_t *offsets, uint64_t count)
{
    uint32_t sum = 0;
    offsets[0] = 0;
    for (uint64_t i = 1; i <= count; i++) offsets[i] = sum += offsets[i];
}

static void sum_region_64(uint64_t *offsets, uint64_t count)
{
    uint64_t sum = 0;
    offsets[0] = 0;
    for (uint64_t i = 1; i <= count; i++) offsets[i] = sum += offsets[i];
}

/* Lengths begin where their offsets do, which take one entry more. */
static void sum_piece_32(uint32_t *offsets, uint64_t count)
{
    uint32_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t length = offsets[i];
        offsets[i] = sum;
        sum += length;
    }
    offsets[count] = sum;
}

static void sum_piece_64(uint64_t *offsets, uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t length = offsets[i];
        offsets[i] = sum;
        sum += length;
    }
    offsets[count] = sum;
}

/* Returns the last offset. */
static uint64_t sum_node(struct fb_batch *batch, uint32_t column, const struct fb__node *node, uint64_t count)
{
    void *offsets;
    if (node->is_variable) {
        struct fb__piece *piece = &fb__batch_home(batch, column)->pieces[node->lengths_piece];
        assert(piece->used_bytes == count * node->offset_bytes);
        offsets = piece->bytes;
        node->offset_bytes == 4 ? sum_piece_32(offsets, count) : sum_piece_64(offsets, count);
        piece->used_bytes += node->offset_bytes;
    } else {
        offsets = fb__batch_region(batch, node->offsets_region);
        node->offset_bytes == 4 ? sum_region_32(offsets, count) : sum_region_64(offsets, count);
    }
    return fb__batch_offset(offsets, node->offset_bytes, count);
}

static void sum_slots(struct fb_batch *batch, uint32_t column, const struct fb__node *node, uint64_t count)
{
    node = fb__layout_stored(batch->layout, node);
    const struct fb__node *children = &batch->layout->nodes[node->first_child];
    switch (node->kind) {
    case FB__NODE_BINARY:
        (void)sum_node(batch, column, node, count);
        break;
    case FB__NODE_LIST:
        sum_slots(batch, column, children, sum_node(batch, column, node, count));
        break;
    case FB__NODE_FIXED_LIST:
        sum_slots(batch, column, children, count * node->list_size);
        break;
    case FB__NODE_STRUCT:
        for (uint32_t i = 0; i < node->child_count; i++) sum_slots(batch, column, &children[i], count);
        break;
    case FB__NODE_FIXED:
    case FB__NODE_NULL:
    case FB__NODE_DICTIONARY:
    case FB__NODE_RUN_END:
        break;
    }
}

/* ---- bytes to bits ---- */

uint64_t fb__batch_pack(uint8_t *bytes, uint64_t count)
{
    uint64_t set_count = 0, done = 0;
    for (; count - done >= 8; done += 8) {
        uint64_t word;
        memcpy(&word, bytes + done, 8);
        /* The bytes are 0 or 1: each lands in a bit of its own of the top byte. */
        uint8_t bits = (uint8_t)(le64toh(word) * UINT64_C(0x0102040810204080) >> 56);
        set_count += (uint64_t)__builtin_popcount(bits);
        bytes[done / 8] = bits;
    }
    if (done < count) {
        uint8_t bits = 0;
        for (uint64_t i = 0; i < count - done; i++) bits = (uint8_t)(bits | bytes[done + i] << i);
        set_count += (uint64_t)__builtin_popcount(bits);
        bytes[done / 8] = bits;
    }
    return count - set_count;
}

/* ---- all of it ---- */

static void settle_column(struct fb_batch *batch, uint32_t column)
{
    const struct fb__column_layout *layout = &batch->layout->columns[column];
    if (layout->is_dictionary)
        fb__batch_encode(batch, column);
    else if (!layout->is_flat)
        sum_slots(batch, column, &batch->layout->nodes[layout->root], batch->row_count);
    else if (layout->piece_count > 0)
        (void)sum_node(batch, column, &batch->layout->nodes[layout->leaf], batch->row_count);
    if (batch->parts) fb__batch_set_parts(batch, column);
}

/* What can fail of finishing a column. */
static int prepare_column(struct fb_batch *batch, uint32_t column, struct fb_error *error)
{
    const struct fb__column_layout *layout = &batch->layout->columns[column];
    int code = 0;
    if (layout->piece_count > 0) code = join_column(batch, column, error);
    if (code == 0 && (!layout->is_flat || layout->is_dictionary)) code = check_column(batch, column, error);
    return code;
}

int fb__batch_finish(struct fb_batch *batch, struct fb_error *error)
{
    assert(!batch->is_finished);
    const struct fb__column_layout *columns = batch->layout->columns;
    uint32_t column_count = batch->layout->unfinished_count > 0 ? batch->layout->column_count : 0;
    for (uint32_t i = 0; i < column_count; i++) {
        int code = columns[i].is_filled_finished ? 0 : prepare_column(batch, i, error);
        if (code) return code;
    }
    for (uint32_t i = 0; i < column_count; i++)
        if (!columns[i].is_filled_finished) settle_column(batch, i);
    batch->is_finished = true;
    return 0;
}
