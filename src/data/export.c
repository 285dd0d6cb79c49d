/*
 * A finished batch as Arrow arrays over its own memory. The arrays lie in the batch; each that is released takes one
 * off their number, and the last one gives the batch back.
 *
 * Locking: none; the number of arrays is atomic, so that parts may be released by several threads at once.
 */
#include <assert.h>
#include <stdatomic.h>
#include <unistd.h>

#include "data/batch.h"

/* ---- when the batch is finished ---- */

/* Codes come behind the nodes. */
static struct fb__part *codes_part(const struct fb_batch *batch, uint32_t column)
{
    return &batch->parts[batch->layout->node_count + column];
}

/* A buffer without a byte is no NULL: not every consumer allows that. */
static const void *shown(const struct fb_batch *batch, const void *buffer)
{
    return buffer ? buffer : batch->fixed;
}

/* Packs validity bytes; the bitmap is left out where there are no nulls. */
static void set_validity(struct fb__part *part, uint8_t *valid, uint64_t count)
{
    if (!valid) return;
    part->array.null_count = (int64_t)fb__batch_pack(valid, count);
    if (part->array.null_count > 0) part->buffers[0] = valid;
}

static void begin_part(struct fb__part *part, uint64_t count, int64_t buffer_count)
{
    part->buffers[0] = part->buffers[1] = part->buffers[2] = NULL;
    part->array = (struct ArrowArray){.length = (int64_t)count, .n_buffers = buffer_count, .buffers = part->buffers};
}

static int64_t buffer_count_of(const struct fb__node *node)
{
    switch (node->kind) {
    case FB__NODE_FIXED:
    case FB__NODE_LIST:
        return 2;
    case FB__NODE_BINARY:
        return 3;
    case FB__NODE_FIXED_LIST:
    case FB__NODE_STRUCT:
        return 1;
    case FB__NODE_NULL:
    case FB__NODE_DICTIONARY:
    case FB__NODE_RUN_END:
        break;
    }
    return 0;
}

/* has_valid false: validity belongs to the codes of these values. */
static struct fb__part *set_node(struct fb_batch *batch, uint32_t column, const struct fb__node *node, uint64_t count,
                                 bool has_valid)
{
    const struct fb__layout *layout = batch->layout;
    node = fb__layout_stored(layout, node);
    struct fb__part *part = &batch->parts[node - layout->nodes];
    struct fb__node_view view = fb__batch_view(batch, column, node);
    begin_part(part, count, buffer_count_of(node));
    if (has_valid) set_validity(part, view.valid, count);
    uint64_t child_rows = count;
    switch (node->kind) {
    case FB__NODE_FIXED:
        if (node->is_bits) (void)fb__batch_pack(view.values, count);
        part->buffers[1] = shown(batch, view.values);
        break;
    case FB__NODE_BINARY:
        part->buffers[1] = view.offsets;
        part->buffers[2] = shown(batch, view.values);
        break;
    case FB__NODE_LIST:
        part->buffers[1] = view.offsets;
        child_rows = fb__batch_offset(view.offsets, node->offset_bytes, count);
        break;
    case FB__NODE_FIXED_LIST:
        child_rows = count * node->list_size;
        break;
    case FB__NODE_NULL:
        part->array.null_count = (int64_t)count;
        break;
    case FB__NODE_STRUCT:
    case FB__NODE_DICTIONARY:
    case FB__NODE_RUN_END:
        break;
    }
    if (node->child_count == 0) return part;
    /* Children lie side by side, and so do the pointers to them; a wrapper's points to what is stored below it. */
    part->array.n_children = node->child_count;
    part->array.children = &batch->pointers[node->first_child];
    for (uint32_t i = 0; i < node->child_count; i++) {
        struct fb__part *child = set_node(batch, column, &layout->nodes[node->first_child + i], child_rows, true);
        part->array.children[i] = &child->array;
    }
    return part;
}

void fb__batch_set_parts(struct fb_batch *batch, uint32_t column)
{
    const struct fb__layout *layout = batch->layout;
    const struct fb__column_layout *description = &layout->columns[column];
    const struct fb__node *root = &layout->nodes[description->root];
    struct fb__part *part;
    if (description->is_dictionary) {
        part = codes_part(batch, column);
        begin_part(part, batch->row_count, 2);
        set_validity(part, fb__batch_region(batch, fb__layout_stored(layout, root)->valid_region), batch->row_count);
        part->buffers[1] = fb__batch_region(batch, description->codes_region);
        part->array.dictionary = &set_node(batch, column, root, batch->code_counts[column], false)->array;
    } else {
        part = set_node(batch, column, root, batch->row_count, true);
    }
    batch->pointers[layout->node_count + column] = &part->array;
}

/* ---- out and back ---- */

static void release_part(struct ArrowArray *array)
{
    struct fb_batch *batch = array->private_data;
    if (batch->process != getpid()) {
        array->release = NULL; /* a child of fork() only forgets: a lock may have been held when it was made */
        return;
    }
    for (int64_t i = 0; i < array->n_children; i++)
        if (array->children[i]->release) array->children[i]->release(array->children[i]);
    if (array->dictionary && array->dictionary->release) array->dictionary->release(array->dictionary);
    /* From here on the array's memory may be gone. */
    array->release = NULL;
    if (atomic_fetch_sub(&batch->part_count, 1) == 1) fb_batch_release(batch);
}

/* Gives an array and all below it their release; returns how many they are. */
static uint64_t arm(struct fb_batch *batch, struct ArrowArray *array)
{
    uint64_t count = 1;
    array->release = release_part;
    array->private_data = batch;
    for (int64_t i = 0; i < array->n_children; i++) count += arm(batch, array->children[i]);
    if (array->dictionary) count += arm(batch, array->dictionary);
    return count;
}

void fb_batch_export(struct fb_batch *batch, struct ArrowArray *out)
{
    assert(batch->parts && batch->is_finished && batch->is_delivered);
    const struct fb__layout *layout = batch->layout;
    *out = (struct ArrowArray){
        .length = (int64_t)batch->row_count,
        .n_buffers = 1,
        .n_children = layout->column_count,
        .buffers = batch->no_buffer,
        .children = batch->pointers + layout->node_count,
    };
    batch->process = getpid();
    atomic_store(&batch->part_count, arm(batch, out));
}
