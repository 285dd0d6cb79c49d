/*
 * How many bytes rows of a checked block take in the variable part of a batch: an estimate to reserve by. What lies
 * hidden under nulls between two offsets is counted too, so that offsets cost nothing but their two ends. Where rows may
 * stand for the same elements over and over, the mean of those elements is taken, so that the cost of measuring is that
 * of what is in memory, not of what it stands for.
 *
 * Locking: none.
 */
#include <assert.h>
#include <string.h>

#include "data/arrow.h"
#include "data/arrow_values.h"

/* Enough to be refused by, and to be added to without a thought. */
#define MOST_BYTES (UINT64_C(1) << 62)

static uint64_t capped_sum(uint64_t a, uint64_t b)
{
    return a + b < MOST_BYTES ? a + b : MOST_BYTES; /* both at most 2^62 */
}

static uint64_t capped_product(uint64_t a, uint64_t b)
{
    uint64_t bytes;
    return __builtin_mul_overflow(a, b, &bytes) || bytes > MOST_BYTES ? MOST_BYTES : bytes;
}

static uint64_t load_integer(const uint8_t *at, uint64_t width, uint64_t i)
{
    uint64_t value = 0;
    memcpy(&value, at + i * width, width); /* little-endian */
    return value;
}

static uint64_t measure(const struct fb__layout *layout, const struct fb__node *node, const struct ArrowArray *array,
                        uint64_t first, uint64_t count);

/* What the node stores of count slots beside its own values. */
static uint64_t entry_bytes(const struct fb__node *node, uint64_t count)
{
    if (!node->is_variable) return 0;
    return capped_product(count, node->offset_bytes + (node->has_valid ? 1 : 0));
}

static uint64_t measure_binary(const struct fb__node *node, const struct ArrowArray *array, uint64_t first,
                               uint64_t count)
{
    if (node->copy != FB__COPY_BINARY_VIEW) {
        uint64_t width = node->offset_bytes;
        return load_integer(array->buffers[1], width, first + count) - load_integer(array->buffers[1], width, first);
    }
    uint64_t bytes = 0, run;
    const uint8_t *bits = array->buffers[0], *views = array->buffers[1];
    for (uint64_t at = 0; at < count && (run = fb__bits_next_run(bits, first, count, &at)) > 0; at += run) {
        for (uint64_t i = first + at; i < first + at + run; i++)
            bytes += load_integer(views, sizeof(uint32_t), i * sizeof(struct fb__binary_view) / sizeof(uint32_t));
    }
    return bytes < MOST_BYTES ? bytes : MOST_BYTES;
}

/* Of count rows that are some of those in span, each any number of times. */
static uint64_t measure_mean(const struct fb__layout *layout, const struct fb__node *node,
                             const struct ArrowArray *array, struct fb__span span, uint64_t count)
{
    uint64_t rows = span.end - span.begin;
    if (rows == 0) return 0;
    uint64_t bytes = measure(layout, node, array, span.begin, rows);
    if (rows == count) return bytes;
    unsigned __int128 total = (unsigned __int128)bytes * count / rows;
    return total < MOST_BYTES ? (uint64_t)total : MOST_BYTES;
}

static uint64_t measure_list(const struct fb__layout *layout, const struct fb__node *node,
                             const struct ArrowArray *array, uint64_t first, uint64_t count)
{
    const struct fb__node *child = &layout->nodes[node->first_child];
    const uint8_t *offsets = array->buffers[1];
    bool is_wide = node->copy == FB__COPY_LIST_64 || node->copy == FB__COPY_LIST_VIEW_64;
    uint64_t width = is_wide ? 8 : 4;
    if (node->copy == FB__COPY_LIST_32 || node->copy == FB__COPY_LIST_64) {
        uint64_t begin = load_integer(offsets, width, first);
        return measure(layout, child, array->children[0], begin, load_integer(offsets, width, first + count) - begin);
    }
    struct fb__span span;
    uint64_t items = 0, run;
    if (!fb__list_views_span(offsets, array->buffers[2], width, array->buffers[0], first, count, &span))
        return MOST_BYTES;
    for (uint64_t at = 0; at < count && (run = fb__bits_next_run(array->buffers[0], first, count, &at)) > 0; at += run)
        for (uint64_t i = first + at; i < first + at + run; i++)
            items = capped_sum(items, load_integer(array->buffers[2], width, i));
    return measure_mean(layout, child, array->children[0], span, items);
}

/* Variable elements of one width: their number is all there is to know. 0 where the node is of another kind. */
static uint64_t plain_bytes(const struct fb__layout *layout, const struct fb__node *node)
{
    const struct fb__node *stored = fb__layout_stored(layout, node);
    if (stored->kind != FB__NODE_FIXED || !stored->is_variable) return 0;
    return stored->element_bytes + (stored->has_valid ? 1 : 0);
}

static uint64_t measure_dictionary(const struct fb__layout *layout, const struct fb__node *node,
                                   const struct ArrowArray *array, uint64_t first, uint64_t count)
{
    const struct fb__node *values = &layout->nodes[node->first_child];
    uint64_t bytes = 0, rows = 0, run;
    for (uint64_t at = 0; at < count && (run = fb__bits_next_run(array->buffers[0], first, count, &at)) > 0;
         at += run) {
        rows += run;
        if (values->kind != FB__NODE_BINARY) continue;
        for (uint64_t i = first + at; i < first + at + run; i++) {
            uint64_t index = load_integer(array->buffers[1], node->source_bytes, i);
            bytes = capped_sum(bytes, measure(layout, values, array->dictionary, index, 1));
        }
    }
    if (values->kind == FB__NODE_BINARY) return bytes;
    struct fb__span span;
    if (!fb__indices_span(array->buffers[1], node->source_bytes, node->is_unsigned_index, array->buffers[0], first,
                          count, &span))
        return MOST_BYTES;
    return measure_mean(layout, values, array->dictionary, span, rows);
}

static uint64_t measure_runs(const struct fb__layout *layout, const struct fb__node *node,
                             const struct ArrowArray *array, uint64_t first, uint64_t count)
{
    const struct fb__node *values = &layout->nodes[node->first_child];
    const struct ArrowArray *ends = array->children[0];
    const uint8_t *at = (const uint8_t *)ends->buffers[1] + (uint64_t)ends->offset * node->source_bytes;
    uint64_t bytes = 0, row = first;
    for (uint64_t run = fb__run_ends_find(at, node->source_bytes, (uint64_t)ends->length, first); row < first + count;
         run++) {
        uint64_t end = load_integer(at, node->source_bytes, run);
        if (end > first + count) end = first + count;
        bytes = capped_sum(bytes, capped_product(measure(layout, values, array->children[1], run, 1), end - row));
        row = end;
    }
    return bytes;
}

/* Of rows [first, first + count) of the array. As deep as the layout's nodes are. */
static uint64_t measure(const struct fb__layout *layout, const struct fb__node *node, const struct ArrowArray *array,
                        uint64_t first, uint64_t count)
{
    if (count == 0) return 0;
    uint64_t each_bytes = plain_bytes(layout, node);
    if (each_bytes > 0) return capped_product(count, each_bytes);
    first += (uint64_t)array->offset;
    uint64_t bytes = entry_bytes(node, count);
    switch (node->kind) {
    case FB__NODE_FIXED:
    case FB__NODE_NULL:
        return bytes;
    case FB__NODE_BINARY:
        return capped_sum(bytes, measure_binary(node, array, first, count));
    case FB__NODE_LIST:
        return capped_sum(bytes, measure_list(layout, node, array, first, count));
    case FB__NODE_FIXED_LIST:
        if (node->copy != FB__COPY_BYTES) return capped_sum(bytes, measure_list(layout, node, array, first, count));
        return capped_sum(bytes, measure(layout, &layout->nodes[node->first_child], array->children[0],
                                         first * node->list_size, count * node->list_size));
    case FB__NODE_STRUCT:
        for (uint32_t i = 0; i < node->child_count; i++)
            bytes = capped_sum(
                bytes, measure(layout, &layout->nodes[node->first_child + i], array->children[i], first, count));
        return bytes;
    case FB__NODE_DICTIONARY:
        return measure_dictionary(layout, node, array, first, count);
    case FB__NODE_RUN_END:
        return measure_runs(layout, node, array, first, count);
    }
    assert(!"every kind of node is above");
    return 0;
}

uint64_t fb__arrow_variable_bytes(const struct fb__layout *layout, uint32_t column, const struct ArrowArray *block)
{
    if (layout->columns[column].piece_count == 0) return 0;
    return measure(layout, &layout->nodes[layout->columns[column].root], block->children[column],
                   (uint64_t)block->offset, (uint64_t)block->length);
}
