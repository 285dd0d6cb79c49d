/*
 * Arrow C data that comes in: checks of blocks. A block is checked once, before a row of it is read; src/data/copy
 * relies on everything checked here.
 *
 * Each array is checked for the rows that are reached from the block. An array that many blocks share, each with a
 * slice of its own, then costs what its rows cost, not that times the number of blocks.
 *
 * Locking: none. A block is used by one thread at a time.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "data/arrow.h"
#include "data/arrow_values.h"
#include "data/text.h"

/* What is being checked; node FB__NONE: the block itself. */
struct part {
    const struct fb__layout *layout;
    uint32_t column;
    uint32_t node;
    const char *below; /* nearest above that is no struct, in words; "" */
    struct fb_error *error;
};

static int fail_part(const struct part *part, const char *problem)
{
    if (part->node == FB__NONE) return fb__fail(part->error, EINVAL, "malformed Arrow block: the struct %s", problem);
    char name[FB__NAME_SHOWN_BYTES + 1];
    fb__layout_name(part->layout, part->column, part->node, name, sizeof name);
    const char *format = part->layout->nodes[part->node].format;
    return fb__fail(part->error, EINVAL, "malformed Arrow block: column '%s' (format \"%.*s\")%s %s", name,
                    fb__text_shown_bytes(format), format, part->below, problem);
}

/* ---- what every array has ------------------------------------------------------------------------------------ */

struct shape {
    int64_t buffer_count;
    int64_t child_count;
    uint64_t unit_bytes; /* most bytes that one more row takes anywhere, at least 1 */
    bool has_dictionary;
    bool has_more_buffers; /* of string views: any number of them between the others */
};

static int check_counts(const struct part *part, const struct ArrowArray *array, const struct shape *shape)
{
    if (array == NULL || array->release == NULL) return fail_part(part, "is missing or was released");
    if (array->length < 0) return fail_part(part, "has a negative length");
    if (array->offset < 0) return fail_part(part, "has a negative offset");
    if (array->null_count < -1 || array->null_count > array->length)
        return fail_part(part, "has a null count that is not between -1 and its length");
    uint64_t end = (uint64_t)array->length + (uint64_t)array->offset;
    uint64_t bytes;
    if (__builtin_mul_overflow(end, shape->unit_bytes, &bytes) || bytes > FB__MOST_BYTES)
        return fail_part(part, "passes 2^62 bytes");
    if (!shape->has_dictionary && array->dictionary != NULL)
        return fail_part(part, "has a dictionary that its schema does not have");
    bool is_more = shape->has_more_buffers && array->n_buffers > shape->buffer_count &&
                   array->n_buffers <= shape->buffer_count + INT32_MAX;
    if (array->n_buffers != shape->buffer_count && !is_more) return fail_part(part, "has a wrong number of buffers");
    if (array->n_children != shape->child_count) return fail_part(part, "has a wrong number of children");
    if (shape->child_count > 0 && array->children == NULL) return fail_part(part, "has no array of children");
    return 0;
}

/* What every array of length > 0 needs: its buffers, and nulls only where there is a bitmap of them. */
static int check_buffers(const struct part *part, const struct ArrowArray *array, const struct shape *shape)
{
    if (array->length == 0 || shape->buffer_count == 0) return 0;
    if (array->buffers == NULL) return fail_part(part, "has no array of buffers");
    if (array->null_count > 0 && array->buffers[0] == NULL) return fail_part(part, "has nulls but no validity buffer");
    if (shape->buffer_count > 1 && array->buffers[1] == NULL)
        return fail_part(part, shape->buffer_count == 2 ? "has no data buffer" : "has no offsets buffer");
    return 0;
}

static int check_shape(const struct part *part, const struct ArrowArray *array, const struct shape *shape)
{
    int rc = check_counts(part, array, shape);
    return rc != 0 ? rc : check_buffers(part, array, shape);
}

/* ---- what arrays of each kind have --------------------------------------------------------------------------- */

static bool is_list_of_source(const struct fb__node *node)
{
    return node->kind == FB__NODE_LIST || (node->kind == FB__NODE_FIXED_LIST && node->copy != FB__COPY_BYTES);
}

static bool is_list_view(const struct fb__node *node)
{
    return node->copy == FB__COPY_LIST_VIEW_32 || node->copy == FB__COPY_LIST_VIEW_64;
}

/* Of offsets, sizes of list views. */
static uint64_t offset_width(const struct fb__node *node)
{
    return node->copy == FB__COPY_BINARY_64 || node->copy == FB__COPY_LIST_64 || node->copy == FB__COPY_LIST_VIEW_64
               ? 8
               : 4;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static struct shape shape_of(const struct fb__layout *layout, const struct fb__node *node)
{
    const struct fb__node *stored = fb__layout_stored(layout, node);
    uint64_t stored_bytes = larger(1, stored->element_bytes);
    if (is_list_of_source(node)) return (struct shape){is_list_view(node) ? 3 : 2, 1, offset_width(node), false, false};
    switch (node->kind) {
    case FB__NODE_FIXED:
        if (node->copy == FB__COPY_NULLS) return (struct shape){.unit_bytes = stored_bytes};
        return (struct shape){.buffer_count = 2, .unit_bytes = larger(stored_bytes, node->source_bytes)};
    case FB__NODE_BINARY:
        if (node->copy == FB__COPY_BINARY_VIEW)
            return (struct shape){3, 0, sizeof(struct fb__binary_view), false, true};
        return (struct shape){3, 0, offset_width(node), false, false};
    case FB__NODE_FIXED_LIST: {
        const struct fb__node *child = fb__layout_stored(layout, &layout->nodes[node->first_child]);
        /* 2^31 times at most 2^31 */
        return (struct shape){1, 1, larger(1, node->list_size) * larger(1, child->element_bytes), false, false};
    }
    case FB__NODE_STRUCT:
        return (struct shape){1, node->child_count, 1, false, false};
    case FB__NODE_DICTIONARY:
        return (struct shape){2, 0, larger(stored_bytes, node->source_bytes), true, false};
    case FB__NODE_RUN_END:
        return (struct shape){0, 2, stored_bytes, false, false};
    case FB__NODE_NULL:
    case FB__NODE_LIST:
        break;
    }
    return (struct shape){.unit_bytes = 1};
}

static const uint8_t *validity_of(const struct ArrowArray *array)
{
    return array->buffers[0];
}

/* ---- the walk ------------------------------------------------------------------------------------------------ */

static int check_node(const struct part *part, const struct ArrowArray *array, uint64_t first, uint64_t count);

/* below NULL: as its parent's. */
static int check_child(const struct part *part, uint32_t child, const char *below, const struct ArrowArray *array,
                       struct fb__span rows)
{
    struct part inner = *part;
    inner.node = child;
    if (below != NULL) inner.below = below;
    return check_node(&inner, array, rows.begin, rows.end - rows.begin);
}

#define LIST_ELEMENTS ", its list elements: the array"
#define DICTIONARY_VALUES ", its dictionary: the array"
#define RUN_VALUES ", its run-end encoded values: the array"

static int check_binary(const struct part *part, const struct fb__node *node, const struct ArrowArray *array,
                        uint64_t first, uint64_t count)
{
    if (count == 0) return 0;
    struct fb__span bytes;
    if (!fb__offsets_span(array->buffers[1], offset_width(node), first, count, &bytes))
        return fail_part(part, "has offsets that are negative or run backwards");
    if (bytes.end > FB__MOST_BYTES) return fail_part(part, "passes 2^62 bytes");
    if (bytes.end > bytes.begin && array->buffers[2] == NULL) return fail_part(part, "has no data buffer");
    return 0;
}

static int check_views(const struct part *part, const struct ArrowArray *array, uint64_t first, uint64_t count)
{
    if (count == 0) return 0;
    uint64_t buffer_count = (uint64_t)array->n_buffers - 3;
    const int64_t *sizes = array->buffers[array->n_buffers - 1];
    if (buffer_count > 0 && sizes == NULL) return fail_part(part, "has no sizes of its data buffers");
    if (!fb__binary_views_are_inside(array->buffers[1], validity_of(array), first, count, array->buffers + 2, sizes,
                                     buffer_count))
        return fail_part(part, "has views that are negative or not inside their data buffer");
    return 0;
}

static int check_list(const struct part *part, const struct fb__node *node, const struct ArrowArray *array,
                      uint64_t first, uint64_t count)
{
    struct fb__span rows = {0, 0};
    if (count > 0 && is_list_view(node)) {
        if (array->buffers[2] == NULL) return fail_part(part, "has no sizes buffer");
        if (!fb__list_views_span(array->buffers[1], array->buffers[2], offset_width(node), validity_of(array), first,
                                 count, &rows))
            return fail_part(part, "has offsets or sizes that are negative");
    } else if (count > 0) {
        if (!fb__offsets_span(array->buffers[1], offset_width(node), first, count, &rows))
            return fail_part(part, "has offsets that are negative or run backwards");
    }
    return check_child(part, node->first_child, LIST_ELEMENTS, array->children[0], rows);
}

static int check_dictionary(const struct part *part, const struct fb__node *node, const struct ArrowArray *array,
                            uint64_t first, uint64_t count)
{
    struct fb__span rows = {0, 0};
    if (count > 0 && !fb__indices_span(array->buffers[1], node->source_bytes, node->is_unsigned_index,
                                       validity_of(array), first, count, &rows))
        return fail_part(part, "has an index that is negative");
    /* That there is no dictionary, or that an index is beyond it, shows there. */
    return check_child(part, node->first_child, DICTIONARY_VALUES, array->dictionary, rows);
}

/* first counts in logical rows from before the array's offset on. */
static int check_runs(const struct part *part, const struct fb__node *node, const struct ArrowArray *array,
                      uint64_t first, uint64_t count)
{
    if (array->null_count > 0) return fail_part(part, "has nulls of its own");
    const struct ArrowArray *ends = array->children[0];
    struct part inner = *part;
    inner.below = ", its run ends: the array";
    const struct shape shape = {.buffer_count = 2, .unit_bytes = node->source_bytes};
    int rc = check_shape(&inner, ends, &shape);
    if (rc != 0) return rc;
    uint64_t run_count = (uint64_t)ends->length;
    if (run_count > 0 && validity_of(ends) != NULL &&
        !fb__bits_are_set(validity_of(ends), (uint64_t)ends->offset, run_count))
        return fail_part(&inner, "has nulls");
    struct fb__span runs = {0, 0};
    if (count > 0) {
        if (run_count == 0) return fail_part(&inner, "does not reach the end of its rows");
        const uint8_t *at = (const uint8_t *)ends->buffers[1] + (uint64_t)ends->offset * node->source_bytes;
        uint64_t end = (uint64_t)array->offset + (uint64_t)array->length;
        if (!fb__run_ends_span(at, node->source_bytes, run_count, end, first, count, &runs))
            return fail_part(&inner, "has run ends that do not rise or do not reach the end of its rows");
    }
    return check_child(part, node->first_child, RUN_VALUES, array->children[1], runs);
}

static int check_struct(const struct part *part, const struct fb__node *node, const struct ArrowArray *array,
                        uint64_t first, uint64_t count)
{
    for (uint32_t i = 0; i < node->child_count; i++) {
        int rc =
            check_child(part, node->first_child + i, NULL, array->children[i], (struct fb__span){first, first + count});
        if (rc != 0) return rc;
    }
    return 0;
}

/* What the array is too short for. */
static const char *shortness(const struct part *part)
{
    uint32_t parent = part->layout->nodes[part->node].parent;
    if (parent == FB__NONE) return "is shorter than its block";
    switch (part->layout->nodes[parent].kind) {
    case FB__NODE_LIST:
    case FB__NODE_FIXED_LIST:
        return "is shorter than the lists over it";
    case FB__NODE_STRUCT:
        return "is shorter than the struct over it";
    case FB__NODE_RUN_END:
        return "has fewer values than there are runs";
    default:
        return "is shorter than its dictionary's indices reach";
    }
}

/* Rows [first, first + count) of the array are reached. As deep as the layout's nodes are, FB__DEPTH_MOST at most. */
static int check_node(const struct part *part, const struct ArrowArray *array, uint64_t first, uint64_t count)
{
    const struct fb__node *node = &part->layout->nodes[part->node];
    const struct shape shape = shape_of(part->layout, node);
    int rc = check_counts(part, array, &shape);
    if (rc != 0) return rc;
    if (first > (uint64_t)array->length || count > (uint64_t)array->length - first)
        return fail_part(part, shortness(part));
    bool needs_no_data = node->kind == FB__NODE_FIXED && node->copy == FB__COPY_BYTES && node->source_bytes == 0;
    rc = check_buffers(part, array, needs_no_data ? &(struct shape){.buffer_count = 1} : &shape);
    if (rc != 0) return rc;
    first += (uint64_t)array->offset;
    if (is_list_of_source(node)) return check_list(part, node, array, first, count);
    switch (node->kind) {
    case FB__NODE_BINARY:
        if (node->copy == FB__COPY_BINARY_VIEW) return check_views(part, array, first, count);
        return check_binary(part, node, array, first, count);
    case FB__NODE_FIXED_LIST: {
        /* Within 2^62: rows times list size is at most rows times unit_bytes. */
        struct fb__span rows = {first * node->list_size, (first + count) * node->list_size};
        return check_child(part, node->first_child, LIST_ELEMENTS, array->children[0],
                           count > 0 ? rows : (struct fb__span){0, 0});
    }
    case FB__NODE_STRUCT:
        return check_struct(part, node, array, first, count);
    case FB__NODE_DICTIONARY:
        return check_dictionary(part, node, array, first, count);
    case FB__NODE_RUN_END:
        return check_runs(part, node, array, first, count);
    case FB__NODE_FIXED:
    case FB__NODE_LIST:
    case FB__NODE_NULL:
        break;
    }
    return 0;
}

int fb__arrow_check_block(const struct fb__layout *layout, const uint32_t *columns, uint32_t column_count,
                          const struct ArrowArray *block, struct fb_error *error)
{
    struct part part = {.layout = layout, .node = FB__NONE, .below = "", .error = error};
    const struct shape shape = {.buffer_count = 1, .child_count = column_count, .unit_bytes = 1};
    int rc = check_shape(&part, block, &shape);
    if (rc != 0) return rc;
    /* The bitmap decides, whatever the count says. */
    if (block->null_count > 0 ||
        (block->length > 0 && validity_of(block) != NULL &&
         !fb__bits_are_set(validity_of(block), (uint64_t)block->offset, (uint64_t)block->length)))
        return fail_part(&part, "has null rows");
    for (uint32_t i = 0; i < column_count; i++) {
        part.column = columns != NULL ? columns[i] : i;
        assert(part.column < layout->column_count);
        part.node = layout->columns[part.column].root;
        rc = check_node(&part, block->children[i], (uint64_t)block->offset, (uint64_t)block->length);
        if (rc != 0) return rc;
    }
    return 0;
}
