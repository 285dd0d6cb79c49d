/*
 * Lists, fixed-size lists and structs: stretches of rows that are not null hand their elements on in one piece where
 * these lie side by side; rows that are null have none, or fill values.
 *
 * Locking: none. Recursion goes no deeper than FB__DEPTH_MOST.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "data/copy_internal.h"
#include "data/text.h"

/* ---- lists ----------------------------------------------------------------------------------------------------- */

/* Where the elements of a list array's rows lie, from the first row asked for on. */
struct entries {
    const uint8_t *offsets;
    const uint8_t *sizes; /* NULL: up to the next offset */
    uint32_t width;
};

static struct entries entries_of(enum fb__copy_kind copy, const struct ArrowArray *array, uint64_t first)
{
    bool is_view = copy == FB__COPY_LIST_VIEW_32 || copy == FB__COPY_LIST_VIEW_64;
    uint32_t width = copy == FB__COPY_LIST_64 || copy == FB__COPY_LIST_VIEW_64 ? 8 : 4;
    return (struct entries){
        .offsets = (const uint8_t *)array->buffers[1] + first * width,
        .sizes = is_view ? (const uint8_t *)array->buffers[2] + first * width : NULL,
        .width = width,
    };
}

static uint64_t begin_of(const struct entries *entries, uint64_t row)
{
    return fb__copy_load(entries->offsets, entries->width, row);
}

static uint64_t length_of(const struct entries *entries, uint64_t row)
{
    if (entries->sizes != NULL) return fb__copy_load(entries->sizes, entries->width, row);
    return begin_of(entries, row + 1) - begin_of(entries, row);
}

/* How many of rows [row, end) have their elements side by side: `length` of them, from `begin` on. */
static uint64_t next_run(const struct entries *entries, uint64_t row, uint64_t end, uint64_t *begin, uint64_t *length)
{
    *begin = begin_of(entries, row);
    if (entries->sizes == NULL) {
        *length = begin_of(entries, end) - *begin;
        return end - row;
    }
    uint64_t first = row;
    for (*length = 0; row < end; row++) {
        uint64_t more = length_of(entries, row);
        if (more == 0) continue;
        if (*length == 0) *begin = begin_of(entries, row);
        if (begin_of(entries, row) != *begin + *length) break;
        *length += more;
    }
    return row - first;
}

/* An element of a run that begins with row failed: the row it is in. */
static uint64_t row_of(const struct entries *entries, uint64_t row, uint64_t element)
{
    while (element >= length_of(entries, row)) element -= length_of(entries, row++);
    return row;
}

static void store_lengths(const struct entries *entries, uint64_t row, uint64_t count, uint8_t *lengths)
{
    uint8_t *at = lengths + row * entries->width;
    if (entries->sizes != NULL)
        memcpy(at, entries->sizes + row * entries->width, count * entries->width);
    else
        fb__copy_lengths(entries->offsets + row * entries->width, entries->width, at, count);
}

static int append_lists(struct fb__filling *filling, const struct fb__node *node, const struct ArrowArray *array,
                        uint64_t first, uint64_t count, uint64_t slot)
{
    const struct fb__node *child = &filling->layout->nodes[node->first_child];
    const struct ArrowArray *elements = array->children[0];
    const struct fb__validity validity = fb__array_validity(array, first);
    const struct entries entries = entries_of(node->copy, array, first);
    uint8_t *lengths, *valid;
    int code = fb__copy_lengths_at(filling, node, count, slot, &lengths);
    if (code == 0) code = fb__copy_valid_at(filling, node, count, slot, &valid);
    if (code) return code;
    if (valid != NULL) fb__write_valid_bytes(valid, &validity, count);
    struct fb__stretch stretch = {0};
    while (fb__copy_next_stretch(&validity, count, &stretch)) {
        uint64_t end = stretch.at + stretch.count;
        if (stretch.is_null) {
            /* Not sooner: a row before it may have a null inside. */
            if (filling->refuses_nulls) return fb__copy_refuse_null(filling, node, stretch.at);
            memset(lengths + stretch.at * entries.width, 0, stretch.count * entries.width);
            continue;
        }
        store_lengths(&entries, stretch.at, stretch.count, lengths);
        for (uint64_t row = stretch.at, begin, length, rows; row < end; row += rows) {
            rows = next_run(&entries, row, end, &begin, &length);
            fb__copy_begin_slots(filling, node, row + rows, slot);
            code = fb__copy_append(filling, child, elements, (uint64_t)elements->offset + begin, length, 0);
            if (code) {
                filling->fail_at = row_of(&entries, row, filling->fail_at);
                return code;
            }
        }
    }
    return 0;
}

static int append_null_lists(struct fb__filling *filling, const struct fb__node *node, uint64_t count, uint64_t slot)
{
    uint8_t *lengths, *valid;
    int code = fb__copy_lengths_at(filling, node, count, slot, &lengths);
    if (code == 0) code = fb__copy_valid_at(filling, node, count, slot, &valid);
    if (code) return code;
    memset(lengths, 0, count * node->offset_bytes);
    if (valid != NULL) memset(valid, 0, count);
    return 0;
}

/* ---- fixed-size lists ------------------------------------------------------------------------------------------ */

static int fail_length(struct fb__filling *filling, const struct fb__node *node, uint64_t row, uint64_t length)
{
    char name[FB__NAME_SHOWN_BYTES + 1];
    filling->fail_at = row;
    fb__layout_name(filling->layout, filling->column, (uint32_t)(node - filling->layout->nodes), name, sizeof name);
    return fb__fail(filling->error, EIO,
                    "column '%s' has a list of %" PRIu64 " elements where each row is to have %" PRIu64, name, length,
                    node->list_size);
}

/* Rows of a list array that must have list_size elements each. */
static int append_equal_lists(struct fb__filling *filling, const struct fb__node *node, const struct ArrowArray *array,
                              uint64_t first, const struct fb__stretch *stretch, uint64_t slot)
{
    const struct fb__node *child = &filling->layout->nodes[node->first_child];
    const struct ArrowArray *elements = array->children[0];
    const struct entries entries = entries_of(node->copy, array, first);
    uint64_t end = stretch->at + stretch->count;
    for (uint64_t row = stretch->at; row < end; row++)
        if (length_of(&entries, row) != node->list_size)
            return fail_length(filling, node, row, length_of(&entries, row));
    for (uint64_t row = stretch->at, begin, length, rows; row < end; row += rows) {
        rows = next_run(&entries, row, end, &begin, &length);
        int code = fb__copy_append(filling, child, elements, (uint64_t)elements->offset + begin, length,
                                   (slot + row) * node->list_size);
        if (code == 0) continue;
        filling->fail_at = row_of(&entries, row, filling->fail_at);
        return code;
    }
    return 0;
}

static int append_fixed_lists(struct fb__filling *filling, const struct fb__node *node, const struct ArrowArray *array,
                              uint64_t first, const struct fb__stretch *stretch, uint64_t slot)
{
    const struct fb__node *child = &filling->layout->nodes[node->first_child];
    const struct ArrowArray *elements = array->children[0];
    uint64_t list_size = node->list_size;
    int code = fb__copy_append(filling, child, elements, (uint64_t)elements->offset + (first + stretch->at) * list_size,
                               stretch->count * list_size, (slot + stretch->at) * list_size);
    if (code) filling->fail_at = stretch->at + filling->fail_at / list_size;
    return code;
}

/* ---- structs --------------------------------------------------------------------------------------------------- */

static int append_fields(struct fb__filling *filling, const struct fb__node *node, const struct ArrowArray *array,
                         uint64_t first, const struct fb__stretch *stretch, uint64_t slot)
{
    for (uint32_t i = 0; i < node->child_count; i++) {
        const struct ArrowArray *field = array->children[i];
        int code = fb__copy_append(filling, &filling->layout->nodes[node->first_child + i], field,
                                   (uint64_t)field->offset + first + stretch->at, stretch->count, slot + stretch->at);
        if (code == 0) continue;
        filling->fail_at += stretch->at;
        return code;
    }
    return 0;
}

/* Slots of all children for slots of the node that are null. */
static int append_null_children(struct fb__filling *filling, const struct fb__node *node, uint64_t count, uint64_t slot)
{
    uint64_t list_size = node->kind == FB__NODE_FIXED_LIST ? node->list_size : 1;
    int code = 0;
    for (uint32_t i = 0; i < node->child_count && code == 0; i++)
        code = fb__copy_append_nulls(filling, &filling->layout->nodes[node->first_child + i], count * list_size,
                                     slot * list_size);
    return code;
}

/* Structs and fixed-size lists: as many slots of the children in a null row as in any other. */
static int append_stretches(struct fb__filling *filling, const struct fb__node *node, const struct ArrowArray *array,
                            uint64_t first, uint64_t count, uint64_t slot)
{
    const struct fb__validity validity = fb__array_validity(array, first);
    uint8_t *valid;
    int code = fb__copy_valid_at(filling, node, count, slot, &valid);
    if (code) return code;
    if (valid != NULL) fb__write_valid_bytes(valid, &validity, count);
    struct fb__stretch stretch = {0};
    while (code == 0 && fb__copy_next_stretch(&validity, count, &stretch)) {
        fb__copy_begin_slots(filling, node, stretch.at + stretch.count, slot);
        if (stretch.is_null && filling->refuses_nulls)
            code = fb__copy_refuse_null(filling, node, stretch.at);
        else if (stretch.is_null)
            code = append_null_children(filling, node, stretch.count, slot + stretch.at);
        else if (node->kind == FB__NODE_STRUCT)
            code = append_fields(filling, node, array, first, &stretch, slot);
        else if (node->copy == FB__COPY_BYTES)
            code = append_fixed_lists(filling, node, array, first, &stretch, slot);
        else
            code = append_equal_lists(filling, node, array, first, &stretch, slot);
    }
    return code;
}

/* ---- any node -------------------------------------------------------------------------------------------------- */

int fb__copy_append(struct fb__filling *filling, const struct fb__node *node, const struct ArrowArray *array,
                    uint64_t first, uint64_t count, uint64_t slot)
{
    /* An array without elements may have no buffers. */
    if (count == 0) return 0;
    switch (node->kind) {
    case FB__NODE_FIXED:
        return fb__copy_append_fixed(filling, node, array, first, count, slot);
    case FB__NODE_BINARY:
        if (node->copy == FB__COPY_BINARY_VIEW) return fb__copy_append_view(filling, node, array, first, count, slot);
        return fb__copy_append_binary(filling, node, array, first, count, slot);
    case FB__NODE_LIST:
        return append_lists(filling, node, array, first, count, slot);
    case FB__NODE_FIXED_LIST:
    case FB__NODE_STRUCT:
        return append_stretches(filling, node, array, first, count, slot);
    case FB__NODE_DICTIONARY:
        return fb__copy_append_codes(filling, node, array, first, count, slot);
    case FB__NODE_RUN_END:
        return fb__copy_append_runs(filling, node, array, first, count, slot);
    case FB__NODE_NULL:
        break;
    }
    return 0;
}

int fb__copy_append_nulls(struct fb__filling *filling, const struct fb__node *node, uint64_t count, uint64_t slot)
{
    if (count == 0) return 0;
    node = fb__layout_stored(filling->layout, node);
    uint8_t *valid;
    int code = 0;
    switch (node->kind) {
    case FB__NODE_FIXED:
        return fb__copy_append_null_fixed(filling, node, count, slot);
    case FB__NODE_BINARY:
        return fb__copy_append_null_binary(filling, node, count, slot);
    case FB__NODE_LIST:
        return append_null_lists(filling, node, count, slot);
    case FB__NODE_FIXED_LIST:
    case FB__NODE_STRUCT:
        code = fb__copy_valid_at(filling, node, count, slot, &valid);
        if (code) return code;
        if (valid != NULL) memset(valid, 0, count);
        return append_null_children(filling, node, count, slot);
    case FB__NODE_NULL:
    case FB__NODE_DICTIONARY:
    case FB__NODE_RUN_END:
        break;
    }
    return 0;
}
