/*
 * Column layout: what a batch stores of each node, where it lies, and what of it a reader of plain columns must know.
 *
 * Locking: none. A layout is immutable once made.
 */
#include "data/layout.h"

#include <errno.h>
#include <string.h>

#include "data/layout_internal.h"
#include "data/text.h"

/* ---- names --------------------------------------------------------------------------------------------------- */

void fb__layout_name(const struct fb__layout *layout, uint32_t column, uint32_t node, char *text, size_t text_bytes)
{
    const char *names[FB__DEPTH_MOST];
    uint32_t count = 0;
    for (uint32_t at = node; at != FB__NONE; at = layout->nodes[at].parent) {
        if (layout->nodes[at].name != NULL) names[count++] = layout->nodes[at].name;
    }
    text[0] = '\0';
    fb__append_name(text, text_bytes, layout->columns[column].name);
    while (count > 0) fb__append_name(text, text_bytes, names[--count]);
}

/* ---- what follows from the nodes around a node --------------------------------------------------------------- */

/* Whether all nodes above are structs, or say nothing of their own. */
static bool is_below_structs_alone(const struct fb__layout *layout, const struct fb__node *node)
{
    while (node->parent != FB__NONE) {
        node = &layout->nodes[node->parent];
        if (node->kind != FB__NODE_STRUCT && node->kind < FB__NODE_DICTIONARY) return false;
    }
    return true;
}

static bool stores_validity(const struct fb__layout *layout, const struct fb__node *node)
{
    if (node->kind >= FB__NODE_NULL) return false;
    if (layout->storage == FB_STORAGE_ARROW) return true;
    if (layout->null_policy != FB_NULLS_MASK || node->kind == FB__NODE_STRUCT) return false;
    return is_below_structs_alone(layout, node);
}

/* Parents come before their children. */
static void derive_nodes(struct fb__layout *layout)
{
    for (uint32_t i = 0; i < layout->node_count; i++) {
        struct fb__node *node = &layout->nodes[i];
        if (node->parent == FB__NONE) {
            node->slots_per_row = 1;
        } else {
            const struct fb__node *parent = &layout->nodes[node->parent];
            node->is_variable = parent->is_variable || parent->kind == FB__NODE_LIST;
            /* At most 2^31, checked where the nodes were made. */
            node->slots_per_row = node->is_variable ? 0 : parent->slots_per_row * parent->list_size;
        }
        node->has_valid = stores_validity(layout, node);
    }
}

/* ---- regions and pieces -------------------------------------------------------------------------------------- */

/* Numbers the next region; without memory for regions they are only counted. */
static uint32_t add_region(struct fb__layout *layout, struct fb__region region)
{
    if (layout->regions != NULL) layout->regions[layout->region_count] = region;
    return layout->region_count++;
}

/* In the order in which they lie. A batch has several regions a node at most, far from 2^32. */
static void number_regions(struct fb__layout *layout)
{
    layout->region_count = 0;
    /* Without nodes there is no memory of them, and no place in it. */
    struct fb__node *end = layout->node_count > 0 ? layout->nodes + layout->node_count : layout->nodes;
    for (struct fb__node *node = layout->nodes; node < end; node++) {
        if (node->is_variable || node->kind != FB__NODE_FIXED) continue;
        node->values_region =
            add_region(layout, (struct fb__region){node->element_bytes, node->slots_per_row, 0, false});
    }
    for (struct fb__node *node = layout->nodes; node < end; node++) {
        if (node->is_variable || node->offset_bytes == 0) continue;
        node->offsets_region =
            add_region(layout, (struct fb__region){node->offset_bytes, node->slots_per_row, 1, false});
    }
    for (uint32_t i = 0; i < layout->column_count; i++) {
        struct fb__column_layout *column = &layout->columns[i];
        column->codes_region = column->table_region = FB__NONE;
        if (!column->is_dictionary) continue;
        column->codes_region = add_region(layout, (struct fb__region){sizeof(int32_t), 1, 0, false});
        column->table_region = add_region(layout, (struct fb__region){sizeof(int32_t), 1, 0, true});
    }
    for (struct fb__node *node = layout->nodes; node < end; node++) {
        if (node->is_variable || !node->has_valid) continue;
        node->valid_region = add_region(layout, (struct fb__region){1, node->slots_per_row, 0, false});
    }
}

static void number_pieces(struct fb__layout *layout)
{
    for (uint32_t i = 0; i < layout->column_count; i++) {
        struct fb__column_layout *column = &layout->columns[i];
        for (uint32_t j = 0; j < column->node_count; j++) {
            struct fb__node *node = &layout->nodes[column->root + j];
            bool has_values = node->kind == FB__NODE_BINARY || (node->is_variable && node->kind == FB__NODE_FIXED);
            if (has_values) node->values_piece = column->piece_count++;
            if (!node->is_variable) continue;
            if (node->offset_bytes != 0) node->lengths_piece = column->piece_count++;
            if (node->has_valid) node->valid_piece = column->piece_count++;
        }
        column->home = column->piece_count > 0 ? layout->home_count++ : FB__NONE;
    }
}

/* Slots beyond FB__MOST_BYTES are refused by themselves: the doubling of a table's has to end. */
static bool region_bytes(const struct fb__region *region, uint64_t rows, uint64_t *out)
{
    uint64_t slots;
    if (__builtin_mul_overflow(rows, region->slots_per_row, &slots) ||
        __builtin_add_overflow(slots, region->extra_slots, &slots) || slots > FB__MOST_BYTES)
        return false;
    if (region->is_hash_table) {
        uint64_t least = 2 * slots;
        for (slots = 1; slots < least;) slots *= 2;
    }
    return !__builtin_mul_overflow(slots, region->width_bytes, out) && *out <= FB__MOST_BYTES - FB__ALIGNMENT_BYTES;
}

void fb__layout_place(const struct fb__layout *layout, uint64_t rows, uint64_t *places, uint64_t *fixed_bytes)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i < layout->region_count; i++) {
        uint64_t bytes;
        if (places != NULL) places[i] = end;
        if (end == UINT64_MAX) continue;
        if (!region_bytes(&layout->regions[i], rows, &bytes) || bytes > FB__MOST_BYTES - FB__ALIGNMENT_BYTES - end) {
            end = UINT64_MAX;
            continue;
        }
        end += (bytes + FB__ALIGNMENT_BYTES - 1) / FB__ALIGNMENT_BYTES * FB__ALIGNMENT_BYTES;
    }
    *fixed_bytes = end > FB__ALIGNMENT_BYTES ? end : FB__ALIGNMENT_BYTES;
}

/* Also what the variable part is estimated at, and what fill values can make of it. */
static bool place_batch(struct fb__layout *layout, const uint64_t *row_bytes)
{
    fb__layout_place(layout, layout->batch_rows, layout->places, &layout->fixed_bytes);
    if (layout->fixed_bytes == UINT64_MAX) return false;
    for (uint32_t i = 0; i < layout->node_count; i++) {
        const struct fb__node *node = &layout->nodes[i];
        uint64_t bytes;
        if (node->kind != FB__NODE_BINARY || node->is_variable) continue;
        /* Rows times slots passed as a region. */
        if (__builtin_mul_overflow(node->fill_bytes, layout->batch_rows * node->slots_per_row, &bytes) ||
            bytes > FB__MOST_BYTES)
            return false;
    }
    for (uint32_t i = 0; i < layout->column_count && row_bytes != NULL; i++) {
        struct fb__column_layout *column = &layout->columns[i];
        if (column->piece_count == 0) continue;
        column->row_bytes = row_bytes[i];
        if (__builtin_mul_overflow(row_bytes[i], layout->batch_rows, &column->estimated_bytes) ||
            column->estimated_bytes > FB__MOST_BYTES - layout->variable_bytes)
            return false;
        layout->variable_bytes += column->estimated_bytes;
    }
    return true;
}

/* ---- columns at a glance ------------------------------------------------------------------------------------- */

enum fb_column_kind fb__layout_kind(enum fb__node_kind kind)
{
    switch (kind) {
    case FB__NODE_BINARY:
        return FB_COLUMN_BINARY;
    case FB__NODE_LIST:
        return FB_COLUMN_LIST;
    case FB__NODE_FIXED_LIST:
        return FB_COLUMN_FIXED_LIST;
    case FB__NODE_STRUCT:
        return FB_COLUMN_STRUCT;
    case FB__NODE_NULL:
        return FB_COLUMN_NULL;
    case FB__NODE_FIXED:
    case FB__NODE_DICTIONARY:
    case FB__NODE_RUN_END:
        break;
    }
    return FB_COLUMN_FIXED;
}

static void set_glance(const struct fb__layout *layout, struct fb__column_layout *column)
{
    const struct fb__node *root = &layout->nodes[column->root];
    const struct fb__node *stored = fb__layout_stored(layout, root);
    column->format = root->format;
    column->kind = column->is_dictionary ? FB_COLUMN_DICTIONARY : fb__layout_kind(stored->kind);
    column->list_size = 1;
    column->leaf = FB__NONE;
    column->values_region = column->offsets_region = column->valid_region = FB__NONE;

    const struct fb__node *leaf = stored;
    uint64_t list_size = 1;
    while (leaf->kind == FB__NODE_FIXED_LIST) {
        list_size *= leaf->list_size;
        leaf = fb__layout_stored(layout, &layout->nodes[leaf->first_child]);
    }
    bool is_list = leaf != stored;
    if (leaf->kind != FB__NODE_FIXED && (is_list || leaf->kind != FB__NODE_BINARY)) return;
    if (!column->is_dictionary) column->kind = fb__layout_kind(leaf->kind);
    if (leaf->kind == FB__NODE_FIXED) column->element_format = leaf->stored_format ? leaf->stored_format : leaf->format;
    column->copy = leaf->copy;
    column->source_bytes = leaf->source_bytes;
    column->element_bytes = leaf->element_bytes;
    column->offset_bytes = leaf->offset_bytes;
    column->list_size = list_size;
    column->is_list = is_list;
    column->leaf = (uint32_t)(leaf - layout->nodes);
    column->fill = leaf->fill;
    column->fill_bytes = leaf->fill_bytes;

    bool is_one_list = is_list && root->copy == FB__COPY_BYTES;
    bool is_direct = leaf == root || (is_one_list && root == stored && root->first_child == column->leaf);
    if (!is_direct || leaf->copy == FB__COPY_NULLS || leaf->copy == FB__COPY_BINARY_VIEW) return;
    column->is_flat = !is_list || !leaf->has_valid;
    column->is_plain = column->is_flat && layout->storage == FB_STORAGE_DENSE && !column->is_dictionary;
    column->is_filled_finished = column->is_plain && column->piece_count == 0;
    column->is_same_bytes = leaf == root && leaf->copy == FB__COPY_BYTES && leaf->element_bytes > 0;
    column->values_region = leaf->values_region;
    column->offsets_region = leaf->offsets_region;
    column->valid_region = root->valid_region;
}

/* ---- options ------------------------------------------------------------------------------------------------- */

static int check_option(const struct fb__layout *layout, const struct fb_column_option *option, struct fb_error *error)
{
    const struct fb__column_layout *column = &layout->columns[option->column];
    const struct fb__node *root = &layout->nodes[column->root];
    const struct fb__node *stored = fb__layout_stored(layout, root);
    int shown = fb__text_shown_bytes(column->name);
    if (layout->storage == FB_STORAGE_ARROW && (option->is_dictionary || option->is_bool8))
        return fb__fail(error, EINVAL,
                        "column '%.*s' is stored as Arrow stores it: no codes or bools can be made of it", shown,
                        column->name);
    if (option->is_dictionary && stored->kind != FB__NODE_FIXED && stored->kind != FB__NODE_BINARY)
        return fb__fail(error, EINVAL, "column '%.*s' cannot be stored as a dictionary: its values are not plain",
                        shown, column->name);
    if (option->list_size != 0 && (root->kind != FB__NODE_FIXED_LIST || root->copy == FB__COPY_BYTES))
        return fb__fail(error, EINVAL, "column '%.*s' cannot be stored as lists of one size: it is no list", shown,
                        column->name);
    if (!option->is_bool8) return 0;
    for (uint32_t i = 0; i < column->node_count; i++) {
        if (root[i].copy == FB__COPY_BOOL8) return 0;
    }
    return fb__fail(error, EINVAL, "column '%.*s' cannot be stored as bools: it has no 8-bit integers", shown,
                    column->name);
}

/* Before the walk, which looks options up by column. */
static int check_option_columns(const struct fb_loader_options *options, uint64_t column_count, struct fb_error *error)
{
    if (options->column_option_count > 0 && options->column_options == NULL)
        return fb__fail(error, EINVAL, "there are %u column options but no array of them",
                        options->column_option_count);
    for (uint32_t i = 0; i < options->column_option_count; i++) {
        uint32_t column = options->column_options[i].column;
        if (column >= column_count)
            return fb__fail(error, EINVAL, "an option is for column %u, the schema has %llu columns", column,
                            (unsigned long long)column_count);
        for (uint32_t j = 0; j < i; j++) {
            if (options->column_options[j].column == column)
                return fb__fail(error, EINVAL, "column %u has two options", column);
        }
    }
    return 0;
}

/* ---- making -------------------------------------------------------------------------------------------------- */

/* Columns, nodes and texts in one allocation. */
static int make_nodes(struct fb__layout *layout, const struct ArrowSchema *schema,
                      const struct fb_loader_options *options, struct fb_error *error)
{
    struct fb__walk count = {.storage = layout->storage,
                             .options = options->column_options,
                             .option_count = options->column_option_count,
                             .error = error};
    int rc = fb__walk_schema(&count, schema);
    if (rc != 0) return rc;
    uint64_t columns_bytes = (uint64_t)schema->n_children * sizeof *layout->columns;
    uint64_t nodes_bytes = count.node_count * sizeof *layout->nodes;
    layout->node_part_bytes = columns_bytes + nodes_bytes + count.text_bytes;
    if (layout->node_part_bytes == 0) return 0;
    void *memory;
    rc = fb__gate_alloc(layout->gate, FB_ACCOUNT_CORE, layout->node_part_bytes, &memory, error);
    if (rc != 0) return rc;
    layout->columns = memory;
    layout->nodes = (struct fb__node *)(void *)((uint8_t *)memory + columns_bytes);
    layout->column_count = (uint32_t)schema->n_children;
    layout->node_count = (uint32_t)count.node_count;

    struct fb__walk make = count;
    make.layout = layout;
    make.text = (char *)memory + columns_bytes + nodes_bytes;
    make.node_count = make.text_bytes = 0;
    rc = fb__walk_schema(&make, schema);
    if (rc != 0) fb__gate_free(layout->gate, FB_ACCOUNT_CORE, layout->columns, layout->node_part_bytes);
    return rc;
}

/* Regions, places and fill values in one allocation. */
static int make_regions(struct fb__layout *layout, const struct fb_loader_options *options, struct fb_error *error)
{
    uint64_t fill_bytes;
    int rc = fb__fill_check(layout, options, &fill_bytes, error);
    if (rc != 0) return rc;
    number_regions(layout);
    uint64_t regions_bytes = layout->region_count * sizeof *layout->regions;
    uint64_t places_bytes = layout->region_count * sizeof *layout->places;
    layout->region_part_bytes = regions_bytes + places_bytes + fill_bytes;
    if (layout->region_part_bytes == 0) return 0;
    rc = fb__gate_alloc(layout->gate, FB_ACCOUNT_CORE, layout->region_part_bytes, &layout->region_part, error);
    if (rc != 0) return rc;
    uint8_t *memory = layout->region_part;
    layout->regions = (struct fb__region *)(void *)memory;
    layout->places = (uint64_t *)(void *)(memory + regions_bytes);
    fb__fill_store(layout, options, memory + regions_bytes + places_bytes);
    number_regions(layout);
    return 0;
}

int fb__layout_init(struct fb__layout *layout, struct fb__gate *gate, const struct ArrowSchema *schema,
                    const uint64_t *row_bytes, const struct fb_loader_options *options, struct fb_error *error)
{
    memset(layout, 0, sizeof *layout);
    bool is_arrow = options->storage == FB_STORAGE_ARROW;
    struct fb__layout made = {.gate = gate,
                              .batch_rows = options->batch_rows,
                              .storage = options->storage,
                              .null_policy = is_arrow ? FB_NULLS_MASK : options->null_policy};
    int rc = fb__layout_check_schema(schema, error);
    if (rc == 0) rc = check_option_columns(options, (uint64_t)schema->n_children, error);
    if (rc == 0) rc = make_nodes(&made, schema, options, error);
    if (rc != 0) return rc;

    for (uint32_t i = 0; i < options->column_option_count && rc == 0; i++) {
        const struct fb_column_option *option = &options->column_options[i];
        rc = check_option(&made, option, error);
        made.columns[option->column].is_dictionary = option->is_dictionary;
    }
    if (rc != 0) goto fail_regions;
    for (uint32_t i = 0; i < made.column_count && is_arrow; i++) {
        const struct fb__node *root = &made.nodes[made.columns[i].root];
        const struct fb__node *stored = fb__layout_stored(&made, root);
        made.columns[i].is_dictionary =
            root->kind == FB__NODE_DICTIONARY && (stored->kind == FB__NODE_FIXED || stored->kind == FB__NODE_BINARY);
    }
    derive_nodes(&made);
    rc = make_regions(&made, options, error);
    if (rc != 0) goto fail_regions;
    number_pieces(&made);
    for (uint32_t i = 0; i < made.column_count; i++) {
        set_glance(&made, &made.columns[i]);
        made.unfinished_count += !made.columns[i].is_filled_finished;
    }
    if (!place_batch(&made, row_bytes)) {
        rc = fb__fail(error, ENOBUFS, "a batch of %llu rows would pass 2^62 bytes: lower batch_size",
                      (unsigned long long)made.batch_rows);
        goto fail_places;
    }
    *layout = made;
    return 0;

fail_places:
    fb__gate_free(gate, FB_ACCOUNT_CORE, made.region_part, made.region_part_bytes);
fail_regions:
    fb__gate_free(gate, FB_ACCOUNT_CORE, made.columns, made.node_part_bytes);
    return rc;
}

static void no_release(struct ArrowSchema *schema)
{
    schema->release = NULL;
}

int fb__layout_init_column(struct fb__layout *layout, struct fb__gate *gate, const struct ArrowSchema *field,
                           struct fb_error *error)
{
    /* Only the columns of a schema are looked at: its release says that it is there. */
    struct ArrowSchema child = {0}; /* it is looked at only, but children are not const */
    if (field != NULL) child = *field;
    struct ArrowSchema *children[] = {field != NULL ? &child : NULL};
    const struct ArrowSchema schema = {.format = "+s", .n_children = 1, .children = children, .release = no_release};
    const struct fb_loader_options options = {.batch_rows = 1, .null_policy = FB_NULLS_FILL};
    return fb__layout_init(layout, gate, &schema, NULL, &options, error);
}

void fb__layout_destroy(struct fb__layout *layout)
{
    if (layout->region_part != NULL)
        fb__gate_free(layout->gate, FB_ACCOUNT_CORE, layout->region_part, layout->region_part_bytes);
    if (layout->columns != NULL) fb__gate_free(layout->gate, FB_ACCOUNT_CORE, layout->columns, layout->node_part_bytes);
    memset(layout, 0, sizeof *layout);
}
