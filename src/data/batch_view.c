/*
 * What the user sees of a finished batch: its columns, and the parts they are made of.
 *
 * Locking: none; a finished batch does not change.
 */
#include <assert.h>
#include <string.h>

#include "data/batch.h"

struct fb__node_view fb__batch_view(const struct fb_batch *batch, uint32_t column, const struct fb__node *node)
{
    struct fb__node_view view = {
        .values = fb__batch_region(batch, node->values_region),
        .offsets = fb__batch_region(batch, node->offsets_region),
        .valid = fb__batch_region(batch, node->valid_region),
    };
    if (batch->layout->columns[column].piece_count == 0) return view;
    const struct fb__piece *pieces = fb__batch_home(batch, column)->pieces;
    /* Strings without a byte show none. */
    if (node->values_piece != FB__NONE)
        view.values = pieces[node->values_piece].used_bytes > 0 ? pieces[node->values_piece].bytes : NULL;
    if (node->lengths_piece != FB__NONE) view.offsets = pieces[node->lengths_piece].bytes;
    if (node->valid_piece != FB__NONE) view.valid = pieces[node->valid_piece].bytes;
    return view;
}

uint64_t fb_batch_rows(const struct fb_batch *batch)
{
    return batch->row_count;
}

uint64_t fb_batch_index(const struct fb_batch *batch)
{
    return batch->index;
}

uint32_t fb_batch_column_count(const struct fb_batch *batch)
{
    return batch->layout->column_count;
}

/* ---- columns ---- */

static const char *format_of(const struct fb__node *node)
{
    return node->stored_format ? node->stored_format : node->format;
}

/* Below fixed-size lists of plain elements those; NULL where they are of anything else. *list_size: of all of them. */
static const struct fb__node *plain_elements(const struct fb__layout *layout, const struct fb__node *node,
                                             uint64_t *list_size)
{
    *list_size = 1;
    while (node->kind == FB__NODE_FIXED_LIST) {
        *list_size *= node->list_size;
        node = fb__layout_stored(layout, &layout->nodes[node->first_child]);
    }
    return node->kind == FB__NODE_FIXED ? node : NULL;
}

/* A node and what is below it as a column of row_count rows. */
static void show_node(const struct fb_batch *batch, uint32_t column, uint32_t index, uint64_t row_count,
                      struct fb_column *out)
{
    const struct fb__layout *layout = batch->layout;
    const struct fb__node *node = fb__layout_stored(layout, &layout->nodes[index]);
    const struct fb__node_view view = fb__batch_view(batch, column, node);
    uint64_t list_size;
    const struct fb__node *elements = plain_elements(layout, node, &list_size);
    *out = (struct fb_column){
        .kind = elements ? FB_COLUMN_FIXED : fb__layout_kind(node->kind),
        .name = layout->nodes[index].name ? layout->nodes[index].name : "",
        .format = format_of(node),
        .row_count = row_count,
        .list_size = 1,
        .valid = layout->storage == FB_STORAGE_DENSE ? view.valid : NULL,
        .node = (uint32_t)(node - layout->nodes),
    };
    if (elements) {
        out->values = fb__batch_view(batch, column, elements).values;
        out->element_format = format_of(elements);
        out->element_bytes = elements->element_bytes;
        out->list_size = list_size;
        out->is_list = elements != node;
        return;
    }
    out->child_count = node->child_count;
    if (node->kind == FB__NODE_FIXED_LIST) out->list_size = node->list_size;
    if (node->kind == FB__NODE_BINARY) out->values = view.values;
    out->offsets = view.offsets;
    out->offset_bytes = node->offset_bytes;
}

static void show_codes(const struct fb_batch *batch, uint32_t column, struct fb_column *out)
{
    const struct fb__column_layout *layout = &batch->layout->columns[column];
    show_node(batch, column, layout->root, batch->row_count, out);
    out->kind = FB_COLUMN_DICTIONARY;
    out->values = fb__batch_region(batch, layout->codes_region);
    out->element_bytes = sizeof(int32_t);
    out->offsets = NULL;
    out->offset_bytes = 0;
    out->child_count = 1;
}

void fb_batch_column(const struct fb_batch *batch, uint32_t column, struct fb_column *out)
{
    assert(batch->is_finished && column < batch->layout->column_count);
    const struct fb__column_layout *layout = &batch->layout->columns[column];
    if (!layout->is_plain) {
        layout->is_dictionary ? show_codes(batch, column, out)
                              : show_node(batch, column, layout->root, batch->row_count, out);
        out->name = layout->name;
        return;
    }
    /* Field by field: this is called for each column of each batch. */
    out->kind = layout->kind;
    out->name = layout->name;
    out->format = layout->format;
    out->element_format = layout->element_format;
    out->row_count = batch->row_count;
    out->values = NULL;
    out->element_bytes = layout->element_bytes;
    out->list_size = layout->list_size;
    out->is_list = layout->is_list;
    out->offsets = NULL;
    out->offset_bytes = layout->offset_bytes;
    out->valid = fb__batch_region(batch, layout->valid_region);
    out->child_count = 0;
    out->node = layout->root;
    if (layout->piece_count > 0) {
        const struct fb__piece *piece = fb__batch_home(batch, column)->pieces;
        if (piece->used_bytes > 0) out->values = piece->bytes;
        out->offsets = batch->fixed + batch->places[layout->offsets_region];
    } else {
        out->values = batch->fixed + batch->places[layout->values_region];
    }
}

/* The column that a node belongs to. */
static uint32_t column_of(const struct fb__layout *layout, uint32_t node)
{
    uint32_t low = 0, high = layout->column_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (layout->columns[middle].root <= node)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void fb_batch_child(const struct fb_batch *batch, const struct fb_column *parent, uint32_t child, struct fb_column *out)
{
    assert(batch->is_finished && child < parent->child_count);
    const struct fb__layout *layout = batch->layout;
    const struct fb__node *node = &layout->nodes[parent->node];
    uint32_t column = column_of(layout, parent->node);
    if (parent->kind == FB_COLUMN_DICTIONARY) {
        show_node(batch, column, parent->node, batch->code_counts[column], out);
        out->name = "";
        out->valid = NULL;
        return;
    }
    uint64_t row_count = parent->row_count;
    if (parent->kind == FB_COLUMN_FIXED_LIST) row_count *= parent->list_size;
    if (parent->kind == FB_COLUMN_LIST)
        row_count = fb__batch_offset(fb__batch_view(batch, column, node).offsets, node->offset_bytes, row_count);
    show_node(batch, column, node->first_child + child, row_count, out);
}

/* ---- how much it is ---- */

static uint64_t element_bytes(const struct fb__node *node, uint64_t count)
{
    return node->is_bits ? (count + 7) / 8 : count * node->element_bytes;
}

static uint64_t valid_bytes(const struct fb_batch *batch, const struct fb__node *node, uint64_t count)
{
    if (!node->has_valid) return 0;
    return batch->layout->storage == FB_STORAGE_ARROW ? (count + 7) / 8 : count;
}

static uint64_t slot_bytes(const struct fb_batch *batch, uint32_t column, const struct fb__node *node, uint64_t count)
{
    const struct fb__layout *layout = batch->layout;
    node = fb__layout_stored(layout, node);
    const struct fb__node *children = &layout->nodes[node->first_child];
    uint64_t bytes = valid_bytes(batch, node, count);
    uint64_t last = 0;
    if (node->offset_bytes > 0) {
        last = fb__batch_offset(fb__batch_view(batch, column, node).offsets, node->offset_bytes, count);
        bytes += (count + 1) * node->offset_bytes;
    }
    switch (node->kind) {
    case FB__NODE_FIXED:
        return bytes + element_bytes(node, count);
    case FB__NODE_BINARY:
        return bytes + last;
    case FB__NODE_LIST:
        return bytes + slot_bytes(batch, column, children, last);
    case FB__NODE_FIXED_LIST:
        return bytes + slot_bytes(batch, column, children, count * node->list_size);
    case FB__NODE_STRUCT:
        for (uint32_t i = 0; i < node->child_count; i++) bytes += slot_bytes(batch, column, &children[i], count);
        return bytes;
    case FB__NODE_NULL:
    case FB__NODE_DICTIONARY:
    case FB__NODE_RUN_END:
        break;
    }
    return bytes;
}

static uint64_t code_bytes(const struct fb_batch *batch, uint32_t column)
{
    const struct fb__layout *layout = batch->layout;
    const struct fb__node *node = fb__layout_stored(layout, &layout->nodes[layout->columns[column].root]);
    uint64_t value_count = batch->code_counts[column];
    uint64_t values_bytes = slot_bytes(batch, column, node, value_count) - valid_bytes(batch, node, value_count);
    return batch->row_count * sizeof(int32_t) + values_bytes + valid_bytes(batch, node, batch->row_count);
}

uint64_t fb__batch_bytes_out(const struct fb_batch *batch)
{
    const struct fb__layout *layout = batch->layout;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < layout->column_count; i++) {
        const struct fb__column_layout *column = &layout->columns[i];
        if (column->is_plain) {
            if (column->piece_count > 0)
                bytes += (batch->row_count + 1) * column->offset_bytes + fb__batch_home(batch, i)->pieces[0].used_bytes;
            else
                bytes += batch->row_count * column->list_size * column->element_bytes;
            if (column->valid_region != FB__NONE) bytes += batch->row_count;
        } else if (column->is_dictionary) {
            bytes += code_bytes(batch, i);
        } else {
            bytes += slot_bytes(batch, i, &layout->nodes[column->root], batch->row_count);
        }
    }
    return bytes;
}
