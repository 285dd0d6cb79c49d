/*
 * Column layout: what stands for a null.
 *
 * Locking: none.
 */
#include <errno.h>
#include <string.h>

#include "data/layout_internal.h"
#include "data/text.h"

/* ---- default fill values ------------------------------------------------------------------------------------- */

static const void *default_fill(enum fb__default_fill fill, uint64_t *bytes)
{
    static const uint16_t nan_2 = 0x7E00;
    static const uint32_t nan_4 = UINT32_C(0x7FC00000);
    static const uint64_t nan_8 = UINT64_C(0x7FF8000000000000);
    static const int64_t nat = INT64_MIN;
    switch (fill) {
    case FB__FILL_NAN_2:
        *bytes = sizeof nan_2;
        return &nan_2;
    case FB__FILL_NAN_4:
        *bytes = sizeof nan_4;
        return &nan_4;
    case FB__FILL_NAN_8:
        *bytes = sizeof nan_8;
        return &nan_8;
    case FB__FILL_NAT:
        *bytes = sizeof nat;
        return &nat;
    case FB__FILL_ZERO:
        break;
    }
    *bytes = 0;
    return NULL;
}

static void set_defaults(struct fb__layout *layout)
{
    for (uint32_t i = 0; i < layout->node_count; i++) {
        struct fb__node *node = &layout->nodes[i];
        struct fb__type type;
        if (node->kind != FB__NODE_FIXED || fb__type_read(node->format, layout->storage, &type) != 0) continue;
        node->fill = default_fill(type.fill, &node->fill_bytes);
    }
}

/* ---- given fill values --------------------------------------------------------------------------------------- */

/* Leaf number *number below a node: what is no struct, in order. NULL where there are fewer; *number counts down. */
static struct fb__node *find_leaf(struct fb__layout *layout, struct fb__node *node, uint32_t *number)
{
    while (node->kind >= FB__NODE_DICTIONARY) node = &layout->nodes[node->first_child];
    if (node->kind != FB__NODE_STRUCT) return (*number)-- == 0 ? node : NULL;
    for (uint32_t i = 0; i < node->child_count; i++) {
        struct fb__node *leaf = find_leaf(layout, &layout->nodes[node->first_child + i], number);
        if (leaf != NULL) return leaf;
    }
    return NULL;
}

/* The fill value of a list is that of its elements. */
static struct fb__node *find_elements(struct fb__layout *layout, struct fb__node *node)
{
    while (node->kind == FB__NODE_LIST || node->kind == FB__NODE_FIXED_LIST || node->kind >= FB__NODE_DICTIONARY)
        node = &layout->nodes[node->first_child];
    return node->kind == FB__NODE_FIXED || node->kind == FB__NODE_BINARY ? node : NULL;
}

static int check_bytes(const struct fb__layout *layout, const struct fb__node *node, const struct fb_fill_value *fill,
                       struct fb_error *error)
{
    char name[FB__NAME_SHOWN_BYTES + 1];
    fb__layout_name(layout, fill->column, (uint32_t)(node - layout->nodes), name, sizeof name);
    if (fill->bytes == NULL && fill->byte_count > 0)
        return fb__fail(error, EINVAL, "the fill value of column '%s' has no bytes", name);
    if (node->kind == FB__NODE_BINARY) {
        if (fill->byte_count > INT32_MAX)
            return fb__fail(error, EINVAL, "the fill value of column '%s' is longer than 2^31 - 1 bytes", name);
        return 0;
    }
    if (fill->byte_count != node->element_bytes)
        return fb__fail(error, EINVAL, "the fill value of column '%s' has %llu bytes where an element has %llu", name,
                        (unsigned long long)fill->byte_count, (unsigned long long)node->element_bytes);
    bool is_bool = node->copy == FB__COPY_BITS || node->copy == FB__COPY_BOOL8;
    if (is_bool && *(const uint8_t *)fill->bytes > 1)
        return fb__fail(error, EINVAL, "the fill value of bool column '%s' is neither 0 nor 1", name);
    return 0;
}

static int check_fill(struct fb__layout *layout, const struct fb_fill_value *fill, struct fb_error *error)
{
    if (fill->column >= layout->column_count)
        return fb__fail(error, EINVAL, "a fill value is for column %u, the schema has %u columns", fill->column,
                        layout->column_count);
    const struct fb__column_layout *column = &layout->columns[fill->column];
    int shown = fb__text_shown_bytes(column->name);
    uint32_t number = fill->leaf;
    struct fb__node *leaf = find_leaf(layout, &layout->nodes[column->root], &number);
    if (leaf == NULL)
        return fb__fail(error, EINVAL, "a fill value is for leaf %u of column '%.*s', which has %u", fill->leaf, shown,
                        column->name, fill->leaf - number);
    struct fb__node *node = find_elements(layout, leaf);
    if (node == NULL)
        return fb__fail(error, EINVAL,
                        "column '%.*s' cannot have a fill value: it holds structs inside lists, or nulls", shown,
                        column->name);
    return check_bytes(layout, node, fill, error);
}

int fb__fill_check(struct fb__layout *layout, const struct fb_loader_options *options, uint64_t *bytes,
                   struct fb_error *error)
{
    set_defaults(layout);
    *bytes = 0;
    const struct fb_fill_value *fills = options->fill_values;
    if (options->fill_value_count > 0 && fills == NULL)
        return fb__fail(error, EINVAL, "there are %u fill values but no array of them", options->fill_value_count);
    if (options->fill_value_count > 0 && layout->storage == FB_STORAGE_ARROW)
        return fb__fail(error, EINVAL, "fill values were given, but columns stored as Arrow stores them keep nulls");
    for (uint32_t i = 0; i < options->fill_value_count; i++) {
        int rc = check_fill(layout, &fills[i], error);
        if (rc != 0) return rc;
        for (uint32_t j = 0; j < i; j++) {
            if (fills[j].column == fills[i].column && fills[j].leaf == fills[i].leaf)
                return fb__fail(error, EINVAL, "column %u has two fill values", fills[i].column);
        }
        *bytes += fills[i].byte_count; /* at most 2^32 of at most 2^31 */
    }
    return 0;
}

void fb__fill_store(struct fb__layout *layout, const struct fb_loader_options *options, uint8_t *memory)
{
    for (uint32_t i = 0; i < options->fill_value_count; i++) {
        const struct fb_fill_value *fill = &options->fill_values[i];
        uint32_t number = fill->leaf;
        struct fb__node *leaf = find_leaf(layout, &layout->nodes[layout->columns[fill->column].root], &number);
        struct fb__node *node = find_elements(layout, leaf);
        node->fill_bytes = fill->byte_count;
        node->fill = fill->byte_count > 0 ? memcpy(memory, fill->bytes, fill->byte_count) : NULL;
        memory += fill->byte_count;
    }
}
